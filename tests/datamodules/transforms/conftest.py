"""A photograph, since noise hides what a resize or a change of colour does wrong."""

import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_image


@pytest.fixture(scope="session")
def photo():
    """uint8 (3, 427, 640), with the strides of a decoder's (H, W, 3)."""
    return torch.from_numpy(load_sample_image("china.jpg").copy()).permute(2, 0, 1)


@pytest.fixture
def pillow():
    """uint8 (3, H, W) -> the same as a Pillow image."""
    return lambda image: Image.fromarray(image.permute(1, 2, 0).numpy())


@pytest.fixture
def seeded():
    """`seeded(seed, f, *args)`: f(*args), drawn from torch's generator at that seed."""

    def call(seed, f, *args):
        torch.manual_seed(seed)
        return f(*args)

    return call
