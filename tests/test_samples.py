"""Slow cases of a test marked `one_in(k)`: every k-th is for `make slow`, all others for `make whole`."""

import pytest

from tests.conftest import pytest_collection_modifyitems as take_samples


class Case:
    """What of pytest's items is asked."""

    def __init__(self, nodeid, *marks):
        self.nodeid, self.marks = nodeid, {mark.name: mark.mark for mark in marks}

    def get_closest_marker(self, name):
        return self.marks.get(name)

    def add_marker(self, mark):
        self.marks[mark.name] = mark.mark


def cases(test, count, *marks):
    return [Case(f"{test}[{i}]", *marks) for i in range(count)]


def test_every_third_is_left_and_quick_ones_are_not_counted():
    third = pytest.mark.one_in(3)
    slow, quick = cases("a.py::test_b", 12, third, pytest.mark.slow), cases("a.py::test_b", 5, third)
    every = cases("a.py::test_c", 4, pytest.mark.slow)
    take_samples([*quick, *slow, *every])
    left = [i for i, case in enumerate(slow) if "whole" not in case.marks]
    assert len(left) == 4 and {j - i for i, j in zip(left, left[1:], strict=False)} == {3}
    assert not any("whole" in case.marks for case in quick + every)


def test_tests_of_the_same_members_begin_with_different_ones():
    tests = [cases(f"a.py::test_{name}", 5, pytest.mark.one_in(5), pytest.mark.slow) for name in "bcdefghijk"]
    take_samples([case for test in tests for case in test])
    left = {next(i for i, case in enumerate(test) if "whole" not in case.marks) for test in tests}
    assert len(left) > 2
