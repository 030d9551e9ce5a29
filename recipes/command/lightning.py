"""`zoo fit|validate|test|predict`: LightningCLI, with every model, trick and data module by its short name."""

import os
import sys
from pathlib import Path
from typing import NoReturn

import lightning as L
import lightning.pytorch.cli as cli
from lightning.pytorch.callbacks import ModelCheckpoint

import callbacks
import datamodules
import zoo  # short names work only for classes imported before the parser runs
from recipes.frame.describe import defaults
from recipes.frame.errors import UsageError, one_line
from zoo.frame.run import callbacks_of

CALLBACKS = "--trainer.callbacks"


class Parser(cli.LightningArgumentParser):
    """A parser whose errors are a `UsageError` in one line, with the nearest right name."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise the message as a `UsageError`."""
        raise UsageError(one_line(message, _known())) from ex


class CLI(cli.LightningCLI):
    """LightningCLI for models by name: a checkpoint's arguments, without the name, are not laid over those given."""

    def _parse_ckpt_path(self) -> None:
        """Refuse a missing file. Lightning would refuse every argument, because it would find no class for them."""
        path = self.config[self.config.subcommand].get("ckpt_path") if self.config.get("subcommand") else None
        if path and path not in ("best", "last", "hpc") and "://" not in path and not Path(path).expanduser().exists():
            raise UsageError(f"there is no checkpoint {path}")


def main() -> None:
    """Run LightningCLI. A run that Ctrl-C has stopped ends with the file that it goes on from, and the code 130."""
    sys.argv[1:] = ours(sys.argv[1:])
    done = CLI(
        parser_class=Parser,
        seed_everything_default=0,
        trainer_defaults={"default_root_dir": "runs"},
        save_config_kwargs={"overwrite": True},  # without a logger, each run writes runs/config.yaml
    )
    if any(getattr(callback, "interrupted", False) for callback in callbacks_of(done.trainer)):
        print(f"zoo: stopped by Ctrl-C; {how_to_go_on(done.trainer)}", file=sys.stderr)
        sys.exit(130)


def how_to_go_on(trainer: L.Trainer) -> str:
    """Return the option that resumes from the run's last checkpoint, or say that there is none."""
    kept = [callback for callback in callbacks_of(trainer) if isinstance(callback, ModelCheckpoint)]
    written = [path for each in kept for path in (each.last_model_path, each.best_model_path) if path]
    if not written:
        return "no checkpoint was written, so it cannot go on"
    return f"go on with --ckpt_path {max(written, key=os.path.getmtime)}"


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
