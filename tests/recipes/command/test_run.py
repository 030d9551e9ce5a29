"""Options of `zoo run`: those of True and False, and those that need a value."""

import importlib

import pytest

from recipes.command import run
from recipes.frame.errors import UsageError


@pytest.mark.parametrize(
    ("arguments", "record", "compiled"),
    [
        ([], False, False),
        (["--record"], True, False),
        (["--record", "--compile", "--seeds", "2"], True, True),
        (["--compile", "true", "--record=true"], True, True),
        (["--record", "false", "--compile", "yes"], False, True),
    ],
)
def test_an_option_of_true_or_false_needs_no_value(arguments, record, compiled):
    chosen = run.parse(importlib.import_module("recipes.cifar10_speedrun"), "cifar10_speedrun", arguments)
    assert (chosen["record"], chosen["compile"]) == (record, compiled)


def test_other_options_still_need_one():
    with pytest.raises(UsageError, match="--seeds: expected one argument"):
        run.parse(importlib.import_module("recipes.cifar10_speedrun"), "cifar10_speedrun", ["--seeds", "--record"])
