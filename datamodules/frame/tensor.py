"""Augment images in memory, as bytes, a batch at a time: each operation is a pure function of its draws.

In a flat array of images in (H, W, C) order, an image shifted by whole pixels is one contiguous range of bytes. A mask
zeroes the pixels that wrap around its edges. So a random crop costs one memcpy and one AND. The slow, literal forms in
tests/datamodules/frame/test_tensor.py give the same bits.

Shapes: images are numpy uint8 (N, S, S, C), S the side in pixels, C channels; draws are int64 or bool (N,).
"""

from functools import lru_cache

import numpy as np
import torch
from numpy.lib.stride_tricks import as_strided, sliding_window_view
from numpy.typing import NDArray
from torch import Tensor

Bytes = NDArray[np.uint8]
Integers = NDArray[np.int64]


class ReflectedStore:
    """Square images with `padding` reflected pixels around them, and their mirror images.

    Args:
        images: uint8 (n, S, S, C); copied.
        padding: the largest shift, in pixels; the edge pixel itself is not repeated.

    Raises:
        ValueError: the padding is not in [0, S).
    """

    def __init__(self, images: Bytes, padding: int):
        count, side = images.shape[:2]
        check_padding(padding, side)
        self.side, self.padding = side, padding
        padded = np.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0)), mode="reflect")
        self.images = padded[:, padding : padding + side, padding : padding + side]
        both = np.concatenate([padded, padded[:, :, ::-1]])
        self.windows = sliding_window_view(both, (side, side), (1, 2)).transpose(0, 1, 2, 4, 5, 3)


def check_padding(padding: int, side: int) -> None:
    """Raise a ValueError unless the padding is in [0, S)."""
    if not 0 <= padding < side:
        raise ValueError(f"padding must be in [0, {side}) pixels for images of side {side}, got {padding}")


class Store:
    """Square images in one block of memory, with zeros before and after, so that a shift never leaves it.

    Args:
        images: uint8 (n, S, S, C); copied.
        padding: the largest shift, in pixels.
        mirrored: keep a second, mirrored copy, so that a flip only changes the address.

    Raises:
        ValueError: the padding is not in [0, S).
    """

    def __init__(self, images: Bytes, padding: int = 0, mirrored: bool = False):
        count, side, _, channels = images.shape
        check_padding(padding, side)
        self.side, self.channels, self.padding, self.mirrored = side, channels, padding, mirrored
        self.guard = padding * (side + 1) * channels
        size = side * side * channels
        flat = np.zeros(2 * self.guard + count * (1 + mirrored) * size, np.uint8)
        blocks = flat[self.guard : len(flat) - self.guard].reshape(-1, side, side, channels)
        self.images = blocks[:count]
        self.images[:] = images
        if mirrored:
            for channel in range(channels):  # numpy reverses single bytes three times faster than triples
                blocks[count:, :, :, channel] = images[:, :, ::-1, channel]
        self.stretches = as_strided(flat, (len(flat) - size + 1, size), (1, 1), writeable=False)  # from every byte on


@lru_cache(maxsize=8)
def crop_masks(side: int, padding: int, channels: int = 3) -> Bytes:
    """Return masks of shifted images, 255 in the image and 0 in the padding: uint8 ((2p + 1)^2, S * S * C)."""
    shift = np.arange(-padding, padding + 1)[:, None]
    source = np.arange(side) + shift
    inside = np.where((source >= 0) & (source < side), 255, 0).astype(np.uint8)  # (2p + 1, S)
    masks = inside[:, None, :, None] & inside.repeat(channels, axis=1)[None, :, None, :]
    return masks.reshape(-1, side * side * channels)


