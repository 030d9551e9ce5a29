"""Shared code of the loader benchmarks: rounds in which all loaders take turns, and a table."""

import statistics
import time
from collections.abc import Callable, Iterator

from recipes.frame.records import append

Start = Callable[[], Iterator]  # starts an epoch: returns an iterator over batches


def rate(start: Start, batches: int, batch_size: int) -> float:
    """Measure images a second over the first batches of an epoch and its start. Free each batch before the next."""
    begin, loader = time.perf_counter(), start()
    for _ in range(batches):
        next(loader)
    return batches * batch_size / (time.perf_counter() - begin)


def compare(paths: dict[str, Start], batches: int, batch_size: int, rounds: int) -> dict[str, list[float]]:
    """Measure images a second of each loader in each round, after a round that starts workers and warms memory up."""
    rates = {name: [] for name in paths}
    for i in range(rounds + 1):
        for name, start in paths.items():
            measured = rate(start, batches, batch_size)
            if i > 0:
                rates[name].append(measured)
    return rates


def show(rates: dict[str, list[float]]) -> dict[str, float]:
    """Print a table; return the medians."""
    width = max(map(len, rates)) + 2
    print(f"{'images a second':<{width}} {'median':>10} {'lowest':>10} {'highest':>10}")
    for name, values in rates.items():
        print(f"{name:<{width}} {statistics.median(values):>10,.0f} {min(values):>10,.0f} {max(values):>10,.0f}")
    return {name: statistics.median(values) for name, values in rates.items()}


def record(name: str, arguments: dict, metrics: dict[str, float], begin: float) -> None:
    """Add a line to `results/<name>.jsonl`; `begin` is `time.perf_counter()` at the start."""
    run = {"arguments": arguments, "seed": 0, "metrics": metrics, "seconds": time.perf_counter() - begin}
    append(name, run)
