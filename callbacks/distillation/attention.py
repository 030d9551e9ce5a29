"""Attention transfer: the student looks where the teacher looks.

Paper:    Paying More Attention to Attention (Zagoruyko, Komodakis; ICLR 2017) https://arxiv.org/abs/1612.03928, eq. 2
Code:     https://github.com/szagoruyko/attention-transfer (the authors'; `at`, `at_loss`)
Equation: Q = vec(F(A)),   L_AT = L + beta sum_j mean((Q_S^j / ||Q_S^j||_2 - Q_T^j / ||Q_T^j||_2)^2)
          "sum": F(A) = sum_c |A_c|^p, F_sum of the paper at p = 1;   "max": F(A) = max_c |A_c|^p
Shapes:   features A (N, C, H, W) or tokens (N, L, D) -> Q (N, HW) or (N, L);  the mean is over batch and positions
Defaults: mapping = "sum", p = 2, beta = 1000: the authors' code; every stage that teacher and student both name
Differs:  follows the code, not the text: the squared distance and its mean, where eq. 2 has beta / 2 and the distance.
          A teacher's map of another size is resized bilinearly to the student's (the paper: "interpolate").
"""

from collections.abc import Sequence
from typing import Literal, get_args

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor

from callbacks.frame.feature_hooks import FeatureHooks
from callbacks.frame.needs import Range, stage_names
from callbacks.frame.schedule import Rate, rate_now
from callbacks.frame.teacher import Source, Taught, Teacher
from callbacks.frame.trick import names_of
from zoo import Step
from zoo.frame.checks import validate_choice

Mapping = Literal["sum", "max"]


def attention(A: Tensor, p: float = 2, mapping: Mapping = "sum") -> Tensor:
    """Where the network looks: (N, C, H, W) -> (N, H, W); tokens (N, L, D) -> (N, L)."""
    if A.ndim not in (3, 4):
        raise ValueError(
            f"AttentionTransfer compares maps or tokens, and features are {tuple(A.shape)}: take other stages"
        )
    A = A.float() if p == 2 else A.float().abs()  # a square needs no |A|: half the time
    powers, channels = A.pow(p), 1 if A.ndim == 4 else 2
    return powers.sum(channels) if mapping == "sum" else powers.amax(channels)


def attention_loss(A_S: Tensor, A_T: Tensor, p: float = 2, mapping: Mapping = "sum") -> Tensor:
    """The term of one stage, without beta. The channels need not agree; the numbers of tokens must."""
    Q_S, Q_T = attention(A_S, p, mapping), attention(A_T, p, mapping)
    if Q_S.shape != Q_T.shape:
        if Q_S.ndim != 3 or Q_T.ndim != 3:
            raise ValueError(
                f"AttentionTransfer: the student's features are {tuple(A_S.shape)}, the teacher's {tuple(A_T.shape)}: "
                "maps, or as many tokens, are compared: take other stages, or a teacher that drops no tokens"
            )
        Q_T = F.interpolate(Q_T[:, None], size=Q_S.shape[1:], mode="bilinear", align_corners=False)[:, 0]
    return (F.normalize(Q_S.flatten(1)) - F.normalize(Q_T.flatten(1))).square().mean()


class AttentionTransfer(Taught):
    """Adds the distance between attention maps to the loss.

    The paper's AT + KD is `[KnowledgeDistillation(teacher), AttentionTransfer(teacher, beta=Linear(1000, 0))]`: one
    pass of the teacher for both; in this order, since distillation scales what the loss is before it by 1 - a.

    Args:
        teacher: a trained `Classifier`, the path of a checkpoint of a zoo model, `"hf:USER/REPO"` with one, or
            `"timm:NAME"`. Stays out of checkpoints.
        stages: names of the stages to compare; None: all that both have.
        beta: weight, > 0, or a `Schedule` (the paper lets it decay beside distillation).
        p: power, >= 1.
        mapping: over the channels: "sum" or "max".
        normalization: (mean, std) that the teacher was trained with, if the data has others.
        image_size: side in pixels to which images are resized for the teacher, if it was trained on others.

    Raises:
        ValueError: for an argument out of its range, a stage that one of the two has not, or none in common.
        TypeError: for a LightningModule without stages or `on_loss`; says what to add.
    """

    needs = (Range("beta", 0, off_at_low=True), Range("p", 1))

    def __init__(
        self,
        teacher: Source,
        stages: Sequence[str] | None = None,
        beta: Rate = 1000.0,
        p: float = 2,
        mapping: Mapping = "sum",
        normalization: tuple | None = None,
        image_size: int | None = None,
    ):
        validate_choice(mapping, get_args(Mapping), "AttentionTransfer")
        self.teacher, self.stages, self.beta, self.p, self.mapping = teacher, names_of(stages), beta, p, mapping
        self.normalization, self.image_size = normalization, image_size
        self._teacher = Teacher(teacher, normalization, image_size)

    def prepare(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        theirs = stage_names(self, self._teacher.network, self.stages)
        names = self.stages or [name for name in stage_names(self, model, None) if name in theirs]
        self._names = stage_names(self, model, names)
        if not self._names:
            raise ValueError(f"{type(self).__name__}: student and teacher have no stage in common: name them alike")

    def on_fit_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._teacher.join(trainer, model, None)  # attention needs no common classes
        self._student_hooks = FeatureHooks(model.stages, self._names)
        self._teacher_hooks = FeatureHooks(self._teacher.network.stages, self._names)
        self.keep_hooks(self._student_hooks, self._teacher_hooks)

    def on_loss(self, model: L.LightningModule, step: Step) -> None:
        self._teacher.logits(step)
        A_S, A_T = self._student_hooks.take(), self._teacher_hooks.take()
        terms = torch.stack([attention_loss(A_S[name], A_T[name], self.p, self.mapping) for name in self._names])
        step.loss = step.loss + rate_now(self.beta, model.trainer) * terms.sum()
