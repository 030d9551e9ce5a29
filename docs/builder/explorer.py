"""Write the explorer: every run of results/ as a dot, accuracy against seconds, parameters or multiply-adds.

`write_explorer(folder)` writes a page that needs no server and asks nothing of the network: index.html, explorer.css,
explorer.js, and the runs as the script runs.js. `body()` is the part of the page for another page.
"""

import json
import shutil
from collections.abc import Iterator
from functools import cache
from math import sqrt
from pathlib import Path
from statistics import fmean
from textwrap import shorten
from typing import Any

import timm
import torch
from scipy import stats

import zoo
from recipes.command.reproduce import load_row
from recipes.frame import cards, evidence, records
from recipes.frame.arms import REGIMES
from recipes.frame.regime import accuracy
from recipes.frame.speedrun import CifarNet
from zoo.tools.complexity import total_macs

HERE = Path(__file__).parent
FILES = ("explorer.css", "explorer.js")
ALPHA = 0.05  # of the intervals


REGIME = {one.name: one for one in REGIMES}
NETWORKS = {  # of recipes whose runs do not name theirs
    "bag_of_tricks_cifar": "ResNet-20",
    "cifar10_speedrun": "CifarNet",
    "cifar10_resnet20": "ResNet-20",
    "cifar10_weights": "ResNet-20",
    "digits_resnet20": "ResNet-20",
    "noisy_labels_fashion": "ResNet-20",
    "prune_and_quantise": "ResNet-20",
    "snapshot_ensemble_cifar": "ResNet-20",
    "tiny_imagenet20": "ResNet-20",
    "token_reduction_cifar": "ViT-Ti",
    "transfer_tiny_imagenet20": "EfficientNet-Lite0",
}
TIMM = {"EfficientNet-Lite0": "efficientnet_lite0"}  # networks that are not ours, by their names there
OF_RECIPES = {"CifarNet": CifarNet}  # networks that stand in a recipe
# Sides of a recipe's images in pixels where they are not 32, and its classes where they are not 10.
SIDES = {
    "data_is_short": 16,
    "digits_ladder": 8,
    "digits_resnet20": 8,
    "noisy_labels_fashion": 28,
    "small_transformer": 16,
    "time_is_short": 16,
    "tiny_imagenet20": 64,
    "transfer_tiny_imagenet20": 96,
}
CLASSES = {"shapes_unet": 4, "tiny_imagenet20": 20, "transfer_tiny_imagenet20": 20}
NAMES = {"WRN": "WideResNet"}  # of classes of zoo/
VARIANTS = {"ViT": "Ti/16", "DVT": "DeiT-Ti"}  # of the ViTs of token_reduction_cifar; the others' is "Ti"
TRICKS = ("arm", "method", "rung", "version", "dropout")  # arguments that say what a run tries
WORDS = {  # of recipes, in the names of the tricks
    "student": "none",
    "KD": "KnowledgeDistillation",
    "AT": "AttentionTransfer",
    "AT+KD": "AttentionTransfer and KnowledgeDistillation",
    "heuristic": "HeuristicDropout",
}


def body() -> str:
    """Return the filters, the picture and the table, in HTML. The page loads explorer.css, runs.js and explorer.js."""
    return (HERE / "explorer.html").read_text().strip()


def write_explorer(folder: Path | str) -> Path:
    """Write the explorer into a folder, which is made, and return the path of its page.

    Args:
        folder: for index.html, explorer.css, explorer.js and runs.js.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        shutil.copyfile(HERE / name, folder / name)
    runs = json.dumps([*dots()], separators=(",", ":")).replace("<", "\\u003c").replace("},{", "},\n{")
    (folder / "runs.js").write_text(f"const RUNS = {runs};\n")
    page = folder / "index.html"
    page.write_text(PAGE.format(body=body()))
    return page


def dots() -> Iterator[dict[str, Any]]:
    """Return what is shown of each run with an accuracy, in order of the files of results/.

    Each has regime (the recipe), network, trick, seed, accuracy in percent, seconds, parameters and multiply-adds (None
    where they cannot be counted), and the ends of the 95 % interval of the mean of its seeds (None: there is none).
    """
    for path in sorted(records.RESULTS.glob("*.jsonl")):
        for group in records.groups(records.read(path.stem)):
            values = [percent(run["metrics"]) for run in group]
            if None in values:
                continue
            low, high = ends(path.stem, group, [value for value in values if value is not None])
            for run, value in zip(group, values, strict=True):
                seeds = {"low": low, "high": high, "seeds": len(group)}
                yield {**describe(path.stem, run), "accuracy": value, **seeds}


def ends(recipe: str, group: list[records.Record], values: list[float]) -> tuple[float | None, float | None]:
    """Return the ends of the interval of the mean of a group's accuracies in percent.

    In a regime the noise is that of all arms, as on the tricks' cards; where a run diverged, there is none.
    """
    regime = REGIME.get(recipe)
    regime = regime if regime and group[0] in evidence.runs(regime) else None
    noise = cards.noise_of(cards.by_arm(regime)) if regime else None
    if noise is None:
        return interval(values)
    if len(cards.accuracies(group)) < len(group):
        return None, None
    return around(fmean(values), float(stats.t.ppf(1 - ALPHA / 2, noise.df)) * 100 * noise.sd / sqrt(len(values)))


def percent(metrics: dict[str, float]) -> float | None:
    """Return the test accuracy in percent; None for a line that has none: a benchmark's, or one of a retrieval."""
    if "test/acc" in metrics and "test/map_at_r" not in metrics:
        return round(100 * accuracy(metrics), 3)
    return round(metrics["last"], 3) if {"best", "last"} <= set(metrics) else None


