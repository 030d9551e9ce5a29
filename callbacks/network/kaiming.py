"""Kaiming (He) initialisation: keep the variance of signals, or of gradients, through ReLUs.

Paper:    Delving Deep into Rectifiers (He, Zhang, Ren, Sun; ICCV 2015) https://arxiv.org/abs/1502.01852, eq. 10 and 14
Code:     torch.nn.init.kaiming_normal_
Equation: w ~ N(0, 2 / fan);  fan_in = k^2 C_in (eq. 10),  fan_out = k^2 C_out (eq. 14);  biases 0
Shapes:   every weight of a convolution or linear layer, (C_out, C_in / groups, k, k) or (D_out, D_in)
Defaults: mode = "fan_in", the paper's choice; fb.resnet.torch and torchvision take "fan_out"
Differs:  the last linear layer is drawn like all others; norms stay as they are.
"""

from torch import Tensor, nn

from callbacks.frame.initialise import Initialise
from callbacks.frame.needs import Choice

MODES = ("fan_in", "fan_out")


class Kaiming(Initialise):
    """Draw the weights of an untrained network. Loaded or trained weights are left alone, with a message.

    Args:
        mode: "fan_in" keeps the variance of the signals, "fan_out" that of the gradients.

    Raises:
        ValueError: for another mode, or a second trick that draws the weights.
    """

    needs = (Choice("mode", MODES),)
    examples = ({"mode": "fan_out"},)

    def __init__(self, mode: str = "fan_in"):
        self.mode = mode

    def fill(self, weight: Tensor) -> None:
        """Fill a weight from N(0, 2 / fan), in place."""
        nn.init.kaiming_normal_(weight, mode="fan_out" if self.mode == "fan_out" else "fan_in", nonlinearity="relu")
