"""The main loop of recipes that compare a few arms: every arm with every seed, then a mean for each arm."""

from collections import defaultdict
from collections.abc import Callable, Iterable

from recipes.frame import records
from recipes.frame.recipe import Recipe


def run_arms(
    build: Callable[[str, int], Recipe],
    arms: Iterable[str],
    seeds: int,
    record: bool,
    shown: tuple[str, ...] = ("test/acc",),
) -> None:
    """Run every arm with the seeds 0, 1, ... Print a line for each run, then mean and deviation of each arm.

    Args:
        build: arm and seed -> recipe.
        arms: names of the arms, in the order in which they run.
        seeds: number of runs of each arm.
        record: add each run to results/, from which the tables are made.
        shown: metrics to print; the means are of the last one.
    """
    arms, last = list(arms), defaultdict(list)
    width = max(map(len, arms)) + 2
    for seed in range(seeds):
        for arm in arms:
            metrics = build(arm, seed).run(record=record, save=False)
            last[arm].append(metrics[shown[-1]])
            figures = "  ".join(f"{name} {metrics[name]:.4f}" for name in shown)
            print(f"seed {seed}  {arm:<{width}}{figures}  {metrics['seconds']:.1f} s", flush=True)
    for arm, values in last.items():
        mean, std, n = records.summary(values)
        print(f"{arm:<{width}}{shown[-1]} {mean:.4f} ± {std:.4f} ({n} seeds)")
