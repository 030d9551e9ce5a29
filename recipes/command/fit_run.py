"""What a run of `zoo fit` leaves: folder, loggers, description, report and page, as those of a recipe."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import LearningRateMonitor
from lightning.pytorch.loggers import Logger
from rich.console import Console

from datamodules import ImageData
from recipes.frame import report
from recipes.frame.folder import Description
from recipes.frame.history import History, Watch
from recipes.frame.lines import Lines
from recipes.frame.loggers import loggers_of
from recipes.frame.page import lookouts, page
from zoo.frame.classifier import Classifier
from zoo.frame.run import callbacks_of


@dataclass
class FitRun:
    """One fit, in the form that a report shows.

    Attributes:
        name: of the run.
        folder: of the run.
        seed: of every draw.
        model, data: any; a module that is not a `Classifier` gets a folder, a log and a description alone.
        tricks: callbacks that the user listed.
        step: optimizer steps of the run that this one goes on with.
    """

    name: str
    folder: Path
    seed: int
    model: Any
    data: Any
    tricks: Sequence[L.Callback]
    step: int = 0
    history: History = field(default_factory=History)
    watch: Watch = field(default_factory=Watch)

    def trainer_arguments(self, given: dict[str, Any]) -> dict[str, Any]:
        """Return arguments of `Trainer` in place of those that the user left at their defaults.

        Args:
            given: all arguments, as the command line gives them.
        """
        loggers = self._loggers(given.get("logger"))
        bar = given.get("enable_progress_bar")
        bar = Console().is_terminal if bar is None else bar
        known = {name: value for name, value in given.items() if value is not None and name != "callbacks"}
        callbacks: list[L.Callback] = [*self.tricks]
        callbacks.append(Description(self.folder, self.name, self.tricks, known, seed=self.seed))
        if isinstance(self.model, Classifier):
            own = lookouts(self.tricks, self.model, self.data)
            rates = [one for one in own if isinstance(one, LearningRateMonitor)]
            callbacks += [self.watch, *(own if loggers else (one for one in own if one not in rates))]
            if loggers:
                loggers += [self.history] if bar else [self.history, Lines(given.get("max_epochs"))]
        root = {"default_root_dir": self.folder, "logger": loggers, "enable_progress_bar": bar}
        return {**root, "callbacks": callbacks}

    def _loggers(self, given: Any) -> list[Logger]:
        if given in (None, True):
            return loggers_of("csv", self.folder, self.name, self.step)
        return [*given] if isinstance(given, list) else [given] if given else []

    def tell(self, trainer: L.Trainer) -> None:
        """Draw the report and print the page, after the fit."""
        if not (trainer.is_global_zero and isinstance(self.model, Classifier) and self.watch.seconds):
            return
        metrics = {name: value.item() for name, value in trainer.callback_metrics.items()}
        metrics |= {"seconds": self.watch.seconds, "images/s": self.watch.images / self.watch.seconds}
        classes = getattr(self.data, "classes", ())
        Console().print(page(self.name, metrics, self.tricks, callbacks_of(trainer), classes))
        if isinstance(self.data, ImageData):
            report.draw(self, self.folder / "report.png")
        Console(soft_wrap=True).print(f"{self.folder}: run.yaml, config.yaml, metrics.csv, report.png", highlight=False)
