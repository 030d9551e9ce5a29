"""Create timm networks by name, with timm's arguments and the weights of the name's tag."""

from collections.abc import Mapping
from typing import Any

import timm
import torch
import torchvision
from lightning.pytorch.utilities import rank_zero_info
from timm.data import infer_imagenet_subset
from torch import nn

PRETRAINED = "timm"  # value of `weights`: those of the network's name
SOURCES = ("pretrained_cfg", "pretrained_cfg_overlay", "cache_dir", "checkpoint_path")  # where weights come from


def create(
    name: str, pretrained: bool, num_classes: int | None, in_chans: int | None, options: Mapping[str, Any]
) -> nn.Module:
    """Create a timm network.

    Args:
        name: "resnet50", or with a tag, "resnet50.a1_in1k".
        pretrained: load the weights of the tag, or timm's default ones without a tag.
        num_classes: K; if it differs from the weights', the head is new. None: timm's.
        in_chans: C; if it differs from the weights', the first layer is adapted. None: timm's.
        options: further arguments of `timm.create_model`, plain values.

    Raises:
        TypeError: an argument that timm does not take, or that a checkpoint could not hold.
        ValueError: weights that cannot be fetched.
    """
    sized: dict[str, Any] = {"num_classes": num_classes, "in_chans": in_chans}
    sized = {argument: value for argument, value in sized.items() if value is not None}
    for argument, value in checkpoint_options(options).items():
        if not is_plain(value):
            raise TypeError(f"{argument}={value!r} cannot be kept in a checkpoint: give numbers, strings, lists, dicts")
    try:
        network: nn.Module = (fetch if pretrained else timm.create_model)(name, **sized, **options)
    except TypeError as error:
        given = ", ".join(options) or "none"
        raise TypeError(f"timm cannot make {name} with these arguments ({given}): {error}") from error
    return network


def fetch(name: str, **arguments: Any) -> nn.Module:
    """Create a timm network with its pretrained weights, from timm's cache or the network.

    A new head, for another number of classes, is drawn as in `draw_small`.

    Raises:
        ValueError: they are not in the cache, and cannot be downloaded.
    """
    try:
        network: nn.Module = timm.create_model(name, pretrained=True, **arguments)
    except OSError as error:  # all errors of connections and missing files
        reason = str(error).split(". ")[0]
        raise ValueError(
            f"the weights of timm's {name} are not on this machine and cannot be downloaded ({reason}): connect to the "
            "network, copy timm's cache from elsewhere (HF_HOME), or give weights in a file"
        ) from error
    if arguments.get("num_classes", own := pretrained_classes(network)) != own:
        draw_small(network)
    return network


def names_of_classes(network: Any) -> tuple[str, ...] | None:
    """Return the names of the classes of a pretrained timm network, if they are ImageNet's thousand; else None."""
    if infer_imagenet_subset(network.pretrained_cfg or {}) != "imagenet-1k":
        return None
    return tuple(torchvision.models.ResNet50_Weights.IMAGENET1K_V2.meta["categories"])


def pretrained_classes(network: Any) -> int | None:
    """Return the number of classes that the pretrained weights of a timm network know."""
    return (network.pretrained_cfg or {}).get("num_classes")


@torch.no_grad()
def draw_small(network: Any) -> None:
    """Draw the head of a timm network from N(0, .01^2), biases 0: all classes begin about equally likely.

    timm draws those of its EfficientNets up to 1 / sqrt(K). On features that know something, the first cross-entropy of
    five classes is then about 9, where ln K is 1.6.
    """
    heads = network.get_classifier()  # of distilled networks a tuple
    for layer in nn.ModuleList(heads if isinstance(heads, tuple) else [heads]).modules():
        if not isinstance(layer, nn.Linear | nn.Conv2d):
            continue
        nn.init.normal_(layer.weight, std=0.01)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def checkpoint_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments that a checkpoint keeps: without those that locate weights, which it holds itself."""
    return {argument: value for argument, value in options.items() if argument not in SOURCES}


def is_plain(value: Any) -> bool:
    """Return whether a value is a number, a string, None, or a list or dict of such."""
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and is_plain(one) for key, one in value.items())
    if isinstance(value, list | tuple):
        return all(map(is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


def architecture(network: Any) -> str | None:
    """Return the name of a timm network without its tag; None for other networks."""
    cfg = getattr(network, "pretrained_cfg", None)
    return cfg.get("architecture") if cfg else None


def say_random(model: Any) -> None:
    """Log that a network begins with random weights although its name has a tag of weights."""
    name = model.hparams.get("network")
    if model.untrained and isinstance(name, str) and "." in name:
        rank_zero_info(f"{name} begins with random weights; Classifier({name!r}, weights='timm') loads pretrained ones")
