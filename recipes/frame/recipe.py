"""A recipe: a model, data, tricks and Trainer arguments, which can be changed before the run."""

import json
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Self

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import Logger
from rich.console import Console

import zoo
from callbacks import EarlyStopping
from datamodules import ImageData
from recipes.frame import records, report
from recipes.frame.folder import RUNS, Description, folder_of
from recipes.frame.history import History, Watch
from recipes.frame.lines import Lines
from recipes.frame.loggers import Kind, loggers_of
from recipes.frame.page import lookouts, page
from recipes.frame.processor import advice
from zoo.frame import html
from zoo.frame.classifier import ALWAYS, Classifier
from zoo.frame.describe import describe
from zoo.frame.run import callbacks_of
from zoo.frame.weight_files import read_checkpoint

ACCURACY = "test/acc"


class Origin(L.Callback):
    """Write the run's recipe, seed and arguments into every checkpoint, so that no other run resumes from it."""

    def __init__(self, origin: dict[str, Any]) -> None:
        self.origin = origin

    def on_save_checkpoint(self, trainer: L.Trainer, model: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the entry "origin"."""
        checkpoint["origin"] = self.origin


@dataclass(repr=False)
class Recipe:
    """A recipe, as `recipe()` of a file in recipes/ returns it.

    Attributes:
        name: of the file; results go to `results/<name>.jsonl`.
        model: not yet trained.
        data: with a test set that nothing was chosen on.
        callbacks: the tricks, in the order in which they act.
        trainer: arguments of `Trainer`, such as `{"max_epochs": 20}`.
        seed: of the weights (so `recipe()` sets it before it builds the model), the order and every draw.
        arguments: those of `recipe()`, for the record.
        goal: metric of the test that comparisons are about; the larger, the better.
    """

    name: str
    model: Classifier
    data: ImageData
    callbacks: list[L.Callback]
    trainer: dict[str, Any]
    seed: int = 0
    arguments: dict[str, Any] = field(default_factory=dict)
    goal: str = ACCURACY
    history: History = field(default_factory=History)  # shared with `without` and `plus`, as the model is
    watch: Watch = field(default_factory=Watch)
    stopped: bool = False  # by Ctrl-C: the weights are kept, and nothing is tested or recorded
    device: str = "cpu"  # on which it trained, as torch names it
    folder: Path | None = None  # of the run; None: nothing was written
    loggers: list[Logger] = field(default_factory=list)  # beside the history

    def without(self, *tricks: type[L.Callback]) -> Self:
        """Return the same recipe with these tricks taken out: `recipe.without(MixUp, EMA)`.

        Raises:
            ValueError: a trick is not on.
        """
        on = [type(callback) for callback in self.callbacks]
        for trick in tricks:
            if trick not in on:
                names = ", ".join(kind.__name__ for kind in on) or "none"
                raise ValueError(f"{self.name} does not use {trick.__name__}; it uses: {names}")
        rest = [callback for callback in self.callbacks if type(callback) not in tricks]
        return self._change(rest, "without", [trick.__name__ for trick in tricks])

    def plus(self, *tricks: L.Callback) -> Self:
        """Return the same recipe with these tricks added at the end: `recipe.plus(CutMix(1.0))`."""
        return self._change([*self.callbacks, *tricks], "plus", [describe(trick) for trick in tricks])

    def _change(self, callbacks: list[L.Callback], how: str, what: list[str]) -> Self:
        what = [*self.arguments.get(how, []), *what]
        return replace(self, callbacks=callbacks, arguments={**self.arguments, how: what})

    def run(
        self,
        test: bool = True,
        save: Path | Literal[False] | None = None,
        record: bool = False,
        resume: Path | None = None,
        logger: Kind = "csv",
    ) -> dict[str, float]:
        """Train, then test once, and print a page with what was found.

        Args:
            test: measure on the test set at the end, if the data has one.
            save: folder for `run.yaml`, `metrics.csv`, `model.ckpt`, `report.png` and, after each epoch, `last.ckpt`;
                None: that of `resume`, or `runs/<name>/<time>/`; False: nothing is written and printed.
            record: add this run to `results/`.
            resume: a `last.ckpt` of this run to go on from.
            logger: what logs beside `metrics.csv`, see `recipes.frame.loggers`.

        Returns:
            Metrics of the last validation and of the test, "seconds" of training and "images/s". Where `EarlyStopping`
            restored weights, the validation is theirs.

        Raises:
            RuntimeError: the model has been trained already; or the saved model is not the trained one.
            ValueError: `resume` is of another recipe, seed or arguments; says which differ.
            ImportError: the logger's package is not installed.
        """
        if self.history.rows:
            raise RuntimeError(f"the model of this recipe is trained already; call {self.name}.recipe() for a new one")
        step = 0 if resume is None else self.check_resume(resume)
        folder = None
        if save is not False:
            folder = Path(save) if save else Path(resume).parent if resume else folder_of(self.name)
        self.loggers = [] if folder is None else loggers_of(logger, folder, self.name, step)
        L.seed_everything(self.seed, workers=True, verbose=False)
        trainer = self._trainer(folder)
        self.device, self.folder = str(trainer.strategy.root_device), folder
        if folder and self.device == "cpu" and trainer.is_global_zero:
            print(advice(str(trainer.precision)), flush=True)
        trainer.fit(self.model, self.data, ckpt_path=resume, weights_only=True)
        metrics = {name: value.item() for name, value in trainer.callback_metrics.items()}
        restored = any(isinstance(trick, EarlyStopping) and trick.restored for trick in self.callbacks)
        if restored and any(name.startswith("val/") for name in metrics):
            metrics |= self._validate_again(trainer)
        self.stopped = any(getattr(callback, "interrupted", False) for callback in callbacks_of(trainer))
        if test and not self.stopped and report.has_test_images(self.data):
            metrics |= trainer.test(self.model, self.data, verbose=False)[0]
        metrics |= {"seconds": self.watch.seconds, "images/s": self.watch.images / self.watch.seconds}
        if folder:
            self._save(trainer, folder)
        if record and not self.stopped and trainer.is_global_zero:
            self.record(metrics)
        if folder and trainer.is_global_zero:
            title, classes = f"{self.name}, seed {self.seed}", getattr(self.data, "classes", ())
            Console().print(page(title, metrics, self.callbacks, callbacks_of(trainer), classes))
        return metrics

    def _trainer(self, folder: Path | None) -> L.Trainer:
        own: list[L.Callback] = [self.watch, Origin(self.origin)]
        loggers: list[Logger] = [*self.loggers, self.history]
        bar = Console().is_terminal
        if folder:  # one file, overwritten after each epoch, to resume from
            what = {"seed": self.seed, "arguments": self.arguments}
            own.append(Description(folder, self.name, self.callbacks, self.trainer, **what))
            own += lookouts(self.callbacks, self.model, self.data)
            own.append(ModelCheckpoint(folder, "last", enable_version_counter=False, save_on_train_epoch_end=True))
            loggers += [] if bar else [Lines(self.trainer.get("max_epochs"))]
        return L.Trainer(
            callbacks=[*self.callbacks, *own],
            logger=loggers,
            enable_checkpointing=bool(folder),
            enable_progress_bar=bar,
            enable_model_summary=False,
            default_root_dir=folder or RUNS / self.name,
            **{"devices": 1, **self.trainer},  # one, so that the batch is what the recipe says
        )

    def _validate_again(self, trainer: L.Trainer) -> dict[str, float]:
        """Validate the restored weights, which no longer are those of the last validation. The curves leave it out."""
        rows = len(self.history.rows)
        again = dict(trainer.validate(self.model, self.data, verbose=False)[0])
        del self.history.rows[rows:]
        return again

    def _save(self, trainer: L.Trainer, folder: Path) -> None:
        trainer.save_checkpoint(folder / "model.ckpt", weights_only=False)
        if trainer.is_global_zero:
            self.check_reload(folder / "model.ckpt")
            report.draw(self, folder / "report.png")

    @property
    def origin(self) -> dict[str, Any]:
        """Recipe, seed and arguments as plain values: which run a checkpoint is of."""
        arguments = json.loads(json.dumps(self.arguments, default=str))
        return {"recipe": self.name, "seed": self.seed, **arguments}

    def check_resume(self, path: Path) -> int:
        """Refuse a checkpoint of another run, and say what differs. Return the number of its optimizer steps.

        Raises:
            FileNotFoundError: no such file; says where the checkpoint would be.
            ValueError: the file is damaged, of no recipe, or of another recipe, seed or arguments.
        """
        if not Path(path).is_file():
            inside = Path(path) / "last.ckpt"
            hint = f"take {inside}" if inside.is_file() else "resume from the last.ckpt in the folder of --save"
            raise FileNotFoundError(f"there is no checkpoint {path}: {hint}")
        checkpoint = read_checkpoint(path)
        theirs, ours = checkpoint.get("origin"), self.origin
        if theirs is None:
            raise ValueError(
                f"{path} is not a checkpoint of a recipe: resume from the last.ckpt in the folder of --save"
            )
        differ = [name for name in {**theirs, **ours} if theirs.get(name) != ours.get(name)]
        if differ:
            words = ", ".join(f"{name} {theirs.get(name)!r} there and {ours.get(name)!r} here" for name in differ)
            raise ValueError(
                f"{path} is of another run: {words}. Give the same options, or leave out --resume to start again"
            )
        return int(checkpoint["global_step"])

    def check_reload(self, path: Path) -> float:
        """Measure the largest difference between logits of this model and of the one at `path`, on one test batch.

        Of a detector, between boxes and scores; infinite if it finds another number of them.

        Raises:
            RuntimeError: it is above 1e-5.
        """
        images, _ = report.test_batch(self.data)
        model = self.model.cpu()
        own = type(model) is Classifier and "network" not in model.hparams  # a module that no checkpoint can build
        again = zoo.load(path, network=deepcopy(model.network) if own else None)
        with torch.inference_mode():
            there, here = (report.answers(one.eval(), images) for one in (again, model))
        difference = float("inf")
        if there.shape == here.shape:
            difference = torch.cat([(there - here).abs().flatten(), here.new_zeros(1)]).max().item()
        if not difference <= 1e-5:
            raise RuntimeError(f"{path} does not hold the trained model: its logits differ by {difference}")
        return difference

    def hardware(self) -> records.Record:
        """Name the hardware that the recipe trained on, for a record."""
        return records.hardware(self.device)

    def record(self, metrics: dict[str, float]) -> None:
        """Add a run of this recipe to results/. `metrics` includes "seconds"."""
        record: dict[str, Any] = {"arguments": self.arguments, "seed": self.seed, "seconds": metrics["seconds"]}
        curve = [round(value, 4) for value in self.history.curve("val/acc")[1]]
        record |= {"curve": curve} if curve else {}
        records.append(self.name, {**record, "metrics": metrics, "hardware": self.hardware()})

    def __str__(self) -> str:
        trainer = ", ".join(f"{name}={value!r}" for name, value in self.trainer.items())
        always = ", ".join(callback.__name__ for callback in ALWAYS)
        tricks = [f"    {describe(trick)}" for trick in self.callbacks] or ["    none"]
        lines = [f"{self.name}, seed {self.seed}", f"  model   {describe(self.model)}"]
        lines += [
            f"  data    {describe(self.data)}",
            f"  trainer {trainer}",
            f"  always  {always}",
            "  tricks",
            *tricks,
        ]
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """Show the parts in a notebook, a row each."""
        tricks = "\n".join(map(describe, self.callbacks)) or "none"
        trainer = ", ".join(f"{name}={value!r}" for name, value in self.trainer.items())
        rows = [("model", describe(self.model)), ("data", describe(self.data)), ("trainer", trainer)]
        always = ", ".join(callback.__name__ for callback in ALWAYS)
        return html.heading(f"{self.name}, seed {self.seed}") + html.table(
            [*rows, ("always", always), ("tricks", tricks)]
        )
