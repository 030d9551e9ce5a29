"""`zoo run NAME`: options from a signature, a few seeds, a table, and a line in results/ for each run."""

import logging
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, is_dataclass
from inspect import signature
from itertools import zip_longest
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from jsonargparse import ArgumentParser
from rich.console import Console

from recipes.frame import records
from recipes.frame.errors import UsageError, one_line
from recipes.frame.folder import folder_of
from recipes.frame.loggers import Kind
from recipes.frame.recipe import Recipe


class Parser(ArgumentParser):
    """A parser whose errors are a `UsageError` in one line, and whose options of True or False need no value."""

    def parse(self, arguments: Sequence[str]) -> dict[str, Any]:
        """Parse the arguments; `--record` is `--record true`, and `--skip-unreadable` is `--skip_unreadable true`."""
        return vars(self.parse_args([*_with_values(arguments, vars(self.get_defaults()))]))

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise the message as a `UsageError`."""
        raise UsageError(one_line(message)) from ex


def _with_values(arguments: Sequence[str], defaults: dict[str, Any]) -> Iterator[str]:
    """Yield the arguments; an option whose default is True or False gets the value "true" where it has none."""
    for argument, following in zip_longest(arguments, arguments[1:], fillvalue="--"):
        name = argument.removeprefix("--").replace("-", "_")
        is_flag = argument.startswith("--") and isinstance(defaults.get(name), bool)
        bare = is_flag and following.lower() not in ("true", "false", "yes", "no")
        yield f"--{name}=true" if bare else f"--{name}" if is_flag else argument


@dataclass
class Options:
    """How to run a recipe.

    Args:
        seeds: number of runs, with the seeds `seed`, `seed + 1`, ...; mean and deviation are printed at the end.
        save: folder for run.yaml, metrics.csv, model.ckpt, report.png and, after each epoch, last.ckpt; by default
            runs/NAME/TIME.
        record: add each run to results/, from which the tables are made.
        resume: a last.ckpt of the same run to go on from.
        logger: what logs beside metrics.csv.
    """

    seeds: int = 1
    save: Path | None = None
    record: bool = False
    resume: Path | None = None
    logger: Kind = "csv"


def add_arguments(parser: ArgumentParser, build: Callable[..., Any], skip: frozenset[str] = frozenset()) -> None:
    """Make an option of each argument of `build`, and of each field of an argument that is a dataclass."""
    groups = groups_of(build)
    parser.add_function_arguments(build, skip={*skip, *groups})
    for default in groups.values():
        parser.add_class_arguments(type(default))
        parser.set_defaults(vars(default))


def gather(build: Callable[..., Any], chosen: dict[str, Any]) -> dict[str, Any]:
    """Collect the options that `add_arguments` made of dataclass fields into the dataclasses."""
    found = dict(chosen)
    for name, default in groups_of(build).items():
        found[name] = type(default)(**{field: found.pop(field) for field in vars(default)})
    return found


def groups_of(build: Callable[..., Any]) -> dict[str, Any]:
    """Return the arguments of `build` that are dataclasses, with their defaults."""
    parameters = signature(build).parameters.values()
    return {p.name: p.default for p in parameters if is_dataclass(p.default)}


def main(module: ModuleType, name: str, arguments: Sequence[str]) -> None:
    """Run the module's own `main()`, or else its `recipe()`."""
    chosen = parse(module, name, arguments)
    be_quiet()
    if hasattr(module, "main"):
        module.main(**chosen)
        return
    options = Options(**{key: chosen.pop(key) for key in vars(Options())})
    run(module.recipe, options, **chosen)


def be_quiet() -> None:
    """Silence Lightning's messages that are the same in every run."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", ".*LeafSpec", FutureWarning)  # Lightning 2.6 on torch 2.9 and later
    warnings.filterwarnings("ignore", "The number of training batches", UserWarning)
    warnings.filterwarnings("ignore", "Checkpoint directory .* exists", UserWarning)  # of a resumed run


def parse(module: ModuleType, name: str, arguments: Sequence[str]) -> dict[str, Any]:
    """Parse options by the signature of the module's own `main()`, or of its `recipe()` and of `Options`."""
    parser = Parser(prog=f"zoo run {name}", description=(module.__doc__ or "").split("\n", 1)[0])
    build = getattr(module, "main", module.recipe)
    add_arguments(parser, build)
    if build is module.recipe:
        parser.add_class_arguments(Options)
    return gather(build, parser.parse(arguments))


def run(build: Callable[..., Recipe], options: Options, seed: int = 0, **arguments: Any) -> list[dict[str, float]]:
    """Run the recipe of `build(seed=..., **arguments)` once for each seed; return the metrics of each run."""
    if options.resume is not None and options.seeds > 1:
        raise UsageError("--resume continues one run: replace --seeds with that run's --seed")
    console, runs = Console(), []
    several = (options.save or folder_of(build(seed=seed, **arguments).name)) if options.seeds > 1 else None
    for s in range(seed, seed + options.seeds):
        recipe = build(seed=s, **arguments)
        folder = several / f"seed{s}" if several else options.save
        runs.append(recipe.run(save=folder, record=options.record, resume=options.resume, logger=options.logger))
        here = recipe.folder or Path()
        if recipe.stopped:
            how = f"go on with --resume {here / 'last.ckpt'}"
            console.print(f"stopped by Ctrl-C, neither tested nor recorded; {how}", soft_wrap=True)
            sys.exit(130)
        said = f"saved, reloaded and compared: {here / 'model.ckpt'}; curves: {here / 'report.png'}"
        console.print(said, soft_wrap=True, highlight=False)
    if len(runs) > 1:
        for metric in [m for m in sorted(runs[0]) if m.startswith("test/")] + ["seconds"]:
            mean, std, n = records.summary(run[metric] for run in runs)
            console.print(f"{metric}: {mean:.4f} ± {std:.4f} ({n} seeds)")
    return runs
