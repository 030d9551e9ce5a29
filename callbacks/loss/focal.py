"""Focal loss: what is right already counts little, so that the rare and the hard are not drowned.

Paper:    Focal Loss for Dense Object Detection (Lin, Goyal, Girshick, He, Dollar; ICCV 2017)
          https://arxiv.org/abs/1708.02002, equation 5
Code:     torchvision.ops.sigmoid_focal_loss: the form of yes-or-no questions; with softmax none is installed
Equation: L = -sum_k alpha_k y_k (1 - p_k)^gamma log p_k,   p = softmax(z)
Shapes:   logits z (N, K), targets (N,) class indices or probabilities y (N, K) -> scalar, the mean over images
Defaults: gamma = 2 (section 5.1); alpha = 1, for data whose classes are of one size
Differs:  one question of K classes, where the paper has K of two: with K = 2 and logits (0, z) it is the paper's. Mixed
          targets mix the losses of their classes, as the cross-entropy does; gamma = 0 is that.
"""

from collections.abc import Sequence

import lightning as L
import torch
from torch import Tensor

from callbacks.frame.loss import Replacing, per_class
from callbacks.frame.needs import Range
from callbacks.frame.targets import probabilities


def focal_loss(z: Tensor, y: Tensor, gamma: float = 2.0, alpha: Tensor | None = None) -> Tensor:
    """The equation above. z, y (N, K), or (N, K, H, W) of pixels, alpha (K,) -> scalar, in float32."""
    log_p = z.float().log_softmax(1)
    # 1 - p without the rounding of p; where it is 0 the power of a gamma below 1 has no slope
    missing = (-torch.expm1(log_p)).clamp(min=torch.finfo(log_p.dtype).tiny)
    terms = y * missing**gamma * log_p
    return -(terms if alpha is None else terms * alpha.view(-1, *[1] * (z.ndim - 2))).sum(1).mean()


class FocalLoss(Replacing):
    """Replaces the training loss by the focal loss. Metrics and evaluation keep the cross-entropy.

    For classes of unequal sizes give their weights, such as `tuple(data.class_weights("effective").tolist())`.

    Args:
        gamma: how fast the right ones fade, >= 0.
        alpha: K weights of the classes, >= 0; None: all 1.

    Raises:
        ValueError: for an argument out of its range, a second loss, or a trick before it that adds to the loss.
        TypeError: for a LightningModule that does not call `on_loss`; says what to add.
    """

    needs = (Range("gamma", 0), Range("alpha", 0))
    _alpha: Tensor | None = None

    def __init__(self, gamma: float = 2.0, alpha: Sequence[float] | None = None):
        self.gamma = gamma
        self.alpha = None if alpha is None else tuple(alpha)

    def on_fit_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._alpha = None if self.alpha is None else per_class(self, "alpha", model)

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        return focal_loss(logits, probabilities(targets, logits.shape[1]), self.gamma, self._alpha)
