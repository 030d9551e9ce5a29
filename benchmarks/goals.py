"""Ours against what a user would pick instead, with the goal of each figure beside it.

Command:  python benchmarks/goals.py
Measures: CPU seconds of one thread; the sides take turns. A figure is the median of the rounds' quotients, so below 1
          ours is faster. Drops alone: forward and backward, on maps (128, 16, 32, 32) and (32, 64, 56, 56). Norm and
          activation: a step (forward, backward, SGD) of ResNet-20, 32 images of 32 px, contiguous float32, then
          `channels_last` under bf16 autocast. SENet and CBAM: 8 images, SKNet: 4, both `channels_last`, SENet and CBAM
          in bf16. The step: that of step_overhead.py with 8 images, where what the Trainer adds shows; it is divided by
          the loop's seconds with 128. Logging: that of logging_cost.py. Fusing: the networks of models.py, 224 px.
          CPU seconds are no wall seconds: the core was shared
"""

import argparse
import logging
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial

import logging_cost
import models
import step_overhead
import timm
import torch
from _turns import CLOCK, quotient, turns
from cpu_training import stepper
from torch import nn

import callbacks
from callbacks.network.activation import swap_activations
from callbacks.network.norm import swap_norms
from recipes.frame import records
from recipes.frame.goals import GOALS
from zoo import CBAMResNet, ResNet, SENet, SKNet

MAPS = {"": (128, 16, 32, 32), ", 26 MB": (32, 64, 56, 56)}  # end of a row's name -> of 8 MB, of 26 MB
SMALL = {"num_classes": 10, "image_size": 32}


def drops(rounds: int) -> dict[str, float]:
    ours = {"SpatialDropout": (callbacks.SpatialDropout(), 0.1), "StochasticDepth": (callbacks.StochasticDepth(), 0.5)}
    theirs = {"SpatialDropout": nn.Dropout2d(0.1), "StochasticDepth": timm.layers.DropPath(0.5)}
    found = {}
    for end, shape in MAPS.items():
        x, g = torch.randn(shape, requires_grad=True), torch.randn(shape)
        for name, (trick, p) in ours.items():
            other = theirs[name]
            sides = {
                "ours": lambda: torch.autograd.grad(trick.drop(x, p), x, g),  # noqa: B023
                "theirs": lambda: torch.autograd.grad(other(x), x, g),  # noqa: B023
            }
            times = turns(sides, (40 if end else 100) * rounds)
            found[f"{name}{end}"] = quotient(times["ours"], times["theirs"])
    return found


def fusing(rounds: int) -> dict[str, float]:
    """Return our gain by fusing divided by timm's, and the seconds of both networks by timm's."""
    found, (mine, timms) = {}, ({"slow": pair[0], "quick": pair[1]} for pair in [*models.fusions().values()][:2])
    for count, many in ((1, 4), (8, 2), (32, 1)):
        images, of = torch.randn(count, 3, 224, 224), f"{count} image{'s' * (count > 1)}"
        networks = {f"our {k}": v for k, v in mine.items()} | {f"timm's {k}": v for k, v in timms.items()}
        sides = {name: partial(models.infer, network, images) for name, network in networks.items()}
        times = turns(sides, many * rounds)
        gains = {who: quotient(times[f"{who} slow"], times[f"{who} quick"]) for who in ("our", "timm's")}
        found[f"RepVGG, {of}"] = gains["our"] / gains["timm's"]
        for kind in mine:
            found[f"RepVGG {kind}, {of}"] = quotient(times[f"our {kind}"], times[f"timm's {kind}"])
    return found


def changed(change: Callable[..., None], kind: str) -> nn.Module:
    network = ResNet("20", **SMALL)
    change(network, kind)
    return network


def networks(rounds: int) -> dict[str, float]:
    images, found = torch.randn(32, 3, 32, 32), {}
    for end, half in (("", False), (" bf16", True)):
        those = {
            "plain": ResNet("20", **SMALL),
            "Norm": changed(swap_norms, "group"),
            "Activation": changed(swap_activations, "silu"),
        }
        times = turns({name: stepper(network, images, half, half) for name, network in those.items()}, rounds)
        found |= {f"{name}{end}": quotient(times[name], times["plain"]) for name in list(those)[1:]}
    return found


def families(rounds: int) -> dict[str, float]:
    eight, four = torch.randn(8, 3, 32, 32), torch.randn(4, 3, 32, 32)
    those = {"SENet": SENet("18", **SMALL), "CBAM": CBAMResNet("18", **SMALL)}
    times = turns({name: stepper(network, eight, True, True) for name, network in those.items()}, rounds)
    selective = SKNet("50", **SMALL)
    ways = {"bf16": stepper(selective, four, True, True), "float32": stepper(selective, four, False, True)}
    times |= turns(ways, rounds)
    return {"SENet": quotient(times["SENet"], times["CBAM"]), "SKNet": quotient(times["bf16"], times["float32"])}


def overhead(rounds: int) -> dict[str, float]:
    """Return the figure of the step, and the milliseconds behind it."""
    few, many = step_overhead.make_batches(2, 8), step_overhead.make_batches(1, 128)
    with_trainer, by_hand = ([], [])
    for _ in range(rounds):
        with_trainer.append(step_overhead.with_trainer(few, 12)[0])
        by_hand.append(step_overhead.by_hand(few, 12)[0])
    added = statistics.median(a - b for a, b in zip(with_trainer, by_hand, strict=True))
    loop = step_overhead.by_hand(many, 3)[0]
    return {"step": 1 + added / loop, "ms added": 1e3 * added, "ms by hand": 1e3 * loop}


def logged(rounds: int) -> dict[str, float]:
    kinds = {"none": logging_cost.Silent, "ours": logging_cost.Classifier}
    times = {name: [] for name in kinds}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(rounds):
            for name, kind in kinds.items():
                times[name] += logging_cost.run(kind, 600, folder)
    low = {name: statistics.quantiles(pieces, n=10)[0] for name, pieces in times.items()}
    return {"logging": low["ours"] - low["none"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="times that each side runs (default 5)")
    arguments = vars(parser.parse_args())
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    commit, start, metrics = records.commit(), time.process_time(), {}
    for measure in (drops, networks, logged, overhead, families, fusing):
        found = measure(arguments["rounds"])
        metrics |= found
        print(*(f"{name:18}{value:8.3f}" for name, value in found.items()), sep="\n", flush=True)
    record = {"arguments": arguments, "seed": 0, "metrics": metrics, "seconds": time.process_time() - start}
    goals = {name: goal.goal for name, goal in GOALS.items() if goal.source == "goals"}
    records.append("goals", record | {"goals": goals, "clock": CLOCK, "commit": commit})


if __name__ == "__main__":
    main()
