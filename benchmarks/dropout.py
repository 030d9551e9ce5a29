"""What each method of dropout adds to a training step, and our calls against torch's, torchvision's and timm's.

Command:  python benchmarks/dropout.py
Measures: process time of training steps, one thread, float32. ResNet-20 and WRN-16-4 train through `Trainer.fit` on a
          batch of 128 random images of 32 x 32 in memory. Each method has its defaults, at its last rate, and acts at
          every second step. The quotient of a step with the method is its time divided by that of the step before,
          without it. The ratio is the median of these quotients: 1.02 is 2 % more. The spread is their standard
          deviation. The median's own error is about 1.25 spread / sqrt(n), with n = 24 pairs for ResNet-20 and 10 for
          WRN-16-4, whose steps take seven times as long. "Own" is 1 + the time in the method's hooks and in the
          backward pass of what they return, divided by the time of a step without. It is less noisy, but leaves out
          what the method slows down elsewhere. It is 1 for methods with other hooks (DropConnect). Methods that usually
          stand before the classifier are also measured at every stage. A method is guided if its mask depends on
          features, labels or weights. The cost of a guided method, and of a method at every stage, is divided by the
          number of its places: "a stage". Last, the drop alone is timed, forward and backward, on maps of ResNet-20's
          first stage. Ours and the reference take turns, and the figure is the median of our time divided by that of
          theirs: below 1 ours is faster
"""

import argparse
import logging
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import NamedTuple

import lightning as L
import timm
import torch
import torchvision
from torch import Tensor, nn
from tricks import BATCH, CLASSES, WARMUP, Batches, least

import callbacks
from callbacks.frame.feature_dropout import FeatureDropout
from callbacks.frame.schedule import rate_values
from recipes.frame import records
from zoo import ResNet, WideResNet

NETWORKS: dict[str, Callable[[], L.LightningModule]] = {
    "ResNet-20": lambda: ResNet("20", num_classes=CLASSES, image_size=32),
    "WRN-16-4": lambda: WideResNet("16-4", num_classes=CLASSES, image_size=32),
}
PAIRS = {"ResNet-20": 24, "WRN-16-4": 10}  # pairs of steps: one without, one with the method
RANDOM, GUIDED, TWIN = 1.03, 1.10, 1.03  # targets: the highest ratios allowed


class Figure(NamedTuple):
    """Result of one row. `own` is the ratio that counts only the method's own seconds."""

    ratio: float
    spread: float
    own: float
    asked: float


MAPS = (BATCH, 16, 32, 32)


def methods() -> dict[str, type[FeatureDropout]]:
    """Return all methods by name."""
    kinds = {name: getattr(callbacks, name) for name in sorted(callbacks.__all__)}
    return {name: kind for name, kind in kinds.items() if issubclass(kind, FeatureDropout)}


def at_last_rate(trick: FeatureDropout) -> FeatureDropout:
    """Set the method to its last rate and to act at every step; return it."""
    trick.p, trick.participation = rate_values(trick.p)[-1], 1.0
    return trick


def rows(names: list[str], model: L.LightningModule) -> Iterator[tuple[str, FeatureDropout, float]]:
    """Yield name, method and target. Where the name ends in "a stage", the cost is divided by the number of places."""
    for name in names:
        trick = at_last_rate(methods()[name]())
        guided = is_guided(trick)
        asked = GUIDED if guided else RANDOM
        yield f"{name} a stage" if guided else name, trick, asked
        if trick.where == "classifier":
            stages = at_last_rate(methods()[name](where=tuple(model.stages.keys())))
            with suppress(TypeError):  # the method acts on single layers only
                stages.places(model)
                yield f"{name} at stages, a stage", stages, asked


def is_guided(trick: FeatureDropout) -> bool:
    """Tell whether the mask depends on more than random draws: with fixed draws, the drop is not linear."""
    torch.manual_seed(0)
    a, b = torch.randn(2, 128, 16, 12, 12).cumsum(3)  # many maps, whose neighbouring pixels are alike

    def dropped(x: Tensor) -> Tensor:
        torch.manual_seed(0)
        return trick.drop(x, rate_values(trick.p)[-1])

    if trick.needs_labels:
        return True
    try:
        return not torch.allclose(dropped(a + b), dropped(a) + dropped(b), atol=1e-4)
    except NotImplementedError:  # it does not drop features
        return False
    except (AttributeError, KeyError):  # it needs the network too
        return True


class Turns(L.Callback):
    """Let a method act at every second step; record the process time of both kinds of step. Stands before the method.

    It also records the time in the method itself: in its hooks, and in the backward pass of their outputs.
    """

    def __init__(self, trick: FeatureDropout):
        self.trick, self.seconds, self.start, self.own = trick, ([], []), 0.0, []
        self.drop, trick.drop = trick.drop, self.watched

    def watched(self, x: Tensor, p: float) -> Tensor:
        """Drop; add up the time of the forward and of the backward pass."""
        start = time.process_time()
        y = self.drop(x, p)
        self._add(start)
        if y.grad_fn is not None and y is not x:
            starts = []
            y.grad_fn.register_prehook(lambda grads: starts.append(time.process_time()))
            y.grad_fn.register_hook(lambda *grads: self._add(starts.pop()))
        return y

    def _add(self, start: float) -> None:
        self.own[-1] += time.process_time() - start

    def on_train_batch_start(self, trainer, model, batch, batch_idx) -> None:
        self.trick.participation = float(batch_idx % 2)
        self.own.append(0.0)
        self.start = time.process_time()

    def on_train_batch_end(self, trainer, model, outputs, batch, batch_idx) -> None:
        if batch_idx >= WARMUP:
            self.seconds[batch_idx % 2].append(time.process_time() - self.start)


