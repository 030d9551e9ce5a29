"""Loggers of a run by name: "csv" writes `metrics.csv`; "tensorboard" and "wandb" write their own files beside it."""

import csv
import warnings
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger, Logger

Kind = Literal["csv", "tensorboard", "wandb"]


class MetricsFile(CSVLogger):
    """Write `metrics.csv` and `hparams.yaml` into a folder that may hold other files; go on with it after a resume.

    Args:
        folder: of the run.
        step: optimizer steps that are done already, of a resumed run: their rows are kept; 0: a new file.
    """

    def __init__(self, folder: Path, step: int = 0):
        super().__init__(folder, name="", version="")
        self.step = step

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """Lightning's writer, which would begin a new file."""
        if self._experiment is None:
            rows = self._read_kept()
            with warnings.catch_warnings():  # the folder holds other files, and keeps them
                warnings.filterwarnings("ignore", ".* exists and is not empty", UserWarning)
                writer: Any = super().experiment
            if rows:
                writer.metrics = rows
                writer.save()
        return self._experiment

    def _read_kept(self) -> list[dict[str, Any]]:
        path = Path(self.log_dir) / "metrics.csv"
        if not self.step or not path.is_file():
            return []
        with open(path, newline="") as file:
            return [row for row in csv.DictReader(file) if int(row["step"]) < self.step]


def loggers_of(kind: Kind, folder: Path, name: str, step: int = 0) -> list[Logger]:
    """Make the loggers of a run: always `metrics.csv`, and another one beside it.

    Args:
        kind: "csv": nothing beside it.
        folder: of the run.
        name: of the run, the project's name at Weights & Biases.
        step: see `MetricsFile`.

    Raises:
        ImportError: the package is not installed; says how to install it.
        ValueError: there is no such logger.
    """
    found: list[Logger] = [MetricsFile(folder, step)]
    if kind == "csv":
        return found
    if kind not in ("tensorboard", "wandb"):
        raise ValueError(f"there is no logger {kind!r}; there are: csv, tensorboard, wandb")
    if find_spec(kind) is None:
        raise ImportError(f"the logger {kind!r} needs another package: pip install {kind}")
    module = import_module("lightning.pytorch.loggers")
    if kind == "tensorboard":
        return [*found, module.TensorBoardLogger(folder, name="", version="")]
    return [*found, module.WandbLogger(project=name, save_dir=folder)]
