"""Describe objects by their constructor calls, in one line."""

import inspect
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
    """Return the parameters of a constructor and their defaults, with those that `**keywords` passes to a base class."""
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
