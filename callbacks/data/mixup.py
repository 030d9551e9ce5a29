"""mixup: train on convex combinations of pairs of examples and of their labels.

Paper:    mixup: Beyond Empirical Risk Minimization (Zhang, Cisse, Dauphin, Lopez-Paz; ICLR 2018)
          https://arxiv.org/abs/1710.09412, the two equations of section 1
Code:     https://github.com/facebookresearch/mixup-cifar10 (the authors')
Equation: x' = lam x + (1 - lam) x[perm]      lam ~ Beta(alpha, alpha), one draw per batch
          y' = lam y + (1 - lam) y[perm]      perm a random permutation of the batch
Shapes:   images (N, C, H, W) -> same;  targets (N,) class indices or (N, K) probabilities -> (N, K)
Defaults: alpha = 1, the authors' code for CIFAR-10; the paper has .1 to .4 for ImageNet
Differs:  the authors mix the two losses; we mix the targets. Cross-entropy is linear in the target, so the loss is the
          same number, and other tricks may follow on the batch.
"""

import lightning as L
import torch
from torch import Tensor

from callbacks.frame.beta import beta_share
from callbacks.frame.schedule import Rate, rate_now, rate_values
from callbacks.frame.shuffled import shuffled
from callbacks.frame.targets import probabilities
from callbacks.frame.trick import Trick, needs_range
from zoo.frame.checks import classes_of


def mixup(images: Tensor, targets: Tensor, lam: float, perm: Tensor) -> list[Tensor]:
    """The equation above, with nothing random in it. `targets` are probabilities (N, K)."""
    return [shuffled(x, perm).lerp_(x, lam) for x in (images, targets)]  # in the shuffled copy: no memory more


class MixUp(Trick):
    """Mixes every training batch. Validation and test batches are untouched. Works on any LightningModule.

    Args:
        alpha: shape of the Beta distribution, > 0, or a `Schedule`. Near 0: almost no mixing; 1: `lam` uniform.

    Raises:
        ValueError: unless alpha > 0.
    """

    def __init__(self, alpha: Rate = 1.0):
        for value in rate_values(alpha):
            needs_range(self, "alpha", value, 0, float("inf"), open_low=True)
        self.alpha = alpha

    def on_train_batch_start(self, trainer: L.Trainer, model: L.LightningModule, batch: list, batch_idx: int) -> None:
        images, targets = batch
        lam = beta_share(rate_now(self.alpha, trainer))
        perm = torch.randperm(len(images), device=images.device)
        batch[:] = mixup(images, probabilities(targets, classes_of(model)), lam, perm)
