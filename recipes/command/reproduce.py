"""`zoo reproduce`: run published rows again, with a verdict: inside, outside or undecided.

Every run of an arm is a line of results/papers.jsonl, written as soon as it ends. A command that was stopped continues
with the missing runs.
"""

import argparse
import ast
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import NoReturn

import torch
from filelock import FileLock, Timeout
from rich.console import Console

from recipes.frame import records
from recipes.frame.errors import UsageError, unknown
from recipes.papers.frame.results import RECORDS, count_seeds, judge, read_runs, sentence
from recipes.papers.frame.row import Row

ROWS = Path(__file__).resolve().parents[1] / "papers"
FIRST = 3  # seeds that every row gets before any row gets more
MINUTES = 10  # between two commits
LOCKS = Path("runs") / "papers"  # of the seeds of rows that a process is at


class Parser(argparse.ArgumentParser):
    """Errors as those of all commands."""

    def error(self, message: str) -> NoReturn:
        """Raise the message."""
        raise UsageError(message)


def main(arguments: Sequence[str]) -> None:
    """Run `zoo reproduce ...`."""
    options = parse(arguments)
    console = Console(highlight=False, soft_wrap=True)
    if options.all:
        share(arguments, options, console)
    elif options.name is None:
        show_all(console)
    else:
        row = load_row(options.name)
        if not options.show:
            for seed in range(options.seeds or row.seeds):
                if run_missing(row, seed, options, console) and options.commit:
                    commit_results()
        show(row, console)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the options. Raises UsageError."""
    parser = Parser(
        prog="zoo reproduce", description=__doc__.split("\n", 1)[0], epilog="Without NAME: the rows and their status."
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="a file of recipes/papers")
    parser.add_argument("--seeds", type=int, help="runs of each arm; default: as many as the row plans")
    parser.add_argument("--show", action="store_true", help="run nothing, print the verdicts")
    parser.add_argument("--all", action="store_true", help="do all runs that are still missing, cheapest row first")
    parser.add_argument(
        "--device", choices=("cpu", "gpu"), default="cpu", help="gpu: --all runs the rows that need one too"
    )
    parser.add_argument("--workers", type=int, default=1, help="--all in so many processes; on a GPU, they share it")
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="folder of the data sets")
    parser.add_argument(
        "--commit", action="store_true", help="commit results/papers.jsonl during the runs, and nothing else"
    )
    parser.add_argument("--scale", type=float, default=1.0, help="multiply all epochs by this: a trial, not recorded")
    options = parser.parse_args(list(arguments))
    if (options.seeds is not None and options.seeds < 1) or options.scale <= 0 or options.workers < 1:
        raise UsageError("--seeds, --scale and --workers must be positive")
    if options.device == "gpu" and not torch.cuda.is_available():
        raise UsageError(
            "--device gpu needs a GPU that torch can use, and there is none; without it, rows run on the CPU"
        )
    if options.workers > 1 and not options.all:
        raise UsageError("--workers is for --all: the arms of one row may begin where another ends")
    return options


def names() -> list[str]:
    """Return the rows' names."""
    return sorted(path.stem for path in ROWS.glob("[!_]*.py"))


def load_row(name: str) -> Row:
    """Import a row. Raises UsageError for an unknown name."""
    if name not in names():
        raise unknown("row", name, names())
    row: Row = import_module(f"recipes.papers.{name}").ROW
    return row


# ---- running


def run_missing(row: Row, seed: int, options: argparse.Namespace, console: Console) -> bool:
    """Train the arms of a row that have no record for a seed; return whether there were any."""
    trial = options.scale != 1
    recorded = {} if trial else read_runs(row)
    missing = [arm for arm in row.arms if seed not in recorded.get(arm, {})]
    if not missing:
        return False
    run = row.run(options.data_dir, seed, options.device, options.scale)
    for arm in missing:
        line = run.record(arm)
        if not trial:
            device = "cuda" if options.device == "gpu" else "cpu"
            records.append(RECORDS, {"hardware": records.hardware(device), **line})
        scores = ", ".join(f"{name} {value:.2f}" for name, value in line["metrics"].items())
        console.print(f"{row.name}, {arm}, seed {seed}: {scores} ({line['seconds']:.0f} s)")
    return True


