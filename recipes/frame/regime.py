"""A regime: a budget at which tricks can show their effect, and the recipe of one arm in it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import process_time
from typing import Any, Literal, NamedTuple

import lightning as L

import callbacks as c
from callbacks.frame.pair_needs import Claims
from callbacks.frame.trick import Trick
from recipes.frame import records
from recipes.frame.answers import Answers
from recipes.frame.cifar import PLAIN, Cifar, SmallCIFAR10
from recipes.frame.co_adaptation import FRACTIONS, co_adaptation
from recipes.frame.loggers import Kind
from recipes.frame.recipe import Recipe
from zoo import Classifier, load

NONE = "none"  # the arm without a trick: the baseline
TEACHER = "teacher"  # the arm that trains the teacher of most others
BATCH = 64
VALIDATION_IMAGES = 5000  # arguments are chosen on these; nobody trains on them
TRAINING_IMAGES = 50_000 - VALIDATION_IMAGES
CHOICE_SEED = 1000  # seed of the runs that choose an argument, and of teachers; no reported run has it


class Arm(NamedTuple):
    """One line of a comparison.

    Attributes:
        build: makes the tricks. Its arguments are the teacher's network, if `taught`, and then the value, if there are
            `values`.
        values: three values of the argument that is chosen on validation images; the usual one is in the middle.
        taught: the arm that trains its teacher; "": it needs none.
        against: the arm that it is compared with.
        batch: images a step.
        masked: whether to measure co-adaptation too: test accuracy with some channels masked.
        network: learning rate -> its own network; None: that of the regime. `against` then names an arm with the same
            network without the trick.
        starts: whether the network starts from the teacher's weights; what the teacher lacks starts at random.
    """

    build: Callable[..., Sequence[Trick]]
    values: Sequence[float] = ()
    taught: str = ""
    against: str = NONE
    batch: int = BATCH
    masked: bool = False
    network: Callable[[float], Classifier] | None = None
    starts: bool = False


@dataclass(frozen=True, eq=False)
class Regime:
    """What all arms of a comparison share.

    Attributes:
        name: of the recipe, and of its file in results/.
        network: learning rate -> the network, not yet trained.
        images: number of training images, at most 45,000; the same for all seeds.
        epochs: passes over them.
        arms: the arms by name. The middle value of the base's is the usual learning rate.
    """

    name: str
    network: Callable[[float], Classifier]
    images: int
    epochs: int
    arms: dict[str, Arm] = field(default_factory=dict)

    @property
    def teachers(self) -> set[str]:
        """Names of the arms that train a teacher."""
        return {arm.taught for arm in self.arms.values() if arm.taught}

    def build_network(self, arm: str, lr: float) -> Classifier:
        """Build the network of an arm, not yet trained."""
        return (self.arms[arm].network or self.network)(lr)

    @property
    def usual_lr(self) -> float:
        """The learning rate before one is chosen."""
        return self.arms[NONE].values[1]


@dataclass(repr=False)
class Trial(Recipe):
    """A recipe that records for every test image whether the prediction is right.

    Attributes:
        choosing: measure on validation images instead of test images, and record in a separate file.
        masked: see `Arm`.
    """

    choosing: bool = False
    masked: bool = False
    answers: Answers = field(default_factory=Answers)

    def run(
        self,
        test: bool = True,
        save: Path | Literal[False] | None = None,
        record: bool = False,
        resume: Path | None = None,
        logger: Kind = "csv",
    ) -> dict[str, float]:
        """Train, then measure. Arguments and errors are those of `Recipe.run`."""
        began = process_time()
        metrics = super().run(test and not self.choosing, save, record=False, resume=resume, logger=logger)
        if self.stopped:
            return metrics
        metrics["CPU seconds"] = process_time() - began  # other work on the machine does not lengthen them
        if self.masked and "test/acc" in metrics:
            left = co_adaptation(self.model.cpu(), self._test_batches())
            metrics |= {f"masked {fraction:.1f}": value for fraction, value in zip(FRACTIONS, left, strict=True)}
        if record and (self.choosing or "test/acc" in metrics):
            self._append(metrics)
        return metrics

    def _trainer(self, folder: Path | None) -> L.Trainer:
        trainer = super()._trainer(folder)
        trainer.callbacks.append(self.answers)  # type: ignore[attr-defined]  # Lightning sets it; after all callbacks that score
        return trainer

    def _test_batches(self) -> Any:
        return (self.data.on_after_batch_transfer(list(batch), 0) for batch in self.data.test_dataloader())

    def _append(self, metrics: dict[str, float]) -> None:
        line: dict[str, Any] = {"arguments": self.arguments, "seed": self.seed, "seconds": metrics["seconds"]}
        if not self.choosing:
            line["right"] = self.answers.text(accuracy(metrics))
        records.append(self.name, {**line, "metrics": metrics, "hardware": self.hardware()})


def accuracy(metrics: dict[str, float]) -> float:
    """Return the test accuracy. If averages, ensembles or views are scored beside the network, return theirs."""
    beside = [value for name, value in metrics.items() if name.startswith("test/acc_")]
    return beside[0] if beside else metrics["test/acc"]


def with_schedule(epochs: float, tricks: Sequence[Trick]) -> list[L.Callback]:
    """Put the cosine with its warm-up before the tricks, unless one of them sets the learning rate itself."""
    base = c.CosineDecay(warmup_epochs=epochs / 20)
    claims = [need for need in base.needs if isinstance(need, Claims)]
    own = any(need in claims for trick in tricks for need in trick.needs)
    return [*([] if own else [base]), *tricks]


def build_trial(
    regime: Regime,
    arm: str = NONE,
    value: float | None = None,
    lr: float | None = None,
    *,
    source: Cifar = PLAIN,
    choosing: bool = False,
    teacher: Path | None = None,
    seed: int = 0,
) -> Trial:
    """Build the recipe of one arm.

    Args:
        regime: the budget; for another one, `dataclasses.replace(regime, epochs=1)`.
        arm: a key of `regime.arms`.
        value: of the arm's one argument; None: the middle one of its `values`.
        lr: learning rate; None: the usual one.
        source: where the images are, see `Cifar`.
        choosing: measure on validation images.
        teacher: checkpoint of the teacher.
        seed: of the weights, the order of the images and every random draw.
    """
    one, lr = regime.arms[arm], regime.usual_lr if lr is None else lr
    if one.values and value is None:
        value = one.values[1]
    taught = [load_teacher(one.taught, teacher)] if one.taught else []
    own = one.build(*taught, *([value] if one.values and arm != NONE else []))
    L.seed_everything(seed, workers=True, verbose=False)
    model = regime.build_network(arm, lr)
    if one.starts:
        model.load_state_dict(model.adapt(taught[0].state_dict()))
    fraction = regime.images / TRAINING_IMAGES
    data = SmallCIFAR10(source.root, source.folder, one.batch, val_split=VALIDATION_IMAGES, fraction=fraction)
    evaluation = {"check_val_every_n_epoch": regime.epochs} if choosing else {"limit_val_batches": 0}
    return Trial(
        name=f"{regime.name}_choices" if choosing else regime.name,
        model=model,
        data=data,
        callbacks=with_schedule(regime.epochs, own),
        trainer={"max_epochs": regime.epochs, "precision": source.precision, **evaluation},
        seed=seed,
        arguments={
            "arm": arm,
            "as": ", ".join(map(repr, own)),
            "value": value,
            "lr": lr,
            "images": regime.images,
            "epochs": regime.epochs,
            **source.record,
        },
        choosing=choosing,
        masked=one.masked,
    )


def load_teacher(name: str, teacher: Path | None) -> Classifier:
    """Load the teacher that an arm of this name trained from its checkpoint.

    Raises:
        ValueError: there is no checkpoint.
    """
    if teacher is None:
        raise ValueError(f"this arm needs a teacher: train it with the arm {name!r}, and give its checkpoint")
    return load(teacher)
