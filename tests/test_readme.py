"""What the README says is what the code and results/ say."""

import ast
import re
import shlex
from pathlib import Path

import pytest

import datamodules
from callbacks import Trick
from recipes.command import main, run, tables
from recipes.frame import catalogue
from zoo.frame.describe import defaults

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
SHELL = [line.split("#")[0] for line in README.replace("\\\n", " ").splitlines() if line.startswith(("zoo ", "make "))]


@pytest.mark.parametrize(("path", "text"), list(tables.render()), ids=lambda x: x.name if isinstance(x, Path) else "")
def test_tables_are_those_of_their_sources(path, text):
    assert path.read_text() == text, "run `make tables`"


def test_every_table_stands_on_a_page():
    found = {m["name"] for page in tables.pages() for m in tables.BLOCK.finditer(page.read_text())}
    assert set(tables.TABLES) == found


@pytest.mark.filterwarnings("ignore:Starting from v1.9.0")  # no tensorboard is installed here
def test_the_example_builds(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = PYTHON[0].splitlines()
    assert len(lines) <= 15 and lines[-1].startswith("trainer.fit(")
    names = {}
    exec("\n".join(lines[:-1]), names)  # the last line downloads and trains
    assert sum(isinstance(callback, Trick) for callback in names["trainer"].callbacks) == 6


def test_the_recipe_example_builds():
    lines = PYTHON[1].splitlines()
    assert lines[-1] == "metrics = recipe.run()"
    exec("\n".join(lines[:-1]), {})


def test_the_data_modules_take_what_is_shown():
    calls = [node for node in ast.walk(ast.parse(PYTHON[2])) if isinstance(node, ast.Call)]
    assert len(calls) == 5
    for call in calls:
        assert {word.arg for word in call.keywords} <= {*defaults(getattr(datamodules, call.func.id))}


@pytest.mark.parametrize("line", SHELL)
def test_commands_exist(line):
    program, command, *rest = shlex.split(line.split(";")[0].split(">")[0])
    if program == "make":
        assert re.search(rf"^{command}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    elif command == "run":
        run.parse(__import__(f"recipes.{rest[0]}", fromlist=["recipe"]), rest[0], rest[1:])
    else:
        assert command in {*main.LISTS, *main.LIGHTNING, *main.FILES}


def test_badges_say_the_version_and_the_coverage_that_is_asked_for():
    version = re.search(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[1]
    coverage = re.search(r"COVERAGE=(\d+)", (ROOT / ".ci" / "run").read_text())[1]
    for name, words in {"version": version, "coverage": f"at least {coverage} %"}.items():
        assert f">{words}</text>" in (ROOT / "docs" / "badges" / f"{name}.svg").read_text()
        assert re.search(rf"!\[{name}:? {re.escape(words)}\]\(docs/badges/{name}.svg\)", README)
    assert (ROOT / ".github" / "workflows" / "tests.yml").exists()  # the first badge's


def test_the_four_names_are_the_packages():
    for name in ("zoo", "callbacks", "datamodules", "recipes"):
        assert f"`{name}`" in README.split("## Installing")[1]
        assert (catalogue.ROOT / name / "py.typed").exists()
