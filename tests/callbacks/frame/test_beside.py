"""A package `zoo` that hides ours is refused with its folder's path, before anything is imported from it."""

import subprocess
import sys

import pytest

from callbacks.frame.beside import ROOT, refuse_another


def test_ours_and_none_are_no_problem():
    refuse_another("zoo")
    refuse_another("no_such_package")


def test_another_is_named(tmp_path, monkeypatch):
    (tmp_path / "lookalike").mkdir()
    (tmp_path / "lookalike" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError, match=f"{tmp_path / 'lookalike'} hides the package 'lookalike' of Lightning Zoo"):
        refuse_another("lookalike")


def test_a_users_zoo_is_told_first_of_all(tmp_path):
    (tmp_path / "zoo").mkdir()
    (tmp_path / "zoo" / "__init__.py").write_text("")
    code = f"import sys; sys.path[:0] = [{str(tmp_path)!r}]; import callbacks"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stderr.splitlines()[-1].startswith(f"ImportError: {tmp_path / 'zoo'} hides the package 'zoo'")
