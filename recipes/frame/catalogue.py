"""List models, tricks, data modules and recipes from the source, without importing it: names, rooms, first lines.

Importing the packages imports torch, which takes seconds; `zoo models` and the check of a misspelt name should not.
"""

import ast
import re
import textwrap
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from recipes.frame.costs import COSTS
from recipes.frame.errors import ROOT


class Entry(NamedTuple):
    """One public class, or one recipe."""

    name: str
    room: str  # folder below the package: "data", "loss", ...; empty at the top
    line: str  # first line of the module's docstring, or of the class's if a module has several
    doc: str  # the module's docstring


def models() -> list[Entry]:
    """Return the models: classifiers, then segmenters."""
    return [*_entries("zoo"), *_entries("zoo", "SEGMENTERS")]


def cost(model: str) -> tuple[str, str, str]:
    """Return a model's default variant, parameters and multiply-adds; empty before `make tables` counts them."""
    variant, parameters, macs = COSTS.get(model, ("", 0, 0))
    return variant, _short(parameters), _short(macs)


def _short(number: int) -> str:
    """Write a number with three digits and a unit."""
    unit, name = next(((u, n) for u, n in ((10**9, "G"), (10**6, "M"), (10**3, "k")) if number >= u), (1, ""))
    digits = max(3 - len(str(number // unit)), 0) if name else 0
    return f"{number / unit:.{digits}f} {name}".strip() if number else ""


def tricks() -> list[Entry]:
    """Return the tricks that work without boxes, sorted by room."""
    return sorted(_entries("callbacks"), key=lambda e: e.room)


def every_trick() -> list[Entry]:
    """Return the tricks, those of boxes too, sorted by room and name."""
    return sorted([*tricks(), *_entries("callbacks", "OF_BOXES")], key=lambda e: (e.room, e.name))


def taxonomy() -> dict[str | None, list[Entry]]:
    """Group the tricks by where they regularise, in the taxonomy's order; the key None has the others. Imports them."""
    package, places = import_module("callbacks"), import_module("callbacks.frame.trick").TAXONOMY
    found: dict[str | None, list[Entry]] = {place: [] for place in (*places, None)}
    for entry in every_trick():
        found[getattr(package, entry.name).taxonomy].append(entry)
    return found


def datamodules() -> list[Entry]:
    """Return the data modules."""
    return _entries("datamodules")


@cache
def recipes() -> list[Entry]:
    """Return the recipes: the files directly in recipes/."""
    found = []
    for path in sorted((ROOT / "recipes").glob("[!_]*.py")):
        doc = ast.get_docstring(_parse(path)) or ""
        found.append(Entry(path.stem, "", _first_line(doc), doc))
    return found


def columns(recipe: str) -> dict[str, int]:
    """Read a recipe's `COLUMNS`: further metrics of its table and their digits; empty if it has none."""
    path = ROOT / "recipes" / f"{recipe}.py"
    with suppress(LookupError):
        return _literal(_parse(path), "COLUMNS") if path.exists() else {}
    return {}


def field(doc: str, name: str) -> str:
    """Return the text of `Name:` in a module docstring, on one line; empty if there is none."""
    return " ".join(line.strip() for line in field_lines(doc, name)).strip()


def field_lines(doc: str, name: str) -> list[str]:
    """Return the lines of `Name:` in a module docstring as they are laid out, without the common margin."""
    lines, taking = [], False
    for line in doc.splitlines():
        if line[:1].strip():  # a new field starts at the margin
            taking = line.startswith(f"{name}:")
            line = line.replace(f"{name}:", " " * len(f"{name}:"), 1) if taking else line
        if taking:
            lines.append(line)
    return textwrap.dedent("\n".join(lines)).strip("\n").splitlines()


def file_of(package: str, name: str) -> Path:
    """Return the file that defines a public class of a package. Raises LookupError if there is none."""
    return _find(package, name)[0]


@cache
def _entries(package: str, names: str = "__all__") -> list[Entry]:
    init = _parse(ROOT / package / "__init__.py")
    return [_entry(package, name) for name in _names(init, package, names)]


def _names(init: ast.Module, package: str, names: str) -> list[str]:
    """Return a literal list of names; if it is made at import, the names from the members' own files."""
    with suppress(ValueError):
        return list(_literal(init, names))
    imports = [node for node in init.body if isinstance(node, ast.ImportFrom)]
    members = [node for node in imports if re.match(rf"{package}\.(?!frame\.|tools\.)", f"{node.module}.")]
    apart: list[str] = []
    for listed in ("SEGMENTERS", "OF_BOXES"):
        with suppress(LookupError):
            apart += _literal(init, listed)
    found = {alias.asname or alias.name for node in members for alias in node.names}
    return sorted(found.difference(apart))


def _entry(package: str, name: str) -> Entry:
    path, node = _find(package, name)
    doc = ast.get_docstring(_parse(path)) or ""
    room = path.relative_to(ROOT / package).parent.as_posix().replace(".", "")
    own = ast.get_docstring(node) or doc if package == "datamodules" else doc
    head, _, rest = _first_line(own).partition(": ")
    named = re.sub("[ -]", "", head).lower() == name.lower()  # "Zero gamma: ..." of ZeroGamma
    return Entry(name, room, rest if named else _first_line(own), doc)


def _find(module: str, name: str) -> tuple[Path, ast.ClassDef]:
    """Find file and class behind `from module import name`, through every `__init__.py` that re-exports it."""
    path = ROOT.joinpath(*module.split("."))
    package = path.is_dir()
    path = path / "__init__.py" if package else path.with_suffix(".py")
    for node in _parse(path).body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return path, node
        if isinstance(node, ast.ImportFrom) and name in (alias.asname or alias.name for alias in node.names):
            source = next(alias.name for alias in node.names if name == (alias.asname or alias.name))
            parents = module.split(".")[: len(module.split(".")) - node.level + package] if node.level else []
            return _find(".".join([*parents, *filter(None, [node.module])]), source)
    raise LookupError(f"{name} is in __all__ of {module}, but neither defined nor imported there")


@cache
def _parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def _literal(module: ast.Module, name: str) -> Any:
    """Return the value of the module-level `name = ...`, which must be a literal."""
    for node in module.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            return ast.literal_eval(getattr(node, "value"))  # noqa: B009
    raise LookupError(f"no {name} = ... in this module")


def _first_line(doc: str) -> str:
    return doc.strip().split("\n", 1)[0].strip()
