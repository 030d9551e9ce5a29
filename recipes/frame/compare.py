"""`compare(recipe, {"none": [], "MixUp": [MixUp()]}, seeds=5)`: which arm is better, and is it decided?

All arms share their seeds: initial weights, split, order of the images. Each run has its own process and is recorded
once. The same call again does only the missing runs.
"""

import hashlib
import json
import multiprocessing
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from importlib.metadata import version
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Literal

import cloudpickle
import lightning as L
import numpy as np
from filelock import FileLock
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, TaskID

from callbacks.frame.trick import Trick
from recipes.frame import records
from recipes.frame.compare_show import Shown
from recipes.frame.compare_statistics import Difference, advice, compare_arms, compare_sequence, is_diverged
from recipes.frame.compare_work import Build, Change, Job, read_result, run_job, work
from recipes.frame.recipe import Recipe
from zoo.frame.describe import describe

FOLDER = Path("runs") / "compare"
TRIES = 3  # attempts at a run whose process dies
GRACE = 30.0  # seconds in which a run must stop when it is asked to
Arms = Mapping[str, Sequence[L.Callback] | Change]


@dataclass
class Arm:
    """One arm of a comparison and what was measured.

    Attributes:
        name: name of the arm.
        accuracies: accuracies of the runs that trained, by seed (or fold).
        diverged: seeds of the runs that are no better than guessing, or whose loss is no number.
        failed: seeds of the runs that ended with an error, or whose process died too often.
        seconds: mean training time of a run.
        difference: against the first arm; None for the first arm, and where there is no interval.
        advice: how many more seeds would decide it, roughly.
        confusion: (K, K) counts by true and predicted class, over all folds; None without folds.
    """

    name: str
    accuracies: dict[int, float] = field(default_factory=dict)
    diverged: list[int] = field(default_factory=list)
    failed: list[int] = field(default_factory=list)
    seconds: float = 0.0
    difference: Difference | None = None
    advice: str = ""
    confusion: list[list[int]] | None = None

    @property
    def n(self) -> int:
        """Number of runs, whether they trained or not."""
        return len(self.accuracies) + len(self.diverged) + len(self.failed)

    @property
    def mean(self) -> float:
        """Mean accuracy of the runs that trained."""
        return float(np.mean([*self.accuracies.values()])) if self.accuracies else float("nan")

    @property
    def sd(self) -> float:
        """Standard deviation of the accuracies; NaN for fewer than two."""
        return float(np.std([*self.accuracies.values()], ddof=1)) if len(self.accuracies) > 1 else float("nan")

    @property
    def verdict(self) -> str:
        """One of "better", "worse", "undecided"; how many runs trained if not all did; "" for the baseline."""
        if self.diverged or self.failed:
            return f"{len(self.accuracies)} of {self.n} trained"
        return self.difference.verdict if self.difference else ""


@dataclass
class Comparison(Shown):
    """Result of `compare`. It prints as a table; notebooks show a picture too.

    Attributes:
        arms: the baseline first.
        method: kind of the intervals.
        folder: folder of the runs.
    """

    arms: list[Arm]
    method: str
    folder: Path

    def __getitem__(self, name: str) -> Arm:
        """Return the arm of this name."""
        return next(arm for arm in self.arms if arm.name == name)


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
) -> Comparison:
    """Run all arms with the same seeds, and compare each with the first.

    Args:
        base: `recipe` of a file in recipes/, or any function of `seed` that returns a `Recipe`. It must be importable
            or picklable: runs are done in other processes.
        arms: name -> tricks to add, or a function from the recipe to another recipe. The first is the baseline.
        seeds: runs of each arm, with the seeds 0, 1, ...; fixed in advance. With `until`, the most runs.
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

    Raises:
        ValueError: fewer than one arm or two seeds, or folds of data that cannot be split.
        KeyboardInterrupt: after Ctrl-C; finished runs are kept.
    """
    if len(arms) < 1 or seeds < 2 or (folds is not None and folds < 2):
        raise ValueError("a comparison needs at least one arm and two seeds (or folds)")
    changes = {name: _change(how) for name, how in arms.items()}
    make = _job_maker(base, changes, folds, _threads(workers))
    engine = Engine(folder, workers, record, quiet, storage)
    if folds is not None:
        engine.run([make(name, i) for i in range(folds) for name in changes])
        return summarise(engine, {name: [make(name, i) for i in range(folds)] for name in changes}, folds=True)
    if until is None:
        engine.run([make(name, seed) for seed in range(seeds) for name in changes])
        return summarise(engine, {name: [make(name, seed) for seed in range(seeds)] for name in changes})
    return _until_decided(engine, make, [*changes], seeds)


def _until_decided(engine: "Engine", make: Callable[[str, int], Job], names: list[str], seeds: int) -> Comparison:
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


