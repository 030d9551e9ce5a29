"""LeCun initialisation: give each unit's output the variance of its inputs.

Paper:    Efficient BackProp (LeCun, Bottou, Orr, Mueller; 1998) https://doi.org/10.1007/3-540-49430-8_2, section 4.6,
          eq. 16; what selu asks for: https://arxiv.org/abs/1706.02515, section 2
Code:     torch.nn.init.kaiming_normal_(weight, nonlinearity="linear"), which is the same draw
Equation: w ~ N(0, 1 / fan_in),  fan_in = k^2 C_in;  biases 0
Shapes:   every weight of a convolution or linear layer, (C_out, C_in / groups, k, k) or (D_out, D_in)
Defaults: none to choose
Differs:  The paper gives mean and variance, for normalised inputs and its scaled tanh; the normal distribution is the
          selu paper's. Norms stay as they are.
"""

from torch import Tensor, nn

from callbacks.frame.initialise import Initialise


class LeCun(Initialise):
    """Draw the weights of an untrained network. Loaded or trained weights are left alone, with a message.

    Raises:
        ValueError: for a second trick that draws the weights.
    """

    def __init__(self):
        pass

    def fill(self, weight: Tensor) -> None:
        """Fill a weight from N(0, 1 / fan_in), in place."""
        nn.init.kaiming_normal_(weight, mode="fan_in", nonlinearity="linear")
