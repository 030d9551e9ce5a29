"""One run of a comparison, in a process of its own: claimed by a lock, resumed where it was stopped, recorded once.

A run's folder has `lock`, `log.txt`, `run/last.ckpt` while it trains, and `result.json` when it is done. The lock is
the system's: it dies with the process. The result appears whole, by a rename.
"""

import contextlib
import json
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import cloudpickle
import lightning as L
import torch
from filelock import FileLock, Timeout
from torch import Tensor

from recipes.frame.answers import Answers, pack
from recipes.frame.recipe import ACCURACY, Recipe
from zoo.frame.outputs import over_views

Build = Callable[..., Recipe]
Change = Callable[[Recipe], Recipe]


@dataclass
class Job:
    """The settings of one run.

    Attributes:
        key: names the run and its folder; the same key is the same run.
        arm: of the comparison.
        seed: of the run; with `folds`, that of all of them.
        build: seed -> recipe.
        change: recipe -> recipe of the arm.
        fold, folds: train without this part of the training images, and measure on it; None: on the test images.
        threads: of torch, for this run.
        goal: metric that the comparison is about, see `Recipe`.
    """

    key: str
    arm: str
    seed: int
    build: Build
    change: Change
    fold: int | None = None
    folds: int | None = None
    threads: int = 1
    goal: str = ACCURACY

    def __str__(self) -> str:
        return f"{self.arm}, " + (f"seed {self.seed}" if self.fold is None else f"fold {self.fold + 1}/{self.folds}")

    def recipe(self) -> Recipe:
        """Build the recipe of this run."""
        recipe = self.change(self.build(seed=self.seed))
        if self.fold is not None:
            data: Any = recipe.data
            data.fold, data.folds, data.val_split = self.fold, self.folds, None
            recipe.trainer = {**recipe.trainer, "limit_val_batches": 1.0}
        return recipe


class Progress(L.Callback):
    """Report the run's progress to the parent, once an epoch."""

    def __init__(self, tell: Callable[[float], None]):
        self.tell = tell

    def on_train_epoch_end(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        steps = trainer.estimated_stepping_batches
        self.tell(trainer.global_step / steps if steps else 0.0)


def read_result(folder: Path) -> dict[str, Any] | None:
    """Return a run's result; None while it is not done."""
    path = folder / "result.json"
    found: dict[str, Any] | None = json.loads(path.read_text()) if path.exists() else None
    return found


def score(result: Mapping[str, Any], goal: str = ACCURACY) -> float:
    """Return the goal's metric of a run; of a fold, that of its validation.

    If averages or ensembles are scored too, return theirs. `test/map_50` is no average of `test/map`.
    """
    metrics = result["metrics"]
    goal = goal if goal in metrics else goal.replace("test/", "val/")
    named = {name.removeprefix(f"{goal}_"): value for name, value in metrics.items() if name.startswith(f"{goal}_")}
    beside = [value for name, value in named.items() if not name.isdigit()]
    return float(beside[0] if beside else metrics[goal])


def run_job(job: Job, folder: Path, tell: Callable[[float], None] = lambda fraction: None) -> dict[str, Any] | None:
    """Do one run, or return its result if it is done.

    Returns:
        Metrics, seconds and answers; None if another process does the run, or it was stopped.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return None
    try:
        return read_result(folder) or _measure(job, folder, tell)  # checked again, with the lock held
    finally:
        lock.release()


def _measure(job: Job, folder: Path, tell: Callable[[float], None]) -> dict[str, Any] | None:
    recipe, answers = job.recipe(), Answers()
    answering = [answers] if recipe.goal == ACCURACY else []  # masks and boxes are not right or wrong
    recipe = replace(recipe, callbacks=[*recipe.callbacks, Progress(tell), *answering])
    vars(recipe)["_save"] = lambda *_: None  # last.ckpt is all that a run needs: no model.ckpt, no report
    last = folder / "run" / "last.ckpt"
    resume = last if last.exists() else None
    metrics = recipe.run(test=job.fold is None, save=folder / "run", resume=resume)
    if recipe.stopped:
        return None
    data: Any = recipe.data
    arguments = json.loads(json.dumps({"recipe": recipe.name, **recipe.arguments}, default=str))
    result = {"metrics": metrics, "seconds": metrics["seconds"], "classes": data.num_classes, "arguments": arguments}
    result["hardware"] = recipe.hardware()
    if job.fold is None:
        result |= {"images": len(answers.right), "right": pack(answers.right) if len(answers.right) else None}
    else:
        confusion = confusion_matrix(recipe.model.cpu(), _batches(data), data.num_classes)
        result |= {"images": int(confusion.sum()), "confusion": confusion.tolist()}
    part = folder / "result.part"
    with open(part, "w") as file:
        json.dump(result, file)
        file.flush()
        os.fsync(file.fileno())
    part.replace(folder / "result.json")
    shutil.rmtree(folder / "run", ignore_errors=True)
    return result


def _batches(data: Any) -> Iterator[list[Tensor]]:
    return (data.on_after_batch_transfer(list(batch), 0) for batch in data.val_dataloader())


@torch.inference_mode()
def confusion_matrix(model: L.LightningModule, batches: Iterator[list[Tensor]], classes: int) -> Tensor:
    """Count images (K, K) by true class, down, and predicted class, across."""
    found = torch.zeros(classes, classes, dtype=torch.int64)
    model.eval()
    for images, targets in batches:
        pairs = targets * classes + over_views(model, images).argmax(1)
        found += pairs.bincount(minlength=classes * classes).view(classes, classes)
    return found


# ---- the process


def work(payload: bytes, folder: str, alive: Connection, tell: Connection) -> None:
    """Do one run in this process; the parent reads its result from the folder.

    Ctrl-C is the parent's, which asks with SIGTERM. If the parent dies, this process ends.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with, args=(alive,), daemon=True).start()
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    with open(path / "log.txt", "a", buffering=1) as log, _written_to(log.fileno()):
        job: Job = cloudpickle.loads(payload)
        torch.set_num_threads(job.threads)

        def progress(fraction: float) -> None:
            with contextlib.suppress(OSError):
                tell.send((job.key, fraction))

        done = run_job(job, path, progress)
    sys.exit(0 if done else 3)


@contextlib.contextmanager
def _written_to(descriptor: int) -> Iterator[None]:
    """Redirect the process's output to a file, because it would disturb the parent's display."""
    for number in (1, 2):
        os.dup2(descriptor, number)
    yield
    sys.stdout.flush()
    sys.stderr.flush()


def _die_with(parent: Connection) -> None:
    try:
        parent.recv()  # nothing is sent: the read ends when the parent's end is closed
    except (EOFError, OSError):
        os._exit(1)
