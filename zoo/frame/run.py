"""Typed access to attributes of a Trainer that Lightning creates at run time, unseen by type checkers."""

from typing import Any

import lightning as L


def callbacks_of(trainer: L.Trainer) -> list[L.Callback]:
    """Return the run's own list of callbacks, not a copy: changing it changes the run."""
    callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]  # set by Lightning's connector
    return callbacks


def is_fitting(trainer: L.Trainer) -> bool:
    """Return whether the run trains."""
    return trainer.state.fn == "fit"


def count_loaders(trainer: L.Trainer) -> int:
    """Return the number of loaders of the evaluation that begins."""
    batches = trainer.num_test_batches if trainer.testing else trainer.num_val_batches
    return len(batches) if isinstance(batches, list) else 1


def datamodule_of(trainer: L.Trainer) -> Any:
    """Return the run's data module, or None. Its type is `Any`, because data modules have attributes of their own."""
    return trainer.datamodule  # type: ignore[attr-defined]  # set by Lightning's connector


def log_every_n_steps(trainer: L.Trainer) -> int:
    """Return the number of steps between two logs; 0 if the run never logs."""
    steps: int = trainer.log_every_n_steps  # type: ignore[attr-defined]  # set by Lightning's connector
    return steps


def is_fast_dev_run(trainer: L.Trainer) -> bool:
    """Return whether the run tries only a few batches: `Trainer(fast_dev_run=...)`."""
    return bool(trainer.fast_dev_run)  # type: ignore[attr-defined]  # set by Lightning's `_init_debugging_flags`


def image_size_of(trainer: L.Trainer, model: L.LightningModule) -> int | None:
    """Return the side of the images in pixels from the model, else from the data module, else None."""
    return getattr(model, "image_size", None) or getattr(datamodule_of(trainer), "image_size", None)
