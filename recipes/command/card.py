"""`zoo card TRICK`: a trick's paper, where it was found to work, what it brought and cost here, its limits."""

import textwrap
from importlib import import_module
from itertools import product

from recipes.frame import catalogue, records
from recipes.frame.errors import UsageError, unknown
from recipes.frame.league import league
from recipes.frame.published import PUBLISHED

USAGE = "zoo card TRICK"


def main(arguments: list[str]) -> None:
    """Print the card of the trick that is named."""
    if len(arguments) != 1 or arguments[0] in ("-h", "--help"):
        raise UsageError(f"one trick of `zoo tricks`; usage: {USAGE}")
    entries = {entry.name: entry for entry in catalogue.tricks()}
    if arguments[0] not in entries:
        raise unknown("trick", arguments[0], entries)
    print("\n".join([entries[arguments[0]].doc.rstrip(), "", *lines(arguments[0])]))


def lines(trick: str) -> list[str]:
    """Return what was measured and the limits, in the form of the docstring's fields."""
    found = PUBLISHED.get(trick, "no number that we could read at its source: see the paper")
    facts = {"Found": found, "Gain": gain(trick), "Cost": cost(trick), "With": limits(trick)}
    return [
        line
        for name, text in facts.items()
        for line in textwrap.wrap(f"{name + ':':<10}{text}", 120, subsequent_indent=" " * 10)
    ]


def gain(trick: str, short: bool = False) -> str:
    """Say the gain in words; `short`: the numbers alone, nothing where there are none."""
    cards = import_module("recipes.trick_cards")
    if trick not in cards.TRICKS and (row := in_league(trick)):
        found = f"{row['against none']} ({row['seeds']} seeds)"
        more = f" in test accuracy, as {row['chosen']} ({row['']} at two standard errors)"
        return found if short else f"{found}{more}: see recipes/dropout_league_cifar.py for the budget"
    if trick not in cards.TRICKS:
        return "" if short else f"not measured by `zoo run trick_cards`: {cards.why_not(trick)}"
    found = cards.gain(trick)
    if found is None:
        return "" if short else "not measured yet: zoo run trick_cards --tricks [" + trick + "]"
    spread = f"± {found.std:.4f} ({found.n} seeds)" if found.n > 1 else "(1 seed)"
    where = "" if short else " in test accuracy: see recipes/trick_cards.py for the budget"
    return f"{found.mean:+.4f} {spread}{where}"


def in_league(method: str) -> dict[str, str]:
    """The row of the league of dropout, by its heads; empty where there is none."""
    runs = records.read("dropout_league_cifar")
    heads, rows = league(runs) if runs else ([], [])
    return next((dict(zip(heads, row, strict=True)) for row in rows if row[0] == method), {})


def cost(trick: str, short: bool = False) -> str:
    """Say the cost in words; `short`: the number alone, nothing where there is none."""
    names = {"tricks": [(trick, "")], "dropout": [(f"ResNet-20 {trick}{at}", at) for at in ("", " a stage")]}
    for benchmark, rows in names.items():
        for run, (name, at) in product(reversed(records.read(benchmark)), rows):
            if name in run["metrics"]:
                on = f"{run['hardware']['device']}, {run['hardware']['threads']} threads"
                spread = f" ± {100 * run['spread'][name]:.1f}"
                share = f"{100 * (run['metrics'][name] - 1):+.1f}{spread} %{at}"
                own = run.get("own", {}).get(name, 1) - 1
                in_it = f", {100 * own:.1f} % in its own calls," if own else ","
                return share if short else f"{share}{in_it} of a step of ResNet-20, batch 128 ({on})"
    return "" if short else "not measured yet: python benchmarks/tricks.py, dropout in benchmarks/dropout.py"


def limits(trick: str) -> str:
    """Name the tricks that do not go with this one, by reason."""
    package, pairs = import_module("callbacks"), import_module("callbacks.frame.pairs")
    kinds = [getattr(package, entry.name) for entry in catalogue.tricks()]
    found = pairs.limits(getattr(package, trick), kinds)
    return "; ".join(f"{why}: {', '.join(names)}" for why, names in found.items()) or "every other trick, in any order"
