"""Worst of k: draw k rotations and shifts of each image, and train on the one that the network finds hardest.

Paper:    Exploring the Landscape of Spatial Robustness (Engstrom, Tran, Tsipras, Schmidt, Madry; ICML 2019)
          https://arxiv.org/abs/1712.02779, "worst-of-k"
Code:     none used
Equation: x' = T(x, theta_i),  i = argmax_i E(f(T(x, theta_i)), t),  theta_1 ... theta_k uniform, drawn for each image
          T turns the image about its centre, then shifts it, bilinearly; outside the image is 0
Shapes:   images (N, C, H, W) -> same;  targets (N,) or (N, K), unchanged
Defaults: k = 10, degrees = 30, shift = .1: the paper's worst-of-10, whose images shift by 3 of 32 px
Differs:  the network is in eval mode while it chooses, so that statistics and random masks are those of the one
          training pass. The loss that chooses is the cross-entropy, whatever the training loss is. 0 is the mean
          colour, where the paper has black.
"""

from math import pi

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor

from callbacks.frame.needs import Range
from callbacks.frame.send import send
from callbacks.frame.trick import Trick
from zoo.frame.evaluation import evaluating
from zoo.frame.outputs import split_outputs
from zoo.layers.layout import match_layout


def turn_and_shift(images: Tensor, theta: Tensor) -> Tensor:
    """Turn each image clockwise about its centre, then shift it.

    Args:
        images: (N, C, H, W); not changed.
        theta: (N, 3): the angle in radians, and the shifts down and to the right, as fractions of H and W.
    """
    height, width = images.shape[-2:]
    angle, down, right = theta.unbind(1)
    cos, sin, down, right = angle.cos(), angle.sin(), 2 * down, 2 * right  # places run over 2, from -1 to 1
    tall, wide = height / width, width / height
    read_x = torch.stack([cos, sin * tall, -cos * right - sin * tall * down], 1)
    read_y = torch.stack([-sin * wide, cos, sin * wide * right - cos * down], 1)
    maps = images if images.dtype.itemsize >= 4 else images.float()
    places = F.affine_grid(torch.stack([read_x, read_y], 1).to(maps.dtype), list(images.shape), align_corners=False)
    return match_layout(F.grid_sample(maps, places, align_corners=False).to(images.dtype), images)


class WorstOf(Trick):
    """Turn and shift every training image by the worst of k draws. A step takes k more forward passes, if k > 1.

    Args:
        k: draws for each image, at least 1; 1 is a plain random augmentation.
        degrees: largest angle, in [0, 180].
        shift: largest shift in each direction, as a fraction of the image's side, in [0, 1].

    Raises:
        ValueError: if an argument is out of its range.
        TypeError: for a `Segmenter`, whose masks would have to move too.
    """

    changes_batch = asks_network = True
    needs_labels = True
    needs = (Range("k", 1), Range("degrees", 0, 180), Range("shift", 0, 1))
    examples = ({"k": 2, "degrees": 15.0, "shift": 0.2},)

    def __init__(self, k: int = 10, degrees: float = 30.0, shift: float = 0.1):
        self.k, self.degrees, self.shift = k, degrees, shift

    def on_train_batch_start(self, trainer: L.Trainer, model: L.LightningModule, batch: list, batch_idx: int) -> None:
        images, targets = batch
        limits = torch.tensor([self.degrees * pi / 180, self.shift, self.shift])
        theta = send((2 * torch.rand(self.k, len(images), 3) - 1) * limits, images.device)
        worst = theta[0]
        if self.k > 1:
            with evaluating(model), torch.no_grad(), trainer.precision_plugin.forward_context():
                losses = [self._losses(model, turn_and_shift(images, each), targets) for each in theta]
            worst = theta[torch.stack(losses).argmax(0), torch.arange(len(images), device=images.device)]
        batch[0] = turn_and_shift(images, worst)

    @staticmethod
    def _losses(model: L.LightningModule, images: Tensor, targets: Tensor) -> Tensor:
        """Return the cross-entropy of each image, (N,)."""
        return F.cross_entropy(split_outputs(model(images))[0].float(), targets, reduction="none")