def _job_maker(base: Build, changes: dict[str, Change], folds: int | None, threads: int) -> Callable[[str, int], Job]:
    """Return a function from an arm's name and a seed (or fold) to the run and its key.

    The key is a hash of all that determines the run: recipe, arguments, tricks, seed, versions. So a changed arm is
    another run, and never gets an old result.
    """
    made = {}
    for name, change in changes.items():
        recipe = change(base(seed=0))
        tricks = [repr(trick) if isinstance(trick, Trick) else describe(trick) for trick in recipe.callbacks]
        data = {key: value for key, value in vars(recipe.data).items() if isinstance(value, (int, float, str, bool))}
        words = [recipe.name, recipe.arguments, recipe.trainer, tricks, data]
        made[name] = words

    def make(name: str, i: int) -> Job:
        seed, fold = (i, None) if folds is None else (0, i)
        versions = [version(package) for package in ("torch", "lightning")]
        whole = json.dumps([*made[name], seed, fold, folds, versions], default=str, sort_keys=True)
        key = hashlib.sha256(whole.encode()).hexdigest()[:16]
        return Job(key, name, seed, base, changes[name], fold, folds, threads)

    return make


# ---- running


class Engine:
    """Do each run once, in as many processes at a time as there are workers.

    Args:
        folder: folder of the runs.
        workers: number of runs at a time; 0: in this process.
        record: add a line for each run to results/.
        quiet: print nothing.
        storage: storage of the queue, see `compare`.
    """

    def __init__(
        self, folder: Path, workers: int, record: bool = True, quiet: bool = False, storage: str | None = None
    ):
        self.folder, self.workers, self.record = Path(folder), workers, record
        self.storage = storage
        self.console = Console(quiet=quiet)
        self.failed: set[str] = set()  # keys of runs

    def result(self, job: Job) -> dict[str, Any] | None:
        """Return what the run measured; None if it is not done."""
        return read_result(self.folder / job.key)

    def run(self, jobs: Iterable[Job]) -> None:
        """Do the runs that are not done yet. Return when all are done or have failed."""
        jobs = list(jobs)
        waiting = [job for job in jobs if self.result(job) is None and job.key not in self.failed]
        if not waiting:
            pass
        elif self.storage is not None:
            from recipes.frame import compare_queue

            compare_queue.run(self, waiting)
        elif self.workers == 0:
            self._here(waiting)
        else:
            Pool(self).run(waiting)
        for job in jobs:
            self.note(job)

    def _here(self, jobs: list[Job]) -> None:
        for job in jobs:
            if run_job(job, self.folder / job.key) is None:
                raise KeyboardInterrupt
            self.say(job)

    def note(self, job: Job) -> None:
        """Add a run's line to results/, unless it is there."""
        result = self.result(job)
        if not self.record or result is None:
            return
        records.RESULTS.mkdir(parents=True, exist_ok=True)
        with FileLock(records.RESULTS / ".compare.lock"):
            if any(line["arguments"]["key"] == job.key for line in records.read("compare")):
                return
            arguments = {"key": job.key, "arm": job.arm, "fold": job.fold, **result["arguments"]}
            records.append("compare", {**result, "arguments": arguments, "seed": job.seed})

    def say(self, job: Job) -> None:
        """Print a line about a run that has ended."""
        result = self.result(job)
        if result is None:
            log = self.folder / job.key / "log.txt"
            lines = log.read_text().splitlines() if log.exists() else []
            self.console.print(escape(f"{job}: failed ({lines[-1] if lines else 'killed'}); see {log}"))
        else:
            self.console.print(f"{escape(str(job))}: {accuracy(result):.4f}, {result['seconds']:.0f} s")


@dataclass
class Running:
    """A process at work."""

    job: Job
    process: BaseProcess
    alive: Connection  # the child holds the other end, and stops when this process ends
    task: TaskID


