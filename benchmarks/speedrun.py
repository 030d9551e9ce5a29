"""94 % on CIFAR-10: mean accuracy and seconds of several runs, alone or beside the authors' program.

Command:   python benchmarks/speedrun.py --runs 25 --reference airbench94_muon.py --record
Measures:  `cifar10_speedrun`, a run a seed: test accuracy of six views, and the seconds of whitening, training and the
           test, without reading data and building networks, as by the authors' clock; ours tests one view as well. On a
           GPU, the first run of each side compiles and is left out.
Reference: the file `airbench94_muon.py` of https://github.com/KellerJordan/cifar10-airbench (f1c599c), which is run as
           it is and prints its own times. It needs a GPU, and downloads CIFAR-10 into the folder `cifar10`. The two
           sides take turns.
"""

import argparse
import contextlib
import io
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import lightning as L
import torch

from recipes import cifar10_speedrun
from recipes.frame import records
from recipes.frame.cifar import Cifar

Run = tuple[float, float]  # accuracy of six views, seconds
SUM_OF_DEVIATIONS = 0.075  # percentage points: 2 standard deviations of the difference of two means of 25 runs


class Clock(L.Callback):
    """Add the seconds from the start of `setup` to the end of training, and those of the test."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def start(self) -> None:
        """Start a lap, when the device has done what it has to do."""
        self._wait()
        self.since = time.perf_counter()

    def stop(self) -> None:
        """Add the lap."""
        self._wait()
        self.seconds += time.perf_counter() - self.since

    def _wait(self) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    def setup(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        self.start()

    def on_train_end(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self.stop()

    def on_test_end(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self.stop()


def ours(seed: int, arguments: dict[str, Any], source: Cifar) -> Run:
    """Train and test once."""
    recipe, clock = cifar10_speedrun.recipe(seed=seed, source=source, **arguments), Clock()
    recipe.callbacks.insert(0, clock)
    metrics = recipe.run(save=False)
    return metrics["test/acc_tta"], clock.seconds


def load_reference(file: Path) -> ModuleType:
    """Execute the authors' file without its `__main__` part."""
    module, sys.argv = ModuleType("reference"), [str(file)]  # it reads itself by that name
    exec(compile(file.read_text(), str(file), "exec"), vars(module))
    return module


def theirs(reference: ModuleType) -> Callable[[Any], Run]:
    """Return a function that runs the authors' `main` with the name of a run, on one network that is compiled once."""
    model = reference.CifarNet().cuda().to(memory_format=torch.channels_last)
    model.compile(mode="max-autotune")

    def run(name: Any) -> Run:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            accuracy = reference.main(name, model)
        return accuracy, seconds_of(printed.getvalue())

    return run


def seconds_of(table: str) -> float:
    """Read the seconds, the last column of the last row, of what the authors' program prints."""
    rows = [line for line in table.splitlines() if line.startswith("|")]
    return float(rows[-1].rstrip("| ").split("|")[-1])


def describe(name: str, runs: list[Run]) -> dict[str, float]:
    """Print and return mean and standard deviation of accuracy, and the median of the seconds."""
    accuracy, seconds = zip(*runs, strict=True)
    mean, spread = statistics.fmean(accuracy), statistics.stdev(accuracy) if len(runs) > 1 else float("nan")
    print(f"{name:7} {100 * mean:.2f} % (sd {100 * spread:.2f}, {len(runs)} runs), {statistics.median(seconds):.2f} s")
    return {f"acc {name}": mean, f"sd {name}": spread, f"seconds {name}": statistics.median(seconds)}


def parse() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=25, help="runs a side (default 25)")
    parser.add_argument("--reference", type=Path, help="the authors' airbench94_muon.py; needs a GPU")
    parser.add_argument("--root", type=Path, default=Path("data"), help="folder of CIFAR-10 (default data)")
    parser.add_argument("--folder", type=Path, help="the same images as files, in the place of CIFAR-10")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--images", type=int, default=50_000, help="training images (default 50000)")
    parser.add_argument("--batch", type=int, default=2000)
    parser.add_argument("--record", action="store_true", help="add the result to results/speedrun.jsonl")
    return parser.parse_args()


def main() -> None:
    given = parse()
    if given.reference and not torch.cuda.is_available():
        sys.exit("the authors' program needs a GPU, and torch sees none: leave --reference out")
    gpu = torch.cuda.is_available()
    source = Cifar(given.root, given.folder, "bf16-mixed" if gpu else "32-true")
    arguments = {"epochs": given.epochs, "images": given.images, "batch": given.batch, "compile": gpu}
    sides: dict[str, Callable[[Any], Run]] = {"ours": lambda seed: ours(seed, arguments, source)}
    if given.reference:
        sides["authors"] = theirs(load_reference(given.reference.resolve()))
    runs: dict[str, list[Run]] = {name: [] for name in sides}
    begin = time.perf_counter()
    if gpu:
        for run in sides.values():
            run("warmup" if run is not sides["ours"] else 0)
    for seed in range(given.runs):
        for name, run in sides.items():
            runs[name].append(run(seed))
            print(f"run {seed + 1}  {name:7}  {100 * runs[name][-1][0]:.2f} %  {runs[name][-1][1]:.2f} s", flush=True)
    metrics = {key: value for name in sides for key, value in describe(name, runs[name]).items()}
    if given.reference:
        metrics["ratio"] = metrics["seconds ours"] / metrics["seconds authors"]
        gap = 100 * (metrics["acc ours"] - metrics["acc authors"])
        print(f"seconds, ours / authors' {metrics['ratio']:.3f}; accuracy, ours - authors' {gap:+.3f} points")
        print(f"(means of 25 runs of one program differ by less than {SUM_OF_DEVIATIONS} points in 19 of 20 cases)")
    if given.record:
        arguments |= {"runs": given.runs, "reference": bool(given.reference), **source.record}
        record = {"arguments": arguments, "seed": 0, "metrics": metrics, "seconds": time.perf_counter() - begin}
        records.append("speedrun", record)


if __name__ == "__main__":
    main()
