"""Pictures are drawn once, and again where the code is younger."""

import os

import pytest
from builder import pictures


def test_a_picture_is_drawn_where_it_is_older_than_the_code(tmp_path):
    assert pictures.draw(tmp_path, ["L2"]) == ["L2"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["L2.svg", "L2.txt"]
    assert pictures.draw(tmp_path, ["L2"]) == []
    os.utime(tmp_path / "L2.txt", (0, 0))
    assert pictures.draw(tmp_path, ["L2"]) == ["L2"]


@pytest.mark.slow
@pytest.mark.whole  # `make site` draws all, in so many processes
def test_many_are_drawn_by_several_processes(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "FEW", 1)
    assert pictures.draw(tmp_path, ["L1", "L2"]) == ["L1", "L2"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["L1.svg", "L1.txt", "L2.svg", "L2.txt"]
    assert pictures.draw(tmp_path, ["L1", "L2"]) == []
