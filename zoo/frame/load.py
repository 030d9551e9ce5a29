"""Models out of checkpoints of `Trainer`, by the name of the class that is written in them."""

from pathlib import Path
from typing import Any

from zoo.frame import surgery
from zoo.frame.about import ABOUT, restore
from zoo.frame.classifier import MODELS, Classifier
from zoo.frame.weight_files import pick_average, read_checkpoint


def load(path: str | Path, average: str | None = None) -> Classifier:
    """A model of the zoo from a checkpoint of `Trainer`, whichever class it was.

    Args:
        path: a `.ckpt` file.
        average: None for the raw weights, or the name of an average in the file, such as `"EMA(0.999)"`.

    Raises:
        FileNotFoundError, ValueError: as `load_into`; also if the file's model is not one of `zoo.__all__`.
    """
    checkpoint = read_checkpoint(path)
    name = checkpoint.get("model")
    foreign = name == "Classifier" and "network" in checkpoint["hyper_parameters"]  # a timm network, made by its name
    if name not in MODELS and not foreign:
        raise ValueError(f"{path} holds a {name!r}, which is not in zoo.__all__: call its class's load_from_checkpoint")
    model = ({"Classifier": Classifier} | MODELS)[name](**_arguments(checkpoint))
    surgery.follow(model, checkpoint.get("surgery", ()))
    model.load_state_dict(checkpoint["state_dict"] if average is None else pick_average(checkpoint, average, path))
    restore(model, checkpoint.get(ABOUT))
    model.untrained = False
    return model.eval()


def _arguments(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """The constructor's arguments, without what LightningCLI adds to them."""
    hparams = checkpoint.get("hyper_parameters", {})
    return {key: value for key, value in hparams.items() if not key.startswith("_")}
