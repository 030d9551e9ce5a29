"""Zero last conv: start residual blocks that end in a convolution or linear layer as the identity.

Paper:    Fixup Initialization: Residual Learning Without Normalization (Zhang, Dauphin, Ma; ICLR 2019)
          https://arxiv.org/abs/1901.09321, section 3, first of its three rules
Code:     https://github.com/hongyi-zhang/Fixup (the authors'): `nn.init.constant_(m.conv2.weight, 0)`
Equation: y = s(x) + F(x),  F = W_L f_{L-1}(...) + b_L,  W_L = 0 and b_L = 0 at the start: F(x) = 0, so that the
          variance of y is that of s(x); with He's draw it doubles at each block
Shapes:   W_L (C_out, C_in, k, k) or (D_out, D_in), the last layer of each residual branch
Defaults: none to choose
Differs:  The paper has no norms and zeroes the last linear layer of the network too. Its second rule (scale the other
          layers of a branch by L^(-1/(2m-2))) and third (learned scalars) are not here. A branch that ends in a norm
          is not changed: after a zero convolution, a batch norm divides by sqrt(eps), so its gradient is 1 / sqrt(eps)
          = 316 times too large, and one step brings the branch to full size. Take ZeroGamma there.
"""

import lightning as L
from torch import Tensor, nn

from callbacks.frame.initialise import is_untrained
from callbacks.frame.residual import LAYERS, ends_of_branches
from callbacks.frame.trick import Trick


class ZeroLastConv(Trick):
    """Zero the last layers in an untrained network. Loaded or trained weights are left alone, with a message.

    Works together with a trick that draws the weights, in either order of the list.

    Args:
        image_size: side of the images in pixels, where the model does not know it.

    Raises:
        TypeError: for a network without residual branches that end in a convolution or linear layer.
    """

    picture = "weights"
    examples = ({"image_size": 8},)
    taxonomy = "optimisation"

    def __init__(self, image_size: int = 224):
        self.image_size = image_size

    def prepare(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        if stage == "fit" and is_untrained(self, model):
            self.zero_after_drawing(model)

    def zero_after_drawing(self, model: L.LightningModule) -> None:
        """Zero the last layers. A trick that draws the weights calls this after its own work."""
        for path in last_layers(model, getattr(model, "image_size", None) or self.image_size):
            nn.init.zeros_(model.get_parameter(f"{path}.weight"))
            if isinstance(bias := model.get_submodule(path).bias, Tensor):
                nn.init.zeros_(bias)

    def on_train_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        model.untrained = False  # type: ignore[assignment]  # a plain flag; a Classifier sets it by itself


def last_layers(network: nn.Module, image_size: int) -> list[str]:
    """Return the paths of the layers that end a residual branch. Raises TypeError where there are none.

    Args:
        network: run once on shapes alone.
        image_size: side of the images in pixels.
    """
    found = ends_of_branches(network, image_size, LAYERS)
    if not found:
        raise TypeError(
            f"{type(network).__name__} has no residual branch that ends in a convolution or linear layer: take "
            "ZeroLastConv out (ZeroGamma is for branches that end in a norm)"
        )
    return found
