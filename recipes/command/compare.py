"""`zoo compare RECIPE --without MixUp --plus "CutMix(1.0)" --seeds 5`: is a recipe better with other tricks?

`zoo compare a.yaml b.yaml` compares config files of `zoo fit` in the same way. The first is the baseline.
"""

import argparse
import ast
import logging
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import lightning as L
from rich.console import Console

import callbacks
from recipes.command.configs import FromConfig
from recipes.command.run import Parser, add_arguments, gather
from recipes.frame import catalogue
from recipes.frame.compare import Instead, Plus, compare
from recipes.frame.compare_engine import FOLDER
from recipes.frame.compare_work import Build
from recipes.frame.errors import UsageError, unknown

USAGE = 'zoo compare RECIPE|A.yaml B.yaml ... [--without TRICK ...] [--plus "TRICK(...)" ...] [--each] [--seeds N] ...'
BASE = "as it is"
SUFFIXES = (".yaml", ".yml")


def main(arguments: Sequence[str]) -> None:
    """Compare the recipe with its changed versions, or config files; print a table."""
    options, rest = _parse(arguments)
    if Path(options.recipe).suffix in SUFFIXES:
        base, arms = read_configs([options.recipe, *rest], options)
    else:
        base, arms = read_recipe(options, rest)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    found = compare(
        base,
        arms,
        options.seeds,
        workers=options.workers,
        until="decided" if options.until_decided else None,
        folds=options.folds,
        folder=options.folder,
        storage=options.storage,
    )
    Console().print(found.table())
    if options.plot:
        found.plot(options.plot)


def read_configs(files: Sequence[str], options: argparse.Namespace) -> tuple[Build, dict[str, Any]]:
    """Return the first config file as the base, and all of them as arms."""
    if wrong := [file for file in files if Path(file).suffix not in SUFFIXES]:
        raise UsageError(f"config files can be compared with config files only, got {', '.join(wrong)}")
    if len(files) < 2 or options.without or options.plus or options.each:
        raise UsageError("give two config files or more; --without, --plus and --each are for recipes")
    builds = {file: FromConfig(Path(file).resolve()) for file in files}
    first, *others = builds
    return builds[first], {first: [], **{file: Instead(builds[file]) for file in others}}


def read_recipe(options: argparse.Namespace, rest: Sequence[str]) -> tuple[Build, dict[str, Any]]:
    """Return the recipe with its own options as the base, and the unchanged and the changed recipe as arms."""
    known = [entry.name for entry in catalogue.recipes()]
    if options.recipe not in known:
        raise unknown("recipe", options.recipe, known)
    module = import_module(f"recipes.{options.recipe}")
    parser = Parser(prog=f"zoo compare {options.recipe}")
    add_arguments(parser, module.recipe, frozenset({"seed"}))
    base = partial(module.recipe, **gather(module.recipe, parser.parse(rest)))
    return base, {BASE: [], **changes(options, base(seed=0).callbacks)}


def changes(options: argparse.Namespace, on: Sequence[L.Callback]) -> dict[str, Plus]:
    """Return the arms by name: one with all requested changes, or with `--each` one for each change."""
    without = [_kind(name) for name in options.without]
    plus = [parse_trick(text) for text in options.plus]
    if options.each:
        without = without or [type(trick) for trick in on]
        arms = {f"without {kind.__name__}": Plus(without=[kind]) for kind in without}
        return arms | {f"plus {trick!r}": Plus([trick]) for trick in plus}
    words = [*(f"without {kind.__name__}" for kind in without), *(f"plus {trick!r}" for trick in plus)]
    return {", ".join(words): Plus(plus, without)} if words else {}


def parse_trick(text: str) -> L.Callback:
    """Turn `"CutMix(1.0)"` into the trick. Names are those of `callbacks`; arguments are literals or schedules.

    Raises:
        UsageError: the text is anything else.
    """
    try:
        tree = ast.parse(text, mode="eval").body
        made = _make(tree)
    except (SyntaxError, ValueError, TypeError) as error:
        raise UsageError(
            f'a trick is written as the call that makes it, "CutMix(1.0)", got {text!r}: {error}'
        ) from error
    if not isinstance(made, L.Callback):
        raise UsageError(f"{text!r} is no trick: see `zoo tricks`")
    return made


def _make(node: ast.expr) -> Any:
    if isinstance(node, ast.Name):
        return _kind(node.id)()
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        kind = _kind(node.func.id)
        given = {keyword.arg: _make(keyword.value) for keyword in node.keywords if keyword.arg}
        return kind(*map(_make, node.args), **given)
    return ast.literal_eval(node)


def _kind(name: str) -> Any:
    schedules = ("Cosine", "Linear", "Steps", "VShape")
    if name not in (*callbacks.__all__, *schedules):
        raise unknown("trick", name, callbacks.__all__)
    return getattr(callbacks, name)


def _parse(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser("zoo compare", usage=USAGE, description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "recipe", metavar="RECIPE", help="a name of `zoo recipes`, its own options may follow; or config files"
    )
    parser.add_argument("--without", nargs="+", default=[], metavar="TRICK", help="tricks to take out")
    parser.add_argument("--plus", nargs="+", default=[], metavar="TRICK", help='tricks to add, such as "CutMix(1.0)"')
    parser.add_argument("--each", action="store_true", help="an arm for each change; alone: each trick taken out")
    parser.add_argument("--seeds", type=int, default=5, help="runs of each arm, fixed in advance (default 5)")
    parser.add_argument(
        "--until-decided",
        action="store_true",
        help="test after each seed, stop once decided, at the latest after --seeds",
    )
    parser.add_argument("--folds", type=int, help="cross-validate with this many folds instead of seeds")
    parser.add_argument("--workers", type=int, default=1, help="runs at a time (default 1)")
    parser.add_argument("--storage", help="a queue for `zoo worker`: a shared journal file, or a PostgreSQL address")
    parser.add_argument("--folder", type=Path, default=FOLDER, help=f"folder of the runs (default {FOLDER})")
    parser.add_argument("--plot", type=Path, help="save the plot as this file")
    return parser.parse_known_args(arguments)
