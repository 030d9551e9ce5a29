"""Gradient attention transfer: bring the student's input gradient dL/dx close to the teacher's.

Paper:    Paying More Attention to Attention (Zagoruyko, Komodakis; ICLR 2017) https://arxiv.org/abs/1612.03928,
          section 3.2
Code:     none of the authors' (theirs has the activation-based form only)
Equation: L_GAT = L + beta / 2 ||J_S - J_T||_2^2,   J = dL(W, x) / dx. Its gradient beta (J_S - J_T) d^2 L / dW_S dx is
          computed by differentiating twice; J_T is a constant
Shapes:   images (N, C, H, W) -> J (N, C, H, W) -> scalar, mean over images
Defaults: beta = 1, ours
Differs:  squares the norm, as the paper's gradient implies; the paper's formula has the norm. A step takes about
          three times as long, and is not compiled: torch.compile has no second derivatives.
"""

import lightning as L
import torch
from torch import Tensor

from callbacks.frame.input_gradient import DoubleBackward, gradient_distance, input_gradient, loss_scale
from callbacks.frame.needs import Range
from callbacks.frame.schedule import Linear, Rate, rate_now
from callbacks.frame.teacher import Normalization, Source, Taught, Teacher
from zoo import Step
from zoo.frame.checks import classes_of


class GradientAttentionTransfer(Taught, DoubleBackward):
    """Add the distance between the input gradients of student and teacher to the loss.

    Args:
        teacher: a trained network (images -> logits), the path of a zoo model's checkpoint, `"hf:USER/REPO"` with one,
            or `"timm:NAME"`. Kept out of checkpoints.
        beta: weight, > 0, or a `Schedule`.
        normalization: (mean, std) of the teacher's training data, if different.
        image_size: side in pixels of the teacher's images, if different.

    Raises:
        ValueError: if the weight is out of its range, or the teacher has other classes.
        TypeError: if the LightningModule does not call `on_loss`; the message says what to add.
    """

    meets = (("image", "gradient dL/dx", "squared distance", "gradient dL/dx"),)
    needs = (Range("beta", 0, off_at_low=True),)
    one_label = True
    examples = ({"beta": Linear(1, 0)},)

    def __init__(
        self,
        teacher: Source,
        beta: Rate = 1.0,
        normalization: Normalization | None = None,
        image_size: int | None = None,
    ):
        self.teacher, self.beta = teacher, beta
        self.normalization, self.image_size = normalization, image_size
        self._teacher = Teacher(teacher, normalization, image_size)

    def on_fit_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        super().on_fit_start(trainer, model)
        self._teacher.join(trainer, model, classes_of(model))

    def on_loss(self, model: L.LightningModule, step: Step) -> None:
        scale = loss_scale(model)
        J_S = input_gradient(step.logits, step.targets, step.images, scale)
        distance = gradient_distance(J_S, self._teacher_gradient(step, scale))
        step.loss = step.loss + rate_now(self.beta, model.trainer) * distance

    @torch.enable_grad()
    def _teacher_gradient(self, step: Step, scale: Tensor) -> Tensor:
        """Return J_T with respect to the student's images, before the teacher's normalisation and resizing."""
        images = step.images.detach().requires_grad_()
        logits = self._teacher.network(self._teacher.see(images))
        return input_gradient(logits, step.targets, images, scale, create_graph=False)
