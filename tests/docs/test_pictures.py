"""Pictures are drawn once, and again where the code is younger."""

import os

from builder import pictures


def test_a_picture_is_drawn_where_it_is_older_than_the_code(tmp_path):
    assert pictures.draw(tmp_path, ["L2"]) == ["L2"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["L2.svg", "L2.txt"]
    assert pictures.draw(tmp_path, ["L2"]) == []
    os.utime(tmp_path / "L2.txt", (0, 0))
    assert pictures.draw(tmp_path, ["L2"]) == ["L2"]
