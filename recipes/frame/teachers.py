"""A teacher of other runs: trained once, kept in runs/."""

import hashlib
import json
from pathlib import Path

from filelock import FileLock

from recipes.frame.folder import RUNS
from recipes.frame.recipe import Recipe


def train_teacher(teacher: Recipe, record: bool = False) -> Path:
    """Return the checkpoint of a recipe's network. If there is none yet, train it.

    A training that was stopped goes on at the next call. Other processes wait for the one that trains.

    Args:
        teacher: its recipe. The folder is named after a hash of its seed and arguments.
        record: if it is trained now, add that run to results/.

    Raises:
        KeyboardInterrupt: Ctrl-C ended the training.
    """
    whole = json.dumps([teacher.origin, teacher.trainer], sort_keys=True, default=str)
    folder = RUNS / teacher.name / f"teacher-{hashlib.sha256(whole.encode()).hexdigest()[:16]}"
    done, last = folder / "teacher.ckpt", folder / "last.ckpt"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "lock"):
        if not done.exists():
            teacher.run(save=folder, record=record, resume=last if last.exists() else None)
            if teacher.stopped:
                raise KeyboardInterrupt
            (folder / "model.ckpt").replace(done)
    return done
