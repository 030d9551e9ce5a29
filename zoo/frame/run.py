"""Attributes of a Trainer that Lightning creates at run time, where type checkers do not see them."""

from typing import Any

import lightning as L


def callbacks_of(trainer: L.Trainer) -> list[L.Callback]:
    """Return the list of the run's callbacks itself: what is changed in it, changes in the run."""
    callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]  # set by Lightning's connector
    return callbacks


def is_fitting(trainer: L.Trainer) -> bool:
    """Return whether the run trains."""
    return trainer.state.fn == "fit"


def loaders_evaluated(trainer: L.Trainer) -> int:
    """Return how many loaders the evaluation that begins has."""
    batches = trainer.num_test_batches if trainer.testing else trainer.num_val_batches
    return len(batches) if isinstance(batches, list) else 1


def datamodule_of(trainer: L.Trainer) -> Any:
    """Return the run's data module, or None. Data modules have attributes of their own, so that its type is open."""
    return trainer.datamodule  # type: ignore[attr-defined]  # set by Lightning's connector


def log_every_n_steps(trainer: L.Trainer) -> int:
    """Return after how many steps the run logs; 0 where it never does."""
    steps: int = trainer.log_every_n_steps  # type: ignore[attr-defined]  # set by Lightning's connector
    return steps


def is_fast_dev_run(trainer: L.Trainer) -> bool:
    """Return whether the run is a trial of a few batches: `Trainer(fast_dev_run=...)`."""
    return bool(trainer.fast_dev_run)  # type: ignore[attr-defined]  # set by Lightning's `_init_debugging_flags`


def image_size_of(trainer: L.Trainer, model: L.LightningModule) -> int | None:
    """Return the side of the images in pixels, as the model says, or else the data module; None if neither does."""
    return getattr(model, "image_size", None) or getattr(datamodule_of(trainer), "image_size", None)
