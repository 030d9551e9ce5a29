"""Load models from checkpoints of `Trainer` and folders of `save_pretrained`, which name the model's class."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
from torch import nn

from zoo.frame import hub
from zoo.frame.about import CLASS
from zoo.frame.classifier import MODELS, Classifier
from zoo.frame.detector import Detector
from zoo.frame.stage_segmenter import StageSegmenter
from zoo.frame.weight_files import in_one_line, pick_average, read_checkpoint
from zoo.frame.weight_sets import State

OVER_STAGES: dict[str, type[Classifier]] = {"Detector": Detector, "StageSegmenter": StageSegmenter}


def load(path: str | Path, average: str | None = None, network: nn.Module | None = None) -> Classifier:
    """Load a model of any class from a checkpoint of `Trainer`, with its class names and preprocessing.

    Args:
        path: a `.ckpt` file, or a folder of `model.save_pretrained`.
        average: None for the raw weights, or the name of an average in the file, such as `"EMA(0.999)"`.
        network: the module given to `Classifier(network)`, if it was one of your own; its weights are replaced.

    Returns:
        The model in eval mode, on the CPU.

    Raises:
        FileNotFoundError, ValueError: as `load_into`; also for a file that holds no model of the zoo, and for one
            that holds a network of your own if `network` is not given.
    """
    checkpoint = hub.read_folder(path) if hub.is_folder(path) else read_checkpoint(path)
    with in_one_line(path):
        model = _build(path, checkpoint, network)
        state = _state(path, checkpoint) if average is None else pick_average(checkpoint, average, path)
        filled: Classifier = hub.fill(model, checkpoint, state)
    return filled


def _state(path: str | Path, checkpoint: Mapping[str, Any]) -> State:
    state = checkpoint.get("state_dict")
    if not isinstance(state, Mapping):
        raise ValueError(f"{path} has no weights under 'state_dict'")
    return dict(state)


def _build(path: str | Path, checkpoint: Mapping[str, Any], network: nn.Module | None) -> Classifier:
    """Build the file's model, without loading its weights."""
    name, arguments = checkpoint.get(CLASS), hub.arguments_of(checkpoint)
    if kind := {**MODELS, **OVER_STAGES}.get(str(name)):
        return kind(**arguments)
    if name == "Classifier" and network is not None:
        return Classifier(network, **{key: value for key, value in arguments.items() if key != "network"})
    if name == "Classifier" and "network" in arguments:  # a timm network, made by its name
        if not isinstance(arguments["network"], str) or not timm.is_model(arguments["network"]):
            raise ValueError(f"{path} needs {arguments['network']!r}, which is not a network of the installed timm")
        return Classifier(**arguments)
    if name == "Classifier":
        raise ValueError(
            f"{path} holds a network of your own, which only you can build: zoo.load({str(path)!r}, network=module)"
        )
    raise ValueError(f"{path} holds a {name!r}, which is not in zoo.__all__: call its class's load_from_checkpoint")
