"""SSIM loss: make predicted masks look like the true ones, window by window; it cares for edges.

Paper:    Image Quality Assessment: From Error Visibility to Structural Similarity (Wang, Bovik, Sheikh, Simoncelli;
          IEEE Transactions on Image Processing 2004) https://doi.org/10.1109/TIP.2003.819861
Code:     torchmetrics' structural_similarity_index_measure, inside the borders
Equation: S = (2 m_p m_y + c1) (2 s_py + c2) / ((m_p^2 + m_y^2 + c1) (s_p^2 + s_y^2 + c2)),   c1 = .01^2, c2 = .03^2
          m, s^2, s_py: means, variances and covariance in a window, weighted by a Gaussian;   p = softmax(z)
          L = L_before + weight (1 - mean S), over images, classes and windows
Shapes:   logits z (N, K, H, W), masks (N, H, W) or probabilities y (N, K, H, W) -> scalar in [0, 2)
Defaults: weight = 1, as where it joins cross-entropy and Dice for masks: ours; windows of 11 x 11 px, deviation 1.5 px:
          the paper's
Differs:  windows lie inside the map; on a smaller map there is one, as large as the map. A classifier's logits (N, K)
          are a map of one pixel, where S compares the means alone.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from callbacks.frame.loss import Adding
from callbacks.frame.masks import float32
from callbacks.frame.schedule import Rate
from callbacks.frame.targets import probabilities
from zoo import Step

SIDE, DEVIATION = 11, 1.5  # of the window, in pixels
C1, C2 = 0.01**2, 0.03**2  # for numbers in [0, 1]


def window_means(maps: Tensor) -> Tensor:
    """Return the weighted mean of each window inside the maps: (n, 1, H, W) -> (n, 1, H', W')."""
    for direction, side in enumerate(maps.shape[-2:]):
        length = min(SIDE, side)
        weights = torch.exp(-0.5 * ((torch.arange(length, device=maps.device) - (length - 1) / 2) / DEVIATION) ** 2)
        shape = (1, 1, length, 1) if direction == 0 else (1, 1, 1, length)
        maps = F.conv2d(maps, (weights / weights.sum()).to(maps.dtype).view(shape))
    return maps


def ssim(p: Tensor, y: Tensor) -> Tensor:
    """Return S of each window: maps (N, K, H, W) with numbers in [0, 1], and others -> (N, K, H', W'), in [-1, 1]."""
    n, k = p.shape[:2]
    pairs = torch.stack([p, y, p * p, y * y, p * y]).flatten(0, 2)[:, None]
    m_p, m_y, pp, yy, py = window_means(pairs).unflatten(0, (5, n, k)).squeeze(3)
    alike = (2 * m_p * m_y + C1) * (2 * (py - m_p * m_y) + C2)
    return alike / ((m_p**2 + m_y**2 + C1) * (pp - m_p**2 + yy - m_y**2 + C2))


class SSIM(Adding):
    """Add 1 - SSIM of the predicted and true masks to the loss. For a `Segmenter`.

    Args:
        weight: weight of the term, > 0, or a `Schedule`.

    Raises:
        ValueError: if the weight is out of its range.
        TypeError: if the LightningModule does not call `on_loss`; the message says what to add.
    """

    one_label = True
    examples = ({"weight": 0.5},)

    def __init__(self, weight: Rate = 1.0):
        self.weight = weight

    def term(self, model: object, step: Step) -> Tensor:
        with float32(step.logits):  # differences of squares cancel in 16 bits
            p, y = step.logits.float().softmax(1), probabilities(step.targets, step.logits.shape[1]).float()
            if p.ndim == 2:
                p, y = p[:, :, None, None], y[:, :, None, None]
            return 1 - ssim(p, y).mean()
