"""A shuffled batch: the same numbers as by an index, in the layout of the batch."""

import pytest
import torch

from callbacks.frame.shuffle import shuffle

PERM = torch.tensor([2, 0, 1])
IMAGES = torch.arange(3 * 2 * 4 * 5.0).view(3, 2, 4, 5)
LAST = IMAGES.contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("x", [IMAGES, LAST, IMAGES[..., 1:3, 2:], LAST[..., 1:3, 2:], IMAGES.flatten(1), IMAGES[:, 0]])
def test_same_as_an_index(x):
    found = shuffle(x, PERM)
    assert torch.equal(found, x[PERM])
    if x is LAST:
        assert found.is_contiguous(memory_format=torch.channels_last)
    found.zero_()
    assert IMAGES.any(1).all() if x is not LAST else LAST.any()  # it is a copy
