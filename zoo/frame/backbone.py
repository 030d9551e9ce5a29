"""A classifier as the backbone of a detector or segmenter: described in checkpoints, built again, its stages found."""

from collections.abc import Mapping
from typing import Any

from zoo.frame.checks import validate_choice
from zoo.frame.classifier import MODELS, Classifier


def paths(backbone: Classifier) -> dict[str, str]:
    """Return the path of each stage's module within the backbone, by the stage's name."""
    names = {module: path for path, module in backbone.named_modules()}
    return {name: names[stage] for name, stage in backbone.stages.items()}


def describe(backbone: Classifier) -> dict[str, Any]:
    """Return the class and the arguments of a backbone as plain values, from which `build` makes it again."""
    return {"model": type(backbone).__name__, **backbone.hparams}


def build(description: Mapping[str, Any]) -> Classifier:
    """Build a backbone with random weights from its description."""
    arguments = dict(description)
    name = arguments.pop("model")
    if name == "Classifier" and "network" not in arguments:
        raise ValueError("the backbone is a network of your own, which only you can build: pass backbone=")
    kinds = {**MODELS, "Classifier": Classifier}
    built: Classifier = kinds[validate_choice(name, kinds, "zoo")](**arguments)
    return built


def take_over(model: Classifier, backbone: Classifier | Mapping[str, Any], image_size: int | None) -> tuple[Any, int]:
    """Return the backbone of a model under construction, and its image size; both go into the hyper-parameters.

    Args:
        model: before the constructor of its base class.
        backbone: a model, or its description.
        image_size: in pixels; None: the backbone's, or 224.
    """
    taken = build(backbone) if isinstance(backbone, Mapping) else backbone
    size = image_size or taken.image_size or 224
    vars(model)["_levels"][0] |= {"backbone": describe(taken), "image_size": size}
    return taken, size


def be_like(model: Classifier, backbone: Classifier) -> None:
    """Give a model what it has from its backbone: channels, preprocessing, which weights are random."""
    model.untrained = backbone.untrained
    model.in_chans, model.preprocessing = backbone.in_chans, backbone.preprocessing
