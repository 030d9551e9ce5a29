"""Zero gamma: every residual block starts as the identity.

Paper:    Bag of Tricks for Image Classification with CNNs (He et al.; CVPR 2019) https://arxiv.org/abs/1812.01187, 3.1;
          first in Accurate, Large Minibatch SGD (Goyal et al.; 2017) https://arxiv.org/abs/1706.02677, section 5.1
Code:     torchvision `resnet50(zero_init_residual=True)`; GluonCV `--last-gamma`
Equation: y = x + BN(F(x)),  BN(z) = gamma z^ + beta,  gamma = 0 at the start
Shapes:   gamma (C,) of the last norm of each residual block
Defaults: none to choose
Differs:  a block whose shortcut pads with zeros (option A of CIFAR's ResNets, which the paper has not) keeps its gamma:
          with it at 0 the new channels are 0 for every image, where the ReLU behind the sum has no slope, and stay 0
          for ever: half of stage 2 and three quarters of stage 3. A block is a module with a `downsample` (as ours,
          torchvision's and timm's are) that ends in a norm.
"""

import lightning as L
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from callbacks._trick import Trick
from callbacks.network._initialise import is_fresh
from zoo.resnet import PadShortcut

NORMS = _NormBase | nn.GroupNorm


def last_norms(network: nn.Module) -> list[nn.Module]:
    """The norm that ends each residual block; none for blocks that end in a convolution, or pad their shortcut."""
    found = []
    for block in (m for m in network.modules() if hasattr(m, "downsample")):
        if isinstance(block.downsample, PadShortcut):
            continue
        branch = [child for name, child in block.named_children() if name != "downsample"]
        layers = [child for child in branch if isinstance(child, NORMS | nn.Conv2d)]
        if layers and isinstance(layers[-1], NORMS):
            found.append(layers[-1])
    return found


class ZeroGamma(Trick):
    """Sets gamma to 0 in a fresh network. Weights that were loaded or trained are left alone, with a message.

    Raises:
        TypeError: for a network without residual blocks that end in a norm.
    """

    taxonomy = "optimisation"

    def __init__(self):
        pass

    def setup(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        norms = last_norms(model)
        if not norms:
            raise TypeError(f"{type(model).__name__} has no residual block that ends in a norm: take ZeroGamma out")
        if stage == "fit" and is_fresh(self, model):
            for norm in norms:
                nn.init.zeros_(norm.weight)

    def on_train_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        model.fresh = False  # a Classifier knows by itself, other modules do not
