"""Draw the tricks into docs/made/pictures, which their pages show, where code of callbacks/ changed."""

import os
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from recipes.frame import catalogue, gallery
from recipes.frame.errors import ROOT

CALLBACKS = ROOT / "callbacks"
FEW = 10  # pictures that are drawn before other processes have imported torch


def draw(folder: Path, names: list[str] | None = None) -> list[str]:
    """Draw the tricks whose picture is older than their code, and return their names.

    Args:
        folder: made if it is not there.
        names: of tricks; None: all.
    """
    shared = max(path.stat().st_mtime for path in (CALLBACKS / "frame").rglob("*.py"))
    names = names or [entry.name for entry in catalogue.every_trick()]
    stale = [name for name in names if _is_stale(folder / f"{name}.txt", name, shared)]
    if len(stale) <= FEW:
        for name in stale:
            _write(folder, name)
    else:
        with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
            list(pool.map(partial(_write, folder), stale))
    return stale


def _is_stale(words: Path, name: str, shared: float) -> bool:
    """Whether a picture's words are missing, or older than its trick's file or the frame's."""
    own = catalogue.file_of("callbacks", name).stat().st_mtime
    return not words.exists() or words.stat().st_mtime < max(shared, own)


def _write(folder: Path, name: str) -> None:
    gallery.write(name, folder)
    (folder / f"{name}.txt").touch()
