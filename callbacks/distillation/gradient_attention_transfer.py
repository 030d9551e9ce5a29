"""Gradient attention transfer: the student's loss is sensitive to the pixels to which the teacher's is.

Paper:    Paying More Attention to Attention (Zagoruyko, Komodakis; ICLR 2017) https://arxiv.org/abs/1612.03928,
          section 3.2
Code:     none of the authors' (theirs has the activation-based form only)
Equation: L_GAT = L + beta / 2 ||J_S - J_T||_2^2,   J = dL(W, x) / dx; its gradient beta (J_S - J_T) d^2 L / dW_S dx is
          taken by differentiating twice, J_T is a constant
Shapes:   images (N, C, H, W) -> J (N, C, H, W) -> scalar, mean over the batch of each image's norm
Defaults: beta = 1, ours: the paper's is not known to us
Differs:  the square of the norm, to which the paper's own gradient belongs. A step takes about three times as long, and
          runs uncompiled: torch.compile has no second derivatives.
"""

import lightning as L
import torch
from torch import Tensor

from callbacks.frame.input_gradient import DoubleBackward, gradient_distance, input_gradient
from callbacks.frame.needs import Range
from callbacks.frame.schedule import Rate, rate_now
from callbacks.frame.teacher import Source, Taught, Teacher
from zoo import Step
from zoo.frame.checks import classes_of


class GradientAttentionTransfer(Taught, DoubleBackward):
    """Adds the distance between the student's and the teacher's gradients by the image to the loss.

    Args:
        teacher: a trained network, images -> logits, the path of a zoo model's checkpoint, `"hf:USER/REPO"` with one,
            or `"timm:NAME"`. Stays out of checkpoints.
        beta: weight, > 0, or a `Schedule`.
        normalization: (mean, std) that the teacher was trained with, if the data has others.
        image_size: side in pixels to which images are resized for the teacher, if it was trained on others.

    Raises:
        ValueError: for a weight out of its range, or a teacher of other classes.
        TypeError: for a LightningModule that does not call `on_loss`; says what to add.
    """

    needs = (Range("beta", 0, off_at_low=True),)

    def __init__(
        self,
        teacher: Source,
        beta: Rate = 1.0,
        normalization: tuple | None = None,
        image_size: int | None = None,
    ):
        self.teacher, self.beta = teacher, beta
        self.normalization, self.image_size = normalization, image_size
        self._teacher = Teacher(teacher, normalization, image_size)

    def on_fit_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        super().on_fit_start(trainer, model)
        self._teacher.join(trainer, model, classes_of(model))

    def on_loss(self, model: L.LightningModule, step: Step) -> None:
        J_S = input_gradient(step.logits, step.targets, step.images)
        distance = gradient_distance(J_S, self._theirs(step))
        step.loss = step.loss + rate_now(self.beta, model.trainer) * distance

    @torch.enable_grad()
    def _theirs(self, step: Step) -> Tensor:
        """By the student's image, also where the teacher sees it otherwise normalised or resized."""
        images = step.images.detach().requires_grad_()
        logits = self._teacher.network(self._teacher.see(images))
        return input_gradient(logits, step.targets, images, create_graph=False)
