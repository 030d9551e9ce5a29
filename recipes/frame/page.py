"""The page at the end of a fit: metrics, what was found, the worst confusions with the names of the classes."""

from collections.abc import Iterable, Sequence
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import LearningRateMonitor
from rich.markup import escape
from rich.table import Table

from callbacks import FitVerdict, InitialLoss
from callbacks.frame.diagnostic import Diagnostic, Finding
from recipes.frame.mistakes import Confusions, worst_pairs
from zoo.frame.describe import describe


def lookouts(callbacks: Sequence[L.Callback], model: Any, data: Any) -> list[L.Callback]:
    """Return what looks at every run: initial loss and verdict, if the user's list lacks them, confusions and rates.

    They change nothing, cost one cross-entropy and give no warnings: the page has their findings. A detector has the
    rates alone: it has no cross-entropy, and no loss in validation. Rates are logged at the start of each epoch, and
    every `log_every_n_steps`, which may be more than an epoch has.
    """
    rates: list[L.Callback] = [LearningRateMonitor("epoch"), LearningRateMonitor("step")]
    if getattr(model, "task", "") == "detection":
        return rates
    kinds: list[type[Diagnostic]] = [FitVerdict]
    if getattr(model, "calls_on_loss", False) and not getattr(data, "multi_label", False):
        kinds.insert(0, InitialLoss)
    own = [kind() for kind in kinds if not any(isinstance(callback, kind) for callback in callbacks)]
    for diagnostic in own:
        diagnostic.quiet = True
    return [*own, Confusions(), *rates]


def findings(callbacks: Iterable[L.Callback]) -> list[Finding]:
    """Return the findings of all diagnostics of a run, problems first."""
    found = [finding for one in callbacks if isinstance(one, Diagnostic) for finding in one.findings]
    return sorted(found, key=lambda finding: finding.well)


def page(
    title: str,
    metrics: dict[str, float],
    tricks: Iterable[L.Callback],
    callbacks: Sequence[L.Callback] = (),
    classes: Sequence[str] = (),
) -> Table:
    """Show one run: metrics of the test (without one, of the validation), time, tricks, findings and confusions.

    Args:
        title: name and seed of the run.
        metrics: with "seconds" and "images/s" of training.
        tricks: of the user.
        callbacks: all that ran, `lookouts` among them.
        classes: their names.
    """
    grid = Table(title=title, show_header=False)
    tested = [name for name in sorted(metrics) if name.startswith("test/")]
    for name in tested or [name for name in sorted(metrics) if name.startswith("val/")]:
        grid.add_row(name, f"{metrics[name]:.4f}")
    grid.add_row("training", f"{metrics['seconds']:.1f} s, {metrics['images/s']:,.0f} images/s")
    grid.add_row("tricks on", escape("\n".join(map(describe, tricks)) or "none"))
    for finding in findings(callbacks):
        grid.add_row("found" if finding.well else "LOOK", escape(finding.text))
    for matrix in (one.matrix for one in callbacks if isinstance(one, Confusions) and one.matrix is not None):
        names = classes or [f"class {i}" for i in range(len(matrix))]
        wrong = int(matrix.sum() - matrix.diag().sum())
        grid.add_row("confused", escape("\n".join(worst_pairs(matrix, names)) or "nothing"))
        grid.add_row("mistakes", f"{wrong} of {int(matrix.sum())} images")
    return grid
