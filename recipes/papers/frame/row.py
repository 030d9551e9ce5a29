"""A published row: its data, its arms, what the source claims of them, and how many seeds we run."""

import logging
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor

from recipes.papers.frame.data import STILL, Batches, Images, Moves
from zoo import Classifier
from zoo.frame.run import callbacks_of

EPOCHS = 10**9  # at most so many: tests make do with few


@dataclass
class Trained:
    """What a run of an arm leaves.

    Attributes:
        network: as it is after the last step.
        metrics: "last" and "best" (over epochs) accuracy on what is reported on, "train" of the last epoch, in percent;
            an arm may add its own.
        curve: accuracy after each epoch that was evaluated, in percent.
    """

    network: Classifier
    metrics: dict[str, float]
    curve: list[float] = field(default_factory=list)


class Run:
    """One seed of a row: `run["base"]` trains that arm, once, for an arm that begins where another ends."""

    def __init__(self, row: "Row", data: Images, seed: int, accelerator: str = "cpu", scale: float = 1.0):
        self.row, self.data, self.seed = row, data, seed
        self.accelerator, self.scale = accelerator, scale
        self._trained: dict[str, Trained] = {}

    def __getitem__(self, arm: str) -> Trained:
        if arm not in self._trained:
            self._trained[arm] = self.row.arms[arm](self)
        return self._trained[arm]

    def record(self, arm: str) -> dict[str, Any]:
        """Train an arm and return its line of results/."""
        start = time.monotonic()
        done = self[arm]
        line = {"arguments": {"row": self.row.name, "arm": arm}, "seed": self.seed, "metrics": done.metrics}
        return line | {"curve": [round(v, 2) for v in done.curve], "seconds": time.monotonic() - start}


class Untrained(Run):
    """A run that trains nothing: `run["base"]` has the network with which that arm begins."""

    def __getitem__(self, arm: str) -> Trained:
        made = self.row.arms[arm]
        network = made.network if isinstance(made, Fit) else self.row.network
        if network is None:
            raise ValueError(f"the row {self.row.name} names no network for its arm {arm}")
        return Trained(network(self), {})


@dataclass(frozen=True)
class Fit:
    """An arm: `fit(run)` trains a network with tricks, as the source does.

    Args:
        network: makes it, after the seed is set.
        tricks: makes the callbacks.
        epochs: length of the training.
        batch: images a step.
        drop_last: leave out the last batch of an epoch if it is smaller.
        shuffle: see `Batches`.
        moves: how training images move.
        every: epochs from one evaluation to the next.
        data: changes what the arm trains and reports on; None: as the row says.
    """

    network: Callable[[Run], Classifier]
    tricks: Callable[[Run], Sequence[L.Callback]] = lambda run: ()
    epochs: int = 10
    batch: int = 128
    drop_last: bool = False
    shuffle: bool = True
    moves: Moves = STILL
    every: int = 1
    data: Callable[[Run], Images] | None = None

    def __call__(self, run: Run) -> Trained:
        """Train from scratch, or on from the network given, and evaluate after each epoch."""
        L.seed_everything(run.seed, verbose=False)
        network = self.network(run)
        data = run.data if self.data is None else self.data(run)
        batches = Batches(data, self.batch, run.seed, self.drop_last, self.shuffle, self.moves)
        scores, epochs = Scores(), min(max(1, round(self.epochs * run.scale)), EPOCHS)
        trainer = quiet_trainer(
            callbacks=[*self.tricks(run), scores],
            max_epochs=epochs,
            check_val_every_n_epoch=min(self.every, epochs),
            accelerator=run.accelerator,
        )
        trainer.fit(network, batches, data.hold_out())
        if any(getattr(callback, "interrupted", False) for callback in callbacks_of(trainer)):
            raise KeyboardInterrupt  # `fit` returned early, and would be recorded as if it had trained to its end
        train = float(
            trainer.callback_metrics["train/acc" if "train/acc" in trainer.callback_metrics else "train/acc_mixed"]
        )
        metrics = {"last": scores.curve[-1], "best": max(scores.curve), "train": 100 * train} | scores.others
        return Trained(network, metrics, scores.curve)


