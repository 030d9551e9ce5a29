"""The simulation of a run at its limits, by hand; its parts add up."""

import pytest

from recipes.frame.saturation import Parts, all_reduce, simulate


@pytest.mark.parametrize(("parts", "expected", "limit"), [
    (Parts(0.5, 0.2), 0.7, "data"),  # no workers: one after the other
    (Parts(0.1, 1.0, 4), 0.25, "data"),  # four workers, a batch of one second each
    (Parts(0.1, 0.1, 4, store=0.3), 0.3, "data"),
    (Parts(0.5, 0.4, 1), 0.5, "step"),
    (Parts(0.3, reduce=1.0, processes=8), 0.3 + 1.0 - 0.2, "network"),  # two thirds of a step hide 0.2
    (Parts(0.3, reduce=0.1, last=0.02, processes=8), 0.32, "network"),  # the last bucket is never hidden
])  # fmt: skip
def test_limits_by_hand(parts, expected, limit):
    found = simulate(parts, steps=300, jitter=0)
    assert found.seconds == pytest.approx(expected, rel=0.02) and found.limit == limit


def test_the_parts_of_a_step_add_up():
    found = simulate(Parts(0.3, 0.5, 1, 0.4, 0.3, 0.05, 16), steps=50, jitter=0.1, seed=3)
    assert found.waiting + found.computing + found.summing == pytest.approx(found.seconds)
    assert min(found.waiting, found.computing, found.summing) > 0


def test_more_processes_wait_for_a_slower_one():
    """The mean of the largest of 100 normal draws is 2.51 standard deviations."""
    assert simulate(Parts(1.0, processes=100), steps=2000, jitter=0.05).seconds == pytest.approx(1.125, abs=0.005)


def test_the_first_batch_is_waited_for():
    assert [n * simulate(Parts(0.4, 0.5, 1), n, jitter=0).seconds for n in (1, 2, 3)] == pytest.approx([0.9, 1.4, 1.9])


def test_rings_by_hand():
    assert all_reduce(8e9, 1, 1e9) == 0
    assert all_reduce(8e9, 4, 1e9) == pytest.approx(6 * (2 + 1e-5))
    assert all_reduce(8e9, 16, 1e9, 0.5e9) == pytest.approx(14 * (1 + 1e-5) + 2 * (1 + 1e-5))
