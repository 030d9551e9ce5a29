"""Simulate training: loader, sums of gradients, steps, and which of the three is the limit. No network runs.

A step begins when the last one has ended and its batch is there, and ends when the slowest process has its gradients'
sum. Each worker makes a batch at a time, and is at most two ahead, as torch's loader.
"""

from typing import NamedTuple

import numpy as np

AHEAD = 2  # batches of a worker that wait: torch's prefetch factor
HIDDEN = 2 / 3  # of a step: the backward pass, during which gradients are summed
BUCKET = 25e6  # bytes whose sum begins when the backward pass has ended, as in DDP
LATENCY = 1e-5  # seconds that a message takes at least: ours


class Parts(NamedTuple):
    """Seconds of what a step needs.

    Attributes:
        step: forward, backward and update in one process.
        load: one worker makes a batch.
        workers: of a process; 0: the training process makes its batches.
        store: the shared store sends one batch to each process.
        reduce: gradients are summed over all processes, see `all_reduce`.
        last: of `reduce`, what no backward pass can hide.
        processes: how many.
    """

    step: float
    load: float = 0.0
    workers: int = 0
    store: float = 0.0
    reduce: float = 0.0
    last: float = 0.0
    processes: int = 1


class Found(NamedTuple):
    """Seconds of a step, and of them: waiting for a batch, computing, waiting for gradients; and the limit."""

    seconds: float
    waiting: float
    computing: float
    summing: float

    @property
    def limit(self) -> str:
        """Return the longer wait where it takes over 2 % of the time."""
        wait, part = max((self.waiting, "data"), (self.summing, "network"))
        return part if wait > 0.02 * self.seconds else "step"


def simulate(parts: Parts, steps: int = 400, jitter: float = 0.02, seed: int = 0) -> Found:
    """Run `steps` steps; `jitter` is the standard deviation of a process's step, as a share of it."""
    noise = np.random.default_rng(seed).standard_normal((steps, parts.processes)).max(1)
    computing = parts.step * (1 + jitter * noise)
    summing = np.maximum(parts.reduce - HIDDEN * computing, parts.last)
    free, begins = [0.0] * max(parts.workers, 1), np.zeros(steps)
    sent = end = 0.0
    for i in range(steps):
        ahead = AHEAD * parts.workers
        place = begins[i - ahead] if ahead and i >= ahead else 0.0 if ahead else end
        free[i % len(free)] = made = max(free[i % len(free)], place) + parts.load
        sent = max(made, sent + parts.store)
        begins[i] = max(end, sent)
        end = begins[i] + computing[i] + summing[i]
    return Found(*(x / steps for x in (end, end - computing.sum() - summing.sum(), computing.sum(), summing.sum())))


def all_reduce(size: float, processes: int, inside: float, between: float = 0.0, machine: int = 8) -> float:
    """Return the seconds in which rings sum `size` bytes: within machines, then a share of each GPU between them.

    Args:
        size: bytes.
        processes: how many, a multiple of `machine` where they are more.
        inside: bytes a second within a machine.
        between: bytes a second of a machine's network, for each of its processes.
        machine: processes of a machine.
    """
    near = min(processes, machine)
    rings = [(size, near, inside), (size / near, processes // near, between)]
    return sum(2 * (n - 1) * (part / n / speed + LATENCY) for part, n, speed in rings if n > 1)
