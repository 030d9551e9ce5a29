"""Hints: train a layer in the middle of the student to predict a layer of the teacher, through a trained regressor.

Paper:    FitNets: Hints for Thin Deep Nets (Romero, Ballas, Kahou, Chassang, Gatta, Bengio; ICLR 2015)
          https://arxiv.org/abs/1412.6550, section 2.2
Code:     https://github.com/HobbitLong/RepDistiller at eedab9d (`HintLoss`, `ConvReg`; not the authors')
Equation: D = sum_j mean((u_j - r_j(v_j))^2),   u the teacher's features, v the student's, r a trained regressor
          pretrain None: L' = L + w D;   else, as in the paper: L' = D before that time, L' = L afterwards
Shapes:   v (N, C, H, W) -r: convolution of (H - H' + 1) x (W - W' + 1), no padding-> (N, C', H', W') as u; tokens
          (N, L, D) -r: linear-> (N, L, D')
Defaults: weight = 1 (w), ours: the code has 100 after a batch norm; without one, 100 diverges at usual rates.
          One hint, at the middle of the common stages (the paper: of the layers)
Differs:  pretraining takes a given time; the paper stops when the hint's validation error stops falling. The distance
          is a mean over all values. A larger map of the teacher is averaged to the student's size. RepDistiller has
          batch norm and ReLU after r, and other kernels if one map is half as large as the other.
"""

from collections.abc import Sequence

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import Optimizer

from callbacks.frame.hint_regressors import Regressors, device_of, dry_run
from callbacks.frame.needs import Range
from callbacks.frame.schedule import Rate, Time, in_steps, parse_time, rate_now
from callbacks.frame.teacher import ComparesStages, Normalization, Source, Teacher
from callbacks.frame.trick import names_of
from zoo import Step
from zoo.frame.run import image_size_of

SIDE = 32  # pixels, for measuring shapes if neither model nor data module has an image size


def hint_loss(predicted: Tensor, u: Tensor) -> Tensor:
    """Return the term of one stage, a scalar.

    Args:
        predicted: r(v), maps or tokens.
        u: the teacher's features.

    Raises:
        ValueError: if the numbers of tokens differ.
    """
    if predicted.ndim == 4 and predicted.shape[2:] != u.shape[2:]:
        u = F.adaptive_avg_pool2d(u, (predicted.shape[2], predicted.shape[3]))
    if predicted.shape != u.shape:
        raise ValueError(
            f"Hints: the student has {predicted.shape[1]} tokens, the teacher {u.shape[1]}: take other stages, or a "
            "teacher that keeps all tokens"
        )
    return F.mse_loss(predicted.float(), u.float())


class Hints(ComparesStages):
    """Add the error of the predicted hints to the loss, or pretrain the lower part of the student with it.

    The student's optimizer trains the regressors. They are saved in the trick's state only, and removed after the fit.
    During pretraining, parameters above the hint do not change, and terms of tricks before this one have no effect. The
    paper continues with `KnowledgeDistillation` from the same teacher.

    Args:
        teacher: a trained `Classifier`, the path of a zoo model's checkpoint, `"hf:USER/REPO"` with one, or
            `"timm:NAME"`. Kept out of checkpoints.
        stages: names of the stages to compare; None: the middle one of the common stages.
        weight: w, > 0, or a `Schedule`; ignored with `pretrain`.
        pretrain: time for which only the hints are trained, such as "0.3dur", and after which they are off; None: no
            pretraining.
        normalization: (mean, std) of the teacher's training data, if different.
        image_size: side in pixels of the teacher's images, if different.

    Raises:
        ValueError: if an argument is out of its range, student or teacher lacks a stage, they have none in common, one
            has maps and the other tokens, or the teacher has an image size and the student's is unknown.
        TypeError: if the LightningModule has no stages or no `on_loss`; the message says what to add.
    """

    meets = (("stage 2", "features, regressed", "mean squared distance", "features"),)
    needs = (Range("weight", 0, off_at_low=True),)
    whole_weights = True
    examples = ({"stages": ("stage2",), "pretrain": "1ep"},)

    def __init__(
        self,
        teacher: Source,
        stages: Sequence[str] | None = None,
        weight: Rate = 1.0,
        pretrain: Time | None = None,
        normalization: Normalization | None = None,
        image_size: int | None = None,
    ):
        if pretrain is not None:
            parse_time(pretrain)
        self.teacher, self.stages, self.weight, self.pretrain = teacher, names_of(stages), weight, pretrain
        self.normalization, self.image_size = normalization, image_size
        self._teacher = Teacher(teacher, normalization, image_size)
        self._regressors: Regressors | None = None

    # ---- the regressors

    def prepare(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        names = self.common_stages(model)
        if stage != "fit":
            return
        names = names if self.stages else [names[(len(names) - 1) // 2]]
        side = self._side(trainer, model)
        v, self._rest = dry_run(model, names, torch.zeros(1, 3, side, side, device=device_of(model)))
        teacher = self._teacher.network
        images = torch.zeros(1, 3, *[self._teacher.image_size or side] * 2, device=device_of(teacher))
        u, _ = dry_run(teacher, names, images)
        self._regressors = Regressors.attach(model, v, u)

    def _side(self, trainer: L.Trainer, model: L.LightningModule) -> int:
        if (side := image_size_of(trainer, model)) is None and self._teacher.image_size is not None:
            raise ValueError(
                "Hints: the teacher has an image size of its own, and the student's is unknown: give the model or "
                "the data module an `image_size`"
            )
        return side or SIDE

    def state_dict(self) -> dict[str, Tensor]:
        return {} if self._regressors is None else dict(self._regressors.parts.state_dict())

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        if self._regressors is not None:
            self._regressors.parts.load_state_dict(state)

    # ---- the loss

    def on_fit_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        assert self._regressors is not None, "made by `prepare`"
        self.join_at(list(self._regressors.parts), trainer, model)

    def on_train_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._until = 0 if self.pretrain is None else in_steps(self.pretrain, trainer)

    def on_loss(self, model: L.LightningModule, step: Step) -> None:
        assert self._regressors is not None, "made by `prepare`"
        v, self._alone = self._student_hooks.take(), model.trainer.global_step < self._until
        if self.pretrain is not None and not self._alone:
            step.loss = step.loss + self._regressors.zero()
            return
        self._teacher.logits(step)
        u = self._teacher_hooks.take()
        distance = torch.stack([hint_loss(r, u[name]) for name, r in self._regressors.predict(v).items()]).sum()
        if self._alone:
            step.loss = distance + 0 * step.loss
        else:
            step.loss = step.loss + rate_now(self.weight, model.trainer) * distance

    def on_before_optimizer_step(self, trainer: L.Trainer, model: L.LightningModule, optimizer: Optimizer) -> None:
        if self._alone:  # with gradient None instead of 0, the optimizer skips them, weight decay included
            for parameter in self._rest:
                parameter.grad = None

    def leave(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        super().leave(trainer, model)
        if self._regressors is not None:
            self._regressors.detach(model)
