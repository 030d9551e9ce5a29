"""Runs of pictures: small, silent, the same each time, and without a trace in the process."""

import io
import logging
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from copy import deepcopy
from typing import Any

import lightning as L
from lightning.pytorch.utilities.seed import isolate_rng
from torch.utils.data import DataLoader, Dataset

from callbacks.frame.trick import Trick, parameters

SEEDS = ("PL_GLOBAL_SEED", "PL_SEED_WORKERS")  # Lightning's; `zoo.frame.seeds.global_seed` reads the first


@contextmanager
def apart(seed: int = 0) -> Iterator[None]:
    """Draw from this seed inside the block, without warnings, messages and bars; restore all random states after it."""
    level, given = logging.root.manager.disable, {name: os.environ.get(name) for name in SEEDS}
    with isolate_rng(), warnings.catch_warnings(), redirect_stderr(io.StringIO()):
        try:
            warnings.simplefilter("ignore")
            logging.disable(logging.WARNING)
            L.seed_everything(seed, verbose=False)
            yield
        finally:
            logging.disable(level)
            for name, value in given.items():
                os.environ.pop(name, None)
                if value is not None:
                    os.environ[name] = value


def fresh(trick: Trick, **changes: Any) -> Any:
    """Return a new trick with the arguments of this one, some of them changed. Arguments that it lacks are ignored."""
    kind: Callable[..., Trick] = type(trick)
    given = {name: getattr(trick, name) for name in parameters(kind)}
    return kind(**given | {name: value for name, value in changes.items() if name in given})


class Batches(Dataset[list[Any]]):
    """The same batch many times, as copies that tricks may change."""

    def __init__(self, batch: Sequence[Any], count: int):
        self.batch, self.count = batch, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> list[Any]:
        if i >= self.count:
            raise IndexError(i)
        return deepcopy([*self.batch])


@contextmanager
def trainer_of(callbacks: Sequence[L.Callback], **arguments: Any) -> Iterator[L.Trainer]:
    """Make a silent Trainer on the CPU, whose folder is gone after the block. Use it inside `apart`."""
    off = dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing"), False)
    with tempfile.TemporaryDirectory() as folder:
        yield L.Trainer(
            accelerator="cpu", devices=1, callbacks=[*callbacks], default_root_dir=folder, **{**off, **arguments}
        )


def fit(
    model: L.LightningModule,
    batch: Sequence[Any],
    callbacks: Sequence[L.Callback],
    steps: int = 1,
    epochs: int = 1,
) -> None:
    """Fit on the same batch again and again, inside `apart`.

    Args:
        model: changed by training.
        batch: images and targets.
        callbacks: of the run, in their order.
        steps: batches an epoch.
        epochs: passes.
    """
    with trainer_of(callbacks, max_epochs=epochs) as trainer:
        trainer.fit(model, DataLoader(Batches(batch, steps), batch_size=None))
