"""README, notebooks, docs and recipes use public names only, and a data module's picture is shown without pyplot."""

import ast
import re
from pathlib import Path

import pytest

from datamodules import Digits

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("zoo", "callbacks", "datamodules", "recipes")
PRIVATE = re.compile(r"^_(?!_)")
SOURCES = sorted([*(ROOT / "notebooks").glob("[0-9]*.py"), *(ROOT / "recipes").rglob("*.py")])
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])
EXAMPLE = re.compile(r"```python\n(.*?)```", re.DOTALL)


def private_imports(code: str) -> list[str]:
    """List the underscore names that code imports from our packages."""
    found = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom):
            imported = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            imported = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        found += [path for path in imported if path.split(".")[0] in PACKAGES and is_private(path)]
    return found


def private_attributes(code: str) -> list[str]:
    """List the underscore attributes of anything but `self` and `cls`."""
    nodes = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Attribute) and PRIVATE.match(node.attr)]
    return [ast.unparse(node) for node in nodes if ast.unparse(node.value) not in ("self", "cls")]


def is_private(path: str) -> bool:
    """Return whether a part of a dotted name begins with one underscore."""
    return any(PRIVATE.match(part) for part in path.split("."))


def test_private_names_are_found():
    assert private_imports(
        "from zoo._base import A\nfrom zoo import _b\nimport callbacks._c\nfrom torch import _C"
    ) == [
        "zoo._base.A",
        "zoo._b",
        "callbacks._c",
    ]
    assert private_attributes("self._a; trick._rates; x.__doc__") == ["trick._rates"]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_sources_import_public_names(path):
    assert private_imports(path.read_text()) == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_pages_import_public_names(path):
    text = path.read_text()
    assert [name for code in EXAMPLE.findall(text) for name in private_imports(code)] == []
    assert re.findall(rf"\b(?:{'|'.join(PACKAGES)})(?:[./]\w+)*[./]_(?!_)\w+", text) == []


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("[0-9]*.py")), ids=lambda path: path.stem)
def test_notebooks_use_public_names_and_are_quiet(path):
    code = path.read_text()
    assert private_attributes(code) == []
    first_cell = code.split("\n# %%\n")[1]
    assert "setLevel(logging.ERROR)" in first_cell and 'filterwarnings("ignore")' in first_cell


def test_the_first_cell_of_a_kernel_shows_a_picture():
    assert Digits(batch_size=4, num_workers=0).show_batch()._repr_png_().startswith(b"\x89PNG")