class Scores(L.Callback):
    """Keeps the accuracy of every validation, in percent; of averages and the like, which log their own, the last."""

    def __init__(self) -> None:
        self.curve: list[float] = []
        self.others: dict[str, float] = {}

    def on_validation_end(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        """Read what the epoch logged."""
        logged = {name: 100 * float(v) for name, v in trainer.callback_metrics.items() if name.startswith("val/acc")}
        self.curve.append(logged.pop("val/acc"))
        self.others = {name.removeprefix("val/acc_"): value for name, value in logged.items()}


class BestWeights(L.Callback):
    """Keep the weights of the epoch with the highest accuracy on what the run validates with."""

    def __init__(self) -> None:
        self.best, self.weights = -1.0, dict[str, Tensor]()

    def on_validation_end(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        """Copy the weights if the epoch was the best so far."""
        now = float(trainer.callback_metrics["val/acc"])
        if now > self.best:
            self.best, self.weights = now, {name: v.clone() for name, v in model.state_dict().items()}

    def copy_to(self, model: Classifier) -> None:
        """Give a model the weights that were kept."""
        model.load_state_dict(self.weights)


@torch.no_grad()
def accuracy(network: Classifier, data: Images) -> float:
    """Return the accuracy of a network on what the row reports on, in percent."""
    network.eval()
    right = sum(int((network(x.to(network.device)).argmax(1).to(y.device) == y).sum()) for x, y in data.hold_out())
    return 100 * right / len(data.held_y)


def quiet_trainer(**options: Any) -> L.Trainer:
    """Return a Trainer that writes no files and says nothing."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", ".*LeafSpec", FutureWarning)  # Lightning 2.6 on torch 2.9 and later
    warnings.filterwarnings("ignore", ".*does not have many workers")  # the images are in memory
    warnings.filterwarnings("ignore", ".*eval mode at the start of training")  # teachers
    warnings.filterwarnings("ignore", ".*self.log.* but have no logger")
    quiet: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    return L.Trainer(**quiet, enable_model_summary=False, num_sanity_val_steps=0, devices=1, **options)


@dataclass(frozen=True)
class Published:
    """A number of the source: the accuracy of an arm, in percent.

    Attributes:
        arm: name of the arm.
        runs: of single runs, or the one mean.
        std: standard deviation of single runs, where the source gives a mean with one; None: `runs` are runs.
        k: number of runs behind mean and deviation.
        metric: which of the arm's metrics: "last", "best", "train", ...
    """

    arm: str
    runs: tuple[float, ...]
    std: float | None = None
    k: int = 1
    metric: str = "last"


@dataclass(frozen=True)
class Effect:
    """A difference that the source reports: accuracy of an arm minus that of its base, in points.

    Attributes:
        arm: name of the arm.
        base: of the arm that it is compared with.
        runs: differences of the source, at least one.
        metric: see `Published`.
        base_metric: of the base, where it is another; None: the same.
    """

    arm: str
    base: str
    runs: tuple[float, ...]
    metric: str = "last"
    base_metric: str | None = None


@dataclass(frozen=True)
class Row:
    """One row of a paper's table. The file that defines it says the rest: source, settings, trap, rule.

    Attributes:
        name: of the file.
        data: reads it from a folder.
        arms: by name, in order of the runs.
        claims: what is judged, written down before anything ran.
        seeds: how many runs of each arm are planned.
        minutes: of one processor core for a seed of all arms, roughly.
        gpu: whether it takes one to be done in a day.
        network: makes that of arms that are no `Fit`.
    """

    name: str
    data: Callable[[Path], Images]
    arms: Mapping[str, Callable[[Run], Trained]]
    claims: tuple[Published | Effect, ...]
    seeds: int
    minutes: float
    gpu: bool = False
    network: Callable[[Run], Classifier] | None = None

    def build(self, arm: str) -> Classifier:
        """Return the network of an arm as it begins; no data are read, and nothing is trained."""
        nothing = torch.empty(0)
        return Untrained(self, Images(nothing, nothing, nothing, nothing), seed=0)[arm].network

    def run(self, root: Path, seed: int, accelerator: str = "cpu", scale: float = 1.0) -> Run:
        """Return one seed of it, with the data read. `scale`: of the epochs, for a trial."""
        data = self.data(root)
        return Run(self, data if accelerator == "cpu" else data.to(torch.device("cuda")), seed, accelerator, scale)
