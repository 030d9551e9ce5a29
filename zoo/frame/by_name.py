"""Networks of timm by their names: with timm's arguments, and with the weights of the name's tag."""

from collections.abc import Mapping
from typing import Any

import timm
from lightning.pytorch.utilities import rank_zero_info
from torch import nn

PRETRAINED = "timm"  # as `weights`: those that the network's name stands for
SOURCES = ("pretrained_cfg", "pretrained_cfg_overlay", "cache_dir", "checkpoint_path")  # where weights come from


def create(
    name: str, pretrained: bool, num_classes: int | None, in_chans: int | None, options: Mapping[str, Any]
) -> nn.Module:
    """Make a network of timm.

    Args:
        name: "resnet50", or with a tag, "resnet50.a1_in1k".
        pretrained: load the tag's weights, by default those that timm prefers.
        num_classes: K; another one than that of the weights gives a new head. None: timm's.
        in_chans: C; another one than that of the weights adapts the first layer. None: timm's.
        options: further arguments of `timm.create_model`, plain values.

    Raises:
        TypeError: an argument that timm does not take, or that a checkpoint could not hold.
    """
    sized: dict[str, Any] = {"num_classes": num_classes, "in_chans": in_chans}
    sized = {argument: value for argument, value in sized.items() if value is not None}
    for argument, value in kept(options).items():
        if not is_plain(value):
            raise TypeError(f"{argument}={value!r} cannot be kept in a checkpoint: give numbers, strings, lists, dicts")
    try:
        network: nn.Module = timm.create_model(name, pretrained=pretrained, **sized, **options)
    except TypeError as error:
        given = ", ".join(options) or "none"
        raise TypeError(f"timm cannot make {name} with these arguments ({given}): {error}") from error
    return network


def kept(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments that a checkpoint keeps: it brings its own weights, so none that say where they are."""
    return {argument: value for argument, value in options.items() if argument not in SOURCES}


def is_plain(value: Any) -> bool:
    """Return whether a value is a number, a string, None, or a list or dict of such."""
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and is_plain(one) for key, one in value.items())
    if isinstance(value, list | tuple):
        return all(map(is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


def architecture(network: Any) -> str | None:
    """Return the name that timm made a network by, without its tag; None for a network that is not timm's."""
    cfg = getattr(network, "pretrained_cfg", None)
    return cfg.get("architecture") if cfg else None


def say_random(model: Any) -> None:
    """Tell that a network whose name has the tag of weights begins without them."""
    name = model.hparams.get("network")
    if model.untrained and isinstance(name, str) and "." in name:
        rank_zero_info(f"{name} begins with random weights; Classifier({name!r}, weights='timm') has those of its name")
