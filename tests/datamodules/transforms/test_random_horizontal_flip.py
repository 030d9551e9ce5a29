"""Against torchvision's, draw by draw."""

import pytest
import torch
from torchvision.transforms import v2

from datamodules.transforms import RandomHorizontalFlip


@pytest.mark.parametrize("p", [0.0, 0.3, 0.5, 1.0])
def test_is_torchvisions(p, photo, seeded):
    image, ours, theirs = photo[:, 50:80, 80:120], RandomHorizontalFlip(p), v2.RandomHorizontalFlip(p)
    flipped = 0
    for seed in range(200):
        result = seeded(seed, ours, image), torch.rand(1)
        assert torch.equal(result[0], seeded(seed, theirs, image)) and result[1] == torch.rand(1)
        flipped += not torch.equal(result[0], image)
    assert abs(flipped / 200 - p) < 0.12
