"""Compute a trick's gain in each regime for its card, and the table of a regime. See recipes/frame/evidence.py."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

import callbacks as c
from recipes.frame import records
from recipes.frame.arms import DATA_IS_SHORT, IN_THE_BASE, SMALL_TRANSFORMER, TIME_IS_SHORT
from recipes.frame.compare_statistics import (
    ALPHA,
    Difference,
    Pool,
    card_interval,
    is_diverged,
    paired_half_width,
    pool,
)
from recipes.frame.evidence import runs
from recipes.frame.regime import CHOICE_SEED, NONE, Regime, accuracy

WHERE = {
    DATA_IS_SHORT: "where data is short",
    TIME_IS_SHORT: "where time is short",
    SMALL_TRANSFORMER: "in a small transformer",
}
TEST_IMAGES, CLASSES = 10_000, 10
CPU = "CPU seconds"
HEADS = ["arm", "as", "accuracy %", "gain in points", "verdict", "train %", "left at half masked", CPU, "seeds", "in"]
NOT_HERE = {
    "CachedLogits": "ends with the same bits as KnowledgeDistillation",
    "ClassBalanced": "for classes of unequal sizes, which these are not",
    "DilatedConvolutions": "for maps larger than 4 x 4 pixels, which the last stages have here",
    "EarlyStopping": "for runs that are longer than they need be",
    "FrozenBatchNorm": "for networks that were trained before",
    "GradualUnfreezing": "for networks that were trained before",
    "L2": "with SGD it is the weight decay, which the base has",
    "Maxout": "makes a wider network",
    "SSIM": "for masks",
    "SelfOrganizingMemory": "for data with wrong labels: see the recipe noisy_labels_fashion",
    "Specialist": "for some of the classes alone",
    "StochasticPooling": "for networks with max pooling, which these have not",
    "SymmetryAttention": "a step takes ten times as long",
    "SyncBatchNorm": "for several GPUs",
    "ZeroLastConv": "for branches that end in a convolution, which ResNet-20's do not",
}


class Gain(NamedTuple):
    """Gain of an arm in a regime, in test accuracy.

    Attributes:
        mean: difference to the arm that it is compared with.
        half: half width of its 95 % interval; None if the noise is not known yet, or a run diverged.
        seeds: number of runs.
        trained: number of runs that trained.
        what: the tricks, as constructor calls.
    """

    mean: float
    half: float | None
    seeds: int
    trained: int
    what: str

    def __str__(self) -> str:
        if self.trained < self.seeds:
            return f"{self.trained} of {self.seeds} trained"
        half = "" if self.half is None else f" ± {100 * self.half:.1f}"
        return f"{100 * self.mean:+.1f}{half} ({self.seeds} seed{'s' * (self.seeds > 1)})"


def by_arm(regime: Regime) -> dict[str, list[dict[str, Any]]]:
    """Return the reported runs of each arm, in order of their seeds."""
    found: dict[str, list[dict[str, Any]]] = {}
    for run in sorted(runs(regime), key=lambda run: run["seed"]):
        if run["seed"] != CHOICE_SEED:
            found.setdefault(run["arguments"]["arm"], []).append(run)
    return found


def accuracies(group: list[dict[str, Any]]) -> np.ndarray:
    """Return the accuracies (n,) of the runs that trained."""
    values = [(accuracy(run["metrics"]), run["metrics"].get("test/loss", 0.0)) for run in group]
    return np.array([value for value, loss in values if not is_diverged(value, loss, CLASSES, TEST_IMAGES)])


def noise_of(arms: Mapping[str, list[dict[str, Any]]]) -> Pool | None:
    """Pool the noise of a regime; None before an arm has two seeds."""
    parts = [part for group in arms.values() for part in by_precision(group).values()]
    several = [values for values in map(accuracies, parts) if len(values) > 1]
    return pool(several) if several else None


def by_precision(group: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Part an arm's runs by precision, that of the first run first."""
    parts: dict[str, list[dict[str, Any]]] = {}
    for run in group:
        parts.setdefault(run["arguments"]["precision"], []).append(run)
    return parts


def gain_in(regime: Regime, trick: str, alpha: float = ALPHA) -> Gain | None:
    """Return a trick's gain in a regime; None if it was not run there.

    If the base has the trick, the base is compared with the arm without it.
    """
    arm, against = trick, regime.arms[trick].against if trick in regime.arms else NONE
    if regime is TIME_IS_SHORT and trick in IN_THE_BASE:
        arm, against = NONE, IN_THE_BASE[trick]
    return gain_of(by_arm(regime), arm, against, alpha)


