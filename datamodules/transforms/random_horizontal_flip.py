"""Mirrors left to right, with probability p: torchvision's, without its search for images in nested inputs."""

import torch
from torch import Tensor
from torchvision.transforms import v2


class RandomHorizontalFlip(v2.RandomHorizontalFlip):
    """Mirror left to right, with probability p: the same draw as torchvision's.

    Args:
        p: probability.
    """

    def forward(self, image: Tensor) -> Tensor:
        """Return uint8 (3, H, W), mirrored or not."""
        return image.flip(-1) if torch.rand(1).item() < self.p else image
