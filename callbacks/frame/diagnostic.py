"""Frame of the diagnostics: they change nothing, keep their findings as sentences and warn of problems."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import lightning as L
from lightning.pytorch.utilities import rank_zero_warn

from callbacks.frame.trick import Trick


class Finding(NamedTuple):
    """One sentence of a diagnostic, and whether it is good news (`well`) or a problem."""

    well: bool
    text: str


class Diagnostic(Trick):
    """Abstract. Watches a run without changing it.

    Attributes:
        findings: of the last fit.
        measured: what the numbers of the last measurement are, and the numbers: by name of a part of the network, or by
            step; None where there are none.
        quiet: give no warnings, because `Checklist` prints all findings on one page.
    """

    picture = "findings"
    looks_only = True
    quiet = False
    measured: tuple[str, Mapping[str, float] | Sequence[float]] | None = None
    findings: tuple[Finding, ...] = ()

    def prepare(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        if stage == "fit":
            self.findings = ()

    def say(self, well: bool, text: str) -> None:
        """Add a finding, and warn if it is a problem.

        Args:
            well: whether it is good news.
            text: the sentence.
        """
        self.findings += (Finding(well, text),)
        if not well and not self.quiet:
            rank_zero_warn(f"{type(self).__name__}: {text}")