def crop(
    store: Store | ReflectedStore, index: Integers, top: Integers, left: Integers, flip: NDArray[np.bool_]
) -> Bytes:
    """Pad images with zeros (black, not the mean colour) or reflected pixels, and crop them to their original size.

    This is `torchvision.transforms.RandomCrop(S, padding=p)` before normalisation, or with `padding_mode="reflect"`.

    Args:
        store: the images, with padding p; mirrored if any `flip` is true.
        index: (N,) indices of images.
        top: (N,) upper edge of the crop in the padded image, in [0, 2p]; p is the image itself.
        left: (N,) left edge, likewise.
        flip: (N,) bool, crops to mirror left to right.

    Returns:
        New images (N, S, S, C).
    """
    side, padding, count = store.side, store.padding, len(store.images)
    left = np.where(flip, 2 * padding - left, left)  # a flipped crop is the opposite crop of the mirrored image
    if isinstance(store, ReflectedStore):
        return np.ascontiguousarray(store.windows[index + count * flip, top, left])
    channels = store.channels
    start = store.guard + (((index + count * flip) * side + top - padding) * side + left - padding) * channels
    images: Bytes = store.stretches[start]
    images &= crop_masks(side, padding, channels)[top * (2 * padding + 1) + left]
    return images.reshape(-1, side, side, channels)


@lru_cache(maxsize=8)
def hole_masks(size: int, side: int) -> Bytes:
    """Return hole masks along one axis, uint8 (S, S): row c is 0 in the `side` pixels around c, else 255."""
    first = np.arange(size)[:, None] - side // 2
    pixel = np.arange(size)
    return np.where((first <= pixel) & (pixel < first + side), 0, 255).astype(np.uint8)


def cutout(images: Bytes, y: Integers, x: Integers, side: int) -> Bytes:
    """Set a square of `side` pixels around (y, x) to zero (black), clipped at the edges. In place.

    Paper: Improved Regularization of Convolutional Neural Networks with Cutout (DeVries, Taylor; 2017),
    https://arxiv.org/abs/1708.04552. Differs: the authors fill after normalisation, with the mean colour.

    Args:
        images: (N, S, S, C).
        y, x: (N,) the centre, in [0, S): anywhere in the image, as in the paper.
        side: of the square, in pixels.
    """
    size, channels = images.shape[1], images.shape[3]
    holes = hole_masks(size, side)
    rows = images.reshape(len(images), size, size * channels)
    rows &= holes[y][:, :, None] | holes[x].repeat(channels, axis=1)[:, None, :]
    return images


CACHED = 1 << 18  # floats: 1 MB, the second-level cache of one core


@lru_cache(maxsize=32)
def _scale_and_bias(
    mean: tuple[float, ...], std: tuple[float, ...], pixels: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Return scale and bias of a whole image, (pixels * C,) float32: scale x + bias = (x / 255 - mean) / std."""
    mean_, std_ = torch.tensor(mean, dtype=torch.float64), torch.tensor(std, dtype=torch.float64)
    scale, bias = 1 / (255 * std_), -mean_ / std_
    return scale.float().repeat(pixels).to(device), bias.float().repeat(pixels).to(device)


def normalise(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Normalise uint8 (N, C, H, W) of any strides to float32, channels_last: (images / 255 - mean) / std.

    The constants are tiled to a whole image, because torch on a CPU is nine times slower when it broadcasts three
    values. On a CPU, it works on blocks that stay in the cache for both operations.
    """
    count, channels, height, width = images.shape
    scale, bias = _scale_and_bias(tuple(mean), tuple(std), height * width, images.device)
    flat = images.permute(0, 2, 3, 1).reshape(count, -1)
    if images.device.type == "cpu":  # numpy uses large pages: three times faster above some 30 MB
        out, block = torch.from_numpy(np.empty(flat.shape, np.float32)), max(1, CACHED // flat.shape[1])
    else:
        out, block = torch.empty(flat.shape, device=images.device), count
    for bytes_, floats in zip(flat.split(block), out.split(block), strict=True):
        torch.addcmul(bias, floats.copy_(bytes_), scale, out=floats)
    return out.view(count, height, width, channels).permute(0, 3, 1, 2)
