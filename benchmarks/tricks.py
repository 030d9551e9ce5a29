"""What each trick adds to a training step of ResNet-20; some tricks against timm's, torchvision's and Lightning's.

Command:  python benchmarks/tricks.py
Measures: process time a step, one thread, float32, batch 128 of 32 x 32 random images in memory, through `Trainer.fit`.
          Short runs without and with the trick take turns. Each pair of runs gives the ratio of their least steps. The
          figure is the median of these ratios, so 1.02 is 2 % more. Its spread is their standard deviation, recorded
          beside it. "Calls" is the fraction of a step in the trick's own calls at batch and step, recorded too. It has
          no noise, but leaves out what a trick adds to the forward and backward pass. The tricks and their arguments
          are those of recipes/frame/arms.py. The teacher is an untrained ResNet-56; its cost alone is the row
          "teacher's forward pass". Last, single calls of ours and of the other libraries take turns on the same batch
          or network. The figure is the median of our time divided by that of theirs, since many calls draw at random
          how much work they do; below 1 ours is faster. Composer is not among them: 0.32 wants a torch below 2.7.1.
"""

import argparse
import functools
import logging
import statistics
import time
import warnings
from collections.abc import Callable
from types import SimpleNamespace

import lightning as L
import timm
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging
from torch import Tensor
from torchvision.transforms import v2

import callbacks
from recipes.frame import records
from recipes.frame.arms import DATA_IS_SHORT, TIME_IS_SHORT, dropouts, usual
from zoo import ResNet

CLASSES, BATCH, WARMUP = 10, 128, 2  # the first steps allocate memory: not timed
TEACHER = ResNet("56", num_classes=CLASSES, image_size=32)
ARMS = {**TIME_IS_SHORT.arms, **DATA_IS_SHORT.arms}
TRICKS = [
    name for name, arm in ARMS.items() if name in callbacks.__all__ and name not in dropouts() and arm.network is None
]


class Clock(L.Callback):
    """Measure the process time between the ends of two batches."""

    def __init__(self):
        self.seconds, self.last = [], None

    def on_train_batch_end(self, trainer, model, outputs, batch, batch_idx) -> None:
        now = time.process_time()
        if self.last is not None:
            self.seconds.append(now - self.last)
        self.last = now


class Batches:
    """Repeat one batch, in fresh lists since tricks refill them."""

    batch_sampler = SimpleNamespace(batch_size=BATCH)  # where `LinearScaling` looks

    def __init__(self, n: int):
        torch.manual_seed(0)
        self.n, self.batch = n, [torch.randn(BATCH, 3, 32, 32), torch.randint(CLASSES, (BATCH,))]

    def __len__(self) -> int:
        return self.n

    def __iter__(self):
        return (list(self.batch) for _ in range(self.n))


CALLS = (  # calls of a trick by the trainer, in every step
    "on_train_batch_start", "on_before_zero_grad", "on_before_backward", "on_after_backward",
    "on_before_optimizer_step", "on_train_batch_end",
)  # fmt: skip


def timed(trick: L.Callback) -> list[float]:
    """Time each of the trick's `CALLS`, and return the list to which they are added."""
    seconds = []

    def clocked(call: Callable) -> Callable:
        @functools.wraps(call)
        def run(*args, **kwargs):
            start = time.process_time()
            call(*args, **kwargs)
            seconds.append(time.process_time() - start)

        return run

    for name in CALLS:
        setattr(trick, name, clocked(getattr(trick, name)))
    return seconds


def step(tricks: list[L.Callback], steps: int) -> float:
    """Return the least seconds of a step."""
    torch.manual_seed(0)
    clock, off = Clock(), ("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing")
    trainer = L.Trainer(max_epochs=2, accelerator="cpu", callbacks=[*tricks, clock], **dict.fromkeys(off, False))
    trainer.fit(ResNet("20", num_classes=CLASSES, image_size=32), epoch_of(steps))
    return min(clock.seconds[WARMUP - 1 :])


