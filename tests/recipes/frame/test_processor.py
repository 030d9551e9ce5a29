"""What a run on a CPU says of bfloat16 and threads, with pretended processors."""

import os

import pytest
import torch

from recipes.frame import processor


@pytest.fixture
def pretend(monkeypatch):
    """A machine of so many cores, of which this process may use `mine`, with `busy` programs and `threads` threads."""

    def pretend(cores=4, mine=4, busy=0.0, threads=4, half=True):
        monkeypatch.setattr(os, "cpu_count", lambda: cores)
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(mine)), raising=False)
        monkeypatch.setattr(os, "getloadavg", lambda: (busy, 9.0, 9.0), raising=False)
        monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: half)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)

    return pretend


@pytest.mark.parametrize(
    "machine, free",
    [((4, 4, 0.0), 4), ((4, 4, 1.2), 3), ((4, 4, 9.0), 1), ((4, 2, 1.2), 2), ((4, 2, 2.9), 1), ((1, 1, 0.0), 1)],
)
def test_free_cores_are_those_that_nobody_uses(pretend, machine, free):
    pretend(*machine)
    assert processor.free_cores() == free


def test_on_a_quiet_machine_without_bfloat16_there_is_nothing_to_advise(pretend):
    pretend(half=False)
    assert processor.fast_precision() == "32-true"
    assert processor.advice("32-true") == "trains on the CPU in 32-true, 4 threads"


def test_bfloat16_is_advised_to_float32_alone(pretend):
    pretend(threads=1)
    assert processor.fast_precision() == "bf16-mixed"
    assert 'in 32-true, 1 thread; precision "bf16-mixed" is faster' in processor.advice("32-true")
    assert processor.advice("bf16-mixed") == "trains on the CPU in bf16-mixed, 1 thread"


def test_emulated_bfloat16_is_told(pretend):
    pretend(half=False, threads=1)
    assert processor.advice("bf16-mixed").endswith('emulates bfloat16: precision "32-true" is several times as fast')


def test_on_a_busy_machine_the_number_of_free_cores_is_advised(pretend):
    pretend(busy=2.6)
    assert processor.advice("bf16-mixed").endswith("4 threads; other programs run, so OMP_NUM_THREADS=1 may be faster")
