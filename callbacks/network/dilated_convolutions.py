"""Dilated convolutions: the last stage's 3x3 convolutions skip 0, 2 and 4 pixels in turn, and so see farther.

Paper:    Understanding Convolution for Semantic Segmentation (Wang, Chen, Yuan, Liu, Huang, Hou, Cottrell; WACV 2018)
          https://arxiv.org/abs/1702.08502, section 3.2, hybrid dilated convolution
Code:     none used
Equation: y(p) = sum_{i,j in -1..1} w_ij x(p + r (i, j)),  padding r;   r = r_1, r_2, ..., r_n, r_1, ... of layer after
          layer. With M_n = r_n, M_i = max(M_{i+1} - 2 r_i, 2 r_i - M_{i+1}, r_i), no pixel is missed if M_2 <= 3
Shapes:   (N, C, H, W) -> same as before; no parameter changes
Defaults: rates = (1, 3, 5), ours: three layers see all of 19 x 19 px; where: the last stage
Differs:  weights stay as they are: trained ones must be tuned. The paper dilates to keep the resolution after it has
          taken strides out; here strides stay, so that the maps do not change. On maps of 4 px a rate of 5 sees padding
          beside the middle.
"""

from collections.abc import Sequence
from itertools import cycle

import lightning as L
from torch import nn

from callbacks.frame.needs import Range
from callbacks.frame.pair_needs import Claims
from callbacks.frame.trick import Trick
from callbacks.frame.where import Where, modules_at
from zoo.frame.surgery import operate, operation, replace
from zoo.layers.dilated_conv import DilatedConv2d


def gap(rates: Sequence[int]) -> int:
    """Return M_2 of the equation above, the largest distance of pixels that count: at most 3, or some are missed."""
    distance = rates[-1]
    for rate in rates[-2:0:-1]:
        distance = max(distance - 2 * rate, 2 * rate - distance, rate)
    return distance


def is_dilatable(module: nn.Module) -> bool:
    """Return whether a module is a plain 3x3 convolution whose padding keeps the size."""
    if not isinstance(module, nn.Conv2d) or type(module).forward not in (nn.Conv2d.forward, DilatedConv2d.forward):
        return False
    return module.kernel_size == (3, 3) and module.padding == module.dilation and module.padding_mode == "zeros"


@operation("DilatedConvolutions")
def dilate(network: nn.Module, paths: Sequence[str], rates: Sequence[int]) -> None:
    """Give the convolutions at these paths the rates in turn, in place, with their own weights."""
    for path, rate in zip(paths, cycle(rates), strict=False):
        old = network.get_submodule(path)
        assert isinstance(old, nn.Conv2d), "the caller looks for convolutions"
        new = DilatedConv2d(old.in_channels, old.out_channels, 3, groups=old.groups, device="meta").train(old.training)
        new.stride, new.padding, new.dilation = old.stride, (rate, rate), (rate, rate)
        new.weight, new.bias = old.weight, old.bias
        replace(network, path, new)


class DilatedConvolutions(Trick):
    """Dilate 3x3 convolutions before training. Checkpoints remember it: `zoo.load` gives the changed network.

    Args:
        rates: dilations, >= 1, of one convolution after the other; they begin again where they end.
        where: stages or paths of modules whose convolutions change; None: the last stage.

    Raises:
        TypeError: for modules without such convolutions or, without `where`, a model without stages.
        ValueError: for a rate below 1, rates that miss pixels, or a second DilatedConvolutions.
    """

    picture = "modules"
    needs = (Claims("dilate the convolutions"), Range("rates", 1))
    examples = ({"rates": (1, 2), "where": ("stage1",)},)

    def __init__(self, rates: tuple[int, ...] = (1, 3, 5), where: Where = None):
        self.rates, self.where = tuple(rates), where if isinstance(where, str | None) else tuple(where)
        if not self.rates or gap(self.rates) > 3:
            raise ValueError(f"DilatedConvolutions: rates={rates} miss pixels in between: take (1, 3, 5) or (1, 2, 5)")

    def prepare(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        if stage != "fit":
            return
        inside = [m for _, top in modules_at(self, model, self.where, slice(-1, None)) for m in top.modules()]
        chosen = {id(module) for module in inside if is_dilatable(module)}
        if not (paths := [path for path, module in model.named_modules() if id(module) in chosen]):
            raise TypeError(
                f"DilatedConvolutions: {type(model).__name__} has no plain 3x3 convolutions there: name other modules, "
                "where=('path.of.module',), or take it out"
            )
        operate(model, "DilatedConvolutions", paths=paths, rates=list(self.rates))