def queue(rows: Sequence[Row], seeds: int | None = None) -> Iterator[tuple[Row, int]]:
    """Yield (row, seed) in an order that gives most rows a verdict whenever it stops.

    A few seeds of every row come first, starting with the cheapest row; then the other planned seeds, likewise.
    """
    ordered = sorted(rows, key=lambda row: (row.gpu, row.minutes))
    for begin, end in ((0, FIRST), (FIRST, max((row.seeds for row in ordered), default=0))):
        for row in ordered:
            for seed in range(begin, min(end, row.seeds if seeds is None else seeds)):
                yield row, seed


def share(arguments: Sequence[str], options: argparse.Namespace, console: Console) -> None:
    """Do the missing runs of every row, in this process and `--workers` - 1 others. Ctrl-C ends all of them."""
    command = [sys.executable, "-m", "recipes.command.main", "reproduce", *arguments, "--workers", "1"]
    others = [subprocess.Popen(command) for _ in range(options.workers - 1)]
    try:
        fill(options, console)
    except BaseException:
        for other in others:
            other.send_signal(signal.SIGINT)
        raise
    finally:
        failed = [other.returncode for other in others if other.wait()]
    if failed:
        raise UsageError(f"{len(failed)} of {options.workers} processes ended with an error, which stands above")


def fill(options: argparse.Namespace, console: Console) -> None:
    """Do the missing runs that no other process is at, on one thread; crashes lose only the current run."""
    if options.device == "cpu":
        torch.set_num_threads(1)
    rows = [row for row in map(load_row, names()) if options.device == "gpu" or not row.gpu]
    committed = time.monotonic()
    for row, seed in queue(rows, options.seeds):
        ran = run_alone(row, seed, options, console)
        if ran and options.commit and time.monotonic() - committed > 60 * MINUTES:
            commit_results()
            committed = time.monotonic()
    if options.commit:
        commit_results()


def run_alone(row: Row, seed: int, options: argparse.Namespace, console: Console) -> bool:
    """Run what is missing of a row's seed, unless another process is at it; return whether anything ran."""
    LOCKS.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(LOCKS / f"{row.name} {seed}.lock", timeout=0):
            return run_missing(row, seed, options, console)
    except Timeout:
        return False


def commit_results() -> None:
    """Commit only the file of results, if it has changed."""
    git, file = ["git", "-C", str(records.RESULTS)], f"{RECORDS}.jsonl"
    subprocess.run([*git, "add", file], check=True)
    if subprocess.run([*git, "diff", "--cached", "--quiet", "--", file]).returncode:
        subprocess.run([*git, "commit", "-q", "-m", "Measured: rows of papers", "--", file], check=True)


# ---- showing


def show(row: Row, console: Console) -> None:
    """Print every claim of a row, our numbers, and the verdict."""
    for claim, found in judge(row, read_runs(row)):
        console.print(sentence(claim, found), markup=False)


def first_line(path: Path) -> str:
    """Return the first line of a file's docstring."""
    return (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n", 1)[0]


def show_all(console: Console) -> None:
    """Print the rows, one line each: name, seeds done and planned, verdicts, description."""
    lines = []
    recorded = records.read(RECORDS)
    for name in names():
        row, line = load_row(name), first_line(ROWS / f"{name}.py")
        runs = read_runs(row, recorded)
        words = Counter(found.word for _, found in judge(row, runs) if found)
        verdicts = ", ".join(f"{words[word]} {word}" for word in ("inside", "outside", "undecided") if words[word])
        lines.append((name, f"{count_seeds(runs)}/{row.seeds}{' gpu' if row.gpu else ''}", verdicts or "-", line))
    widths = [max(len(line[i]) for line in lines) for i in range(3)]
    for *cells, last in lines:
        console.print("  ".join(c.ljust(w) for c, w in zip(cells, widths, strict=True)) + "  " + last, markup=False)


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
