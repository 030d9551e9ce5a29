"""Preprocess pictures of any size as in the network's training. Checkpoints store the settings."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.transforms.v2 import functional as pictures_of

Views = Literal["center", "10-crop"]


@dataclass(frozen=True, eq=False)
class Whitening:
    """A fitted linear map of whole images: y = M (x - m), of x in [0, 1]^D, D = C S S.

    Args:
        mean: m, (D,) float32.
        matrix: M, (D, D) float32.
    """

    mean: Tensor
    matrix: Tensor

    def __call__(self, images: Tensor) -> Tensor:
        """Whiten float (..., C, S, S)."""
        mean, matrix = self.mean.to(images.device), self.matrix.to(images.device)
        return ((images.flatten(-3) - mean) @ matrix.T).view(images.shape)


@dataclass(frozen=True)
class Preprocessing:
    """Resize the short side, take the centre crop (or ten crops), and normalise, as data modules do in evaluation.

    Args:
        size: S, side of the crop in pixels.
        short_side: length of the picture's short side before the crop, in pixels, >= S.
        mean, std: of each channel, in units of [0, 1]; their length is the number of channels.
        interpolation: "bilinear" or "bicubic", both antialiased.
        views: "center", or "10-crop": four corners and the centre, of the picture and its mirror image.
        keeps_small: if the picture is no larger than `short_side`, resize its short side to `size` instead, to keep
            all of it.
        scale: of each channel, what becomes 1 in pictures that are no bytes; None: pictures are bytes.
        whitening: applied after mean and std.

    Raises:
        ValueError: short_side < size, or mean, std and scale of different lengths.
    """

    size: int
    short_side: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    views: Views = "center"
    keeps_small: bool = False
    scale: tuple[float, ...] | None = None
    whitening: Whitening | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if self.short_side < self.size:
            raise ValueError(f"the short side must be at least the crop's {self.size} pixels, got {self.short_side}")
        if {len(self.std), len(self.scale or self.std)} != {len(self.mean)}:
            raise ValueError(
                f"mean has {len(self.mean)} channels, std {len(self.std)} and scale {self.scale}: one number a channel"
            )

    @classmethod
    def of(cls, plain: dict[str, Any]) -> Self:
        """Build from the plain values of `plain()`."""
        numbers = {name: tuple(plain[name]) for name in ("mean", "std", "scale") if plain.get(name) is not None}
        whitening = plain.get("whitening")
        return cls(**{**plain, **numbers, "whitening": None if whitening is None else Whitening(**whitening)})

    @classmethod
    def of_timm(cls, network: nn.Module, channels: int = 3) -> Self | None:
        """Read the preprocessing of a timm network's pretrained weights; None for other networks.

        For more than three channels, `mean` and `std` are repeated as the weights are; for one, they are averaged.
        """
        cfg = getattr(network, "pretrained_cfg", None)
        if not cfg or not {"mean", "std", "input_size"} <= set(cfg):
            return None
        size = cfg["input_size"][-1]
        mode: Literal["bilinear", "bicubic"] = "bicubic" if cfg.get("interpolation") == "bicubic" else "bilinear"
        mean, std = (of_channels(cfg[name], channels) for name in ("mean", "std"))
        return cls(size, int(size / cfg.get("crop_pct", 0.875)), mean, std, mode)

    @classmethod
    def of_torchvision(cls, transforms: Any) -> Self:
        """Read the preprocessing of torchvision's weights: `weights.transforms()`."""
        mean, std = tuple(transforms.mean), tuple(transforms.std)
        mode: Literal["bilinear", "bicubic"] = "bicubic" if transforms.interpolation.value == "bicubic" else "bilinear"
        return cls(transforms.crop_size[0], transforms.resize_size[0], mean, std, mode)

    def plain(self) -> dict[str, Any]:
        """Return the arguments as plain values and tensors, for checkpoints."""
        found = {item.name: getattr(self, item.name) for item in fields(self)}
        found = {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()}
        if self.whitening is not None:
            found["whitening"] = {"mean": self.whitening.mean, "matrix": self.whitening.matrix}
        return found

    def words(self) -> dict[str, Any]:
        """Return the arguments for JSON: of a whitening only its size."""
        size = None if self.whitening is None else f"a matrix {tuple(self.whitening.matrix.shape)}, in the checkpoint"
        return {**self.plain(), "whitening": size}

    @property
    def channels(self) -> int:
        """Number of channels C."""
        return len(self.mean)

    def same_colours(self, other: "Preprocessing") -> bool:
        """Return whether mean and std are equal, to one of 256 levels."""
        pairs = zip((*self.mean, *self.std), (*other.mean, *other.std), strict=False)
        return self.channels == other.channels and all(abs(a - b) < 1 / 256 for a, b in pairs)

    def at(self, size: int | None, channels: int) -> "Preprocessing":
        """Return a copy for other channels or another size, with the short side in proportion; None: unchanged.

        A whitening is only for images of its own size and channels.
        """
        size = size or self.size
        short = max(size, round(size * self.short_side / self.size))
        mean, std, scale, whitening = self.mean, self.std, self.scale, self.whitening
        if channels != self.channels:
            mean, std = of_channels(mean, channels), of_channels(std, channels)
            scale = scale and of_channels(scale, channels)
        if channels != self.channels or size != self.size:
            whitening = None
        return replace(self, size=size, short_side=short, mean=mean, std=std, scale=scale, whitening=whitening)

    def __call__(self, pictures: Sequence[Tensor]) -> Tensor:
        """Preprocess pictures, (C, H, W) each: float32 (N, C, S, S); with ten crops, (N, 10, C, S, S)."""
        return self.normalise(torch.stack([self.crop(picture) for picture in pictures]))

    def crop(self, picture: Tensor) -> Tensor:
        """Resize and crop (C, H, W) -> (C, S, S), of the same type; with ten crops, (10, C, S, S)."""
        resized = self.resize(picture)
        if self.views == "10-crop":
            return torch.stack(pictures_of.ten_crop(resized, [self.size, self.size]))
        middle: Tensor = pictures_of.center_crop(resized, [self.size, self.size])
        return middle

    def resize(self, picture: Tensor) -> Tensor:
        """Resize the short side, antialiased, bytes to bytes; the long side is rounded down, as in torchvision.

        A very long picture is first cropped to its middle, because no crop sees the rest.
        """
        height, width = picture.shape[-2:]
        short = min(height, width)
        reach = (
            4 * short
        )  # only the corner crops would see further, and the corners of such a picture are no views of it
        if max(height, width) > 100 * short:
            picture = pictures_of.center_crop(picture, [min(height, reach), min(width, reach)])
            height, width = picture.shape[-2:]
        wanted = self.size if self.keeps_small and max(height, width) <= self.short_side else self.short_side
        sides = [wanted if side == short else int(wanted * side / short) for side in (height, width)]
        if wanted == short:
            return picture
        pixels = picture.permute(1, 2, 0).contiguous()[None].permute(0, 3, 1, 2)  # in this order because it is fastest
        resized: Tensor = F.interpolate(pixels, size=sides, mode=self.interpolation, antialias=True)[0]
        return resized

    def normalise(self, images: Tensor) -> Tensor:
        """Normalise (..., C, S, S): (x / 255 - mean) / std, float32, or x / scale; then whiten."""
        scale = self.scale or (255.0,) * self.channels
        scale_, mean, std = (torch.tensor(v, device=images.device)[:, None, None] for v in (scale, self.mean, self.std))
        images = (images.float() / scale_ - mean) / std
        return images if self.whitening is None else self.whitening(images)


def of_channels(colours: Sequence[float], channels: int) -> tuple[float, ...]:
    """Return mean or std of C channels from those of RGB: averaged for one channel, repeated for more."""
    if channels == 1:
        return (sum(colours) / len(colours),)
    return tuple(colours[i % len(colours)] for i in range(channels))
