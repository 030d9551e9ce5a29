"""A feature pyramid over the stages of any network that has them: what the head of a detector or segmenter reads."""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torchvision.ops.feature_pyramid_network import ExtraFPNBlock, FeaturePyramidNetwork

from zoo.frame.evaluation import probe


@contextmanager
def collect_maps(stages: Mapping[str, nn.Module]) -> Iterator[dict[str, Tensor]]:
    """Collect the outputs of stages by name, while the network runs inside the block.

    The hooks are the last ones of their modules: they see what a trick's hooks made of the maps.
    """
    maps: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[..., None]:
        return lambda module, inputs, output: maps.update({name: output})

    hooks = [stage.register_forward_hook(keep(name)) for name, stage in stages.items()]
    try:
        yield maps
    finally:
        for hook in hooks:
            hook.remove()


class Levels(NamedTuple):
    """The stages of a network that a head reads: the last of each map size, from the finest to the coarsest.

    Attributes:
        names: of the stages.
        channels: of their maps.
        strides: in pixels.
    """

    names: list[str]
    channels: list[int]
    strides: list[int]


def levels_of(body: Any, image_size: int, finest: int) -> Levels:
    """Choose the levels of a network, and replace its layers with weights after the last stage by `nn.Identity`.

    Args:
        body: a network with `stages`; its classifier goes.
        image_size: side of the images in pixels, with which strides are measured.
        finest: smallest stride, in pixels; of a network whose maps are all finer, the last one is taken.

    Raises:
        TypeError: a network without stages, or whose stages are not maps (N, C, h, w).
    """
    shapes = behead(body, image_size)
    last_of_size = {shape[-1]: name for name, shape in shapes.items()}  # a later stage of the same size wins
    strides = {name: round(image_size / side) for side, name in last_of_size.items()}
    names = [name for name, stride in strides.items() if stride >= min(finest, max(strides.values()))]
    return Levels(names, [shapes[name][1] for name in names], [strides[name] for name in names])


def behead(body: Any, image_size: int) -> dict[str, torch.Size]:
    """Replace auxiliary heads, and layers with weights after the last stage, by `nn.Identity`; return maps' shapes."""
    name, stages = type(body).__name__, getattr(body, "stages", {})
    if not len(stages):
        raise TypeError(f"{name} has no stages to build on: zoo.Classifier(network, stages={{'stage1': 'path', ...}})")
    ran: list[nn.Module] = []
    leaves = [m for m in body.modules() if any(True for _ in m.parameters()) and not [*m.children()]]
    hooks = [m.register_forward_hook(lambda m, *_: ran.append(m)) for m in {*leaves, *stages.values()}]
    try:
        with collect_maps(stages) as maps:
            probe(body, image_size)
    finally:
        for hook in hooks:
            hook.remove()
    wrong = [key for key, value in maps.items() if not isinstance(value, Tensor) or value.ndim != 4]
    if wrong:
        raise TypeError(
            f"a head needs maps (N, C, h, w), and {wrong[0]} of {name} gives none: take a convolutional net"
        )
    end = ran.index([*stages.values()][-1])
    late = {*ran[end + 1 :]} - {*ran[: end + 1]}
    gone = [path for path, module in body.named_modules() if module in late]
    for path in (*gone, *getattr(body, "aux_paths", ())):
        body.set_submodule(path, nn.Identity())
    return {key: value.shape for key, value in maps.items()}


def read(body: Any, names: list[str], x: Tensor) -> list[Tensor]:
    """Run a network on images (N, C, H, W) and return the maps of these stages."""
    with collect_maps({name: body.stages[name] for name in names}) as maps:
        body(x)
    return [maps[name] for name in names]


class Pyramid(nn.Module):
    """A network and a feature pyramid network over its levels (Lin et al. 2017, https://arxiv.org/abs/1612.03144).

    The parts have torchvision's names: `body`, `fpn`.

    Args:
        body: a network with `stages`; it loses its classifier.
        image_size, finest: as in `levels_of`.
        width: channels of every map.
        extra: the block that adds coarser maps, each of half the size of the one before.
        more: how many maps that block adds.

    Attributes:
        strides: of the maps in pixels, the added ones included.
        out_channels: the width, under torchvision's name.
        autocast: data type that the network computes with; None: that of the images. The maps are float32 in any case.
    """

    autocast: torch.dtype | None = None

    def __init__(self, body: Any, image_size: int, finest: int, width: int, extra: ExtraFPNBlock, more: int):
        super().__init__()
        levels = levels_of(body, image_size, finest)
        self.body, self.names = body, levels.names
        self.fpn = FeaturePyramidNetwork(levels.channels, width, extra)
        self.strides = [*levels.strides, *(levels.strides[-1] * 2**i for i in range(1, more + 1))]
        self.out_channels = width

    def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:
        """Images (N, C, H, W) -> float32 maps (N, width, H / stride, W / stride) by name, "0" the finest."""
        with torch.autocast(x.device.type, self.autocast) if self.autocast else nullcontext():
            maps = read(self.body, self.names, x)
            found = self.fpn(OrderedDict((str(i), value) for i, value in enumerate(maps)))
        return OrderedDict((name, value.float()) for name, value in found.items())
