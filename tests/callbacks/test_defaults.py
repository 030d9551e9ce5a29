"""Every default of every trick is the value that its file's `Defaults:` field names: `name = value, source`."""

import ast
import inspect
import re
import sys
from typing import Any

import pytest

import callbacks
from callbacks.frame.trick import Trick, parameters

NAMES = (*callbacks.__all__, *callbacks.OF_BOXES)
TRICKS = {name: kind for name in NAMES if issubclass(kind := getattr(callbacks, name), Trick)}
# arguments of many tricks whose default means "off": the fields need not name them
COMMON = {"image_size": 224, "warmup_epochs": 0, "warmup_kind": "linear", "participation": 1.0}
NUMBER = r"-?\d*\.?\d+(?:e-?\d+)?"


def field(module: str, name: str = "Defaults") -> str:
    """Return one field of a module's docstring, in one line."""
    found = re.search(rf"^{name}:(.*?)(?=^\w+:|\Z)", inspect.getdoc(sys.modules[module]) or "", re.M | re.S)
    assert found, f"{module} has no field {name}"
    return " ".join(found[1].split())


def named(text: str, name: str) -> list[Any]:
    """Return the values that a field gives a name, the default first: `p = .5`, `kind = "a"`, `p = Linear(0, .1)`."""
    value = rf"(\w*\([^()]*\)|\"[^\"]*\"|True|False|{NUMBER} / {NUMBER}|{NUMBER})"
    return [parse(v) for v in re.findall(rf"(?<![\w.])`?{name}`? = {value}", text)]


def parse(text: str) -> Any:
    """Convert a field's value to Python: a number, a fraction, a word, a tuple or a schedule."""
    if fraction := re.fullmatch(rf"({NUMBER}) / ({NUMBER})", text):
        return float(fraction[1]) / float(fraction[2])
    call = re.fullmatch(r"(\w+)(\(.*\))", text)
    if call:
        inside = ast.literal_eval(call[2])
        return getattr(callbacks, call[1])(*(inside if isinstance(inside, tuple) else (inside,)))
    return ast.literal_eval(text)


CASES = [
    pytest.param(name, argument, parameter.default, id=f"{name}.{argument}")
    for name, kind in TRICKS.items()
    for argument, parameter in parameters(kind).items()
    if parameter.default not in (inspect.Parameter.empty, None)  # None leaves something out
]


@pytest.mark.parametrize(("name", "argument", "default"), CASES)
def test_a_default_is_the_one_that_the_field_names(name, argument, default):
    text = field(TRICKS[name].__module__)
    values = named(text, argument)
    if not values and argument in COMMON:
        values = [COMMON[argument]]
    assert values, f"{name}: the field Defaults does not name `{argument} = {default!r}`: {text}"
    assert values[0] == default and isinstance(values[0], bool) == isinstance(default, bool)
