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
from typing import Any, NamedTuple

import torch
from scipy import stats

import zoo
from recipes.frame import records
from recipes.frame.regime import accuracy
from zoo.tools.complexity import total_macs

HERE = Path(__file__).parent
FILES = ("explorer.css", "explorer.js")
ALPHA = 0.05  # of the intervals


class Network(NamedTuple):
    """The network of a recipe's runs where their lines do not name it, and the side of its images in pixels."""

    name: str
    side: int


NETWORKS = {
    "attention_transfer_cifar": Network("", 32),
    "bag_of_tricks_cifar": Network("ResNet-20", 32),
    "cifar10_families": Network("", 32),
    "cifar10_resnet20": Network("ResNet-20", 32),
    "data_is_short": Network("WRN-16-2", 16),
    "digits_ladder": Network("", 8),
    "digits_resnet20": Network("ResNet-20", 8),
    "prune_and_quantise": Network("ResNet-20", 32),
    "snapshot_ensemble_cifar": Network("ResNet-20", 32),
    "time_is_short": Network("ResNet-20", 16),
    "tiny_imagenet20": Network("ResNet-20", 64),
    "token_reduction_cifar": Network("ViT-Ti/4", 32),
}
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
    where nobody counted them), and the mean of its seeds with the ends of its 95 % interval (None for one seed).
    """
    for path in sorted(records.RESULTS.glob("*.jsonl")):
        for group in records.groups(records.read(path.stem)):
            values = [percent(run["metrics"]) for run in group]
            if None in values:
                continue
            low, high = interval([value for value in values if value is not None])
            for run, value in zip(group, values, strict=True):
                ends = {"low": low, "high": high, "seeds": len(group)}
                yield {**describe(path.stem, run), "accuracy": value, **ends}


def percent(metrics: dict[str, float]) -> float | None:
    """Return the test accuracy in percent; None for a line that has none, such as a benchmark's."""
    if "test/acc" in metrics:
        return round(100 * accuracy(metrics), 3)
    return round(metrics["last"], 3) if {"best", "last"} <= set(metrics) else None


def interval(values: list[float]) -> tuple[float | None, float | None]:
    """Return the ends of the t interval of the mean of n values at 95 %, within 0 and 100; None for one value."""
    if len(values) < 2:
        return None, None
    found = records.summary(values)
    half = float(stats.t.ppf(1 - ALPHA / 2, found.n - 1)) * found.std / sqrt(found.n)
    return round(max(found.mean - half, 0), 3), round(min(found.mean + half, 100), 3)


def describe(recipe: str, run: records.Record) -> dict[str, Any]:
    """Name a run, and say what it cost."""
    arguments, metrics = run["arguments"], run["metrics"]
    network, side = network_of(recipe, arguments)
    parameters, macs = costs(network, side) if side else (None, None)
    return {
        "regime": recipe,
        "network": network,
        "trick": trick_of(arguments),
        "seed": run["seed"],
        "seconds": round(run["seconds"], 1),
        "parameters": metrics.get("parameters", parameters),
        "macs": metrics.get("MACs", macs),
    }


def network_of(recipe: str, arguments: dict[str, Any]) -> Network:
    """Return a run's network and the side of its images; side 0 where it is not known."""
    known = NETWORKS.get(recipe, Network("", 0))
    if "family" in arguments:
        family = arguments["family"].replace("WideResNet", "WRN")
        return Network(f"{family}-{arguments['variant']}", known.side)
    if "pair" in arguments:
        return Network(arguments["pair"].split(" -> ")[arguments.get("method") != "teacher"], known.side)
    if "depth" in arguments:
        return Network(f"ResNet-{arguments['depth']}", known.side)
    if arguments.get("arm") == "teacher" and recipe == "data_is_short":
        return Network("WRN-40-2", known.side)
    name = known.name or str(arguments.get("row") or arguments.get("network") or recipe)
    return Network(name, known.side)


def trick_of(arguments: dict[str, Any]) -> str:
    """Return what a run tries, in the words of its recipe where it is no trick; "none" where it tries nothing."""
    if "network" in arguments and "by" in arguments:  # pruning and quantising: what was done to the network
        return str(arguments["network"])
    found = next((str(arguments[name]) for name in TRICKS if arguments.get(name)), "none")
    return WORDS.get(found, found)


@cache
def costs(network: str, side: int) -> tuple[int | None, int | None]:
    """Count parameters and multiply-adds of one image, of ResNets and WRNs for ten classes; None for others."""
    kind, _, variant = network.partition("-")
    if kind not in ("ResNet", "WRN"):
        return None, None
    with torch.device("meta"):
        model = (zoo.ResNet if kind == "ResNet" else zoo.WideResNet)(variant, num_classes=10, image_size=side)
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
