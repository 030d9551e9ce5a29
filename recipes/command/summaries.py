"""Write the short tables of the first page and of the page on evidence; `make tables` puts them in place."""

from collections import Counter
from collections.abc import Iterator
from typing import get_args

import numpy as np

from recipes.command import tables
from recipes.command.reproduce import ROWS, first_line, load_row, names
from recipes.frame import cards, evidence, records
from recipes.frame.arms import DATA_IS_SHORT, DOZEN_OF_DATA, DOZEN_OF_TIME, REGIMES, TIME_IS_SHORT
from recipes.frame.compare_statistics import compare_arms
from recipes.frame.verdict import Word
from recipes.papers.frame.results import count_seeds, judge, read_runs

BOTH = (DATA_IS_SHORT, TIME_IS_SHORT)
WORDS: tuple[Word, ...] = get_args(Word)
LADDERS = {"bag_of_tricks_cifar": "rung", "digits_ladder": "rung"}  # recipes whose arms each add a trick to the last
HEADS = ["what", "expected", "found"]


def verdicts() -> str:
    """Count the verdicts of each published row that was run."""
    rows, lines = [], records.read("papers")
    for name in names():
        row = load_row(name)
        runs = read_runs(row, lines)
        words = Counter(found.word for _, found in judge(row, runs) if found)
        if words:
            seeds = str(max(map(len, runs.values()))) if count_seeds(runs) else "1"
            rows.append([first_line(ROWS / f"{name}.py"), f"`{name}`", *(str(words[word]) for word in WORDS), seeds])
    table = tables.markdown(["published row", "name", *WORDS, "seeds"], rows)
    return f"{table}\n\n{len(rows)} of {len(names())} rows have run." if rows else tables.NOT_YET


def dozen() -> str:
    """Write the gains of the tricks that matter most, in both convolutional regimes, and how far the programme is."""
    rows = []
    for name in dict.fromkeys([*DOZEN_OF_DATA, *DOZEN_OF_TIME]):
        found = [cards.gain_in(regime, name) if name in regime.arms else None for regime in BOTH]
        if any(found):
            rows.append([name, *(str(gain or "") for gain in found)])
    table = tables.markdown(["arm", *(cards.WHERE[regime] for regime in BOTH)], rows)
    return "\n\n".join([table] * bool(rows) + [progress()])


def progress() -> str:
    """Say how many runs of the programme are recorded."""
    done = sum(len(evidence.runs(regime, choosing)) for regime in REGIMES for choosing in (False, True))
    return f"Runs recorded: {done}. `python -m recipes.command.evidence --list` names those that are missing."


def surprises() -> str:
    """List what came out against what its source says: rows outside, and arms and steps that are worse."""
    rows = [*outside(), *worse_arms(), *worse_steps()]
    return tables.markdown(HEADS, rows) if rows else "Nothing so far."


def outside() -> Iterator[list[str]]:
    """Yield the claims of published rows whose verdict is "outside"."""
    for line in tables.reproductions().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if cells[-1] == "**outside**":
            yield [f"{cells[0]}: {cells[1]}", f"{cells[2]} (published)", cells[3]]


def worse_arms() -> Iterator[list[str]]:
    """Yield the tricks that are worse in a regime than the arm without; other arms are there for others."""
    for regime in REGIMES:
        for name, trick, _, gain, verdict, *_ in cards.table(regime)[1]:
            if verdict == "worse" and trick:
                yield [f"`{name}` {cards.WHERE[regime]}", "better", f"{gain} points"]


def worse_steps() -> Iterator[list[str]]:
    """Yield the steps of ladders that are worse than the step before: a paired interval over their seeds."""
    for recipe, argument in LADDERS.items():
        arms: dict[str, dict[int, float]] = {}
        for run in records.read(recipe):
            arms.setdefault(run["arguments"][argument], {})[run["seed"]] = run["metrics"]["test/acc"]
        for (before, base), (name, arm) in zip([*arms.items()], [*arms.items()][1:], strict=False):
            seeds = sorted({*base} & {*arm})
            if len(seeds) < 2:
                continue
            found = compare_arms(np.array([[each[seed] for seed in seeds] for each in (base, arm)]))[0]
            if found.verdict == "worse":
                points = f"{100 * found.mean:+.2f} ± {100 * found.half:.2f} points ({len(seeds)} seeds)"
                yield [f"`{recipe}`: {name}, after {before}", "better", points]
