"""`compare(recipe, {"none": [], "MixUp": [MixUp()]}, seeds=5)`: which arm is better, and is it decided?

All arms share their seeds: initial weights, split, order of the images. Each run has its own process and is recorded
once. The same call again does only the missing runs.
"""

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import lightning as L
from rich.console import Console

from callbacks.frame.trick import Trick
from recipes.frame.compare_engine import FOLDER, Engine
from recipes.frame.compare_result import Comparison, summarise
from recipes.frame.compare_work import Build, Change, Job
from recipes.frame.recipe import Recipe
from zoo.frame.describe import describe

Arms = Mapping[str, Sequence[L.Callback] | Change]


def compare(
    base: Build,
    arms: Arms,
    seeds: int = 5,
    *,
    workers: int = 1,
    until: Literal["decided"] | None = None,
    folds: int | None = None,
    record: bool = True,
    folder: Path = FOLDER,
    storage: str | None = None,
    quiet: bool = False,
    own: bool = False,
) -> Comparison:
    """Run all arms with the same seeds, and compare each with the first.

    Args:
        base: `recipe` of a file in recipes/, or any function of `seed` that returns a `Recipe`. It must be importable
            or picklable: runs are done in other processes.
        arms: name -> tricks to add, or a function from the recipe to another recipe. The first is the baseline.
        seeds: runs of each arm, with the seeds 0, 1, ...; fixed in advance. One gives no interval. With `until`, the
            most runs.
        workers: runs at a time, each in its own process with an equal part of the cores; 0: one after the other, in
            this process.
        until: "decided": look after each seed from the third on, and stop an arm when it is decided. The intervals
            stay valid under repeated looks.
        folds: cross-validation instead: that many runs of seed 0, each measured on another part of the training
            images. The result has no interval, since the runs share training images.
        record: add a line for each run to results/compare.jsonl.
        folder: folder of the runs. Finished runs in it are not repeated.
        storage: an Optuna storage from which `zoo worker` takes the runs on any number of machines; see
            recipes/frame/compare_queue.py. `workers` more run here.
        quiet: print nothing.
        own: record each run in results/<recipe>.jsonl instead, under the arguments of its recipe alone.

    Raises:
        ValueError: no arm, no seed or one fold, or folds of data that cannot be split.
        KeyboardInterrupt: after Ctrl-C; finished runs are kept.
    """
    if len(arms) < 1 or seeds < 1 or (folds is not None and folds < 2):
        raise ValueError("a comparison needs at least one arm, and a seed or two folds")
    changes = {name: _change(how) for name, how in arms.items()}
    make = _job_maker(base, changes, folds, _threads(workers))
    engine = Engine(folder, workers, record, quiet, storage, own)
    if folds is not None:
        engine.run([make(name, i) for i in range(folds) for name in changes])
        return summarise(engine, {name: [make(name, i) for i in range(folds)] for name in changes}, folds=True)
    if until is None:
        engine.run([make(name, seed) for seed in range(seeds) for name in changes])
        return summarise(engine, {name: [make(name, seed) for seed in range(seeds)] for name in changes})
    return _until_decided(engine, make, [*changes], seeds)


def compare_recipes(builds: Mapping[str, Build], seeds: int, workers: int = 1, record: bool = False) -> Comparison:
    """Compare recipes that differ in an argument with the first of them, and print the table: `main` of their file.

    The same command again goes on where it stopped.

    Args:
        builds: name -> function of `seed` that returns a `Recipe`, such as `partial(recipe, "+ mixup")`.
        seeds, workers: as in `compare`.
        record: add each run to the recipe's own file in results/, from which its table is made.
    """
    arms = {name: Instead(build) for name, build in builds.items()}
    found = compare(next(iter(builds.values())), arms, seeds, workers=workers, record=record, own=True)
    Console().print(found.table())
    return found


def _until_decided(engine: Engine, make: Callable[[str, int], Job], names: list[str], seeds: int) -> Comparison:
    jobs: dict[str, list[Job]] = {name: [] for name in names}
    going = list(names)
    while True:
        seed = max(map(len, jobs.values()))
        for name in going:
            jobs[name].append(make(name, seed))
        engine.run([jobs[name][-1] for name in going])
        found = summarise(engine, jobs, sequence=True)
        open_ = [arm.name for arm in found.arms[1:] if not arm.difference or arm.difference.verdict == "undecided"]
        going = [names[0], *(name for name in going[1:] if name in open_ and "trained" not in found[name].verdict)]
        if seed + 1 >= seeds or (seed >= 2 and len(going) == 1):
            return found


def _threads(workers: int) -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // max(workers, 1))


def _change(how: Sequence[L.Callback] | Change) -> Change:
    return how if callable(how) else Plus([*how])


@dataclass
class Plus:
    """Remove tricks from a recipe and add copies of others. It can be sent to another process."""

    plus: list[L.Callback] = field(default_factory=list)
    without: list[type[L.Callback]] = field(default_factory=list)

    def __call__(self, recipe: Recipe) -> Recipe:
        """Return the changed recipe."""
        recipe = recipe.without(*self.without) if self.without else recipe
        return recipe.plus(*deepcopy(self.plus)) if self.plus else recipe


@dataclass(frozen=True)
class Instead:
    """Replace the recipe of the base by another one; keep the seed. It can be sent to another process."""

    build: Build

    def __call__(self, recipe: Recipe) -> Recipe:
        """Return the other recipe with the seed of `recipe`."""
        return self.build(seed=recipe.seed)


def _job_maker(base: Build, changes: dict[str, Change], folds: int | None, threads: int) -> Callable[[str, int], Job]:
    """Return a function from an arm's name and a seed (or fold) to the run and its key.

    The key is a hash of all that determines the run: recipe, arguments, model, tricks, seed, versions. So a changed arm
    is another run, and never gets an old result.
    """
    made, goals = {}, {}
    for name, change in changes.items():
        recipe = change(base(seed=0))
        tricks = [repr(trick) if isinstance(trick, Trick) else describe(trick) for trick in recipe.callbacks]
        data = {key: value for key, value in vars(recipe.data).items() if isinstance(value, (int, float, str, bool))}
        made[name] = [recipe.name, recipe.arguments, recipe.trainer, describe(recipe.model), tricks, data]
        goals[name] = recipe.goal

    def make(name: str, i: int) -> Job:
        seed, fold = (i, None) if folds is None else (0, i)
        versions = [version(package) for package in ("torch", "lightning")]
        whole = json.dumps([*made[name], seed, fold, folds, versions], default=str, sort_keys=True)
        key = hashlib.sha256(whole.encode()).hexdigest()[:16]
        return Job(key, name, seed, base, changes[name], fold, folds, threads, goals[name])

    return make
