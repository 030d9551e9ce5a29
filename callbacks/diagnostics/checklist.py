"""Checklist: the notes' list of checks at the start of a run, on one page.

Paper:    none. The list is of the notes (001, network check list; 003, choosing a rate); most of it also in Practical
          Recommendations for Gradient-Based Training of Deep Architectures (Bengio; 2012)
          https://arxiv.org/abs/1206.5533 and A Recipe for Training Neural Networks (Karpathy; 2019)
          https://karpathy.github.io/2019/04/25/recipe/
Code:     none
Equation: those of LearningRateRange, InitialLoss, OverfitSamples, GradientFlow, UpdateRatio, DeadUnits, NaNGuard
Shapes:   none
Defaults: the page is printed after 50 optimizer steps, or at the end of a shorter run; the test of rates before them
          has 50 too, at least 20
Differs:  nothing to differ from
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
from callbacks.frame.diagnostic import Finding, Look
from callbacks.frame.trick import needs_range

CHECKS = (InitialLoss, OverfitSamples, GradientFlow, UpdateRatio, DeadUnits, NaNGuard)  # and the test of rates


def in_short(findings: Sequence[Finding]) -> list[Finding]:
    """The last of those that say the same of other steps or epochs, and how often it was said."""
    found: dict[tuple, list[Finding]] = {}
    for finding in findings:
        alike = re.sub(r"^(in epoch|at step) \d+ ", "", finding.text).split()[:3]
        found.setdefault((finding.well, *alike), []).append(finding)
    said = [(same[-1], f" ({len(same)} times)" if len(same) > 1 else "") for same in found.values()]
    return [Finding(finding.well, finding.text + often) for finding, often in said]


class Checklist(Look):
    """Runs all these checks in the first minutes of a fit and prints what they found, what is wrong first.

    The checks stand in the trainer's list until the page is printed; the test of rates comes before all tricks, and so
    does this one. Those that the user listed stay the user's own. On a LightningModule that does not call `on_loss`,
    InitialLoss is left out.

    Args:
        steps: optimizer steps after which the page is printed and the checks stop, >= 1; of the test of rates too.

    Raises:
        ValueError: for steps below 1.
    """

    def __init__(self, steps: int = 50):
        needs_range(self, "steps", steps, 1, float("inf"))
        self.steps, self._checks, self._rates = steps, [], None

    def setup(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        super().setup(trainer, model, stage)
        if stage != "fit":
            return
        left_out = {type(callback) for callback in trainer.callbacks}
        if not getattr(model, "calls_on_loss", False):
            left_out.add(InitialLoss)
        given = {UpdateRatio: {"every": max(1, self.steps // 2)}}
        self._checks = [check(**given.get(check, {})) for check in CHECKS if check not in left_out]
        self._rates = None if LearningRateRange in left_out else LearningRateRange(steps=max(20, self.steps))
        for check in self._all():
            check.quiet = True
        at = trainer.callbacks.index(self)
        trainer.callbacks.insert(0, trainer.callbacks.pop(at))
        trainer.callbacks[at + 1 : at + 1] = self._checks  # Lightning, going through the list, sets them up next

    def _all(self) -> list[Look]:
        return [*([] if self._rates is None else [self._rates]), *self._checks]

    def on_fit_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        if self._rates is not None:
            self._rates.on_fit_start(trainer, model)

    def on_train_batch_end(self, trainer: L.Trainer, model: L.LightningModule, *_) -> None:
        if self._checks and trainer.global_step >= self.steps:
            for check in self._checks:
                check.on_train_end(trainer, model)
            self._print(trainer)

    def on_train_end(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        if self._checks:
            self._print(trainer)

    def _print(self, trainer: L.Trainer) -> None:
        """The page, what is wrong first; then the checks leave the list."""
        said = [(type(check).__name__, finding) for check in self._all() for finding in in_short(check.findings)]
        self.findings = tuple(finding for _, finding in said)
        rows = sorted(said, key=lambda row: row[1].well)
        lines = [f"  {'ok  ' if finding.well else 'LOOK'}  {name:<19}{finding.text}" for name, finding in rows]
        rank_zero_info("\n".join([f"Checklist after {trainer.global_step} steps:", *lines]))
        self._leave(trainer, None)

    def _leave(self, trainer: L.Trainer, model: L.LightningModule | None) -> None:
        for check in self._checks:
            if isinstance(check, DeadUnits):
                check._remove()
        trainer.callbacks[:] = [callback for callback in trainer.callbacks if callback not in self._checks]
        self._checks, self._rates = [], None

    def on_exception(self, trainer: L.Trainer, model: L.LightningModule, exception: BaseException) -> None:
        self._leave(trainer, model)

    def teardown(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        self._leave(trainer, model)
