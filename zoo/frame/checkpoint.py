"""Save a model's description and surgery in its checkpoints, and restore them when one is loaded."""

from pathlib import Path
from typing import IO, Any, Self

import lightning as L

from zoo.frame import surgery
from zoo.frame.about import ABOUT, CLASS, about, check_classes, names_of, restore
from zoo.frame.preprocessing import Preprocessing
from zoo.frame.resume_checks import check_groups, check_optimizer
from zoo.frame.run import callbacks_of, datamodule_of, is_fitting
from zoo.frame.sharded import class_name
from zoo.frame.weight_files import explain_errors


class Checkpointed(L.LightningModule):
    """A module whose checkpoints hold its class, class names, preprocessing, tricks, versions, surgery and averages."""

    replace_classes = False  # True: a run may resume on data with other class names

    def __init__(self) -> None:
        super().__init__()
        self.surgery: surgery.Record = []
        self.classes: tuple[str, ...] | None = None  # names, from the data or a checkpoint
        self.pretrained_classes: tuple[str, ...] | None = None  # of pretrained weights; data may name them otherwise
        self.preprocessing: Preprocessing | None = None  # of pictures, from the data or a checkpoint: see `predict`
        self.untrained = True  # until weights are loaded or trained; only fresh weights may be initialised by a trick
        self._resumed: dict[str, Any] | None = None  # the checkpoint that a fit resumes from, until the fit has begun

    @classmethod
    def load_from_checkpoint(
        cls,
        checkpoint_path: str | Path | IO[bytes],
        map_location: Any = None,
        hparams_file: str | Path | None = None,
        strict: bool | None = None,
        weights_only: bool | None = True,
        **kwargs: Any,
    ) -> Self:
        """Load as Lightning does, with `zoo.load`'s errors for truncated files and files with code."""
        with explain_errors(checkpoint_path, weights_only):
            return super().load_from_checkpoint(
                checkpoint_path, map_location, hparams_file, strict, weights_only, **kwargs
            )

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Repeat the surgery that the checkpoint records.

        Raises:
            ValueError: the network had other surgery already, or the run has other classes or another optimizer than
                the checkpoint.
        """
        found = checkpoint.get(ABOUT, {})
        data = datamodule_of(self._trainer) if self._trainer else None
        if not self.replace_classes:
            check_classes(found.get("classes"), data)
        surgery.follow(self, checkpoint.get("surgery", ()))
        if data is None:
            restore(self, found)
        # A rate finder restores its own checkpoint within the run, when there are optimizers already.
        if self._trainer and is_fitting(self._trainer) and not self._trainer.optimizers:
            check_optimizer(checkpoint, self.hparams.get("optimizer", ""))
            self._resumed = checkpoint
        self.untrained = False

    def on_fit_start(self) -> None:
        """Check the parameter groups after all tricks have formed them, and before their state is restored."""
        checkpoint, self._resumed = self._resumed, None
        if checkpoint is not None:
            check_groups(checkpoint, self.trainer.optimizers, names_of(callbacks_of(self.trainer)))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the model's class, class names, preprocessing, tricks, versions, surgery and every average of a trick.

        Weights-only files have them too.
        """
        checkpoint[CLASS] = class_name(self)
        checkpoint[ABOUT] = about(self, self._trainer)
        if self.surgery:
            checkpoint["surgery"] = self.surgery
        tricks = callbacks_of(self._trainer) if self._trainer else []
        averages = {t.state_key: average for t in tricks if (average := getattr(t, "average", None))}
        if averages:
            checkpoint["averages"] = averages
