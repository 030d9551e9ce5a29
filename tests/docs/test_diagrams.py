"""Diagrams of the site: drawn once, again where the code changed, and never without Graphviz."""

import os

import pytest
from builder import diagrams


@pytest.fixture
def calls(monkeypatch):
    found = []
    monkeypatch.setattr(diagrams, "write_diagrams", lambda folder: (folder.mkdir(exist_ok=True), found.append(folder)))
    monkeypatch.setattr(diagrams.shutil, "which", lambda name: f"/usr/bin/{name}")
    return found


def test_drawn_again_where_the_code_changed(tmp_path, calls):
    code = tmp_path / "code.py"
    code.write_text("")
    os.utime(code, (1e9, 1e9))
    assert diagrams.draw(tmp_path / "made", tmp_path) and not diagrams.draw(tmp_path / "made", tmp_path)
    os.utime(code, (4e9, 4e9))
    assert diagrams.draw(tmp_path / "made", tmp_path) and len(calls) == 2


def test_not_drawn_without_graphviz(tmp_path, calls, monkeypatch):
    monkeypatch.setattr(diagrams.shutil, "which", lambda name: None)
    assert not diagrams.draw(tmp_path) and not calls
