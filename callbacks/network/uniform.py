"""Uniform initialisation: draw weights and biases from U[-1 / sqrt(d), 1 / sqrt(d)], d the number of inputs.

Paper:    the "commonly used heuristic" of Understanding the Difficulty of Training Deep Feedforward Neural Networks
          (Glorot, Bengio; AISTATS 2010) https://proceedings.mlr.press/v9/glorot10a.html, eq. 1
Code:     torch.nn.Linear.reset_parameters draws the same
Equation: w, b ~ U[-1 / sqrt(d), 1 / sqrt(d)],  d = fan_in = k^2 C_in;  so w has variance 1 / (3d), and a sum of d
          inputs of variance 1 has variance 1/3
Shapes:   every weight of a convolution or linear layer, (C_out, C_in / groups, k, k) or (D_out, D_in), and its bias
Defaults: none to choose
Differs:  the paper starts biases at 0; here they are drawn like the weights, as in torch. The variance of signals
          shrinks by 3 at each layer: Xavier and Kaiming correct that.
"""

from torch import Tensor, nn

from callbacks.frame.initialise import Initialise


class Uniform(Initialise):
    """Draw weights and biases of an untrained network. Loaded or trained ones are left alone, with a message.

    Raises:
        ValueError: for a second trick that draws the weights.
    """

    def __init__(self):
        pass

    def fill(self, weight: Tensor) -> None:
        """Fill a weight from U[-1 / sqrt(d), 1 / sqrt(d)], in place."""
        bound = fan_in(weight) ** -0.5
        nn.init.uniform_(weight, -bound, bound)

    def fill_bias(self, bias: Tensor, weight: Tensor) -> None:
        """Fill the bias beside a weight from the same distribution, in place."""
        bound = fan_in(weight) ** -0.5
        nn.init.uniform_(bias, -bound, bound)


def fan_in(weight: Tensor) -> int:
    """Return the number of inputs that one unit sums: k^2 C_in / groups."""
    return weight[0].numel()
