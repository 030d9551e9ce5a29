"""`zoo search RECIPE --space lr=1e-3..1`: search at random from coarse to fine, or on a grid, by validation accuracy.

From coarse to fine, as the course CS231n advises: a few short runs over a wide range, then as many around the best.
Random rather than a grid, since few of the numbers matter (Bergstra, Bengio; JMLR 2012). Optuna draws, keeps and can go
on with the trials.
"""

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any, NamedTuple

from recipes.frame import catalogue
from recipes.frame.errors import PlainParser, UsageError, unknown
from recipes.frame.recipe import Recipe

USAGE = "zoo search RECIPE --space NAME=LOW..HIGH [NAME=A,B,C ...] [--trials N] [--stages N] [--grid] [--epochs N]"
FINER = 10.0  # each stage looks at a range so many times narrower: a factor on a logarithmic scale


class Range(NamedTuple):
    """A range from `low` to `high`, uniform in the logarithm: how the course CS231n draws rates and decays."""

    low: float
    high: float

    def around(self, best: float, stage: int) -> "Range":
        """Return the part of this range around `best`, 10**stage times narrower in the logarithm."""
        half = (math.log(self.high) - math.log(self.low)) / 2 / FINER**stage
        return Range(max(self.low, best / math.exp(half)), min(self.high, best * math.exp(half)))


Space = Mapping[str, Range | Sequence[Any]]


class Trial(NamedTuple):
    """The values of one run, and its accuracy on the validation images."""

    values: dict[str, Any]
    accuracy: float


def search(
    build: Callable[..., Recipe],
    space: Space,
    trials: int = 8,
    stages: int = 2,
    grid: bool = False,
    epochs: int | None = None,
    seed: int = 0,
    storage: Path | None = None,
) -> list[Trial]:
    """Run a recipe with other numbers; return the trials, the best first. The test set is not used.

    Args:
        build: the recipe's `recipe`.
        space: name -> `Range`, or the values themselves. A name is an argument of the recipe or of its model's training
            ("lr", "weight_decay", "optimizer").
        trials: runs a stage; of a grid, all its points are run.
        stages: 1: the whole range; each further one a range ten times narrower around the best.
        grid: every combination once; a `Range` stands for its two ends and their middle.
        epochs: of each run; None: the recipe's.
        seed: of the draws. All runs have the recipe's own seed 0: they differ in the numbers alone.
        storage: a file (sqlite) that keeps the trials and goes on with them; None: none.

    Raises:
        ImportError: without Optuna; says how to install it.
        ValueError: for a recipe without validation images.
    """
    optuna = _optuna()
    found: list[Trial] = []
    for stage in range(1 if grid else stages):
        here = {n: _finer(c, found[0].values[n], stage) if stage else c for n, c in space.items()}
        points = {name: _points(values) for name, values in here.items()}
        sampler = optuna.samplers.GridSampler(points, seed) if grid else optuna.samplers.RandomSampler(seed + stage)
        study = optuna.create_study(
            direction="maximize",
            sampler=sampler,
            storage=storage and f"sqlite:///{storage}",
            study_name=f"stage{stage}",
            load_if_exists=True,
        )
        left = (math.prod(map(len, points.values())) if grid else trials) - len(study.trials)
        study.optimize(lambda t, here=here: _accuracy(build, _draw(t, here, grid), epochs), n_trials=max(left, 0))
        found += [Trial(trial.params, trial.value) for trial in study.trials if trial.value is not None]
        found.sort(key=lambda trial: -trial.accuracy)
    return found


def _finer(choice: Range | Sequence[Any], best: Any, stage: int) -> Range | Sequence[Any]:
    return choice.around(best, stage) if isinstance(choice, Range) else choice


def _draw(trial: Any, space: Space, grid: bool) -> dict[str, Any]:
    values = {}
    for name, choice in space.items():
        if isinstance(choice, Range) and not grid:
            values[name] = trial.suggest_float(name, choice.low, choice.high, log=True)
        else:
            values[name] = trial.suggest_categorical(name, _points(choice))
    return values


def _points(choice: Range | Sequence[Any]) -> list[Any]:
    """Return the points of a grid: the values, or a range's two ends and their geometric middle."""
    if isinstance(choice, Range):
        return [choice.low, math.sqrt(choice.low * choice.high), choice.high]
    return list(choice)


