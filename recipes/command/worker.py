"""`zoo worker STORAGE`: do runs of a comparison that another machine has put into the queue."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from recipes.frame.compare_engine import FOLDER, Engine
from recipes.frame.compare_queue import work_on
from recipes.frame.errors import UsageError

USAGE = "zoo worker STORAGE [--folder FOLDER] [--patience SECONDS]"


def main(arguments: Sequence[str] | None = None) -> None:
    """Take runs from the queue until it is empty."""
    parser = argparse.ArgumentParser("zoo worker", usage=USAGE, description=(__doc__ or "").split("\n")[0])
    parser.add_argument("storage", help="a journal file on a shared folder, or postgresql://user@host/name")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="folder of the runs made here")
    parser.add_argument("--patience", type=float, default=60.0, help="seconds to wait for the first run")
    options = parser.parse_args(arguments)
    try:
        done = work_on(options.storage, Engine(options.folder, workers=1, record=False), options.patience)
    except (ValueError, ImportError, ConnectionError) as error:
        raise UsageError(str(error)) from error
    print(f"{done} runs done; the queue is empty")
