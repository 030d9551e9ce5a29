"""Declarations of tricks about their arguments, and what all declarations are: `Need`.

A class lists its own `needs`, and inherits those of its bases (`callbacks.frame.declaration`). The frame checks
arguments before the constructor runs, and the rest in `setup`. Further kinds: `callbacks.frame.model_needs`,
`callbacks.frame.pair_needs`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

import lightning as L

from callbacks.frame.schedule import Schedule, rate_values
from zoo.frame.checks import validate_choice


class Need:
    """Abstract: one requirement of a trick, with the error message for runs that do not meet it."""

    def check_arguments(self, name: str, arguments: Mapping[str, Any]) -> None:
        """Refuse a value among the constructor's arguments. Raises ValueError.

        Args:
            name: the trick's class.
            arguments: what the constructor was called with, defaults included.
        """

    def check_run(self, trick: L.Callback, trainer: L.Trainer, model: L.LightningModule) -> None:
        """Refuse a model or other callbacks when a run begins. Raises TypeError or ValueError, with the cure."""


@dataclass(frozen=True)
class Range(Need):
    """Require a number between two bounds, or a `Schedule` or sequence of such numbers. None always passes.

    Args:
        argument: its name.
        low, high: the bounds, or the name of another argument.
        open_low, open_high: exclude the bound.
        off_at_low: exclude `low` for a number, because the trick does nothing there; a schedule may reach it.
    """

    argument: str
    low: float | str
    high: float | str = inf
    open_low: bool = False
    open_high: bool = False
    off_at_low: bool = False

    def check_arguments(self, name: str, arguments: Mapping[str, Any]) -> None:
        if (given := arguments.get(self.argument)) is None:
            return
        low, high = (arguments[bound] if isinstance(bound, str) else bound for bound in (self.low, self.high))
        is_open = self.open_low or (self.off_at_low and not isinstance(given, Schedule))
        for value in values_of(given):
            above = low < value if is_open else low <= value
            if not (above and (value < high if self.open_high else value <= high)):
                cure = f"; to train without it, leave {name} out" if value == low else ""
                bounds = f"{'(' if is_open else '['}{low}, {high}{')' if self.open_high else ']'}"
                raise ValueError(f"{name}: {self.argument} must be in {bounds}, not {value}{cure}")


def values_of(given: Any) -> list[float]:
    """Return the numbers in an argument: the number itself, a schedule's values, or those of a sequence's parts."""
    if isinstance(given, list | tuple):
        return [value for part in given for value in values_of(part)]
    return rate_values(given)


@dataclass(frozen=True)
class Choice(Need):
    """Require one of several words.

    Args:
        argument: its name.
        among: the words.
        what: the owner of the words in the error message; empty: the trick.
    """

    argument: str
    among: Sequence[str]
    what: str = ""

    def check_arguments(self, name: str, arguments: Mapping[str, Any]) -> None:
        if self.argument in arguments:
            validate_choice(arguments[self.argument], self.among, self.what or name)
