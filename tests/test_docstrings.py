"""The contract of a file: six fields, an address, docstrings; and one trick a file, in a room, reachable by name."""

import ast
import inspect
import re
from pathlib import Path

import pytest

import callbacks
import zoo

ROOT = Path(__file__).resolve().parents[1]
MODELS = sorted((ROOT / "zoo").glob("[!_]*.py"))
TRICKS = sorted(p for p in (ROOT / "callbacks").glob("*/[!_]*.py") if p.parent.name != "frame")
CODE = sorted(p for package in ("zoo", "callbacks", "datamodules", "recipes") for p in (ROOT / package).rglob("*.py"))
TEXT = {".py", ".md", ".toml", ".yml", ".yaml", ".cfg", ".json", ".jsonl", ".ipynb", ".sh", ""}
FUNCTIONS = ("boxes",)  # files of functions for other trainings, without a trick
FIELDS = ("Paper", "Code", "Block", "Equation", "Shapes", "Defaults", "Differs")
PAPERS = ("arxiv.org/abs/", "doi.org/", "proceedings.", "openaccess.thecvf.com", "papers.nips.cc", "openreview.net")


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def public_defs(path: Path) -> list[ast.ClassDef | ast.FunctionDef]:
    """Functions and classes of a file without an underscore in front."""
    tree = ast.parse(path.read_text())
    kinds = ast.ClassDef | ast.FunctionDef
    return [node for node in tree.body if isinstance(node, kinds) and not node.name.startswith("_")]


@pytest.mark.parametrize("path", [*MODELS, *TRICKS], ids=name)
def test_module_docstring_has_the_six_fields(path):
    doc = ast.get_docstring(ast.parse(path.read_text())) or ""
    heads = [line.split(":")[0] for line in doc.splitlines() if re.match(r"\w+:( |$)", line)]
    what = "Block" if path in MODELS else "Equation"
    assert [head for head in heads if head in FIELDS] == ["Paper", "Code", what, "Shapes", "Defaults", "Differs"]
    assert re.match(r"\w[^\n]*: .|[A-Z][^\n]*\.\n", doc), "the first line says in a clause what it is"
    paper = doc[doc.index("Paper:") : doc.index("Code:")]
    assert any(address in paper for address in PAPERS)


@pytest.mark.parametrize("path", CODE, ids=name)
def test_what_is_public_says_what_it_is(path):
    assert path.name == "__init__.py" or ast.get_docstring(ast.parse(path.read_text()))
    silent = [node.name for node in public_defs(path) if not ast.get_docstring(node)]
    assert silent == []


EVERY_TRICK = [*callbacks.__all__, *callbacks.OF_BOXES]
WITH_FIELDS = [kind for name in (*zoo.__all__, *zoo.SEGMENTERS) if issubclass(kind := getattr(zoo, name), zoo.Model)]
WITH_FIELDS += [getattr(callbacks, name) for name in EVERY_TRICK]


@pytest.mark.parametrize("cls", WITH_FIELDS)
def test_help_shows_the_fields_once_between_what_it_does_and_its_arguments(cls):
    doc, file = inspect.getdoc(cls), inspect.getdoc(inspect.getmodule(cls))
    fields = file[file.index("\nPaper:") + 1 :]
    assert doc.count(fields) == doc.count("\nPaper:") == 1
    first = inspect.cleandoc(ast.get_docstring(source(cls)) or "").splitlines()[0]
    assert doc.splitlines()[0] == first and doc.index(first) < doc.index(fields)
    assert "\nArgs:\n" not in doc or doc.index(fields) < doc.index("\nArgs:\n")


def source(cls: type) -> ast.ClassDef:
    nodes = ast.parse(Path(inspect.getfile(cls)).read_text()).body
    return next(node for node in nodes if isinstance(node, ast.ClassDef) and node.name == cls.__name__)


def test_tricks_are_in_rooms():
    """No file lies beside the rooms but the lists by paper: what tricks are made of is in `frame`."""
    assert {path.name for path in (ROOT / "callbacks").glob("*.py")} == {"__init__.py", "presets.py"}
    rooms = {path.parent.name for path in TRICKS}
    assert rooms <= {"data", "network", "dropout", "loss", "distillation", "optimization", "diagnostics"}


@pytest.mark.parametrize("path", [path for path in TRICKS if path.stem not in FUNCTIONS], ids=name)
def test_every_file_of_tricks_exports_one(path):
    exported = [node.name for node in public_defs(path) if node.name in EVERY_TRICK]
    assert len(exported) == 1
    assert exported[0].lower() == path.stem.replace("_", "") or path.stem in exported[0].lower()


@pytest.mark.parametrize("path", MODELS, ids=name)
def test_every_file_of_models_exports_one(path):
    """Two, where a paper has two."""
    assert [node.name for node in public_defs(path) if node.name in (*zoo.__all__, *zoo.SEGMENTERS)]


@pytest.mark.parametrize("trick", EVERY_TRICK)
def test_every_trick_has_its_own_file(trick):
    module = inspect.getmodule(getattr(callbacks, trick)).__name__
    files = [inspect.getmodule(getattr(callbacks, other)).__name__ for other in EVERY_TRICK]
    assert module.startswith("callbacks.") and files.count(module) == 1


@pytest.mark.parametrize("package", [zoo, callbacks], ids=lambda package: package.__name__)
def test_lists_of_names_are_of_classes(package):
    assert len(set(package.__all__)) == len(package.__all__)
    assert all(inspect.isclass(getattr(package, each)) for each in package.__all__)


def text_files() -> list[Path]:
    folders = ("zoo", "callbacks", "datamodules", "recipes", "tests", "benchmarks", "results", "notebooks", ".github")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()]
    files += [path for path in ROOT.iterdir() if path.is_file() and not made(path)]
    return [path for path in files if path.suffix in TEXT and "__pycache__" not in path.parts]


def made(path: Path) -> bool:
    """Whether git or coverage keep the file: of a worktree, and while coverage is measured."""
    return path.name == ".git" or path.name.startswith(".coverage")


def test_no_file_names_a_machine():
    """Paths below someone's home or working folder mean nothing to a reader."""
    paths = re.compile("/" + "(home|Users|root|work|mnt|tmp)" + r"/\w")
    found = [f"{name(p)}: {line.strip()[:80]}" for p in text_files() for line in lines(p) if paths.search(line)]
    assert found == []


def lines(path: Path) -> list[str]:
    return path.read_text(errors="replace").splitlines()
