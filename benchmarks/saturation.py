"""A loader with workers, and steps, of known lengths: what recipes/frame/saturation.py simulates, in real processes.

Command:  python benchmarks/saturation.py
Measures: wall seconds of a step. torch's DataLoader makes batches in 0, 1, 2 or 4 workers; a batch takes 200 ms and a
          step 120 or 20 ms, in which each sleeps: as one that waits for its files, and a processor that waits for its
          GPU. So one core is enough for all of them, also where other programs use it. 24 steps, with persistent
          workers, in which the first batch is waited for too; all take turns, and the figures are medians
"""

import argparse
import statistics
import time
import warnings

import torch
from torch.utils.data import DataLoader, Dataset

from recipes.frame import records
from recipes.frame.saturation import Parts, simulate

STEPS, LOAD = 24, 0.2  # steps; seconds in which a worker makes a batch
PACES = (0.12, 0.02)  # seconds of a step
WORKERS = (0, 1, 2, 4)
CLOCK = "wall seconds: nearly all of them are waiting, on a core that other programs used too"


class Slow(Dataset):
    """Batches that take a while."""

    def __len__(self) -> int:
        return STEPS

    def __getitem__(self, i: int) -> torch.Tensor:
        time.sleep(LOAD)
        return torch.tensor(i)


def epoch(loader: DataLoader, pace: float) -> float:
    """Return the seconds of a step."""
    begin = time.perf_counter()
    for _ in loader:
        time.sleep(pace)
    return (time.perf_counter() - begin) / STEPS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3, help="epochs of each, after one to start workers (default 3)")
    arguments = vars(parser.parse_args())
    warnings.filterwarnings("ignore", "This DataLoader will create")  # workers that sleep need no cores
    commit, begin, metrics = records.commit(), time.perf_counter(), {}
    loaders = {n: DataLoader(Slow(), None, num_workers=n, persistent_workers=n > 0) for n in WORKERS}
    found = {(pace, n): [] for pace in PACES for n in WORKERS}
    for i in range(arguments["rounds"] + 1):
        for (pace, n), seconds in found.items() if i else (((0.0, n), []) for n in WORKERS):
            seconds.append(epoch(loaders[n], pace))
    for (pace, n), seconds in found.items():
        name = f"{1e3 * pace:.0f} ms, workers {n}"
        metrics[name] = statistics.median(seconds)
        expected = simulate(Parts(pace, LOAD, n), STEPS).seconds
        print(f"{name:20}{1e3 * metrics[name]:8.1f} ms a step, simulated {1e3 * expected:.1f}", flush=True)
    one, two = (metrics[f"{1e3 * PACES[-1]:.0f} ms, workers {n}"] for n in (1, 2))
    record = {"arguments": arguments, "seed": 0, "metrics": metrics | {"two workers / one": two / one}}
    record |= {"seconds": time.perf_counter() - begin, "clock": CLOCK, "commit": commit}
    records.append("saturation", record)


if __name__ == "__main__":
    main()