def cost(model: L.LightningModule, trick: FeatureDropout, pairs: int) -> tuple[float, list[float], float]:
    """Return seconds of a step without the method, quotients of steps with it, and the method's own seconds."""
    turns, steps = Turns(trick), WARMUP + 2 * pairs
    off = dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing"), False)
    L.Trainer(max_steps=steps, num_sanity_val_steps=0, accelerator="cpu", callbacks=[turns, trick], **off).fit(
        model, Batches(steps), Batches(1)
    )
    plain, with_it = turns.seconds
    own = statistics.median(turns.own[WARMUP + 1 :: 2])
    return statistics.median(plain), [b / a for a, b in zip(plain, with_it, strict=True)], own


def added(network: str, names: list[str]) -> dict[str, Figure]:
    """Measure each method on one network."""
    figures = {}
    for name, trick, asked in rows(names, NETWORKS[network]()):
        model = NETWORKS[network]()  # a method may change it
        plain, quotients, own = cost(model, trick, PAIRS[network])
        places = len(trick.named_modules(model)) if name.endswith("a stage") else 1
        excess, spread = statistics.median(quotients) - 1, statistics.stdev(quotients) / places
        found = Figure(1 + excess / places, spread, 1 + own / plain / places, asked)
        figures[f"{network} {name}"] = found
        ms = f"{1e3 * plain * excess:+8.1f} ms ({1e3 * own:.1f} in it) of {1e3 * plain:.0f}, by {places}"
        print(f"{network} {name:44}{ms}   {found.ratio:.3f} ± {spread:.3f} ({found.own:.3f})", flush=True)
    return figures


def twins() -> dict[str, tuple[FeatureDropout, float, Callable[[Tensor], Tensor]]]:
    """Return the comparisons by name: our method, its rate, their function."""
    ops, layers = torchvision.ops, timm.layers
    blocks = layers.DropBlock2d(drop_prob=0.1, block_size=7)
    return {
        "Dropout / torch": (callbacks.Dropout(), 0.5, nn.Dropout(0.5)),
        "SpatialDropout / torch": (callbacks.SpatialDropout(), 0.1, nn.Dropout2d(0.1)),
        "DropBlock / torchvision": (callbacks.DropBlock(), 0.1, lambda x: ops.drop_block2d(x, 0.1, 7)),
        "DropBlock shared / timm": (callbacks.DropBlock(shared=True), 0.1, blocks),
        "StochasticDepth / torchvision": (
            callbacks.StochasticDepth(),
            0.5,
            lambda x: ops.stochastic_depth(x, 0.5, "row"),
        ),
        "StochasticDepth / timm": (callbacks.StochasticDepth(), 0.5, layers.DropPath(0.5)),
    }


def against_twins(calls: int) -> dict[str, Figure]:
    """Compare our drops with theirs."""
    figures = {}
    torch.manual_seed(0)
    x, g = torch.randn(MAPS, requires_grad=True), torch.randn(MAPS)
    for name, (trick, p, theirs) in twins().items():
        pair = (lambda: trick.drop(x, p)), (lambda: theirs(x))  # noqa: B023
        times: tuple[list[float], list[float]] = [], []
        for turn in range(calls):  # a quiet machine favours neither; each is first equally often
            for i in (0, 1) if turn % 2 else (1, 0):
                times[i].append(least(lambda: torch.autograd.grad(pair[i](), x, g), 1))  # noqa: B023
        mine, other = map(statistics.median, times)
        spread = statistics.stdev(a / b for a, b in zip(*times, strict=True))
        figures[name] = Figure(mine / other, spread, mine / other, TWIN)
        ms = f"{1e3 * mine:8.2f} ms, theirs {1e3 * other:.2f} ms"
        print(f"{name:44}{ms}   {mine / other:.3f} ± {spread:.3f}", flush=True)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--methods", nargs="*", default=[*methods()], choices=methods(), metavar="METHOD")
    parser.add_argument("--networks", nargs="*", default=[*NETWORKS], choices=NETWORKS, help="default: both")
    parser.add_argument("--dry", action="store_true", help="write nothing to results/")
    arguments = vars(parser.parse_args())
    dry = arguments.pop("dry")
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    start, figures = time.perf_counter(), against_twins(calls=200)
    for network in arguments["networks"]:
        figures |= added(network, arguments["methods"])
    for kind in ("ratio", "own"):
        above = [f"{name} ({getattr(f, kind):.3f})" for name, f in figures.items() if getattr(f, kind) > f.asked]
        print(f"{kind} above what was asked for: {', '.join(above) or 'none'}")
    metrics, spreads, own = ({name: f[i] for name, f in figures.items()} for i in range(3))
    record = {"arguments": arguments, "seed": 0, "metrics": metrics, "seconds": time.perf_counter() - start}
    whole = arguments["methods"] == [*methods()] and arguments["networks"] == [*NETWORKS]
    if not dry and whole:
        records.append("dropout", record | {"spread": spreads, "own": own})


if __name__ == "__main__":
    main()
