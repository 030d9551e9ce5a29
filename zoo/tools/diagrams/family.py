"""Draw the family of all models through the years: the year of each paper, and an arrow from what it builds on."""

import re
from collections.abc import Iterator

from zoo.frame.classifier import MODELS
from zoo.frame.fields import fields_of
from zoo.tools.diagrams.drawing import INK, SOFT, Drawing, quote
from zoo.tools.diagrams.layout import HEAD

BUILDS_ON = {  # as the papers say it; those that are not here begin a line of their own
    "LeNet5": ("MLP",),
    "ConvNet": ("LeNet5",),
    "AlexNet": ("LeNet5",),
    "ZFNet": ("AlexNet",),
    "NIN": ("AlexNet",),
    "VGG": ("AlexNet",),
    "GoogLeNet": ("NIN",),
    "BNInception": ("GoogLeNet",),
    "InceptionV3": ("BNInception",),
    "InceptionV4": ("InceptionV3",),
    "InceptionResNetV2": ("InceptionV3", "ResNet"),
    "Xception": ("InceptionV3",),
    "ResNet": ("VGG", "BNInception"),
    "PreActResNet": ("ResNet",),
    "WideResNet": ("PreActResNet",),
    "DenseNet": ("PreActResNet",),
    "ResNeXt": ("ResNet", "GoogLeNet"),
    "SENet": ("ResNeXt",),
    "CBAMResNet": ("SENet",),
    "SKNet": ("SENet",),
    "HierarchicalMixture": ("ResNet",),
    "MobileNetV1": ("Xception",),
    "MobileNetV2": ("MobileNetV1", "ResNet"),
    "MobileNetV3": ("MobileNetV2", "SENet"),
    "ShuffleNetV1": ("ResNeXt", "Xception"),
    "ShuffleNetV2": ("ShuffleNetV1",),
    "RegNet": ("ResNeXt", "SENet"),
    "RepVGG": ("VGG", "ResNet"),
    "ConvNeXtRoadmap": ("ResNeXt", "Swin"),
    "ConvNeXt": ("ConvNeXtRoadmap",),
    "AttentionUNet": ("UNet",),
    "DeiT": ("ViT",),
    "Swin": ("DeiT",),
    "MoEViT": ("DeiT",),
    "LVViT": ("DeiT",),
    "DVT": ("DeiT",),
    "DynamicViT": ("LVViT",),
    "EViT": ("DynamicViT",),
    "PatchSlimming": ("DeiT",),
}
COLOURS = ("#3a86c840", "#cc4c8b40", "#1b9e7740", "#e07b0040")  # a line each


def family() -> Drawing:
    """Draw all models of the zoo, the oldest at the top. Raises ValueError for a file whose paper has no year."""
    years = {name: year(kind) for name, kind in sorted(MODELS.items())}
    roots = sorted({root(name) for name in years}, key=lambda name: years[name])
    return Drawing("\n".join(_lines(years, roots)), "Family of the models, by the year of the paper")


def year(kind: type) -> int:
    """Return the year of a model's paper, the first that its file names."""
    found = re.search(r"\((?:[^()]*\W)?(\d{4})\)", fields_of(kind))
    if found is None:
        raise ValueError(f"{kind.__name__}: its file's Paper field has no year, as in (Authors; CVPR 2016)")
    return int(found[1])


def root(name: str) -> str:
    """Return where a model's line begins, by the first that each builds on."""
    while name in BUILDS_ON:
        name = BUILDS_ON[name][0]
    return name


def _lines(years: dict[str, int], roots: list[str]) -> Iterator[str]:
    yield from ("digraph family {", *HEAD, "graph [ranksep=0.35, nodesep=0.15];")
    axis = sorted(set(years.values()))
    yield from (f'{y} [shape=plain, fontcolor="{SOFT}"];' for y in axis)
    yield f"{' -> '.join(map(str, axis))} [style=invis];"
    for y in axis:
        yield f"{{rank=same; {y}; {'; '.join(quote(name) for name in years if years[name] == y)}}}"
    for name in years:
        colour = COLOURS[roots.index(root(name)) % len(COLOURS)]
        yield f'{quote(name)} [shape=box, style="filled,rounded", fillcolor="{colour}", color="{INK}"];'
        yield from (f"{quote(older)} -> {quote(name)};" for older in BUILDS_ON.get(name, ()) if older in years)
    yield "}"
