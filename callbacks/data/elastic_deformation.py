"""Elastic deformation: move every pixel by a smooth random field, as the muscles of a writing hand do.

Paper:    Best Practices for Convolutional Neural Networks Applied to Visual Document Analysis (Simard, Steinkraus,
          Platt; ICDAR 2003) https://doi.org/10.1109/ICDAR.2003.1227801, section 2
Code:     none published; compared with scipy.ndimage's gaussian_filter and map_coordinates
Equation: x'(r, c) = x(r + dy, c + dx), bilinear;  d = alpha G_sigma * u,  u ~ U(-1, 1) for each pixel and direction,
          G_sigma a Gaussian of sum 1;  drawn for each image
Shapes:   images (N, C, H, W) -> same;  masks (N, H, W) or (N, K, H, W) move with them;  other targets unchanged
Defaults: alpha = 34, sigma = 4, both in pixels: the values for 29 x 29 digits that are quoted from the paper, which we
          have not seen; a pixel then moves by 1.4 px in each direction (root mean square, inside)
Differs:  outside the image, pixels repeat the border; u is 0 there. torchvision's ElasticTransform(alpha) moves half as
          far: its displacements are alpha / W in coordinates that run over 2. Masks of classes take the nearest pixel
"""

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor

from callbacks.frame.needs import Range
from callbacks.frame.trick import Trick
from zoo.layers.layout import match_layout

REACH = 4  # deviations, at which the Gaussian is cut off, as in scipy


def displacement(u: Tensor, alpha: float, sigma: float) -> Tensor:
    """Return d of the equation above in pixels: u (N, 2, H, W) in (-1, 1) -> same; channel 0 along rows, 1 columns."""
    reach = int(REACH * sigma + 0.5)
    offsets = torch.arange(-reach, reach + 1, device=u.device)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel, fields = (kernel / kernel.sum()).to(u.dtype), u.flatten(0, 1)[:, None]
    fields = F.conv2d(fields, kernel.view(1, 1, -1, 1), padding=(reach, 0))
    return alpha * F.conv2d(fields, kernel.view(1, 1, 1, -1), padding=(0, reach)).view_as(u)


def warp(maps: Tensor, d: Tensor, mode: str = "bilinear") -> Tensor:
    """Read maps at moved places.

    Args:
        maps: (N, C, H, W), float.
        d: (N, 2, H, W), in pixels: how far below and to the right each pixel reads.
        mode: "bilinear" or "nearest".
    """
    height, width = maps.shape[-2:]
    wide = maps if maps.dtype.itemsize >= 4 else maps.float()  # 16 bits do not hold places to a fraction of a pixel
    rows = torch.arange(height, device=d.device).view(-1, 1) + d[:, 0]
    columns = torch.arange(width, device=d.device) + d[:, 1]
    places = torch.stack([2 * columns / max(width - 1, 1) - 1, 2 * rows / max(height - 1, 1) - 1], -1)
    moved = F.grid_sample(wide, places.to(wide.dtype), mode, padding_mode="border", align_corners=True)
    return match_layout(moved.to(maps.dtype), maps)


class ElasticDeformation(Trick):
    """Deform every training image, on the batch's device. Works on any LightningModule.

    Args:
        alpha: strength, > 0: multiplies the smoothed field, in pixels.
        sigma: deviation of the Gaussian in pixels, > 0. Large: all pixels move alike; small: each on its own.

    Raises:
        ValueError: if an argument is out of its range.
    """

    changes_batch = True
    needs = (Range("alpha", 0, open_low=True), Range("sigma", 0, open_low=True))
    examples = ({"alpha": 10.0, "sigma": 2.0},)

    def __init__(self, alpha: float = 34.0, sigma: float = 4.0):
        self.alpha, self.sigma = alpha, sigma

    def on_train_batch_start(self, trainer: L.Trainer, model: L.LightningModule, batch: list, batch_idx: int) -> None:
        images, targets = batch
        u = 2 * torch.rand(len(images), 2, *images.shape[-2:], device=images.device) - 1
        d = displacement(u, self.alpha, self.sigma)
        if targets.ndim >= 3:
            targets = warp(targets, d) if targets.ndim == 4 else warp(targets[:, None].float(), d, "nearest")[:, 0]
        batch[:] = [warp(images, d), targets.to(batch[1].dtype)]