def interval(values: list[float]) -> tuple[float | None, float | None]:
    """Return the ends of the t interval of the mean of n values at 95 %, within 0 and 100; None for one value."""
    if len(values) < 2:
        return None, None
    found = records.summary(values)
    return around(found.mean, float(stats.t.ppf(1 - ALPHA / 2, found.n - 1)) * found.std / sqrt(found.n))


def around(mean: float, half: float) -> tuple[float, float]:
    """Return the ends of an interval in percent, within 0 and 100."""
    return round(max(mean - half, 0), 3), round(min(mean + half, 100), 3)


def describe(recipe: str, run: records.Record) -> dict[str, Any]:
    """Name a run, and say what it cost."""
    arguments, metrics = run["arguments"], run["metrics"]
    network = network_of(recipe, arguments)
    known = metrics.get("parameters"), metrics.get("MACs")
    counted = known if all(known) else count(recipe, network, arguments)
    return {
        "regime": recipe,
        "network": network,
        "trick": trick_of(arguments),
        "seed": run["seed"],
        "seconds": round(run["seconds"], 1),
        "parameters": known[0] or counted[0],
        "macs": known[1] or counted[1],
    }


Counts = tuple[int | None, int | None]  # parameters, multiply-adds of one image


def count(recipe: str, network: str, arguments: dict[str, Any]) -> Counts:
    """Count a run's network, without what tricks add to it."""
    if "row" in arguments:
        return of_row(arguments["row"], arguments["arm"])[1]
    kind, _, variant = network.partition("-")
    if recipe == "token_reduction_cifar":  # versions of one ViT
        version = arguments["version"].split()[0]
        kind = version if hasattr(zoo, version) else kind
        variant = VARIANTS.get(kind, variant)
    return costs(NAMES.get(kind, kind), variant, SIDES.get(recipe, 32), CLASSES.get(recipe, 10))


def network_of(recipe: str, arguments: dict[str, Any]) -> str:
    """Return the name of a run's network; that of the recipe where it is not known."""
    if "row" in arguments:
        return of_row(arguments["row"], arguments["arm"])[0]
    if "family" in arguments:
        return f"{arguments['family'].replace('WideResNet', 'WRN')}-{arguments['variant']}"
    if "pair" in arguments:
        return str(arguments["pair"].split(" -> ")[arguments.get("method") != "teacher"])
    if "depth" in arguments:
        return f"ResNet-{arguments['depth']}"
    if recipe == "shapes_unet":
        return f"{arguments['network']}-8"
    if recipe in REGIME:
        return of_arm(recipe, arguments["arm"])
    return NETWORKS.get(recipe, recipe)


@cache
def of_arm(recipe: str, arm: str) -> str:
    """Return the name of the network of a regime's arm."""
    network: Any = REGIME[recipe].build_network(arm, REGIME[recipe].usual_lr)
    return f"{type(network).__name__.replace('WideResNet', 'WRN')}-{network.variant}"


@cache
def of_row(row: str, arm: str) -> tuple[str, Counts]:
    """Return the name and the costs of the network of a published row's arm."""
    network: Any = load_row(row).build(arm)
    parameters = sum(p.numel() for p in network.parameters())
    name = shorten(f"{type(network).__name__} {network.variant.replace('-100' * 5, '...')}", 40, placeholder=" ...")
    return name, (parameters, total_macs(network, network.image_size))


def trick_of(arguments: dict[str, Any]) -> str:
    """Return what a run tries, in the words of its recipe where it is no trick; "none" where it tries nothing."""
    if "row" in arguments:
        return f"{arguments['row']}: {arguments['arm']}"
    if "network" in arguments and "by" in arguments:  # pruning and quantising: what was done to the network
        return str(arguments["network"])
    found = next((str(arguments[name]) for name in TRICKS if arguments.get(name)), "none")
    return WORDS.get(found, found)


@cache
def costs(kind: str, variant: str, side: int, classes: int) -> Counts:
    """Count a network of zoo/, or one of timm's, for images of so many pixels; None if it is neither."""
    theirs = TIMM.get(f"{kind}-{variant}")
    if not theirs and not hasattr(zoo, kind) and kind not in OF_RECIPES:
        return None, None
    with torch.device("meta"):
        if theirs:
            model = timm.create_model(theirs, num_classes=classes)
        elif kind in OF_RECIPES:
            model = OF_RECIPES[kind]()
        else:
            model = getattr(zoo, kind)(variant, num_classes=classes, image_size=side)
    return sum(p.numel() for p in model.parameters()), total_macs(model, side)


PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Explorer of runs: Lightning Zoo</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="explorer.css">
<style>
:root {{ color-scheme: light dark; background: Canvas; color: CanvasText; font-family: sans-serif; }}
body {{ margin: 0 auto; max-width: 60rem; padding: 1rem; }}
</style>
<main>
<h1>Explorer of runs</h1>
{body}
</main>
<script src="runs.js"></script>
<script src="explorer.js"></script>
</html>
"""
