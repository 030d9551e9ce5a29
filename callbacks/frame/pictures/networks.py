"""Small networks for the kinds that change a network: the first on which a trick works."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from torch import nn

import zoo
from zoo import Classifier

SIDE, CLASSES = 32, 3


def small() -> Classifier:
    """Return a network with convolutions and activations in a sequence, and max pooling."""
    layers = OrderedDict[str, nn.Module](conv1=nn.Conv2d(3, 16, 3, padding=1), relu1=nn.ReLU(), pool1=nn.MaxPool2d(2))
    layers |= OrderedDict(conv2=nn.Conv2d(16, 32, 3, padding=1), relu2=nn.ReLU(), pool2=nn.MaxPool2d(2))
    layers |= OrderedDict(flat=nn.Flatten(), head=nn.Linear(32 * (SIDE // 4) ** 2, CLASSES))
    return Classifier(nn.Sequential(layers), CLASSES, stages={"stage1": "pool1", "stage2": "pool2"}, lr=0.05)


MAKE: tuple[Callable[[], Classifier], ...] = (
    lambda: zoo.ResNet("20", CLASSES, SIDE, lr=0.05),
    small,
    lambda: zoo.ViT("Ti/16", CLASSES, SIDE, lr=0.05),
    lambda: zoo.HierarchicalMixture("20-4", CLASSES, SIDE, lr=0.05),
    lambda: zoo.MoEViT("Ti", CLASSES, 16, experts=2, lr=0.05),
    lambda: zoo.EViT("Ti", CLASSES, 16, lr=0.05),
)


def first_that_fits(run: Callable[[Classifier], Any]) -> tuple[Callable[[], Classifier], Classifier]:
    """Return how the first network is made that a trick does not refuse, and that network after `run`.

    Raises:
        TypeError: if it refuses all.
    """
    errors = []
    for make in MAKE:
        model = make()
        try:
            run(model)
            return make, model
        except TypeError as error:
            errors.append(str(error))
    raise TypeError("; ".join(errors))


def size_of(model: Classifier) -> int:
    """Return the side of a network's images in pixels."""
    return int(getattr(model, "image_size", None) or SIDE)


def name_of(model: Classifier) -> str:
    """Name a network in a caption."""
    return "small network" if type(model) is Classifier else type(model).__name__
