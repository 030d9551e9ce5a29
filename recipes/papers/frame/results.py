"""What has been recorded of a row, and its verdicts."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from recipes.frame import records, verdict
from recipes.frame.verdict import Verdict
from recipes.papers.frame.row import Effect, Published, Row

RECORDS = "papers"  # results/papers.jsonl
Runs = dict[str, dict[int, dict[str, float]]]  # arm -> seed -> metrics


def read_runs(row: Row, lines: Iterable[Mapping[str, Any]] | None = None) -> Runs:
    """Return what was recorded of a row, by arm and seed; of a seed that ran twice, the last."""
    runs: Runs = {arm: {} for arm in row.arms}
    for line in records.read(RECORDS) if lines is None else lines:
        arguments = line["arguments"]
        if arguments["row"] == row.name and arguments["arm"] in runs:
            runs[arguments["arm"]][line["seed"]] = line["metrics"]
    return runs


def count_seeds(runs: Runs) -> int:
    """Return the number of seeds that all arms have."""
    return min((len(seeds) for seeds in runs.values()), default=0)


def judge(row: Row, runs: Runs) -> list[tuple[Published | Effect, Verdict | None]]:
    """Return a verdict for each claim of the row; None where nothing has run."""
    return [(claim, judge_claim(row, claim, runs)) for claim in row.claims]


def judge_claim(row: Row, claim: Published | Effect, runs: Runs) -> Verdict | None:
    """Judge one claim by the rule of its kind (`recipes/frame/verdict.py`)."""
    ours = values(claim, runs)
    if not ours:
        return None
    if isinstance(claim, Effect):
        return verdict.effect(ours, claim.runs)
    size = effect_size(row, claim)
    if claim.std is None:
        return verdict.one_run(ours, claim.runs, size)
    return verdict.mean_of_runs(ours, claim.runs[0], claim.std, claim.k, size)


def values(claim: Published | Effect, runs: Runs) -> list[float]:
    """Return ours for a claim: one number a seed, of an effect the difference between the two arms."""
    arm = runs[claim.arm]
    if isinstance(claim, Published):
        return [metrics[claim.metric] for metrics in arm.values()]
    base = runs[claim.base]
    return [
        arm[seed][claim.metric] - base[seed][claim.base_metric or claim.metric] for seed in sorted({*arm} & {*base})
    ]


def effect_size(row: Row, claim: Published) -> float | None:
    """Return the smallest effect that the source reports of an arm; None: it reports none."""
    of_arm = (c for c in row.claims if isinstance(c, Effect) and claim.arm in (c.arm, c.base))
    sizes = [abs(math.fsum(c.runs) / len(c.runs)) for c in of_arm]
    return min((size for size in sizes if size > 0), default=None)


def sentence(claim: Published | Effect, found: Verdict | None) -> str:
    """Say a claim, our numbers and the verdict in one line."""
    if isinstance(claim, Effect):
        base = claim.base + (f" ({claim.base_metric})" if claim.base_metric else "")
        what, sign = f"{claim.arm} - {base}", "+"
    else:
        what, sign = claim.arm, ""
    what += "" if claim.metric == "last" else f" ({claim.metric})"
    published = format(math.fsum(claim.runs) / len(claim.runs), f"{sign}.2f")
    if isinstance(claim, Published) and claim.std is not None:
        published += f" ± {claim.std:.2f}, {claim.k} runs"
    elif len(claim.runs) > 1:
        published += f", {len(claim.runs)} runs"
    if found is None:
        return f"{what}: published {published}; not run"
    mean, std, n = found.ours
    ours = f"{mean:{sign}.2f} ± {std:.2f} (n = {n})" if n > 1 else f"{mean:{sign}.2f} (n = 1)"
    interval = "" if math.isnan(found.low) else f", interval {found.low:{sign}.2f} to {found.high:{sign}.2f}"
    return f"{what}: published {published}; ours {ours}{interval}: {found.word}"
