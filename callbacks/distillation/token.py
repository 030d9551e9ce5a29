"""Token distillation: keep logits and tokens of a ViT that drops tokens close to those of the dense ViT.

Paper:    DynamicViT: Efficient Vision Transformers with Dynamic Token Sparsification (Rao, Zhao, Liu, Lu, Zhou, Hsieh;
          NeurIPS 2021) https://arxiv.org/abs/2106.02034, equations 13, 14 and 16
Code:     https://github.com/raoyongming/DynamicViT at 1322e62 (the authors'; `losses.py`, with `mse_token`)
Equation: L' = L + a KL(softmax(v) || softmax(z)) + b sum_ni D_ni mean_d (t_nid - t'_nid)^2 / sum_ni D_ni,
          z student, v teacher, t and t' their tokens after the last norm, D the student's last decisions, or all 1
Shapes:   logits z, v (N, K), tokens t, t' (N, L, D), D (N, L) -> scalar
Defaults: logits = .5 (a) and tokens = .5 (b), section 4; the teacher is the dense network that the student starts from
Differs:  follows the code, not the text: the mean over channels (equation 13 has the sum) and KL(teacher || student)
          (equation 14 has the reverse). If no token is kept, the term of the tokens is 0.
"""

from pathlib import Path

import lightning as L
from torch import Tensor, nn

from callbacks.distillation.knowledge import soft_loss
from callbacks.frame.feature_hooks import FeatureHooks
from callbacks.frame.needs import Range
from callbacks.frame.pair_needs import EveryPatch
from callbacks.frame.schedule import Linear, Rate, rate_now
from callbacks.frame.teacher import Normalization, Taught, Teacher
from callbacks.frame.tokens import COMPARED, prefix_of
from zoo import Step
from zoo.frame.checks import classes_of


def token_loss(t: Tensor, theirs: Tensor, kept: Tensor | None = None) -> Tensor:
    """Return the term of the tokens without b, a scalar.

    Args:
        t, theirs: tokens of student and teacher, (N, L, D).
        kept: D, the student's decisions (N, L), 0 or 1; None: all kept.
    """
    distances = (t.float() - theirs.float()).square().mean(-1)
    if kept is None:
        return distances.mean()
    return (distances * kept).sum() / kept.sum().clamp(min=1)


class TokenDistillation(Taught):
    """Add the distance from a dense ViT to the loss. Meant for a `DynamicViT`, together with `TokenRatio`.

    Args:
        teacher: a trained ViT with the student's width and patches, or the path of a zoo model's checkpoint. Kept out
            of checkpoints.
        logits: a, weight of the logits' term, >= 0, or a `Schedule`.
        tokens: b, weight of the tokens' term, >= 0, or a `Schedule`.
        normalization: (mean, std) of the teacher's training data, if different.

    Raises:
        ValueError: if a weight is out of its range, the teacher has other classes or tokens, or another trick drops
            patches of the student.
        TypeError: if the LightningModule does not call `on_loss`, the student does not return its tokens, or the
            teacher is not a ViT; the message says what to add.
    """

    meets = (
        ("stage 3", "tokens kept", "mean squared distance", "their tokens"),
        ("logits", "softmax(z)", "KL", "softmax(v)"),
    )
    partner = "dense ViT"
    needs = (EveryPatch(), Range("logits", 0), Range("tokens", 0))
    one_label = True
    examples = ({"logits": 0.0, "tokens": Linear(1, 0)},)

    def __init__(
        self,
        teacher: nn.Module | str | Path,
        logits: Rate = 0.5,
        tokens: Rate = 0.5,
        normalization: Normalization | None = None,
    ):
        self.teacher, self.logits, self.tokens, self.normalization = teacher, logits, tokens, normalization
        self._teacher = Teacher(teacher, normalization)

    def prepare(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        COMPARED.find(self, self._teacher.network)

    def on_fit_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._teacher.join(trainer, model, classes_of(model))
        vit = COMPARED.find(self, self._teacher.network)
        self._prefix = prefix_of(vit)
        self._norm = FeatureHooks({"norm": vit.get_submodule("norm")}, ["norm"])
        self.keep_hooks(self._norm)

    def on_loss(self, model: L.LightningModule, step: Step) -> None:
        if "tokens" not in step.extras:
            raise TypeError(
                f"TokenDistillation: {type(model).__name__} does not return its tokens: take DynamicViT, or return "
                "extras['tokens'] (N, L, D) in training; KnowledgeDistillation compares logits only"
            )
        v, t = self._teacher.logits(step), step.extras["tokens"]
        theirs = self._norm.take()["norm"][:, self._prefix :]
        if t.shape != theirs.shape:
            raise ValueError(
                f"TokenDistillation: the student's tokens are {tuple(t.shape)}, the teacher's {tuple(theirs.shape)}: "
                "take a teacher of the same width that keeps all its patches"
            )
        kept = step.extras["kept"][-1].detach() if "kept" in step.extras else None
        a, b = rate_now(self.logits, model.trainer), rate_now(self.tokens, model.trainer)
        step.loss = step.loss + a * soft_loss(step.logits, v, 1.0) + b * token_loss(t, theirs, kept)
