"""CPU seconds of calls that take turns, so that all of them meet the same load of the machine."""

import statistics
import time
from collections.abc import Callable, Mapping

CLOCK = "CPU seconds of one thread, on a core that other programs used too"  # in each record that was measured so


def seconds(call: Callable[[], object]) -> float:
    """Return the CPU seconds of one call."""
    start = time.process_time()
    call()
    return time.process_time() - start


def turns(sides: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Return the CPU seconds of each side in each round. The order turns round; the first call of each is not timed."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for call in sides.values():
        call()
    for i in range(rounds):
        for name in list(sides)[:: 1 if i % 2 else -1]:
            times[name].append(seconds(sides[name]))
    return times


def quotient(above: list[float], below: list[float]) -> float:
    """Return the median over the rounds of one side's seconds divided by the other's in the same round."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))
