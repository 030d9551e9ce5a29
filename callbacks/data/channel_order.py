"""Channel order: red, green and blue of some images change places.

Paper:    none has it alone; "ChannelShuffle" of Albumentations: Fast and Flexible Image Augmentations (Buslaev et al.;
          2020) https://arxiv.org/abs/1809.06839
Code:     torchvision v2.RandomChannelPermutation (one image, always); albumentations ChannelShuffle
Equation: x'_c = x_perm(c),   perm uniform over the C! orders, another for each image, with probability p
Shapes:   images (N, C, H, W) -> same;  targets as they are
Defaults: p = .5, albumentations'
Differs:  acts on normalised images: the order of their colours changes, their mean and deviation stay 0 and 1
"""

import lightning as L
import torch
from torch import Tensor

from callbacks.frame.chance import chosen, needs_chance
from callbacks.frame.schedule import Rate
from callbacks.frame.trick import Trick


def channel_order(images: Tensor, order: Tensor) -> Tensor:
    """Images (N, C, H, W) with the channels of each in its `order` (N, C)."""
    return images.gather(1, order[:, :, None, None].expand_as(images))


class ChannelOrder(Trick):
    """Permutes the channels of training images, each by its own lot. Works on any LightningModule.

    Args:
        p: probability that an image's channels are permuted, in (0, 1], or a `Schedule`.

    Raises:
        ValueError: for a p out of its range.
    """

    def __init__(self, p: Rate = 0.5):
        needs_chance(self, "p", p)
        self.p = p

    def on_train_batch_start(self, trainer: L.Trainer, model: L.LightningModule, batch: list, batch_idx: int) -> None:
        images = batch[0]
        n, c = images.shape[:2]
        order = torch.rand(n, c, device=images.device).argsort(1)
        as_they_are = torch.arange(c, device=images.device).expand(n, c)
        order = torch.where(chosen(self.p, trainer, images)[:, None], order, as_they_are)
        batch[0] = channel_order(images, order)
