"""What every diagnostic shares: it looks, keeps what it found as sentences, and warns where something is wrong."""

from typing import NamedTuple

import lightning as L
from lightning.pytorch.utilities import rank_zero_warn

from callbacks.frame.trick import Trick


class Finding(NamedTuple):
    """One sentence of a diagnostic: what was seen, and whether that is as it should be."""

    well: bool
    text: str


class Look(Trick):
    """Abstract. Changes nothing of the run; `findings` are those of the last fit.

    Attributes:
        quiet: keeps findings without a warning, as `Checklist` wants it, which prints them all on one page.
    """

    looks_only = True
    quiet = False
    findings: tuple[Finding, ...] = ()

    def prepare(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        if stage == "fit":
            self.findings = ()

    def say(self, well: bool, text: str) -> None:
        self.findings += (Finding(well, text),)
        if not well and not self.quiet:
            rank_zero_warn(f"{type(self).__name__}: {text}")