def epoch_of(steps: int) -> Batches:
    """Return one of two epochs; there are two since some tricks warm up for one."""
    return Batches((WARMUP + steps + 1) // 2)


def added(name: str, rounds: int, steps: int) -> tuple[float, float, float]:
    """Return median and spread of a step with the trick divided by one without; then its calls' fraction of a step."""
    plain, ratios, calls = [], [], []
    for i in range(rounds):
        trick = usual(name, TEACHER)
        seconds, sides = timed(trick), {}
        for with_it in (False, True) if i % 2 else (True, False):
            sides[with_it] = step([trick] * with_it, steps)
        plain.append(sides[False])
        ratios.append(sides[True] / sides[False])
        calls.append(sum(seconds) / 2 / len(epoch_of(steps)) / sides[False])
    ratio, spread, share = statistics.median(ratios), statistics.stdev(ratios), statistics.median(calls)
    ms = 1e3 * statistics.median(plain)
    print(f"{name:28}{ratio:.3f} ± {spread:.3f} of {ms:.0f} ms   calls {share * ms:.2f} ms, {share:.4f}", flush=True)
    return ratio, spread, share


def least(run: Callable[[], object], calls: int) -> float:
    run()
    times = []
    for _ in range(calls):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return min(times)


def on_batch(trick: L.Callback, images: Tensor, targets: Tensor) -> Callable[[], None]:
    """Return one call of a data trick, as the trainer makes it."""
    model = SimpleNamespace(num_classes=CLASSES)
    trainer = SimpleNamespace(global_step=0, datamodule=None, callbacks=[trick])
    return lambda: trick.on_train_batch_start(trainer, model, [images, targets], 0)


def after_step(trick: callbacks.EMA, model: ResNet) -> Callable[[], None]:
    """Return one update of an average, as the trainer makes it."""
    trainer = SimpleNamespace(global_step=0)
    trick.on_fit_start(trainer, model)
    trick.on_train_start(trainer, model)

    def update() -> None:
        trainer.global_step += 1
        trick.on_train_batch_end(trainer, model)

    return update


def lightnings(model: ResNet) -> Callable[[], None]:
    """Return one update of Lightning's own average."""
    trick, trainer = EMAWeightAveraging(decay=0.999), SimpleNamespace(global_step=0)
    trick.setup(trainer, model, "fit")

    def update() -> None:
        trainer.global_step += 1
        trick.on_train_batch_end(trainer, model, None, None, 0)

    return update


def neighbours() -> dict[str, tuple[Callable, Callable]]:
    """Return the comparisons by name: our call, theirs."""
    images, targets = Batches(1).batch
    model = ResNet("20", num_classes=CLASSES, image_size=32)
    average = timm.utils.ModelEmaV3(model, decay=0.999)
    erase = timm.data.random_erasing.RandomErasing(probability=0.5, mode="pixel", device="cpu")
    with_box = timm.data.Mixup(mixup_alpha=0, cutmix_alpha=1.0, num_classes=CLASSES)
    mixup, cutmix = v2.MixUp(alpha=1.0, num_classes=CLASSES), v2.CutMix(alpha=1.0, num_classes=CLASSES)
    each = v2.RandomErasing(p=0.5, value="random")

    def timms(mix: Callable) -> Callable:
        return lambda: mix(images.clone(), targets)  # it mixes in place

    return {
        "MixUp / timm": (
            on_batch(callbacks.MixUp(), images, targets),
            timms(timm.data.Mixup(mixup_alpha=1.0, num_classes=CLASSES)),
        ),
        "MixUp / torchvision": (on_batch(callbacks.MixUp(), images, targets), lambda: mixup(images, targets)),
        "CutMix / timm": (on_batch(callbacks.CutMix(), images, targets), timms(with_box)),
        "CutMix / torchvision": (on_batch(callbacks.CutMix(), images, targets), lambda: cutmix(images, targets)),
        "RandomErasing / timm": (
            on_batch(callbacks.RandomErasing(), images, targets),
            lambda: erase(images.clone()),
        ),
        "RandomErasing / torchvision": (
            on_batch(callbacks.RandomErasing(), images, targets),
            lambda: torch.stack([each(image) for image in images]),
        ),
        "EMA / timm": (after_step(callbacks.EMA(), model), lambda: average.update(model)),
        "EMA / Lightning": (after_step(callbacks.EMA(), model), lightnings(model)),
    }


def against_neighbours(calls: int) -> dict[str, float]:
    metrics = {}
    for name, sides in neighbours().items():
        turns = [[least(side, 1) for side in sides] for _ in range(calls)]
        mine, other = map(statistics.median, zip(*turns, strict=True))
        metrics[name] = mine / other
        print(f"{name:28}{1e3 * mine:8.2f} ms, theirs {1e3 * other:.2f} ms   {metrics[name]:.2f}", flush=True)
    return metrics


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=6, help="times that each side runs (default 6)")
    parser.add_argument("--steps", type=int, default=4, help="steps a run (default 4)")
    parser.add_argument("--tricks", nargs="*", choices=TRICKS, help="which; default all")
    arguments = vars(parser.parse_args())
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    start, names = time.perf_counter(), arguments["tricks"] or TRICKS
    metrics, rest = against_neighbours(calls=200), {"spread": {}, "calls": {}}
    for name in names:
        of_one = added(name, arguments["rounds"], arguments["steps"])
        metrics[name], rest["spread"][name], rest["calls"][name] = of_one
    with torch.no_grad():
        images = Batches(1).batch[0]
        metrics["teacher's forward pass"] = 1 + least(lambda: TEACHER.eval()(images), 3) / step([], arguments["steps"])
    if arguments["tricks"] is None:
        record = {"arguments": arguments, "seed": 0, "metrics": metrics, "seconds": time.perf_counter() - start}
        records.append("tricks", record | rest)


if __name__ == "__main__":
    main()