def search_dropout(
    build: Callable[..., Recipe],
    trials: int = 8,
    places: int = 1,
    largest: int = 8,
    epochs: int | None = None,
    seed: int = 0,
    storage: Path | None = None,
) -> list[Trial]:
    """Run a recipe with `AutoDropout` and other policies; return the trials, the best first: `trial.values["policy"]`.

    Optuna's tree of Parzen estimators stands in the place of the paper's controller. The test set is not touched.

    Args:
        build: the recipe's `recipe`.
        trials: runs.
        places: residual branches of the network, a pattern for each; 1: one pattern for all.
        largest: size and stride of a pattern, in cells.
        epochs, seed, storage: see `search`.

    Raises:
        ImportError, ValueError: as `search`.
    """
    optuna, found = _optuna(), import_module("callbacks.dropout.auto_dropout")
    sampler, name = optuna.samplers.TPESampler(seed=seed), f"AutoDropout {places} x {largest}"
    study = optuna.create_study(
        direction="maximize",
        sampler=sampler,
        storage=storage and f"sqlite:///{storage}",
        study_name=name,
        load_if_exists=True,
    )

    def accuracy(trial: Any) -> float:
        return _validate(build().plus(found.AutoDropout(found.propose(trial, places, largest))), epochs)

    study.optimize(accuracy, n_trials=max(trials - len(study.trials), 0))
    done = [trial for trial in study.trials if trial.value is not None]
    again = [found.propose(optuna.trial.FixedTrial(trial.params), places, largest) for trial in done]
    pairs = [Trial({"policy": policy}, trial.value) for policy, trial in zip(again, done, strict=True)]
    return sorted(pairs, key=lambda trial: -trial.accuracy)


def _accuracy(build: Callable[..., Recipe], values: dict[str, Any], epochs: int | None) -> float:
    arguments = {name: value for name, value in values.items() if name in signature(build).parameters}
    recipe = build(**arguments)
    for name in values.keys() - arguments.keys():
        if name not in recipe.model.hparams:
            known = [*signature(build).parameters, *recipe.model.hparams]
            raise unknown("argument of the recipe or of its model", name, known)
        recipe.model.hparams[name] = values[name]
    return _validate(recipe, epochs)


def _validate(recipe: Recipe, epochs: int | None) -> float:
    """Return the validation accuracy after this many epochs."""
    if epochs is not None:
        recipe.trainer["max_epochs"] = epochs
    metrics = recipe.run(test=False, save=False)
    if "val/acc" not in metrics:
        raise ValueError(f"{recipe.name} has no validation images to choose by: give its data a val_split")
    return metrics["val/acc"]


def _optuna() -> Any:
    try:
        optuna = import_module("optuna")
    except ImportError as error:
        raise ImportError('zoo search draws with Optuna: pip install "lightning-zoo[search]"') from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


# ---- the command


def main(arguments: list[str]) -> None:
    """Search, and print the trials."""
    options = _parse(arguments)
    known = [entry.name for entry in catalogue.recipes()]
    if options.recipe not in known:
        raise unknown("recipe", options.recipe, known)
    build = import_module(f"recipes.{options.recipe}").recipe
    space = dict(map(parse_choice, options.space))
    kept = {name: getattr(options, name) for name in ("trials", "stages", "grid", "epochs", "seed", "storage")}
    for trial in search(build, space, **kept):
        words = "  ".join(f"{n}={v:.3g}" if isinstance(v, float) else f"{n}={v}" for n, v in trial.values.items())
        print(f"{trial.accuracy:.4f}  {words}")


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = PlainParser(usage=USAGE, description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("recipe", metavar="RECIPE", help="a name of `zoo recipes`")
    parser.add_argument("--space", nargs="+", required=True, help="lr=1e-3..1 (log-uniform), optimizer=sgd,adamw")
    parser.add_argument("--trials", type=int, default=8, help="runs per stage (default 8)")
    parser.add_argument("--stages", type=int, default=2, help="1: coarse; 2: then finer around the best (default 2)")
    parser.add_argument("--grid", action="store_true", help="every combination instead of random draws")
    parser.add_argument("--epochs", type=int, help="epochs of each run (default: the recipe's)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random draws (default 0)")
    parser.add_argument("--storage", type=Path, help="a file that keeps the trials, to go on with them")
    return parser.parse_args(arguments)


def parse_choice(text: str) -> tuple[str, Range | list[Any]]:
    """Parse `"lr=1e-3..1"` -> ("lr", Range(.001, 1)); `"optimizer=sgd,adamw"` -> ("optimizer", ["sgd", "adamw"])."""
    name, given, choice = text.partition("=")
    if not given or not choice:
        raise UsageError(f"a space is NAME=LOW..HIGH or NAME=A,B,C, got {text!r}; usage: {USAGE}")
    low, dots, high = choice.partition("..")
    if not dots:
        return name, [_number(word) for word in choice.split(",")]
    ends = Range(_bound(low), _bound(high))
    if not 0 < ends.low < ends.high:
        raise UsageError(f"{name}: a range is LOW..HIGH, two numbers with 0 < LOW < HIGH, got {choice!r}")
    return name, ends


def _bound(word: str) -> float:
    """Return a number, or NaN, which no comparison accepts."""
    number = _number(word)
    return math.nan if isinstance(number, str) else float(number)


def _number(word: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return word
