"""Spatial pyramid pooling: give the head the maxima of 4 x 4, 2 x 2 and 1 x 1 parts of the last map.

Paper:    Spatial Pyramid Pooling in Deep Convolutional Networks for Visual Recognition (He, Zhang, Ren, Sun; ECCV 2014)
          https://arxiv.org/abs/1406.4729, sections 2.2 and 3.1
Code:     https://github.com/ShaoqingRen/SPP_net (the authors', Caffe)
Equation: bin (i, j) of level n is the maximum over rows floor(iH/n) to ceil((i+1)H/n) and columns likewise;
          the linear layer reads the bins of all levels, one level after the other
Shapes:   (N, C, H, W) -> (N, C sum n^2); the linear layer that follows from (N, C) or (N, C s^2) to that width
Defaults: levels = (4, 2, 1), 21 bins for CIFAR-sized last maps; the paper's pyramids for ImageNet are 6, 3, 2, 1
          (50 bins) and 4, 3, 2, 1 (30 bins)
Differs:  The paper replaces the last max pooling before hidden layers; we replace the head's adaptive pooling. The
          widened layer is initialised again, as torch does. A level that is larger than the map repeats its
          activations.
"""

from collections.abc import Sequence

import lightning as L
import torch
import torch.nn.functional as F
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn

from callbacks.frame.pair_needs import Claims
from callbacks.frame.trick import Trick
from zoo.frame.evaluation import probe
from zoo.frame.surgery import operate, operation, replace


def pyramid(x: Tensor, levels: Sequence[int]) -> Tensor:
    """Return the bins of all levels: maps (N, C, H, W) -> (N, C sum n^2), level after level."""
    return torch.cat([F.adaptive_max_pool2d(x, n).flatten(1) for n in levels], 1)


class PyramidPool2d(nn.Module):
    """`pyramid` as a layer."""

    def __init__(self, levels: Sequence[int]):
        super().__init__()
        self.levels = tuple(levels)

    def forward(self, x: Tensor) -> Tensor:
        return pyramid(x, self.levels)

    def extra_repr(self) -> str:
        return f"levels={self.levels}"


@operation("SpatialPyramidPooling")
def widen_head(network: nn.Module, levels: Sequence[int], image_size: int) -> None:
    """Swap the head's pooling and the linear layer that reads it, in place.

    Raises:
        TypeError: for a network whose last adaptive pooling is not a module, or is not read by a linear layer.
    """
    pool, linear, channels = _head(network, image_size)
    old, width = network.get_submodule(linear), channels * sum(n * n for n in levels)
    assert isinstance(old, nn.Linear), "_head looks for linear layers"
    new = nn.Linear(width, old.out_features, old.bias is not None, old.weight.device, old.weight.dtype)
    replace(network, pool, PyramidPool2d(levels).train(old.training))
    replace(network, linear, new.train(old.training))


def _head(network: nn.Module, image_size: int) -> tuple[str, str, int]:
    """Return the paths of the last adaptive pooling and of the linear layer that reads it, and the channels between."""
    seen: list[tuple[str, Tensor]] = []
    kinds = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.Linear)
    hooks = [
        m.register_forward_hook(lambda m, inputs, out, path=path: seen.append((path, inputs[0])))
        for path, m in network.named_modules()
        if isinstance(m, kinds)
    ]
    try:
        probe(network, image_size)
    finally:
        for hook in hooks:
            hook.remove()
    pools = [i for i, (path, _) in enumerate(seen) if not isinstance(network.get_submodule(path), nn.Linear)]
    after = seen[pools[-1] + 1 :] if pools else []
    pooled = seen[pools[-1]][1] if pools else torch.empty(0)
    reads = [path for path, x in after if x is after[0][1]]
    if len(reads) != 1 or pooled.ndim != 4 or after[0][1].shape[-1] % pooled.shape[1]:
        raise TypeError(
            f"{type(network).__name__} has no nn.AdaptiveAvgPool2d that one linear layer reads (a mean inside a "
            "forward cannot be changed): take SpatialPyramidPooling out"
        )
    return seen[pools[-1]][0], reads[0], pooled.shape[1]


class SpatialPyramidPooling(Trick):
    """Swap the head before training. Checkpoints remember it: `zoo.load` gives the changed network.

    Args:
        levels: n of each level of n x n bins.
        image_size: side of the images in pixels, where the model does not know it.

    Raises:
        TypeError: for a network whose head does not pool with a module, or has no linear layer after it.
        ValueError: for levels below 1, or a second SpatialPyramidPooling.
    """

    picture = "modules"
    needs = (Claims("choose the head's pooling"),)
    examples = ({"levels": (3, 1), "image_size": 8},)
    makes_head = True

    def __init__(self, levels: tuple[int, ...] = (4, 2, 1), image_size: int = 224):
        self.levels, self.image_size = tuple(levels), image_size
        if not self.levels or min(self.levels) < 1:
            raise ValueError(f"SpatialPyramidPooling: levels must be one or more numbers from 1 on, not {levels}")

    def prepare(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        if stage != "fit":
            return
        size = getattr(model, "image_size", None) or self.image_size
        changed = operate(model, "SpatialPyramidPooling", levels=list(self.levels), image_size=size)
        if changed and not getattr(model, "untrained", True):
            rank_zero_info("SpatialPyramidPooling: the layer after the pooling is initialised again")
