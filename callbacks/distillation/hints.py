"""Hints: a layer in the student's middle learns to predict the teacher's, through a regressor of its own.

Paper:    FitNets: Hints for Thin Deep Nets (Romero, Ballas, Kahou, Chassang, Gatta, Bengio; ICLR 2015)
          https://arxiv.org/abs/1412.6550, section 2.2
Code:     https://github.com/HobbitLong/RepDistiller at eedab9d (`HintLoss`, `ConvReg`; not the authors')
Equation: D = sum_j mean((u_j - r_j(v_j))^2),   u the teacher's features, v the student's, r a regressor that is trained
          pretrain None: L' = L + w D;   else, as in the paper: L' = D until then, L' = L from then on
Shapes:   v (N, C, H, W) -r: convolution of (H - H' + 1) x (W - W' + 1), no padding-> (N, C', H', W') as u; tokens
          (N, L, D) -r: linear-> (N, L, D')
Defaults: weight = 1 (w), ours: the code has 100 behind a batch norm; without one, 100 diverges at usual rates. One
          hint, the middle one of the stages that both name (the paper: of the layers)
Differs:  the paper pretrains until the hint's error on validation images stops falling, here for a given time, and its
          distance is half the sum (from memory, not checked against the paper). A teacher's larger map is averaged down
          to the student's. That code has batch norm and ReLU after r, other kernels where one map is half of the other.
"""

from collections.abc import Sequence

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from callbacks.frame.feature_hooks import FeatureHooks
from callbacks.frame.needs import Range, stage_names
from callbacks.frame.schedule import Rate, Time, in_steps, parse_time, rate_now
from callbacks.frame.teacher import Source, Taught, Teacher
from callbacks.frame.trick import names_of
from callbacks.frame.unsaved_parameters import UnsavedParameters, without_hooks
from zoo import Step
from zoo.frame.exact_resume import global_seed, mix

SIDE = 32  # pixels of the dry run where neither network nor data cares


def regressor(v: torch.Size, u: torch.Size) -> nn.Module:
    """The layer that makes features of the shape u of those of the shape v, with the batch in front.

    Raises:
        ValueError: one has maps, the other tokens.
    """
    if len(v) != len(u):
        raise ValueError(f"Hints: the student's features are {tuple(v)}, the teacher's {tuple(u)}: take other stages")
    if len(v) < 4:
        return nn.Linear(v[-1], u[-1])
    return nn.Conv2d(v[1], u[1], [max(1, mine - theirs + 1) for mine, theirs in zip(v[2:], u[2:], strict=True)])


def hint_loss(predicted: Tensor, u: Tensor) -> Tensor:
    """The term of one stage: predicted r(v) and the teacher's u, maps or tokens -> scalar."""
    if predicted.ndim == 4 and predicted.shape[2:] != u.shape[2:]:
        u = F.adaptive_avg_pool2d(u, predicted.shape[2:])
    if predicted.shape != u.shape:
        raise ValueError(
            f"Hints: the student has {predicted.shape[1]} tokens, the teacher {u.shape[1]}: take other stages, or a "
            "teacher that drops no tokens"
        )
    return F.mse_loss(predicted.float(), u.float())


