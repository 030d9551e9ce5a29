"""The programme of runs behind the cards: which arms, how many seeds, in which order, and the rule of verdict.

All of this was written before the first run, but for what the parentheses of "Precision" say.

Runs:     The base has 10 seeds in each regime, the dozen that matter most 5, all others 3: seeds 0, 1, 2, ... Where an
          arm has three values, each is run once with seed 1000 and measured on 5,000 validation images; the best one
          (the first of equals) is taken. The base has the same budget: three learning rates. All arms then have its
          learning rate. Nothing is chosen on the test images.
Noise:    The standard deviation of a run is the regime's: pooled over all its arms, each around its own mean. An arm
          whose own standard deviation is larger than that of equal arms in 95 % of cases leaves the pool
          (recipes/frame/compare_statistics.py).
Card:     Mean of the arm less mean of the arm that it is compared with, over all their seeds, and a 95 % interval from
          the pooled noise: +- t(nu) s sqrt(1/n + 1/n0). It answers for one card alone.
Verdict:  "better" or "worse" where the interval that holds for all m arms of the regime at once leaves out zero, else
          "undecided". Never "no effect". It is the card's at .05 / m (Bonferroni): arms differ in their seeds and in
          what they are compared with, for which Dunnett's bound is not made.
Precision: bfloat16 where the processor has it, else float32. An arm has one precision, and is compared with runs in the
          same. The base has its ten seeds in that of a regime's first run, and five in the other where arms are run in
          it. What was chosen in one precision holds in both. (Until the first run in float32, one precision was the
          rule for all of a regime; some processors only emulate bfloat16, and need ten times as long for it.)
Diverged: A run at the accuracy of guessing, or with a loss that is no number, is counted ("4 of 5 trained") and no
          interval is given.
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any, NamedTuple

from recipes.frame import records
from recipes.frame.arms import (
    DATA_IS_SHORT,
    DOZEN_OF_DATA,
    DOZEN_OF_TIME,
    OF_TRANSFORMERS,
    OTHERS_OF_DATA,
    OTHERS_OF_TIME,
    REGIMES,
    SMALL_TRANSFORMER,
    TIME_IS_SHORT,
    dropouts,
)
from recipes.frame.cifar import Cifar
from recipes.frame.processor import fast_precision
from recipes.frame.regime import CHOICE_SEED, NONE, Regime, Trial, build_trial

SEEDS_OF_BASE, SEEDS_OF_DOZEN, SEEDS_OF_OTHERS = 10, 5, 3


class Job(NamedTuple):
    """One run. `value` is of a choice; a reported run takes the chosen one. `precision`: "" is that of the arm."""

    regime: Regime
    arm: str
    seed: int
    value: float | None = None
    choosing: bool = False
    precision: str = ""

    def __str__(self) -> str:
        what = f" with {self.value}, chosen on validation images" if self.choosing else f", seed {self.seed}"
        return f"{self.regime.name}: {self.arm}{what}{self.precision and f', {self.precision}'}"


def programme() -> list[Job]:
    """List all runs, in an order in which every stop leaves complete arms."""
    two = (TIME_IS_SHORT, DATA_IS_SHORT)
    base = chain.from_iterable(_choices(regime, NONE) for regime in two)
    seeds = chain.from_iterable(zip(*map(_base, two), strict=True))
    more = [job for jobs in zip_longest(*map(_base_here, two)) for job in jobs if job]
    dozen = _alternate(DOZEN_OF_DATA, DOZEN_OF_TIME, SEEDS_OF_DOZEN)
    tokens = [*_choices(SMALL_TRANSFORMER, NONE), *_base(SMALL_TRANSFORMER), *_base_here(SMALL_TRANSFORMER)]
    for name in OF_TRANSFORMERS:
        tokens += _whole(SMALL_TRANSFORMER, name, SEEDS_OF_OTHERS)
    others = _alternate(OTHERS_OF_DATA, OTHERS_OF_TIME, SEEDS_OF_OTHERS)
    rest = _alternate([name for name in dropouts() if name not in DOZEN_OF_DATA], [], SEEDS_OF_OTHERS)
    return [*base, *seeds, *more, *dozen, *tokens, *others, *rest]


def _base(regime: Regime) -> list[Job]:
    """List the base's runs in the precision of the regime's first run."""
    first = _precision_of(runs(regime, choosing=True)) or fast_precision()
    return [Job(regime, NONE, seed, precision=first) for seed in range(SEEDS_OF_BASE)]


def _base_here(regime: Regime) -> list[Job]:
    """List the base's runs in the precision that is fast here, if it is another one."""
    here = fast_precision()
    if here == _base(regime)[0].precision:
        return []
    return [Job(regime, NONE, seed, precision=here) for seed in range(SEEDS_OF_DOZEN)]


