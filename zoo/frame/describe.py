"""Describe objects by their constructor calls, in one line."""

import inspect
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torch import nn


def describe(thing: Any) -> str:
    """Write an object's constructor call, `MixUp(alpha=0.2)`, with the arguments that differ from their defaults."""
    known = dict(getattr(thing, "hparams", {}))
    shown = []
    for name, default in defaults(type(thing)).items():
        value = known.get(name, getattr(thing, name, default))
        if isinstance(value, nn.Module):
            shown.append(f"{name}={type(value).__name__}")
        elif isinstance(value, (int, float, str, tuple, list, dict, Path)) and value != default:
            shown.append(f"{name}={value!r}")
    return f"{type(thing).__name__}({', '.join(shown)})"


def defaults(cls: type) -> dict[str, Any]:
    """Return the parameters of a constructor and their defaults, with those that `**keywords` passes to a base."""
    found: dict[str, Any] = {}
    for base in cls.__mro__:
        if "__init__" not in vars(base):
            continue
        parameters = list(inspect.signature(vars(base)["__init__"]).parameters.values())[1:]
        keywords = [p for p in parameters if p.kind is p.VAR_KEYWORD]
        found |= {p.name: p.default for p in parameters if p not in keywords and p.name not in found}
        if not keywords:
            break
    return found


def arguments(thing: Any) -> dict[str, Any]:
    """Return an object's constructor arguments, defaults included, as plain values for loggers and files."""
    known = dict(getattr(thing, "hparams", {}))
    found = {name: known.get(name, getattr(thing, name, value)) for name, value in defaults(type(thing)).items()}
    return {name: plain(value) for name, value in found.items() if value is not inspect.Parameter.empty}


def plain(value: Any) -> Any:
    """Convert a value to numbers, strings, lists and dicts; anything else becomes its `repr`, a network its class."""
    if isinstance(value, dict):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(inner) for inner in value]
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, Path):
        return str(value)
    return type(value).__name__ if type(value).__repr__ in (object.__repr__, nn.Module.__repr__) else repr(value)


def by_name(things: Iterable[Any]) -> dict[str, dict[str, Any]]:
    """Return the arguments of each object under its class's name; a second one of a class is `MixUp_2`."""
    found: dict[str, dict[str, Any]] = {}
    for thing in things:
        name = type(thing).__name__
        count = sum(key.rpartition("_")[0] == name or key == name for key in found)
        found[f"{name}_{count + 1}" if count else name] = arguments(thing)
    return found
