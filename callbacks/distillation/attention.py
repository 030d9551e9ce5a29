"""Attention transfer: bring the student's attention maps close to the teacher's.

Paper:    Paying More Attention to Attention (Zagoruyko, Komodakis; ICLR 2017) https://arxiv.org/abs/1612.03928, eq. 2
Code:     https://github.com/szagoruyko/attention-transfer (the authors'; `at`, `at_loss`)
Equation: Q = vec(F(A)),   L_AT = L + beta sum_j mean((Q_S^j / ||Q_S^j||_2 - Q_T^j / ||Q_T^j||_2)^2)
          "sum": F(A) = sum_c |A_c|^p, F_sum of the paper at p = 1;   "max": F(A) = max_c |A_c|^p
Shapes:   features A (N, C, H, W) or tokens (N, L, D) -> Q (N, HW) or (N, L);  the mean is over batch and positions
Defaults: mapping = "sum", p = 2, beta = 1000: the authors' code; all stages that teacher and student have in common
Differs:  follows the code, not the text: the mean squared distance, where eq. 2 has beta / 2 times the distance. A
          teacher's map of another size is resized bilinearly to the student's (the paper: "interpolate").
"""

from collections.abc import Sequence
from typing import Literal, get_args

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor

from callbacks.frame.needs import Choice, Range
from callbacks.frame.schedule import Rate, rate_now
from callbacks.frame.teacher import ComparesStages, Normalization, Source, Teacher
from callbacks.frame.trick import names_of
from zoo import Step

Mapping = Literal["sum", "max"]


def attention(A: Tensor, p: float = 2, mapping: Mapping = "sum") -> Tensor:
    """Return the attention map F(A) of the equation above: (N, C, H, W) -> (N, H, W); tokens (N, L, D) -> (N, L).

    Args:
        A: features.
        p: power, >= 1.
        mapping: "sum" or "max" over channels.

    Raises:
        ValueError: if the features are neither maps nor tokens.
    """
    if A.ndim not in (3, 4):
        raise ValueError(
            f"AttentionTransfer compares maps or tokens, and features are {tuple(A.shape)}: take other stages"
        )
    A = A.float() if p == 2 else A.float().abs()  # A^2 needs no |A|, which takes half the time
    powers, channels = A.pow(p), 1 if A.ndim == 4 else 2
    return powers.sum(channels) if mapping == "sum" else powers.amax(channels)


def attention_loss(A_S: Tensor, A_T: Tensor, p: float = 2, mapping: Mapping = "sum") -> Tensor:
    """Return the term of one stage without beta, a scalar.

    Args:
        A_S, A_T: features of student and teacher. The numbers of channels may differ, those of tokens must not.
        p, mapping: see `attention`.

    Raises:
        ValueError: if the features cannot be compared.
    """
    Q_S, Q_T = attention(A_S, p, mapping), attention(A_T, p, mapping)
    if Q_S.shape != Q_T.shape:
        if Q_S.ndim != 3 or Q_T.ndim != 3:
            raise ValueError(
                f"AttentionTransfer: the student's features are {tuple(A_S.shape)}, the teacher's {tuple(A_T.shape)}: "
                "both must be maps, or have equally many tokens: take other stages, or a teacher that keeps all tokens"
            )
        Q_T = F.interpolate(Q_T[:, None], size=Q_S.shape[1:], mode="bilinear", align_corners=False)[:, 0]
    return (F.normalize(Q_S.flatten(1)) - F.normalize(Q_T.flatten(1))).square().mean()


class AttentionTransfer(ComparesStages):
    """Add the distance between the attention maps of student and teacher to the loss.

    The paper's AT + KD is `[KnowledgeDistillation(teacher), AttentionTransfer(teacher, beta=Linear(1000, 0))]`. Both
    share one pass of the teacher. The order matters: distillation multiplies the loss before it by 1 - a.

    Args:
        teacher: a trained `Classifier`, the path of a zoo model's checkpoint, `"hf:USER/REPO"` with one, or
            `"timm:NAME"`. Kept out of checkpoints.
        stages: names of the stages to compare; None: all common ones.
        beta: weight, > 0, or a `Schedule` (the paper decreases it when combined with distillation).
        p: power, >= 1.
        mapping: over channels, "sum" or "max".
        normalization: (mean, std) of the teacher's training data, if different.
        image_size: side in pixels of the teacher's images, if different.

    Raises:
        ValueError: if an argument is out of its range, student or teacher lacks a stage, or they have none in common.
        TypeError: if the LightningModule has no stages or no `on_loss`; the message says what to add.
    """

    meets = tuple((f"stage {i}", "map F(A)", "mean squared distance", "map F(A)") for i in (1, 2, 3))
    needs = (Range("beta", 0, off_at_low=True), Range("p", 1), Choice("mapping", get_args(Mapping)))
    examples = ({"stages": ("stage1",), "beta": 10.0, "mapping": "max"},)

    def __init__(
        self,
        teacher: Source,
        stages: Sequence[str] | None = None,
        beta: Rate = 1000.0,
        p: float = 2,
        mapping: Mapping = "sum",
        normalization: Normalization | None = None,
        image_size: int | None = None,
    ):
        self.teacher, self.stages, self.beta, self.p, self.mapping = teacher, names_of(stages), beta, p, mapping
        self.normalization, self.image_size = normalization, image_size
        self._teacher = Teacher(teacher, normalization, image_size)

    def prepare(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        self._names = self.common_stages(model)

    def on_fit_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self.join_at(self._names, trainer, model)

    def on_loss(self, model: L.LightningModule, step: Step) -> None:
        self._teacher.logits(step)
        A_S, A_T = self._student_hooks.take(), self._teacher_hooks.take()
        terms = torch.stack([attention_loss(A_S[name], A_T[name], self.p, self.mapping) for name in self._names])
        step.loss = step.loss + rate_now(self.beta, model.trainer) * terms.sum()