def _alternate(of_data: Iterable[str], of_time: Iterable[str], seeds: int) -> Iterator[Job]:
    """Alternate complete arms of the two regimes."""
    for names in zip_longest(of_data, of_time):
        for regime, name in zip((DATA_IS_SHORT, TIME_IS_SHORT), names, strict=True):
            if name is not None:
                yield from _whole(regime, name, seeds)


def _whole(regime: Regime, arm: str, seeds: int) -> Iterator[Job]:
    """List the runs of an arm: the teacher that it needs, the choice, the seeds."""
    if teacher := regime.arms[arm].taught:
        yield Job(regime, teacher, CHOICE_SEED)
    yield from _choices(regime, arm)
    yield from (Job(regime, arm, seed) for seed in range(seeds))


def _choices(regime: Regime, arm: str) -> list[Job]:
    return [Job(regime, arm, CHOICE_SEED, value, True) for value in regime.arms[arm].values]


# ---- finished runs


def runs(regime: Regime, choosing: bool = False) -> list[dict[str, Any]]:
    """Return the recorded runs at the regime's budget."""
    name = f"{regime.name}_choices" if choosing else regime.name
    path = records.RESULTS / f"{name}.jsonl"
    found = _read(name, path, path.stat().st_size if path.exists() else 0)
    budget = {"images": regime.images, "epochs": regime.epochs}
    return [run for run in found if budget.items() <= run["arguments"].items()]


@lru_cache(maxsize=8)
def _read(name: str, path: Path, size: int) -> list[dict[str, Any]]:
    """Read a file of results, which only ever grows, once for each of its sizes."""
    return records.read(name)


def best_value(regime: Regime, arm: str) -> float | None:
    """Return the value with the best validation accuracy; None while a run of the choice is missing."""
    found = {
        run["arguments"]["value"]: run["metrics"]["val/acc"]
        for run in runs(regime, choosing=True)
        if run["arguments"]["arm"] == arm
    }
    values = regime.arms[arm].values
    return max(values, key=lambda value: found[value]) if found.keys() >= {*values} and values else None


def precision(job: Job) -> str:
    """Return the precision of a run: that of earlier runs of its arm, or of the arm that it is compared with."""
    if job.precision or job.arm in job.regime.teachers:
        return job.precision or fast_precision()
    arm, found = job.regime.arms[job.arm], runs(job.regime, job.choosing)
    names = [job.arm] if job.choosing or arm.against == NONE else [job.arm, arm.against]
    earlier = [run for name in names for run in found if run["arguments"]["arm"] == name]
    return _precision_of(earlier) or fast_precision()


def _precision_of(found: list[dict[str, Any]]) -> str:
    return str(found[0]["arguments"]["precision"]) if found else ""


def is_done(job: Job) -> bool:
    """Return whether results/ has this run; a reported one must have the chosen value."""
    if job.arm in job.regime.teachers and not teacher_path(job.regime, job.arm).exists():
        return False
    value = job.value if job.choosing or not job.regime.arms[job.arm].values else best_value(job.regime, job.arm)
    wanted = {"arm": job.arm, "value": value} | ({"precision": job.precision} if job.precision else {})
    found = runs(job.regime, job.choosing)
    return any(run["seed"] == job.seed and wanted.items() <= run["arguments"].items() for run in found)


def is_ready(job: Job) -> bool:
    """Return whether the runs that this one needs are done: the learning rate, the choice, the teacher.

    A run in bfloat16 also waits for a processor that computes in it.
    """
    if is_waiting(job):
        return False
    if job.choosing and job.arm == NONE:
        return True
    needed = [NONE] if job.choosing or not job.regime.arms[job.arm].values else [NONE, job.arm]
    if any(best_value(job.regime, arm) is None for arm in needed):
        return False
    teacher = job.regime.arms[job.arm].taught
    return not teacher or teacher_path(job.regime, teacher).exists()


def is_waiting(job: Job) -> bool:
    """Return whether a run waits for a processor that computes in bfloat16, in which its arm was begun."""
    return fast_precision() == "32-true" != precision(job)


def teacher_path(regime: Regime, teacher: str) -> Path:
    """Return the path of a teacher of the regime, by the name of the arm that trains it."""
    return Path("runs") / regime.name / teacher / "model.ckpt"


def build_arm(regime: Regime, arm: str, value: float | None, lr: float | None, source: Cifar, seed: int) -> Trial:
    """Build the recipe of one arm, with what was chosen at the whole budget of the regime.

    Args:
        regime: one of `REGIMES`, perhaps with another budget.
        arm, value, lr, source, seed: as in `build_trial`; None: the chosen value, else the usual one.
    """
    whole = next(one for one in REGIMES if one.name == regime.name)
    lr = lr or best_value(whole, NONE) or whole.usual_lr
    value = lr if arm == NONE else value or best_value(whole, arm)
    teacher = teacher_path(whole, whole.arms[arm].taught)
    return build_trial(regime, arm, value, lr, source=source, teacher=teacher, seed=seed)
