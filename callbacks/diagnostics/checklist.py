"""Checklist: run all checks of the start of a training, and print their results on one page.

Paper:    none; the selection is ours. Most checks are in Practical Recommendations for Gradient-Based Training of Deep
          Architectures (Bengio; 2012) https://arxiv.org/abs/1206.5533 and A Recipe for Training Neural Networks
          (Karpathy; 2019) https://karpathy.github.io/2019/04/25/recipe/
Code:     none
Equation: those of LearningRateRange, InitialLoss, OverfitSamples, GradientFlow, UpdateRatio, DeadUnits, NaNGuard
Shapes:   none
Defaults: steps = 50, ours: the page is printed after 50 optimizer steps, or at the end of a shorter run. The
          learning-rate range test takes as many steps, but at least 20
Differs:  no reference
"""

import re
from collections.abc import Sequence

import lightning as L
from lightning.pytorch.utilities import rank_zero_info

from callbacks.diagnostics.dead_units import DeadUnits
from callbacks.diagnostics.gradient_flow import GradientFlow
from callbacks.diagnostics.initial_loss import InitialLoss
from callbacks.diagnostics.learning_rate_range import LearningRateRange
from callbacks.diagnostics.nan_guard import NaNGuard
from callbacks.diagnostics.overfit_samples import OverfitSamples
from callbacks.diagnostics.update_ratio import UpdateRatio
from callbacks.frame.diagnostic import Diagnostic, Finding
from callbacks.frame.needs import Range
from zoo.frame.run import callbacks_of

CHECKS: tuple[type[Diagnostic], ...] = (InitialLoss, OverfitSamples, GradientFlow, UpdateRatio, DeadUnits, NaNGuard)


def summarise(findings: Sequence[Finding]) -> list[Finding]:
    """Keep the last of the findings that differ only in their step or epoch, and append how many there were."""
    groups: dict[tuple[bool | str, ...], list[Finding]] = {}
    for finding in findings:
        start = re.sub(r"^(in epoch|at step) \d+ ", "", finding.text).split()[:3]
        groups.setdefault((finding.well, *start), []).append(finding)
    last = [(same[-1], f" ({len(same)} times)" if len(same) > 1 else "") for same in groups.values()]
    return [Finding(finding.well, finding.text + times) for finding, times in last]


class Checklist(Diagnostic):
    """Run all checks in the first steps of a fit, and print their findings, problems first.

    The checks join the trainer's callbacks until the page is printed. The learning-rate range test, and so this trick,
    comes before all others. A check that is in the user's own list is not run twice. Without `on_loss` in the
    LightningModule, InitialLoss is left out.

    Args:
        steps: optimizer steps after which the page is printed and the checks stop, >= 1; also the number of steps of
            the learning-rate range test.

    Raises:
        ValueError: if steps is below 1.
    """

    needs = (Range("steps", 1),)
    takes_boxes = False  # its checks are of classes
    whole_weights = True
    examples = ({"steps": 2},)

    def __init__(self, steps: int = 50):
        self.steps = steps
        self._checks: list[Diagnostic] = []
        self._rates: LearningRateRange | None = None

    def prepare(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        super().prepare(trainer, model, stage)
        if stage != "fit":
            return
        left_out = {type(callback) for callback in callbacks_of(trainer)}
        if not getattr(model, "calls_on_loss", False):
            left_out.add(InitialLoss)
        self._checks = [
            UpdateRatio(every=max(1, self.steps // 2)) if check is UpdateRatio else check()
            for check in CHECKS
            if check not in left_out
        ]
        self._rates = None if LearningRateRange in left_out else LearningRateRange(steps=max(20, self.steps))
        for check in self._members():
            check.quiet = True
        callbacks = callbacks_of(trainer)
        at = callbacks.index(self)
        callbacks.insert(0, callbacks.pop(at))
        callbacks[at + 1 : at + 1] = self._checks  # Lightning iterates over this list: it sets them up next

    def _members(self) -> list[Diagnostic]:
        return [*([] if self._rates is None else [self._rates]), *self._checks]

    def on_fit_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        if self._rates is not None:
            self._rates.on_fit_start(trainer, model)

    def on_train_batch_end(self, trainer: L.Trainer, model: L.LightningModule, *_) -> None:
        if self._checks and trainer.global_step >= self.steps:
            for check in self._checks:
                check.on_train_end(trainer, model)
            self._print(trainer, model)

    def on_train_end(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        if self._checks:
            self._print(trainer, model)

    def _print(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        """Print the page, problems first, and remove the checks."""
        found = [(type(check).__name__, finding) for check in self._members() for finding in summarise(check.findings)]
        self.findings = tuple(finding for _, finding in found)
        rows = sorted(found, key=lambda row: row[1].well)
        lines = [f"  {'ok  ' if finding.well else 'LOOK'}  {name:<19}{finding.text}" for name, finding in rows]
        rank_zero_info("\n".join([f"Checklist after {trainer.global_step} steps:", *lines]))
        self.leave(trainer, model)

    def leave(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        for check in self._checks:
            check.remove_hooks()
        callbacks = callbacks_of(trainer)
        callbacks[:] = [callback for callback in callbacks if callback not in self._checks]
        self._checks, self._rates = [], None