def gain_of(
    arms: Mapping[str, list[dict[str, Any]]], arm: str, against: str = NONE, alpha: float = ALPHA
) -> Gain | None:
    """Compare two arms of a regime, runs in one precision, with the noise of all arms."""
    parts, others = by_precision(arms.get(arm, [])), by_precision(arms.get(against, []))
    shared = [precision for precision in parts if precision in others]
    if not shared:
        return None
    group, rest = parts[shared[0]], others[shared[0]]
    ours, theirs, noise = accuracies(group), accuracies(rest), noise_of(arms)
    what = group[0]["arguments"]["as"]
    if len(ours) < len(group) or len(theirs) < len(rest) or not len(theirs):
        return Gain(float("nan"), None, len(group), len(ours), what)
    if noise is None or noise.df < 2:
        return Gain(float(ours.mean() - theirs.mean()), None, len(group), len(ours), what)
    mean, half = card_interval(ours, theirs, noise, alpha)
    n = min(len(ours), len(theirs))
    if n > 1 and _is_noisier(ours, noise, len(arms)):
        half = max(half, paired_half_width(ours[:n] - theirs[:n], alpha))
    return Gain(mean, half, min(len(group), len(rest)), n, what)


def _is_noisier(values: np.ndarray, noise: Pool, arms: int) -> bool:
    limit = stats.f.ppf(0.95 ** (1 / arms), len(values) - 1, noise.df)
    return bool(values.var(ddof=1) > limit * noise.sd**2)


def why_not(trick: str) -> str:
    """Say why a trick is in no regime."""
    kind = getattr(c, trick)
    if trick in NOT_HERE:
        return NOT_HERE[trick]
    if kind.needs_boxes:
        return "for boxes: see the recipe shapes_detector"
    if kind.__module__.startswith("callbacks.diagnostics."):
        return "it looks, and changes nothing"
    return "no arm in recipes/frame/arms.py measures it yet"


def is_in(regime: Regime, trick: str) -> bool:
    """Return whether the programme has this trick in this regime."""
    return trick in regime.arms or (regime is TIME_IS_SHORT and trick in IN_THE_BASE)


# ---- the table of a regime


def table(regime: Regime) -> tuple[list[str], list[list[str]]]:
    """Return heads and rows, sorted by gain, with intervals that hold for all rows at once."""
    arms = by_arm(regime)
    names = [name for name in arms if name not in {NONE, *regime.teachers}]
    m = max(len(names), 1)
    gains = {name: gain_of(arms, name, regime.arms[name].against, ALPHA / m) for name in names if name in regime.arms}
    order = sorted(gains, key=lambda name: -_key(gains[name]))
    rows = [_row(name, arms[name], gains[name], regime) for name in order]
    plain = [_row(NONE, part, None, regime) for part in by_precision(arms.get(NONE, [])).values()]
    return HEADS, [*plain, *rows]


def _key(gain: Gain | None) -> float:
    return gain.mean if gain and gain.mean == gain.mean else -1.0


def _row(name: str, group: list[dict[str, Any]], gain: Gain | None, regime: Regime) -> list[str]:
    values = accuracies(group)
    spread = _spread(values, 100, 2) if len(values) else "none trained"
    against = "" if name == NONE or regime.arms[name].against == NONE else f" (against {regime.arms[name].against})"
    half = "" if gain is None or gain.half is None else f" ± {100 * gain.half:.2f}"
    points = "" if gain is None or gain.mean != gain.mean else f"{100 * gain.mean:+.2f}{half}{against}"
    seen = [run["metrics"].get("train/acc", run["metrics"].get("train/acc_mixed")) for run in group]
    train = _spread(np.array([value for value in seen if value is not None]), 100, 1)
    left = np.array([half_masked(run["metrics"]) for run in group if "masked 0.5" in run["metrics"]])
    seconds = _spread(np.array([run["metrics"][CPU] for run in group if CPU in run["metrics"]]), 1, 0)
    what, precision = group[0]["arguments"]["as"], group[0]["arguments"]["precision"]
    end = [_spread(left, 1, 2), seconds, str(len(group)), precision]
    return [name, what, spread, points, _verdict(gain), train, *end]


def _verdict(gain: Gain | None) -> str:
    if gain is None:
        return ""
    if gain.trained < gain.seeds:
        return f"{gain.trained} of {gain.seeds} trained"
    return "undecided" if gain.half is None else Difference(gain.mean, gain.half, 0.0, 0, True).verdict


def _spread(values: np.ndarray, scale: float, digits: int) -> str:
    if not len(values):
        return ""
    mean, std, n = records.summary((scale * values).tolist())
    return f"{mean:.{digits}f}" + (f" ± {std:.{digits}f}" if n > 1 else "")


def half_masked(metrics: Mapping[str, float]) -> float:
    """Return the fraction of a network's test accuracy that is left when half of its channels are masked."""
    return metrics["masked 0.5"] / metrics["masked 0.0"]
