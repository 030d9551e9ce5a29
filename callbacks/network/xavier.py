"""Xavier (Glorot) initialisation: keep the variance forwards and backwards, for linear units.

Paper:    Understanding the Difficulty of Training Deep Feedforward Neural Networks (Glorot, Bengio; AISTATS 2010)
          https://proceedings.mlr.press/v9/glorot10a.html, eq. 16; the baseline of the Bag of Tricks,
          https://arxiv.org/abs/1812.01187, section 2.1
Code:     torch.nn.init.xavier_uniform_
Equation: w ~ U[-a, a],  a = sqrt(6 / (fan_in + fan_out));  biases 0
Shapes:   every weight of a convolution or linear layer, (C_out, C_in / groups, k, k) or (D_out, D_in)
Defaults: none to choose
Differs:  fans of a convolution are k^2 C (the paper has dense layers only); norms stay as they are.
"""

from torch import Tensor, nn

from callbacks.frame.initialise import Initialise


class Xavier(Initialise):
    """Draw the weights of an untrained network. Loaded or trained weights are left alone, with a message.

    Raises:
        ValueError: for a second trick that draws the weights.
    """

    def __init__(self):
        pass

    def fill(self, weight: Tensor) -> None:
        """Fill a weight from U[-a, a], in place."""
        nn.init.xavier_uniform_(weight)
