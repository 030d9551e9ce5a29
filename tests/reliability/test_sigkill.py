"""A run killed with SIGKILL at a random moment, resumed from `last.ckpt` in a new process, ends with the same bits."""

import signal
import zlib

import pytest
import torch

from tests.reliability.runs import LISTS, REST, SLOW, differences, random_death

SEED = 20240229  # of the random moments; change it for others


def straight_and_killed(in_processes, folder, which, death, workers=0, seed=7, other_seed=7, **options):
    """Exit codes and the ends of a straight run, and of one that is killed and then resumed, each in its process."""
    folders = [folder / "straight", folder / "killed"]
    jobs = [(which, folders[0], seed, None, workers, options), (which, folders[1], seed, death, workers, options)]
    assert in_processes("fit_in_folder", *jobs) == [0, -signal.SIGKILL]
    assert (folders[1] / "last.ckpt").exists() and not (folders[1] / "final.pt").exists()
    assert in_processes("fit_in_folder", (which, folders[1], other_seed, None, workers, options)) == [0]
    return [torch.load(f / "final.pt", weights_only=True) for f in folders]


def check(in_processes, folder, which, number, **options):
    death = random_death(SEED + number)
    straight, resumed = straight_and_killed(in_processes, folder, which, death, **options)
    assert len(resumed["seen"]) < len(straight["seen"])
    assert differences(straight, resumed) == [], f"killed at {death} (seed {SEED} + {number})"


@pytest.mark.parametrize("which", ["none", "scheduled", "all"])
def test_killed(which, in_processes, tmp_path):
    check(in_processes, tmp_path, which, LISTS.index(which))


@pytest.mark.slow
@pytest.mark.parametrize("which", [*(f"rest{i}" for i in range(len(REST))), *sorted(SLOW)])
@pytest.mark.one_in(3)
def test_killed_with_those_that_are_not_in_it(which, in_processes, tmp_path):
    check(in_processes, tmp_path, which, zlib.crc32(which.encode()) % 100)


APART = [pytest.param(*case, marks=[pytest.mark.slow, pytest.mark.whole]) for case in [(0, 2), (2, 1)]]


@pytest.mark.parametrize(("workers", "accumulate"), [(2, 3), *APART])
def test_killed_with_accumulation_and_workers(workers, accumulate, in_processes, tmp_path):
    check(in_processes, tmp_path, "all", 100, workers=workers, accumulate_grad_batches=accumulate)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "workers", "accumulate"), [(1000, 0, 1), (1001, 2, 2), (1002, 0, 2), (1003, 2, 1), (1004, 0, 1)]
)
@pytest.mark.one_in(2)
def test_killed_anywhere(number, workers, accumulate, in_processes, tmp_path):
    check(in_processes, tmp_path, "all", number, workers=workers, accumulate_grad_batches=accumulate)


def test_the_seed_comes_from_the_checkpoint(in_processes, tmp_path):
    death = ("on_train_batch_end", 8)
    straight, resumed = straight_and_killed(in_processes, tmp_path, "all", death, seed=7, other_seed=8)
    assert differences(straight, resumed) == []
    other, _ = straight_and_killed(in_processes, tmp_path / "other", "all", death, seed=8)
    assert other["seen"] != straight["seen"]


@pytest.mark.parametrize("n", [7, pytest.param(8, marks=[pytest.mark.slow, pytest.mark.whole])])
def test_killed_while_writing(n, in_processes, tmp_path):
    """The file before it stays whole: a checkpoint takes its place in one go."""
    straight, resumed = straight_and_killed(in_processes, tmp_path, "all", ("while writing", n))
    assert differences(straight, resumed) == []