class Pool:
    """The processes of one call of `Engine.run`, and their progress bars."""

    def __init__(self, engine: Engine):
        self.engine = engine
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(["torch", "lightning.pytorch", "recipes.frame.compare_work"])
        self.told, self.tell = self.context.Pipe(duplex=False)
        self.running: dict[int, Running] = {}  # by sentinel
        self.tries: dict[str, int] = {}

    def run(self, waiting: list[Job]) -> None:
        """Do these runs."""
        waiting = list(waiting)
        with Progress(console=self.engine.console, disable=not self.engine.console.is_terminal) as self.display:
            whole = self.display.add_task("all runs", total=len(waiting))
            try:
                while waiting or self.running:
                    while waiting and len(self.running) < self.engine.workers:
                        self.start(waiting.pop(0))
                    ended = self.look()
                    waiting += [job for job in ended if self.again(job)]
                    self.display.update(whole, advance=sum(not self.open(job) for job in ended))
            except BaseException:
                self.stop()
                raise

    def start(self, job: Job) -> None:
        """Start a process."""
        theirs, ours = self.context.Pipe(duplex=False)
        arguments = (cloudpickle.dumps(job), str(self.engine.folder / job.key), theirs, self.tell)
        process = self.context.Process(target=work, args=arguments)
        process.start()
        theirs.close()
        task = self.display.add_task(escape(str(job)), total=1.0)
        self.running[process.sentinel] = Running(job, process, ours, task)

    def look(self) -> list[Job]:
        """Read the processes' messages for half a second; return the runs whose process has ended."""
        ended = []
        for one in wait([*self.running, self.told], 0.5):
            if isinstance(one, int):
                ended.append(self.end(self.running.pop(one)))
        tasks = {running.job.key: running.task for running in self.running.values()}  # those that still have a bar
        while self.told.poll():
            key, fraction = self.told.recv()
            if key in tasks:
                self.display.update(tasks[key], completed=fraction)
        return ended

    def end(self, one: Running) -> Job:
        """Clean up after a process that has ended."""
        one.process.join()
        one.alive.close()
        self.display.remove_task(one.task)
        if self.engine.result(one.job) is not None:
            self.engine.note(one.job)
            self.engine.say(one.job)
        elif one.process.exitcode == 3:  # another process does this run
            time.sleep(1)
        else:
            self.tries[one.job.key] = self.tries.get(one.job.key, 0) + 1
            if self.tries[one.job.key] >= TRIES or (one.process.exitcode or 0) > 0:  # an error would come again
                self.engine.failed.add(one.job.key)
                self.engine.say(one.job)
        return one.job

    def open(self, job: Job) -> bool:
        """Tell whether the run is neither done nor given up."""
        return self.engine.result(job) is None and job.key not in self.engine.failed

    def again(self, job: Job) -> bool:
        """Tell whether the run must be started again."""
        return self.open(job)

    def stop(self) -> None:
        """Ask all processes to end after the batch. Kill those that do not end within the grace period."""
        for one in self.running.values():
            one.process.terminate()
        deadline = time.monotonic() + GRACE
        try:
            for one in self.running.values():
                one.process.join(max(0.0, deadline - time.monotonic()))
        finally:  # a second Ctrl-C comes here at once
            for one in self.running.values():
                if one.process.is_alive():
                    one.process.kill()


# ---- results


def accuracy(result: Mapping[str, Any]) -> float:
    """Return the accuracy of a run. If averages or ensembles are scored too, return theirs."""
    stage = "test" if "test/acc" in result["metrics"] else "val"
    beside = [value for name, value in result["metrics"].items() if name.startswith(f"{stage}/acc_")]
    return float(beside[0] if beside else result["metrics"][f"{stage}/acc"])


def summarise(engine: Engine, jobs: Mapping[str, list[Job]], folds: bool = False, sequence: bool = False) -> Comparison:
    """Compare the runs that are done."""
    arms = [_arm(engine, name, mine) for name, mine in jobs.items()]
    if folds:
        return Comparison(arms, "cross-validation: folds share training images, so there is no interval", engine.folder)
    whole = [arm for arm in arms if not arm.diverged and not arm.failed]
    if arms[0] not in whole or len(arms) == 1:
        why = "one arm" if len(arms) == 1 else "not all runs of the baseline trained"
        return Comparison(arms, f"no intervals: {why}", engine.folder)
    if sequence:
        return Comparison(arms, _sequence(arms, whole), engine.folder)
    if len(whole) > 1:
        n = len(arms[0].accuracies)
        table = np.array([[arm.accuracies[seed] for seed in sorted(arm.accuracies)] for arm in whole])
        for arm, found in zip(whole[1:], compare_arms(table), strict=True):
            arm.difference, arm.advice = found, advice(found, n)
    m = len(whole) - 1
    method = "95 %, paired t" if m == 1 else f"95 %, simultaneous over {m} arms, noise pooled (Dunnett)"
    if apart := [arm.name for arm in whole[1:] if arm.difference and not arm.difference.pooled]:
        method += f"; much noisier, with a paired t of its own at .05 / {m}: {', '.join(apart)}"
    return Comparison(arms, method, engine.folder)


def _sequence(arms: list[Arm], whole: list[Arm]) -> str:
    """Set the differences of arms that may have different numbers of seeds; return the kind of interval."""
    m = len(arms) - 1
    for arm in whole[1:]:
        shared = sorted(arm.accuracies)
        if len(shared) > 1:
            table = np.array([[one.accuracies[seed] for seed in shared] for one in (arms[0], arm)])
            (arm.difference,) = compare_sequence(table, alpha=0.05 / m)
    return "95 % however often one looks (t confidence sequence, g = 5)" + (f", simultaneous over {m} arms" * (m > 1))


def _arm(engine: Engine, name: str, jobs: list[Job]) -> Arm:
    arm, seconds = Arm(name), []
    for job in jobs:
        i = job.seed if job.fold is None else job.fold
        result = engine.result(job)
        if result is None:
            arm.failed.append(i)
            continue
        stage = "val" if job.fold is not None else "test"
        value, loss = accuracy(result), result["metrics"].get(f"{stage}/loss", 0.0)
        seconds.append(result["seconds"])
        if is_diverged(value, loss, result["classes"], result["images"] or 1):
            arm.diverged.append(i)
        else:
            arm.accuracies[i] = value
        if "confusion" in result:
            arm.confusion = np.add(arm.confusion or 0, result["confusion"]).tolist()
    arm.seconds = float(np.mean(seconds)) if seconds else 0.0
    return arm