class Hints(Taught):
    """Adds the error of the predicted hints to the loss, or trains the student's lower half with them alone at first.

    The regressors are trained with the student's optimizer, are in no file but the trick's own state, and are gone
    after the fit. While `pretrain` lasts, what the hint does not reach stays as it is, and what tricks before this one
    have added to the loss has no effect; the paper goes on with `KnowledgeDistillation` of the same teacher.

    Args:
        teacher: a trained `Classifier`, the path of a checkpoint of a zoo model, `"hf:USER/REPO"` with one, or
            `"timm:NAME"`. Stays out of checkpoints.
        stages: names of the stages to hint at; None: the middle one of those that both have.
        weight: w, > 0, or a `Schedule`; does not matter with `pretrain`.
        pretrain: the time that the hints alone are learned, after which they are no more; None: no such time.
        normalization: (mean, std) that the teacher was trained with, if the data has others.
        image_size: side in pixels to which images are resized for the teacher, if it was trained on others.

    Raises:
        ValueError: for an argument out of its range, a stage that one of the two has not, none in common, maps beside
            tokens, or a teacher with an image size beside a student whose images are of an unknown one.
        TypeError: for a LightningModule without stages or `on_loss`; says what to add.
    """

    needs = (Range("weight", 0, off_at_low=True),)

    def __init__(
        self,
        teacher: Source,
        stages: Sequence[str] | None = None,
        weight: Rate = 1.0,
        pretrain: Time | None = None,
        normalization: tuple | None = None,
        image_size: int | None = None,
    ):
        if pretrain is not None:
            parse_time(pretrain)
        self.teacher, self.stages, self.weight, self.pretrain = teacher, names_of(stages), weight, pretrain
        self.normalization, self.image_size = normalization, image_size
        self._teacher, self._regressors = Teacher(teacher, normalization, image_size), None

    # ---- the regressors

    def prepare(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        names = self._stages(model)
        if stage != "fit":
            return
        side = self._side(trainer, model)
        v, self._rest = self._dry_run(model, names, torch.zeros(1, 3, side, side, device=model.device))
        teacher = self._teacher.network
        images = torch.zeros(1, 3, *[self._teacher.image_size or side] * 2, device=_device(teacher))
        u, _ = self._dry_run(teacher, names, images)
        self._name = next(name for i in range(99) if not hasattr(model, name := f"hints{i}"))
        with torch.random.fork_rng(devices=[]):  # drawn by the run's seed alone: a second fit begins as the first
            torch.default_generator.manual_seed(mix(global_seed(), len(self._name), int(self._name[5:])))
            self._regressors = UnsavedParameters({name: regressor(v[name], u[name]) for name in names}, self._name)
        model.add_module(self._name, self._regressors.to(model.device))

    def _side(self, trainer: L.Trainer, model: L.LightningModule) -> int:
        known = (getattr(o, "image_size", None) for o in (model, getattr(trainer, "datamodule", None)))
        if (side := next(filter(None, known), None)) is None and self._teacher.image_size is not None:
            raise ValueError(
                "Hints: the teacher wants images of its own size, and neither model nor data module says how large "
                "the student's are: give one of them an `image_size`"
            )
        return side or SIDE

    def _stages(self, model: L.LightningModule) -> list[str]:
        theirs = stage_names(self, self._teacher.network, self.stages)
        common = [name for name in stage_names(self, model, self.stages) if name in theirs]
        if not common:
            raise ValueError("Hints: student and teacher have no stage in common: name them alike")
        return common if self.stages else [common[(len(common) - 1) // 2]]

    def _dry_run(
        self, network: nn.Module, names: list[str], images: Tensor
    ) -> tuple[dict[str, torch.Size], list[nn.Parameter]]:
        """Shapes of the features, and the parameters that they do not depend on."""
        with without_hooks(network, training=False), torch.enable_grad():
            taps = FeatureHooks(network.stages, names)
            network(images)
            features = taps.take()
            taps.remove()
        trained = [p for p in network.parameters() if p.requires_grad]
        end = sum(feature.float().sum() for feature in features.values())
        reached = torch.autograd.grad(end, trained, allow_unused=True) if trained else []
        rest = [p for p, gradient in zip(trained, reached, strict=True) if gradient is None]
        return {name: features[name].shape for name in names}, rest

    def state_dict(self) -> dict[str, Tensor]:
        return {} if self._regressors is None else dict(self._regressors.parts.state_dict())

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        if self._regressors is not None:
            self._regressors.parts.load_state_dict(state)

    # ---- the loss

    def on_fit_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._teacher.join(trainer, model, None)
        self._student_hooks = FeatureHooks(model.stages, list(self._regressors.parts))
        self._teacher_hooks = FeatureHooks(self._teacher.network.stages, list(self._regressors.parts))
        self.keep_hooks(self._student_hooks, self._teacher_hooks)

    def on_train_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._until = 0 if self.pretrain is None else in_steps(self.pretrain, trainer)

    def on_loss(self, model: L.LightningModule, step: Step) -> None:
        v, self._alone = self._student_hooks.take(), model.trainer.global_step < self._until
        if self.pretrain is not None and not self._alone:  # a parameter without gradient would stop DDP
            step.loss = step.loss + 0 * sum(p.sum() for p in self._regressors.parameters())
            return
        self._teacher.logits(step)
        u = self._teacher_hooks.take()
        distance = sum(hint_loss(r(v[name]), u[name]) for name, r in self._regressors.parts.items())
        step.loss = (
            distance + 0 * step.loss if self._alone else step.loss + rate_now(self.weight, model.trainer) * distance
        )

    def on_before_optimizer_step(self, trainer: L.Trainer, model: L.LightningModule, optimizer) -> None:
        if self._alone:  # no gradient instead of 0: the optimizer then leaves them out, weight decay too
            for parameter in self._rest:
                parameter.grad = None

    def leave(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        super().leave(trainer, model)
        if self._regressors is not None and getattr(model, self._name, None) is self._regressors:
            delattr(model, self._name)


def _device(network: nn.Module) -> torch.device:
    return next((p.device for p in network.parameters()), torch.device("cpu"))
