"""Images as files, in place of CIFAR-10's."""

from pathlib import Path

from PIL import Image


def write_shades(root: Path, train: int, test: int) -> Path:
    """Ten classes of grey images of 32 x 32 px, told apart by their shade; so many of each to train and to test."""
    for part, count in (("train", train), ("test", test)):
        for shade in range(10):
            folder = root / part / str(shade)
            folder.mkdir(parents=True)
            for i in range(count):
                Image.new("RGB", (32, 32), (25 * shade, 2 * i, 2 * i)).save(folder / f"{i}.png")
    return root
