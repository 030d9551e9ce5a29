"""Channel order: permute the colour channels of some images.

Paper:    none of its own; "ChannelShuffle" in Albumentations: Fast and Flexible Image Augmentations (Buslaev et al.;
          2020) https://arxiv.org/abs/1809.06839
Code:     torchvision v2.RandomChannelPermutation (one image, p = 1); albumentations ChannelShuffle
Equation: x'_c = x_perm(c) with probability p, else x;   perm uniform over the C! orders, drawn for each image
Shapes:   images (N, C, H, W) -> same;  targets unchanged
Defaults: p = .5 (albumentations)
Differs:  acts on normalised images, so that each channel still has mean 0 and standard deviation 1
"""

import lightning as L
import torch
from torch import Tensor

from callbacks.frame.chance import choose_images
from callbacks.frame.needs import Range
from callbacks.frame.schedule import Rate
from callbacks.frame.trick import Trick
from zoo.layers.layout import match_layout


def channel_order(images: Tensor, order: Tensor) -> Tensor:
    """Permute the channels of images (N, C, H, W), each by its own `order` (N, C)."""
    return match_layout(images.gather(1, order[:, :, None, None].expand_as(images)), images)


class ChannelOrder(Trick):
    """Permute the channels of training images at random. Works on any LightningModule.

    Args:
        p: probability that an image's channels are permuted, in (0, 1], or a `Schedule`.

    Raises:
        ValueError: if p is out of its range.
    """

    changes_batch = True
    takes_boxes = True
    needs = (Range("p", 0, 1, off_at_low=True),)
    examples = ({"p": 1.0},)

    def __init__(self, p: Rate = 0.5):
        self.p = p

    def on_train_batch_start(self, trainer: L.Trainer, model: L.LightningModule, batch: list, batch_idx: int) -> None:
        images = batch[0]
        n, c = images.shape[:2]
        order = torch.rand(n, c, device=images.device).argsort(1)
        identity = torch.arange(c, device=images.device).expand(n, c)
        order = torch.where(choose_images(self.p, trainer, images)[:, None], order, identity)
        batch[0] = channel_order(images, order)
