"""Resizing of batches: multiples by hand, and Pillow's pixels."""

import numpy as np
import torch
from PIL import Image

from callbacks import MultiScale
from callbacks.frame.resizing import nearest_multiple, resize


def test_multiples_by_hand():
    assert [nearest_multiple(v, 32) for v in (10, 47, 49, 224, 250)] == [32, 32, 64, 224, 256]


def test_the_same_pixels_as_pillow():
    torch.manual_seed(0)
    image = torch.randint(256, (3, 17, 13), dtype=torch.uint8)
    for size in ((9, 7), (30, 20)):
        ours = resize(image[None].float(), size)[0]
        theirs = Image.fromarray(image.permute(1, 2, 0).numpy()).resize(size[::-1], Image.BILINEAR)
        assert (ours - torch.from_numpy(np.array(theirs)).permute(2, 0, 1)).abs().max() < 1.01
    batch = torch.randn(2, 3, 8, 8)
    assert resize(batch, (8, 8)) is batch


def test_an_error_says_the_size_that_was_made():
    trick, error = MultiScale(multiple=1), RuntimeError("shapes")
    trick.resize([torch.zeros(1, 3, 12, 8), torch.tensor([0])], 2.0)
    trick.on_exception(None, None, error)
    assert error.__notes__ == ["MultiScale had made the images 24 x 16 px: not every network takes any size"]
