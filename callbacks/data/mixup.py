"""mixup: train on convex combinations of pairs of examples and of their labels.

Paper:    mixup: Beyond Empirical Risk Minimization (Zhang, Cisse, Dauphin, Lopez-Paz; ICLR 2018)
          https://arxiv.org/abs/1710.09412, the two equations of section 1
Code:     https://github.com/facebookresearch/mixup-cifar10 (the authors')
Equation: x' = lam x + (1 - lam) x[perm]      lam ~ Beta(alpha, alpha), one draw per batch
          y' = lam y + (1 - lam) y[perm]      perm a random permutation of the batch
          of boxes: those of both images, as in Bag of Freebies (Zhang et al. 2019, https://arxiv.org/abs/1902.04103)
Shapes:   images (N, C, H, W) -> same;  targets (N,) class indices or (N, K) probabilities -> (N, K);
          boxes (n, 4) of each image -> (n + m, 4)
Defaults: alpha = 1, the authors' code for CIFAR-10; the paper has .1 to .4 for ImageNet
Differs:  the authors mix the two losses; we mix the targets. Cross-entropy is linear in the targets, so the loss is the
          same number, and later tricks can change the mixed batch. Boxes have no weights, as in the authors' Faster
          R-CNN, whose alpha is 1.5.
"""

from typing import Any

import lightning as L
import torch
from torch import Tensor

from callbacks.frame.beta import draw_beta
from callbacks.frame.needs import Range
from callbacks.frame.objects import are_boxes
from callbacks.frame.schedule import Rate, rate_now
from callbacks.frame.shuffle import shuffle
from callbacks.frame.targets import probabilities
from callbacks.frame.trick import Trick
from zoo.frame.batches import images_and_targets
from zoo.frame.checks import classes_of


def mixup(images: Tensor, targets: Tensor, lam: float, perm: Tensor) -> list[Tensor]:
    """Mix example i, with weight lam, and example perm[i], with weight 1 - lam.

    Args:
        images: (N, C, H, W); not changed.
        targets: probabilities (N, K); not changed.
        lam: in [0, 1].
        perm: permutation of the batch, (N,).

    Returns:
        Images (N, C, H, W) and targets (N, K).
    """
    # z.lerp_(x, lam) is lam x + (1 - lam) z, in place: here in the shuffled copy
    return [shuffle(x, perm).lerp_(x, lam) for x in (images, targets)]


def both(targets: list[dict[str, Tensor]], perm: list[int]) -> list[dict[str, Tensor]]:
    """Return the objects of image i and of image perm[i], once if it is the same image."""
    pairs = [(target, targets[other]) for target, other in zip(targets, perm, strict=True)]
    return [one if one is two else {name: torch.cat([one[name], two[name]]) for name in one} for one, two in pairs]


class MixUp(Trick):
    """Mix every training batch. Works on any LightningModule, and with boxes.

    Args:
        alpha: parameter of the Beta distribution, > 0, or a `Schedule`. Near 0, images are hardly mixed; with 1, lam is
            uniform in [0, 1].

    Raises:
        ValueError: if alpha is not positive.
    """

    changes_batch = takes_boxes = True
    needs = (Range("alpha", 0, open_low=True),)
    examples = ({"alpha": 0.2},)

    def __init__(self, alpha: Rate = 1.0):
        self.alpha = alpha

    def on_train_batch_start(self, trainer: L.Trainer, model: L.LightningModule, batch: list, batch_idx: int) -> None:
        pair: Any = batch if are_boxes(batch[1]) else images_and_targets(batch)
        images, targets = pair
        lam = draw_beta(rate_now(self.alpha, trainer))
        perm = torch.randperm(len(images), device=images.device)
        if are_boxes(targets):
            pixels = mixup(images, images.new_zeros(len(images), 1), lam, perm)[0]
            batch[:] = [pixels, both(targets, perm.tolist())]
            return
        batch[:] = mixup(images, probabilities(targets, classes_of(model)), lam, perm)
