"""Pages of the API: every public name of the packages. Members of `__all__` have a page of their own."""

import inspect
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType
from typing import Any

from builder.text import prose
from recipes.frame import catalogue

OWN = {"zoo": "models", "callbacks": "tricks", "datamodules": "data"}  # package -> folder of its members' pages


def pages() -> Iterator[tuple[str, str]]:
    """Yield path and text of every page."""
    packages = [*OWN, "recipes"]
    names = "\n".join(packages)
    yield "api/index.md", f"# API\n\nEvery public name, by package.\n\n```{{toctree}}\n:maxdepth: 1\n\n{names}\n```\n"
    for package in packages:
        yield f"api/{package}.md", page(package)


def page(package: str) -> str:
    """Write the page of one package: links to its members, then everything else that it exports."""
    module = import_module(package)
    head = (module.__doc__ or "").strip().split("\n\n")[0]
    parts = [f"# {package}", prose(head)]
    if package in OWN:
        members = ", ".join(f"[{name}](../{OWN[package]}/{name}.md)" for name in members_of(package))
        parts += ["## Members", f"With a page each: {members}."]
    blocks = "\n".join(_block(package, name, value) for name, value in exports(module))
    parts += ["## What they share" if package in OWN else "## Exports", f"```{{eval-rst}}\n{blocks}\n```"]
    return "\n\n".join(parts) + "\n"


def members_of(package: str) -> list[str]:
    """Return the names that have a page of their own."""
    lists = {"zoo": catalogue.models, "callbacks": catalogue.every_trick, "datamodules": catalogue.datamodules}
    return sorted(entry.name for entry in lists[package]())


def exports(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """Yield the public classes and functions of a package that are not members."""
    apart = members_of(module.__name__) if module.__name__ in OWN else []
    names = [*vars(module), *getattr(module, "EXPORTS", {})]
    for name in sorted(set(names).difference(apart)):
        value = getattr(module, name)
        ours = getattr(value, "__module__", "").split(".")[0] in (*OWN, "recipes")
        if not name.startswith("_") and ours and (inspect.isclass(value) or inspect.isfunction(value)):
            yield name, value


def _block(package: str, name: str, value: Any) -> str:
    if inspect.isfunction(value):
        return f".. autofunction:: {package}.{name}\n"
    fields = getattr(value, "_fields", ())  # a NamedTuple's are in its docstring
    without = f"   :exclude-members: {', '.join(fields)}\n" if fields else ""
    return f".. autoclass:: {package}.{name}\n   :members:\n{without}"
