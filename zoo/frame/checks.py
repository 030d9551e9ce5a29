"""Check names, images and targets; errors say what to do."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import TypeVar

import torch
from torch import Tensor, nn

Name = TypeVar("Name", bound=str)  # a Literal stays one
SMALL = 64  # images up to this side, in pixels, take the small-image stem (CIFAR: 32, Tiny-ImageNet: 64)


def nearest(name: str, names: Iterable[str]) -> list[str]:
    """Return at most three of `names` that are close to `name`, the closest first; case is ignored."""
    lower = {known.lower(): known for known in names}
    return [lower[known] for known in get_close_matches(name.lower(), lower)]


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Return "did you mean 'x' or 'y'? " with the nearest names, or "" if none is near."""
    near = nearest(name, names)
    return f"did you mean {' or '.join(map(repr, near))}? " if near else ""


def validate_choice(name: Name, choices: Iterable[str], owner: str) -> Name:
    """Return `name` if it is one of the choices.

    Raises:
        ValueError: it is not a choice; the error names the nearest ones, then all.
    """
    if name in choices:
        return name
    raise ValueError(f"{owner} has no {name!r}; {did_you_mean(name, choices)}there are: {', '.join(choices)}")


def check_images(images: Tensor, image_size: int | None, model: str, views: bool = False) -> None:
    """Refuse images that are not float (N, C, H, W), or too large for a small-image stem. Raises ValueError.

    With `views` they may be (N, V, C, H, W), V views of each.
    """
    if images.ndim not in ((4, 5) if views else (4,)) or not images.is_floating_point():
        raise ValueError(f"images must be float (N, C, H, W), got {images.dtype} {tuple(images.shape)}")
    side = max(images.shape[-2:])
    if image_size is not None and (side <= SMALL) != (image_size <= SMALL):
        stem = "small-image" if image_size <= SMALL else "ImageNet"
        raise ValueError(
            f"images are {images.shape[-2]} x {images.shape[-1]} px, but this {model} has the {stem} stem "
            f"(image_size={image_size}): make it with image_size={side}, or resize the images"
        )


def check_channels(images: Tensor, channels: int, model: str) -> None:
    """Refuse images (..., C, H, W) whose C differs from the network's. Raises ValueError."""
    if (got := images.shape[-3]) != channels:
        raise ValueError(
            f"images have {got} channels, this {model} takes {channels}: make it with in_chans={got}, or the data with "
            f"channels={channels}"
        )


def check_targets(targets: Tensor, num_classes: int, pixels: Sequence[int] = ()) -> None:
    """Refuse targets that are neither classes (N,) in [0, K) nor probabilities (N, K). Raises ValueError.

    With `pixels`, the height and width of masks: (N, H, W) or (N, K, H, W).
    """
    soft, got = targets.is_floating_point(), tuple(targets.shape)
    one = (num_classes, *pixels) if soft else tuple(pixels)
    if got[1:] != one and (soft or pixels):
        what = "soft targets" if soft else "masks"
        raise ValueError(f"{what} must be (N, {', '.join(map(str, one))}), got {got}")
    if soft:
        return
    if targets.dtype not in (torch.int64, torch.uint8) or targets.ndim != 1 + len(pixels):
        raise ValueError(f"targets must be classes (N,), int64, or probabilities (N, K), got {targets.dtype} {got}")
    low, high = torch.aminmax(targets)
    if low < 0 or high >= num_classes:
        raise ValueError(
            f"targets go from {low} to {high}, but the model has {num_classes} classes (0 to {num_classes - 1}): "
            f"set num_classes={int(high) + 1}, or correct the labels"
        )


def classes_of(network: nn.Module | None) -> int:
    """Return K from timm's `num_classes` or the last linear layer. Raises ValueError if there is neither."""
    if known := getattr(network, "num_classes", None):
        return int(known)
    linears = [m for m in network.modules() if isinstance(m, nn.Linear)] if network is not None else []
    if not linears:
        raise ValueError("the number of classes cannot be read from the network: pass num_classes=...")
    return linears[-1].out_features
