"""`zoo fit|validate|test|predict`: LightningCLI, with every model, trick and data module by its short name."""

import sys
from typing import NoReturn

import lightning.pytorch.cli as cli

import callbacks
import datamodules
import zoo  # short names are found only of classes that are imported before the parser runs
from recipes.frame.describe import defaults
from recipes.frame.errors import UsageError, one_line

CALLBACKS = "--trainer.callbacks"


class Parser(cli.LightningArgumentParser):
    """A parser whose errors are a `UsageError` in one line, with the nearest right name."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise the message as a `UsageError`."""
        raise UsageError(one_line(message, _known())) from ex


def main() -> None:
    """Run LightningCLI."""
    sys.argv[1:] = ours(sys.argv[1:])
    cli.LightningCLI(
        parser_class=Parser,
        seed_everything_default=0,
        trainer_defaults={"default_root_dir": "runs"},
        save_config_kwargs={"overwrite": True},  # without a logger, each run writes runs/config.yaml
    )


def ours(arguments: list[str]) -> list[str]:
    """Turn short names of tricks into import paths: `EarlyStopping` is ours here, and one of Lightning's callbacks too."""
    found = []
    for i, argument in enumerate(arguments):
        option, given, value = argument.partition("=")
        if not given and i and arguments[i - 1].removesuffix("+") == CALLBACKS and argument in callbacks.__all__:
            argument = f"callbacks.{argument}"
        elif option.removesuffix("+") == CALLBACKS and value in callbacks.__all__:
            argument = f"{option}=callbacks.{value}"
        found.append(argument)
    return found


def _known() -> set[str]:
    """Return the names of all public classes and of their arguments."""
    classes = [getattr(package, name) for package in (zoo, callbacks, datamodules) for name in package.__all__]
    classes += [getattr(zoo, name) for name in zoo.SEGMENTERS]
    return {cls.__name__ for cls in classes} | {name for cls in classes for name in defaults(cls)}
