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
