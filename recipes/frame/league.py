"""What a league of methods is made of: rates to choose from, the choice, ties, the table."""

from collections.abc import Mapping
from math import hypot, isnan, sqrt

from recipes.frame import records

NONE = "none"  # the network without a method: what the others are compared with
WORTH = 2.0  # standard errors of a difference up to which it is a tie


def three_rates(usual: float) -> tuple[float, float, float]:
    """Half of a rate in (0, 1), itself, and twice itself, above .4 halfway to 1; of 1 a quarter, half and itself."""
    if usual == 1:
        return 0.25, 0.5, 1.0
    return usual / 2, usual, 2 * usual if usual <= 0.4 else (1 + usual) / 2


def best_rate(accuracies: Mapping[float, float]) -> float:
    """The rate of the largest validation accuracy; of equal ones the smallest rate."""
    return min(accuracies, key=lambda rate: (-accuracies[rate], rate))


def verdict(ours: records.Summary, plain: records.Summary) -> tuple[float, float, str]:
    """Difference of two means, its standard error, and "better", "worse", "tie", or "?" where a spread is missing."""
    gain = ours.mean - plain.mean
    error = hypot(ours.std / sqrt(ours.n), plain.std / sqrt(plain.n))
    if isnan(error):
        return gain, error, "?"
    return gain, error, "tie" if abs(gain) <= WORTH * error else "better" if gain > 0 else "worse"


def half_masked(metrics: Mapping[str, float]) -> float:
    """The share of a network's test accuracy that is left where half of its channels are masked."""
    return metrics["masked 0.5"] / metrics["masked 0.0"]


def league(runs: list[dict]) -> tuple[list[str], list[list[str]]]:
    """Heads and rows of the table, the best first. `runs`: those on the test images; those of the last one's budget."""
    runs = [run for run in runs if _budget(run) == _budget(runs[-1])]
    groups = {group[0]["arguments"]["method"]: group for group in records.groups(runs)}
    accuracy = {name: records.summary(run["metrics"]["test/acc"] for run in group) for name, group in groups.items()}
    rows = []
    for name in sorted(groups, key=lambda name: -accuracy[name].mean):
        group, ours = groups[name], accuracy[name]
        gain = _gain(ours, accuracy.get(NONE)) if name != NONE else ["", ""]
        left = records.summary(half_masked(run["metrics"]) for run in group).mean
        train = records.summary(run["metrics"]["train/acc"] for run in group).mean
        spread = f"{ours.mean:.4f} ± {ours.std:.4f}" if ours.n > 1 else f"{ours.mean:.4f} (1 run)"
        arguments = group[0]["arguments"]
        rows.append([name, arguments["as"], spread, *gain, f"{train:.3f}", f"{left:.2f}", str(ours.n)])
    return ["method", "chosen", "test/acc", "against none", "", "train/acc", "left at half masked", "seeds"], rows


def _budget(run: dict) -> dict:
    return {name: value for name, value in run["arguments"].items() if name not in ("method", "as")}


def _gain(ours: records.Summary, plain: records.Summary | None) -> list[str]:
    if plain is None:
        return ["", "?"]
    gain, error, word = verdict(ours, plain)
    return [f"{gain:+.4f}" if isnan(error) else f"{gain:+.4f} ± {error:.4f}", word]
