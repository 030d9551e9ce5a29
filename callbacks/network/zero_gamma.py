"""Zero gamma: start every residual block as the identity.

Paper:    Bag of Tricks for Image Classification with CNNs (He et al.; CVPR 2019) https://arxiv.org/abs/1812.01187, 3.1;
          first in Accurate, Large Minibatch SGD (Goyal et al.; 2017) https://arxiv.org/abs/1706.02677, section 5.1
Code:     torchvision `resnet50(zero_init_residual=True)`; GluonCV `--last-gamma`
Equation: y = x + BN(F(x)),  BN(z) = gamma z^ + beta,  gamma = 0 at the start
Shapes:   gamma (C,) of the last norm of each residual block
Defaults: none to choose
Differs:  two kinds of blocks keep their gamma. (1) Blocks whose shortcut pads with zeros (option A of CIFAR's ResNets,
          which the paper does not have). With gamma 0, their new channels would be 0 for every image. There the ReLU
          after the sum has gradient 0, so they would stay 0: half of stage 2, three quarters of stage 3. (2) Blocks
          with a ReLU between the last norm and the sum (timm's SE-ResNet-18 and 34), for the same reason. Blocks are
          found in one pass: any sum of a branch and its origin, with or without gates and scales before the sum.
"""

import lightning as L
from torch import nn

from callbacks.frame.initialise import is_untrained
from callbacks.frame.residual import NORMS, ends_of_branches
from callbacks.frame.trick import Trick


class ZeroGamma(Trick):
    """Set gamma to 0 in an untrained network. Loaded or trained weights are left alone, with a message.

    Args:
        image_size: side of the images in pixels, where the model does not know it.

    Raises:
        TypeError: for a network without residual blocks that end in a norm.
    """

    picture = "weights"
    examples = ({"image_size": 8},)
    taxonomy = "optimisation"

    def __init__(self, image_size: int = 224):
        self.image_size = image_size

    def prepare(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        if stage != "fit":
            return
        norms = last_norms(model, getattr(model, "image_size", None) or self.image_size)
        if is_untrained(self, model):
            for path in norms:
                nn.init.zeros_(model.get_parameter(f"{path}.weight"))

    def on_train_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        model.untrained = False  # type: ignore[assignment]  # a plain flag; a Classifier sets it by itself


def last_norms(network: nn.Module, image_size: int) -> list[str]:
    """Return the paths of the norms that end a residual branch. Raises TypeError where there are none.

    Args:
        network: run once on shapes alone.
        image_size: side of the images in pixels.
    """
    found = ends_of_branches(network, image_size, NORMS)
    if not found:
        raise TypeError(f"{type(network).__name__} has no residual block that ends in a norm: take ZeroGamma out")
    return found
