"""`zoo fit|validate|test|predict`: LightningCLI, with every model, trick and data module by its short name."""

import os
import sys
from pathlib import Path
from typing import Any, NoReturn

import lightning as L
import lightning.pytorch.cli as cli
from lightning.pytorch.callbacks import ModelCheckpoint

import callbacks
import datamodules
import zoo  # short names work only for classes imported before the parser runs
from recipes.command.fit_run import FitRun
from recipes.frame.errors import UsageError, one_line
from recipes.frame.folder import RUNS, folder_of
from zoo.frame.describe import defaults
from zoo.frame.run import callbacks_of
from zoo.frame.weight_files import read_checkpoint

CALLBACKS = "--trainer.callbacks"
TRICKS = {*callbacks.__all__, *callbacks.OF_BOXES}


class Parser(cli.LightningArgumentParser):
    """A parser whose errors are a `UsageError` in one line, with the nearest right name."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise the message as a `UsageError`."""
        raise UsageError(one_line(message, _known())) from ex


class CLI(cli.LightningCLI):
    """LightningCLI for models by name: a checkpoint's arguments, without the name, are not laid over those given.

    A fit has a folder of its own, and ends with a page.
    """

    fitted: FitRun | None = None

    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **kwargs: Any) -> cli.LightningArgumentParser:
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        if subcommand == "fit":
            words = "folder of the run; by default runs/MODEL-DATA/TIME"
            parser.add_argument("--save", type=Path | None, default=None, help=words)
        return parser

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        """Give a fit its folder, loggers and diagnostics."""
        given = dict(self._get(self.config_init, "trainer", default={}))
        if self.subcommand != "fit" or given.get("fast_dev_run") or given.get("barebones"):
            return super().instantiate_trainer(**kwargs)
        tricks = given.get("callbacks") or []
        name = f"{type(self.model).__name__}-{type(self.datamodule).__name__}"
        root, checkpoint = given["default_root_dir"], self._get(self.config, "ckpt_path")
        resumed = run_of(checkpoint)
        folder = self._get(self.config, "save") or (resumed or folder_of(name) if root == str(RUNS) else Path(root))
        step = int(read_checkpoint(checkpoint)["global_step"]) if folder == resumed else 0
        seed = self._get(self.config, "seed_everything")
        self.fitted = FitRun(name, folder, seed, self.model, self.datamodule, [*tricks], step)
        return super().instantiate_trainer(**{**self.fitted.trainer_arguments(given), **kwargs})

    def after_fit(self) -> None:
        """Draw the report and print the page."""
        if self.fitted is not None:
            self.fitted.tell(self.trainer)

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
        trainer_defaults={"default_root_dir": str(RUNS)},
        save_config_kwargs={"overwrite": True},  # of a run that goes on in the folder of another
    )
    if any(getattr(callback, "interrupted", False) for callback in callbacks_of(done.trainer)):
        print(f"zoo: stopped by Ctrl-C; {how_to_go_on(done.trainer)}", file=sys.stderr)
        sys.exit(130)


def run_of(checkpoint: str | None) -> Path | None:
    """Return the folder of the run that wrote a checkpoint into its `checkpoints/`, to go on in it; None: unknown."""
    folder = Path(checkpoint or "").expanduser().parent
    if folder.is_relative_to(Path.cwd()):
        folder = folder.relative_to(Path.cwd())  # as the run that wrote it called it, for ModelCheckpoint
    return folder.parent if folder.name == "checkpoints" and (folder.parent / "run.yaml").is_file() else None


def how_to_go_on(trainer: L.Trainer) -> str:
    """Return the option that resumes from the run's last checkpoint, or say that there is none."""
    kept = [callback for callback in callbacks_of(trainer) if isinstance(callback, ModelCheckpoint)]
    written = [path for each in kept for path in (each.last_model_path, each.best_model_path) if path]
    if not written:
        return "no checkpoint was written, so it cannot go on"
    return f"go on with --ckpt_path {max(written, key=os.path.getmtime)}"


def ours(arguments: list[str]) -> list[str]:
    """Turn short names of tricks into import paths: `EarlyStopping` is ours here, not Lightning's."""
    found = []
    for i, argument in enumerate(arguments):
        option, given, value = argument.partition("=")
        if not given and i and arguments[i - 1].removesuffix("+") == CALLBACKS and argument in TRICKS:
            argument = f"callbacks.{argument}"
        elif option.removesuffix("+") == CALLBACKS and value in TRICKS:
            argument = f"{option}=callbacks.{value}"
        found.append(argument)
    return found


def _known() -> set[str]:
    """Return the names of all public classes and of their arguments."""
    classes = [getattr(package, name) for package in (zoo, callbacks, datamodules) for name in package.__all__]
    classes += [*(getattr(zoo, name) for name in zoo.SEGMENTERS), *(getattr(callbacks, n) for n in callbacks.OF_BOXES)]
    return {cls.__name__ for cls in classes} | {name for cls in classes for name in defaults(cls)}
