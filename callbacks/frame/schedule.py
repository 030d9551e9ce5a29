"""Rates that change during training, and times in epochs, steps or fractions of the run.

A rate is a number or a `Schedule`: `Linear(0, 0.1)`, `Cosine(9, 0)`, `Steps(0.1, {"0.5dur": 0.2})`, `VShape(0.2, 0.2)`.
A time is a number of epochs or a string: `"0.3dur"` (part of the run), `"10ep"` (epochs), `"500st"` (optimizer steps).
"""

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import lightning as L

from zoo.frame.run import callbacks_of

Time = float | str
FORM = re.compile(r"(\d+(?:\.\d+)?)(dur|ep|st)")


def parse_time(time: Time) -> tuple[float, str]:
    """Parse a time: `5` -> (5.0, "ep"), `"0.3dur"` -> (0.3, "dur"). Raises ValueError for anything else."""
    if not isinstance(time, str):
        time = f"{time}ep"
    match = FORM.fullmatch(time)
    if not match:
        raise ValueError(f"a time is a number of epochs, '0.3dur', '10ep' or '500st', not {time!r}")
    return float(match[1]), match[2]


def load_data(trainer: L.Trainer) -> None:
    """Set up the training loader, so that an epoch has a length: Lightning has not done so in `on_fit_start`."""
    if trainer.train_dataloader is None:
        trainer.fit_loop.setup_data()


def total_steps(trainer: L.Trainer) -> int:
    """Return the optimizer steps of the whole run; sets up the loaders. Raises ValueError if the run's end is unknown.

    Lightning's `estimated_stepping_batches` assumes that every epoch accumulates as many batches as the present one.
    """
    load_data(trainer)  # in `on_fit_start`; Lightning does it in the next line if max_epochs is set
    if not trainer.limit_train_batches:
        return max(trainer.max_epochs or 1, 1)  # nothing is trained: any length will do
    total = trainer.estimated_stepping_batches
    if math.isinf(total):
        raise ValueError("a schedule needs a run with an end: set max_epochs or max_steps of Trainer")
    if total == -1:  # Lightning's value for epochs without a length
        raise ValueError("a schedule needs a run with an end, and the training data has no length: set max_steps")
    if accumulation(trainer) is None or trainer.max_epochs in (None, -1) or math.isinf(trainer.num_training_batches):
        return int(total)
    steps = steps_of_epochs(max(trainer.max_epochs or 0, 1), trainer)
    return steps if trainer.max_steps == -1 else min(steps, trainer.max_steps)


def in_steps(time: Time, trainer: L.Trainer) -> int:
    """Return a time as whole optimizer steps since the start of the run; sets up the loaders for it."""
    number, unit = parse_time(time)
    if unit == "st":
        return round(number)
    load_data(trainer)
    return round(number * total_steps(trainer)) if unit == "dur" else steps_of_epochs(number, trainer)


def accumulation(trainer: L.Trainer) -> Callable[[int], int] | None:
    """Return a callback's function epoch -> batches per step (AccumulationSchedule, Lightning's), or None."""
    found = [c.get_accumulate_grad_batches for c in callbacks_of(trainer) if hasattr(c, "get_accumulate_grad_batches")]
    return found[0] if found else None


def batches_per_step(trainer: L.Trainer, epoch: int) -> int:
    """Return the batches accumulated for one optimizer step in this epoch; epochs count from 0."""
    changing = accumulation(trainer)
    return changing(epoch) if changing else trainer.accumulate_grad_batches


def steps_of_epochs(epochs: float, trainer: L.Trainer) -> int:
    """Return the steps of the first `epochs`. The last batches of an epoch are one step, even if they are fewer.

    Raises:
        ValueError: if the training data has no length; zero epochs are zero steps.
    """
    batches, changing, whole = trainer.num_training_batches, accumulation(trainer), int(epochs)
    if not trainer.limit_train_batches:
        return round(epochs)
    if math.isinf(batches):
        if not epochs:
            return 0
        raise ValueError(
            f"cannot turn {epochs:g} epochs into steps, as the data has no length: give times as '0.1dur' or '500st'"
        )
    if changing is None:
        return round(epochs * math.ceil(batches / trainer.accumulate_grad_batches))
    steps = [math.ceil(batches / changing(epoch)) for epoch in range(whole + 1)]
    return round(sum(steps[:whole]) + (epochs - whole) * steps[whole])


class Schedule(ABC):
    """A number that changes during the run."""

    @abstractmethod
    def now(self, trainer: L.Trainer) -> float:
        """Return the value for the next optimizer step."""

    @abstractmethod
    def values(self) -> list[float]:
        """Return the values between which it moves, to be checked against a range."""


@dataclass(frozen=True)
class Linear(Schedule):
    """Go from `start` to `end` in a straight line until `until`; then stay at `end`."""

    start: float
    end: float
    until: Time = "1dur"

    def __post_init__(self) -> None:
        parse_time(self.until)

    def values(self) -> list[float]:
        return [self.start, self.end]

    def now(self, trainer: L.Trainer) -> float:
        return self.start + (self.end - self.start) * _progress(self.until, trainer)


@dataclass(frozen=True)
class Cosine(Schedule):
    """Go from `start` to `end` along half a cosine until `until`; then stay at `end`."""

    start: float
    end: float
    until: Time = "1dur"

    def __post_init__(self) -> None:
        parse_time(self.until)

    def values(self) -> list[float]:
        return [self.start, self.end]

    def now(self, trainer: L.Trainer) -> float:
        return self.end + (self.start - self.end) * (1 + math.cos(math.pi * _progress(self.until, trainer))) / 2


@dataclass(frozen=True)
class VShape(Schedule):
    """Fall from `start` to 0 in a straight line until `low`, then rise to `end` until the end of the run."""

    start: float
    end: float
    low: Time = "0.2dur"

    def __post_init__(self) -> None:
        parse_time(self.low)

    def values(self) -> list[float]:
        return [self.start, self.end]

    def now(self, trainer: L.Trainer) -> float:
        fallen = _progress(self.low, trainer)
        if fallen < 1:
            return self.start * (1 - fallen)
        low, total = in_steps(self.low, trainer), total_steps(trainer)
        return self.end * min(1.0, (trainer.global_step - low) / max(total - low, 1))


@dataclass(frozen=True)
class Steps(Schedule):
    """Begin with `start`; at each time of `after`, change to its value: `Steps(0.2, {"0.8dur": 0})`."""

    start: float
    after: dict[Time, float]

    def __post_init__(self) -> None:
        for time in self.after:
            parse_time(time)

    def values(self) -> list[float]:
        return [self.start, *self.after.values()]

    def now(self, trainer: L.Trainer) -> float:
        starts = sorted((in_steps(time, trainer), value) for time, value in self.after.items())
        passed = [value for start, value in starts if start <= trainer.global_step]
        return passed[-1] if passed else self.start


def _progress(until: Time, trainer: L.Trainer) -> float:
    """Return the fraction of the way to `until`, in [0, 1]."""
    return min(1.0, trainer.global_step / max(in_steps(until, trainer), 1))


Rate = float | Schedule


def rate_now(rate: Rate, trainer: L.Trainer) -> float:
    """Return a number as it is, or a schedule's value for the next step."""
    return rate.now(trainer) if isinstance(rate, Schedule) else rate


def rate_values(rate: Rate) -> list[float]:
    """Return the values between which a rate moves, to be checked against a range."""
    return rate.values() if isinstance(rate, Schedule) else [rate]
