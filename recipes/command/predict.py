"""`zoo predict MODEL.ckpt PHOTOS...`: the classes of photographs, in the terminal or as CSV."""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

import zoo
from recipes.frame.errors import PlainParser, UsageError
from zoo.frame.pictures import Unreadable
from zoo.frame.prediction import Prediction, predict, preprocessing_of, write_csv

USAGE = "zoo predict MODEL.ckpt [MORE.ckpt ...] PHOTOS... [--top 5] [--csv FILE] [--ensemble 10-crop]"
SHOWN = 50  # rows in the terminal; a CSV has them all


def main(arguments: list[str]) -> None:
    """Predict, then print a table or write a CSV file."""
    options = _parse(arguments)
    models = [path for path in options.paths if path.endswith(".ckpt")]
    photos = [path for path in options.paths if not path.endswith(".ckpt")]
    if not models or not photos:
        raise UsageError(f"give at least one checkpoint (.ckpt) and one photograph or folder; usage: {USAGE}")
    rows = classify(models, photos, options)
    if options.csv:
        write_csv(rows, options.csv)
        print(f"{options.csv}: {len(rows)} predictions")
    else:
        show(rows)


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = PlainParser(usage=USAGE, description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("paths", nargs="+", metavar="PATH", help="checkpoints, then photographs or folders of them")
    parser.add_argument("--top", type=int, default=5, help="how many classes to name (default 5)")
    parser.add_argument("--csv", type=Path, help="write a CSV file instead of printing a table")
    parser.add_argument("--ensemble", choices=["center", "10-crop"], help="views of each photograph to average over")
    parser.add_argument("--average", help='weights to take: the name of an average, such as "EMA(0.999)"')
    parser.add_argument("--batch-size", type=int, default=64, help="photographs at a time (default 64)")
    parser.add_argument("--skip-unreadable", action="store_true", help="leave out files that cannot be read")
    options = parser.parse_args(arguments)
    if options.top < 1 or options.batch_size < 1:
        raise UsageError("--top and --batch-size must be 1 or more")
    return options


def classify(paths: Sequence[str], photos: Sequence[str], options: argparse.Namespace) -> list[Prediction]:
    """Load the models onto the available device and classify the photographs."""
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
    models = [zoo.load(path, average=options.average).to(device) for path in paths]
    if options.ensemble:
        for model in models:
            model.preprocessing = replace(preprocessing_of(model), views=options.ensemble)
    tty = Console().is_terminal
    try:
        return predict(models, list(photos), options.top, options.batch_size, options.skip_unreadable, progress=tty)
    except Unreadable as error:
        raise UsageError(f"{error.__cause__}: repair it, or leave out such files with --skip-unreadable") from None


def show(rows: Sequence[Prediction]) -> None:
    """Print a table: file, class, probability, and the next classes."""
    table = Table("file", "class", "probability", "then")
    for row in rows[:SHOWN]:
        rest = ", ".join(f"{name} {p:.1%}" for name, p in zip(row.classes[1:], row.probabilities[1:], strict=True))
        table.add_row(row.file, row.label, f"{row.probability:.1%}", rest)
    Console().print(table)
    if len(rows) > SHOWN:
        print(f"... and {len(rows) - SHOWN} more; --csv FILE writes them all")
