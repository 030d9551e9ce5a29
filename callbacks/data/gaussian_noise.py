"""Gaussian noise: train on images with noise added to every pixel.

Paper:    Training with Noise is Equivalent to Tikhonov Regularization (Bishop; Neural Computation 1995)
          https://doi.org/10.1162/neco.1995.7.1.108
Code:     torchvision v2.GaussianNoise, for images in [0, 1]
Equation: x' = x + sigma z,  z ~ N(0, 1), another z for every pixel
Shapes:   images (N, C, H, W) -> same
Defaults: sigma = 0.1, in units of the normalised images: ours
Differs:  nothing
"""

import lightning as L
import torch
from torch import Tensor

from callbacks.frame.needs import Range
from callbacks.frame.trick import Trick


def add_noise(images: Tensor, z: Tensor, sigma: float) -> Tensor:
    """Add noise. `z` is standard normal, of the shape of the images (N, C, H, W)."""
    return images + sigma * z


class GaussianNoise(Trick):
    """Add noise to every training batch. Works on any LightningModule; evaluation is unchanged.

    Args:
        sigma: standard deviation of the noise, > 0, in units of the normalised images.

    Raises:
        ValueError: if sigma is not positive.
    """

    changes_batch = True
    takes_boxes = True  # which stay where they are
    needs = (Range("sigma", 0, open_low=True),)
    examples = ({"sigma": 0.5},)  # a second set of arguments, for the contract tests

    def __init__(self, sigma: float = 0.1):
        self.sigma = sigma

    def on_train_batch_start(self, trainer: L.Trainer, model: L.LightningModule, batch: list, batch_idx: int) -> None:
        batch[0] = add_noise(batch[0], torch.randn_like(batch[0]), self.sigma)
