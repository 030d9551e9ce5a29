"""Focal loss: give less weight to examples that are classified well, so that rare and hard ones count more.

Paper:    Focal Loss for Dense Object Detection (Lin, Goyal, Girshick, He, Dollar; ICCV 2017)
          https://arxiv.org/abs/1708.02002, equation 5
Code:     torchvision.ops.sigmoid_focal_loss, the binary form
Equation: L = -sum_k alpha_k y_k (1 - p_k)^gamma log p_k,   p = softmax(z)
Shapes:   logits z (N, K), targets (N,) class indices or probabilities y (N, K) -> scalar, the mean over images
Defaults: gamma = 2 (section 5.1); alpha = 1 for every class, for balanced data
Differs:  one softmax over K classes; the paper has K binary decisions. With K = 2 and logits (0, z), both are the same.
          Mixed targets mix the losses of their classes, as in the cross-entropy, which is the case gamma = 0.
"""

from collections.abc import Sequence

import lightning as L
import torch
from torch import Tensor

from callbacks.frame.loss import Replacing, per_class
from callbacks.frame.needs import Range
from callbacks.frame.targets import probabilities


def focal_loss(z: Tensor, y: Tensor, gamma: float = 2.0, alpha: Tensor | None = None) -> Tensor:
    """Return L of the equation above, a float32 scalar.

    Args:
        z: logits (N, K), or (N, K, H, W) for pixels.
        y: probabilities, of the shape of z.
        gamma: focus, >= 0.
        alpha: weights of the classes (K,); None: all 1.
    """
    log_p = z.float().log_softmax(1)
    # 1 - p, exact near p = 1; the bound keeps the gradient of its power finite at 0 if gamma < 1
    miss = (-torch.expm1(log_p)).clamp(min=torch.finfo(log_p.dtype).tiny)
    terms = y * miss**gamma * log_p
    return -(terms if alpha is None else terms * alpha.view(-1, *[1] * (z.ndim - 2))).sum(1).mean()


class FocalLoss(Replacing):
    """Replace the training loss by the focal loss. Metrics and evaluation keep the cross-entropy.

    For unbalanced data, give class weights, such as `tuple(data.class_weights("effective").tolist())`.

    Args:
        gamma: focus, >= 0. The larger gamma, the smaller the weight of well-classified examples.
        alpha: K weights of the classes, >= 0; None: all 1.

    Raises:
        ValueError: if an argument is out of its range, with another loss, or after a trick that adds to the loss.
        TypeError: if the LightningModule does not call `on_loss`; the message says what to add.
    """

    needs = (Range("gamma", 0), Range("alpha", 0))
    examples = ({"gamma": 0.5, "alpha": (0.5, 1.5) * 5},)
    _alpha: Tensor | None = None

    def __init__(self, gamma: float = 2.0, alpha: Sequence[float] | None = None):
        self.gamma = gamma
        self.alpha = None if alpha is None else tuple(alpha)

    def on_fit_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._alpha = None if self.alpha is None else per_class(self, "alpha", model)

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        return focal_loss(logits, probabilities(targets, logits.shape[1]), self.gamma, self._alpha)
