"""Grey and colour: Pillow's bytes for one picture and for batches of any size, one among them."""

import numpy as np
import pytest
import torch
from PIL import Image

from datamodules.transforms.grey import grey, rgb


@pytest.mark.parametrize("shape", [(), (1,), (2,), (1, 3)])
def test_luma_is_pillows(shape):
    images = torch.randint(256, (*shape, 3, 5, 7), generator=torch.Generator().manual_seed(1)).byte()
    found = grey(images)
    assert found.shape == (*shape, 1, 5, 7) and found.dtype == torch.uint8
    for one, colours in zip(found.view(-1, 5, 7), images.view(-1, 3, 5, 7), strict=True):
        assert np.array_equal(one, Image.fromarray(colours.permute(1, 2, 0).numpy()).convert("L"))


@pytest.mark.parametrize("shape", [(), (1,), (2,)])
def test_grey_stays_and_becomes_three_equal_colours(shape):
    images = torch.randint(256, (*shape, 1, 5, 7), generator=torch.Generator().manual_seed(2)).byte()
    assert torch.equal(grey(images), images)
    assert torch.equal(rgb(images), images.expand(*shape, 3, 5, 7)) and torch.equal(grey(rgb(images)), images)
