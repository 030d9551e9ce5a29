"""The folder of a run, `runs/<name>/<time>/`, and `run.yaml` in it, which tells what the run was."""

import itertools
import sys
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

import lightning as L
import yaml  # type: ignore[import-untyped]  # its stubs are a separate package

from recipes.frame import records
from zoo.frame.describe import by_name, plain
from zoo.frame.run import datamodule_of

RUNS = Path("runs")


def folder_of(name: str) -> Path:
    """Return a folder that does not exist yet: `runs/<name>/2026-01-31_12-00-00`, with `-2` for a second in a second.

    Args:
        name: of the recipe, or of what is trained.
    """
    time = RUNS / name / datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    names = (time.with_name(f"{time.name}-{i}") if i > 1 else time for i in itertools.count(1))
    return next(path for path in names if not path.exists())


class Description(L.Callback):
    """Write `run.yaml` at the start of a fit: model, data, tricks, Trainer, command, versions, commit, hardware.

    Args:
        folder: of the run.
        name: of the run.
        tricks: callbacks of the user.
        trainer: arguments of `Trainer`.
        more: further entries, such as the recipe's arguments and the seed.
    """

    def __init__(
        self, folder: Path, name: str, tricks: Iterable[L.Callback], trainer: dict[str, Any], **more: Any
    ) -> None:
        self.folder, self.name, self.tricks = folder, name, list(tricks)
        self.arguments, self.more = trainer, more

    def on_fit_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        """Write the file, on the first process."""
        if not trainer.is_global_zero:
            return
        data = datamodule_of(trainer)
        found = {
            "name": self.name,
            "started": datetime.now().isoformat(timespec="seconds"),
            "command": " ".join(["zoo", *sys.argv[1:]]) if Path(sys.argv[0]).name == "zoo" else None,
            **self.more,
            "model": by_name([model]),
            "data": by_name([] if data is None else [data]),
            "tricks": by_name(self.tricks),
            "trainer": self.arguments,
            "versions": records.versions(),
            "commit": records.commit(),
            "hardware": records.hardware(str(trainer.strategy.root_device)),
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "run.yaml").write_text(yaml.safe_dump(plain(found), sort_keys=False))
