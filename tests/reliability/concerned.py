"""Which tests concern a file of the code, in the order in which `plant.py` runs them."""

import ast
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

CONTRACTS = {  # package: tests that are parametrised by its members
    "zoo": ("tests/zoo/test_every_model.py", "tests/zoo/test_other_channels.py", "tests/zoo/tools"),
    "callbacks": (
        "tests/callbacks/test_every_trick.py",
        "tests/callbacks/test_draws.py",
        "tests/callbacks/test_defaults.py",
        "tests/reliability/test_resume.py",
        "tests/reliability/test_pretended_gpu.py",
    ),
    "datamodules": ("tests/datamodules/test_every_datamodule.py",),
    "recipes": ("tests/recipes/test_recipes.py",),
}
FILES, MEMBERS = 10, 3  # of a file without a mirror, at most


class Tests(NamedTuple):
    """Arguments of pytest: paths, `-m` and `-k`."""

    paths: tuple[str, ...]
    marks: str
    names: str


def concerned(root: Path, file: str) -> list[Tests]:
    """Return the stages for a file of the code: its own tests, its members' contracts, then the slow ones of both."""
    package = file.split("/")[0]
    own = tuple(mirrors(root, file))
    names = " or ".join(f"[{m}] or [{m}- or -{m}] or -{m}-" for m in members(root, file))
    contracts = CONTRACTS[package] if names else ()
    slow = [Tests(own, "slow and not whole", ""), Tests(contracts, "slow", names)]  # of a member all cases
    return [Tests(own, "not slow", ""), Tests(contracts, "not slow", names), *slow]


def mirrors(root: Path, file: str) -> list[str]:
    """Return the test files of a file: its mirror, those that name it or what it defines, those of what imports it."""
    mirror = mirror_of(file)
    if (root / mirror).exists() and "/frame/" not in file:
        return [mirror]
    module = module_of(file)
    wanted = re.compile(rf"\b{re.escape(module)}\b|\bimport {module.rpartition('.')[2]}\b")
    defined = {node.name for node in parsed(root, file).body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    names = {name for name in defined if len(name) > 6 and not name.startswith("_")}
    named = re.compile(rf"\b({'|'.join(map(re.escape, names))})\b") if names else None
    tests = {
        path.relative_to(root).as_posix(): path.read_text() for path in sorted((root / "tests").rglob("test_*.py"))
    }
    found = [mirror] if mirror in tests else []
    found += [path for path, text in tests.items() if wanted.search(text)]
    found += [path for path, text in tests.items() if named and named.search(text)]
    found += [mirror_of(user) for user in importers(root, module) if mirror_of(user) in tests]
    contracts = {path for paths in CONTRACTS.values() for path in paths}
    return [path for path in dict.fromkeys(found) if path not in contracts][:FILES]


def members(root: Path, file: str) -> list[str]:
    """Return the public members that a file defines, or those of the first files that import it."""
    files = [file, *importers(root, module_of(file))] if "/" in file.partition("/")[2] else [file]
    found = []
    for path in files:
        front = (root / path.split("/")[0] / "__init__.py").read_text()
        classes = [node.name for node in parsed(root, path).body if isinstance(node, ast.ClassDef)]
        found += [name for name in classes if re.search(rf"import {name} as {name}\b", front)]
    if file.startswith("recipes/"):
        found += [Path(path).stem for path in files if path.count("/") == 1]
    return list(dict.fromkeys(found))[:MEMBERS]


@cache
def importers(root: Path, module: str) -> list[str]:
    """Return the files that import a module, near ones first, two steps far."""
    near = [file for file, text in sources(root).items() if uses(text, module)]
    far = [f for user in near for f, text in sources(root).items() if uses(text, module_of(user))]
    return list(dict.fromkeys([*near, *far]))


def uses(text: str, module: str) -> bool:
    package, _, name = module.rpartition(".")
    return (
        f"from {module} import" in text
        or re.search(rf"from {re.escape(package)} import .*\b{name}\b", text) is not None
    )


@cache
def sources(root: Path) -> dict[str, str]:
    packages = ("zoo", "callbacks", "datamodules", "recipes")
    files = [path for package in packages for path in sorted((root / package).rglob("*.py")) if path.stem != "__init__"]
    return {path.relative_to(root).as_posix(): path.read_text() for path in files}


@cache
def parsed(root: Path, file: str) -> ast.Module:
    return ast.parse((root / file).read_text())


def mirror_of(file: str) -> str:
    path = Path(file)
    return (Path("tests") / path.parent / f"test_{path.name}").as_posix()


def module_of(file: str) -> str:
    return file.removesuffix(".py").replace("/", ".")
