"""The result of a comparison: accuracies of each arm, its difference from the first, and the verdict."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from recipes.frame.compare_engine import Engine
from recipes.frame.compare_show import Shown
from recipes.frame.compare_statistics import Difference, advice, compare_arms, compare_sequence, is_diverged
from recipes.frame.compare_work import Job, score
from recipes.frame.recipe import ACCURACY


@dataclass
class Arm:
    """One arm of a comparison and what was measured.

    Attributes:
        name: name of the arm.
        accuracies: accuracies of the runs that trained, or what else the recipe's goal is, by seed (or fold).
        diverged: seeds of the runs that are no better than guessing, or whose loss is no number.
        failed: seeds of the runs that ended with an error, or whose process died too often.
        seconds: mean training time of a run.
        metrics: all that the runs measured, means over them.
        difference: against the first arm; None for the first arm, and where there is no interval.
        advice: how many more seeds would decide it, roughly.
        confusion: (K, K) counts by true and predicted class, over all folds; None without folds.
    """

    name: str
    accuracies: dict[int, float] = field(default_factory=dict)
    diverged: list[int] = field(default_factory=list)
    failed: list[int] = field(default_factory=list)
    seconds: float = 0.0
    metrics: dict[str, float] = field(default_factory=dict)
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
        goal: metric that is compared.
    """

    arms: list[Arm]
    method: str
    folder: Path
    goal: str = ACCURACY

    def __getitem__(self, name: str) -> Arm:
        """Return the arm of this name."""
        return next(arm for arm in self.arms if arm.name == name)


def summarise(engine: Engine, jobs: Mapping[str, list[Job]], folds: bool = False, sequence: bool = False) -> Comparison:
    """Compare the runs that are done."""
    arms = [_arm(engine, name, mine) for name, mine in jobs.items()]
    return Comparison(arms, _method(arms, folds, sequence), engine.folder, next(iter(jobs.values()))[0].goal)


def _method(arms: list[Arm], folds: bool, sequence: bool) -> str:
    """Set the differences from the first arm; return the kind of interval."""
    if folds:
        return "cross-validation: folds share training images, so there is no interval"
    whole = [arm for arm in arms if not arm.diverged and not arm.failed]
    if len(arms) == 1:
        return "no intervals: one arm"
    if arms[0] not in whole:
        return "no intervals: not all runs of the baseline trained"
    if arms[0].n == 1:
        return "no intervals: one seed"
    if len(whole) == 1:
        return "no intervals: not all runs of the other arms trained"
    return _sequence(arms, whole) if sequence else _at_once(whole)


def _at_once(whole: list[Arm]) -> str:
    """Set the differences of arms that have the same seeds; return the kind of interval."""
    n = len(whole[0].accuracies)
    table = np.array([[arm.accuracies[seed] for seed in sorted(arm.accuracies)] for arm in whole])
    for arm, found in zip(whole[1:], compare_arms(table), strict=True):
        arm.difference, arm.advice = found, advice(found, n)
    m = len(whole) - 1
    method = "95 %, paired t" if m == 1 else f"95 %, simultaneous over {m} arms, noise pooled (Dunnett)"
    if apart := [arm.name for arm in whole[1:] if arm.difference and not arm.difference.pooled]:
        method += f"; much noisier, with a paired t of its own at .05 / {m}: {', '.join(apart)}"
    return method


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
    arm, seconds, done = Arm(name), [], []
    for job in jobs:
        i = job.seed if job.fold is None else job.fold
        result = engine.result(job)
        if result is None:
            arm.failed.append(i)
            continue
        stage = "val" if job.fold is not None else "test"
        value, loss = score(result, job.goal), result["metrics"].get(f"{stage}/loss", 0.0)
        seconds.append(result["seconds"])
        done.append(result["metrics"])
        if is_diverged(value, loss, result["classes"] if job.goal == ACCURACY else None, result["images"] or 1):
            arm.diverged.append(i)
        else:
            arm.accuracies[i] = value
        if "confusion" in result:
            arm.confusion = np.add(arm.confusion or 0, result["confusion"]).tolist()
    arm.seconds = float(np.mean(seconds)) if seconds else 0.0
    shared = set.intersection(*map(set, done)) if done else set()
    arm.metrics = {key: float(np.mean([metrics[key] for metrics in done])) for key in sorted(shared)}
    return arm
