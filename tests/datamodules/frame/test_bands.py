"""Images as they are: every number of a file, divided by what was stated, reaches the network."""

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from datamodules import ImageFolder
from datamodules.frame.decode import Unreadable
from zoo import ResNet

SIDE = 12
KEEP = {"image_size": SIDE, "num_workers": 0, "val_split": 0}


def numbers(channels: int, dtype=np.uint16, seed: int = 0) -> np.ndarray:
    """(S, S, C) over the whole range of the type."""
    generator = np.random.default_rng(seed)
    high = 1.0 if np.issubdtype(dtype, np.floating) else np.iinfo(dtype).max
    return (generator.random((SIDE, SIDE, channels)) * high).astype(dtype)


def write(path, pixels: np.ndarray) -> None:
    if path.suffix == ".npy":
        np.save(path, pixels)
    elif path.suffix == ".png":
        Image.fromarray(pixels.squeeze()).save(path)
    else:
        planes = pixels.transpose(2, 0, 1)
        tifffile.imwrite(path, planes, planarconfig="separate", photometric="minisblack", compression="zlib")


def folder(root, suffix: str, channels: int, dtype=np.uint16) -> list[np.ndarray]:
    """Two classes of one image each; return the images."""
    found = []
    for seed, name in enumerate(("ant", "bee")):
        (root / "test" / name).mkdir(parents=True)
        (root / "train" / name).mkdir(parents=True)
        found.append(numbers(channels, dtype, seed))
        write(root / "test" / name / f"0{suffix}", found[-1])
        write(root / "train" / name / f"0{suffix}", found[-1])
    return found


def seen(data: ImageFolder) -> torch.Tensor:
    data.setup()
    (batch,) = data.test_dataloader()
    return data.on_after_batch_transfer(batch, 0)[0]


@pytest.mark.parametrize(
    ("suffix", "channels", "dtype"),
    [(".tif", 5, np.uint16), (".npy", 16, np.float32), (".npy", 2, np.uint8), (".png", 1, np.uint16)],
)
def test_every_number_of_the_file_is_there(suffix, channels, dtype, tmp_path):
    pixels = folder(tmp_path, suffix, channels, dtype)
    scale = [float(i + 1) * 1000 for i in range(channels)]
    images = seen(ImageFolder(tmp_path, 2, channels=channels, scale=scale, **KEEP))
    wanted = np.stack([each.astype(np.float64) / scale for each in pixels]).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(images.numpy(), wanted, rtol=1e-6)


def test_mean_and_std_are_in_units_of_the_scale(tmp_path):
    pixels = folder(tmp_path, ".tif", 2)
    images = seen(ImageFolder(tmp_path, 2, channels=2, scale=65535, mean=(0.5, 0.25), std=(0.25, 0.5), **KEEP))
    wanted = (np.stack(pixels) / 65535 - [0.5, 0.25]) / [0.25, 0.5]
    np.testing.assert_allclose(images.numpy(), wanted.transpose(0, 3, 1, 2), atol=1e-6)


def test_a_model_trains_on_many_bands(tmp_path, trainer):
    folder(tmp_path, ".tif", 6)
    data = ImageFolder(tmp_path, 1, channels=6, scale=65535, **KEEP)
    run = trainer(max_epochs=1)
    run.fit(ResNet("20", num_classes=2, image_size=SIDE, in_chans=6), data)
    assert run.global_step == 2


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"channels": 4}, Unreadable, r"\(12, 12, 5\), not 4 channels of numbers: give channels="),
        ({"channels": 5, "white": 4095}, ValueError, "white need 8-bit images"),
        ({"channels": 17}, ValueError, "channels must be from 1 to 16"),
        ({"channels": 5, "scale": [1, 2]}, ValueError, "5 of them, one per channel"),
        ({"channels": 5, "cache": "memory"}, ValueError, "scale is an option of cache=None"),
    ],
)
def test_what_does_not_fit_is_said(options, error, words, tmp_path):
    folder(tmp_path, ".npy", 5)
    with pytest.raises(error, match=words):
        seen(ImageFolder(tmp_path, 2, **{"scale": 65535, **KEEP, **options}))
