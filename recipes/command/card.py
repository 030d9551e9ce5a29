"""`zoo card TRICK`: a trick's paper, published gains, gain and cost measured here, limits, and picture."""

import textwrap
from importlib import import_module
from itertools import product
from pathlib import Path

from recipes.frame import catalogue, records
from recipes.frame.errors import UsageError, unknown
from recipes.frame.publications import PUBLISHED

FORMATS = (".png", ".svg", ".webp", ".jpg")
USAGE = "zoo card TRICK [--picture FILE]"


def main(arguments: list[str]) -> None:
    """Print the card of the named trick; with a file, draw its picture too."""
    names, option, files = _split(arguments)
    if len(names) != 1 or names[0] in ("-h", "--help") or (option and len(files) != 1):
        raise UsageError(f"name one trick of `zoo tricks`; usage: {USAGE}")
    entries = {entry.name: entry for entry in catalogue.every_trick()}
    (name,) = names
    if name not in entries:
        raise unknown("trick", name, entries)
    picture = f"zoo card {name} --picture {name}.png, or callbacks.{name}().draw()"
    if files:
        picture = save(name, Path(files[0]))
    print("\n".join([entries[name].doc.rstrip(), "", *lines(name), *_field("Picture", picture)]))


def _split(arguments: list[str]) -> tuple[list[str], bool, list[str]]:
    """Return what stands before `--picture`, whether it is there, and what stands behind it."""
    at = arguments.index("--picture") if "--picture" in arguments else len(arguments)
    return arguments[:at], at < len(arguments), arguments[at + 1 :]


def save(trick: str, path: Path) -> str:
    """Draw the picture of a trick into a file, and return the file and what is seen.

    Raises:
        UsageError: for a format that pictures do not have.
    """
    if path.suffix not in FORMATS:
        raise UsageError(f"pictures are {', '.join(FORMATS)}, not {path.suffix or 'files without a suffix'}")
    drawn = import_module("recipes.frame.gallery").example(trick).draw()
    if path.suffix == ".svg" and drawn.suffix != ".svg":
        raise UsageError(f"the picture of {trick} is made of pixels: take .png or .webp")
    return f"{drawn.save(path)}: {drawn.caption}"


def lines(trick: str) -> list[str]:
    """Return published gains, measurements and limits as lines in the form of docstring fields."""
    return [line for name, text in facts(trick).items() for line in _field(name, text)]


def _field(name: str, text: str) -> list[str]:
    return textwrap.wrap(f"{name + ':':<10}{text}", 120, subsequent_indent=" " * 10)


def facts(trick: str) -> dict[str, str]:
    """Return published gains ("Found"), gain and cost as measured here, and what it cannot be combined with."""
    found = PUBLISHED.get(trick, "no number that we could read at its source: see the paper")
    return {"Found": found, "Gain": gain(trick), "Cost": cost(trick), "With": limits(trick)}


def gain(trick: str, short: bool = False) -> str:
    """Describe the gain in each regime, in points. `short`: the numbers alone, empty without a measurement."""
    cards = import_module("recipes.frame.cards")
    regimes = [regime for regime in cards.WHERE if cards.is_in(regime, trick)]
    if not regimes:
        return "" if short else f"not measured: {cards.why_not(trick)}"
    found = [(regime, cards.gain_in(regime, trick)) for regime in regimes]
    words = ", ".join(f"{cards.WHERE[regime]} {one}" for regime, one in found if one)
    if not words:
        names = " or ".join(f"zoo run {regime.name} --arm {trick}" for regime in regimes)
        return "" if short else f"not measured yet: {names}"
    calls = " and ".join(dict.fromkeys(one.what for _, one in found if one and one.what))
    more = f"; points of test accuracy, 95 % for this card alone{calls and f', as {calls}'}"
    files = " and ".join(f"recipes/{regime.name}.py" for regime, one in found if one)
    return words if short else f"{words}{more}: see {files} for the budget"


def cost(trick: str, short: bool = False) -> str:
    """Describe the cost. `short`: the number alone, empty without a measurement."""
    names = {
        "tricks": [(trick, ""), (f"FCOS {trick}", "")],
        "dropout": [(f"ResNet-20 {trick}{at}", at) for at in ("", " a stage")],
    }
    for benchmark, rows in names.items():
        for (name, at), run in product(rows, reversed(records.read(benchmark))):
            if name in run["metrics"]:
                on = f"{run['hardware']['device']}, {run['hardware']['threads']} threads"
                spread = f" ± {100 * run['spread'][name]:.1f}"
                share = f"{100 * (run['metrics'][name] - 1):+.1f}{spread} %{at}"
                own = run.get("own", {}).get(name, 1) - 1
                in_it = f", {100 * own:.1f} % in its own calls," if own else ","
                of = "FCOS over ResNet-20, batch 16" if name.startswith("FCOS ") else "ResNet-20, batch 128"
                return share if short else f"{share}{in_it} of a step of {of} ({on})"
    return "" if short else "not measured yet: python benchmarks/tricks.py, dropout in benchmarks/dropout.py"


def limits(trick: str) -> str:
    """Name the tricks that cannot be combined with this one, by reason."""
    package, pairs = import_module("callbacks"), import_module("callbacks.frame.pairs")
    kinds, kind = [getattr(package, entry.name) for entry in catalogue.every_trick()], getattr(package, trick)
    found = pairs.limits(kind, kinds)
    strangers = found.pop(pairs.STRANGERS, [])
    words = [f"{why}: {', '.join(names)}" for why, names in found.items()]
    if kind.needs_boxes:  # the cards of the others leave it out
        words.append(f"{pairs.STRANGERS}: {len(strangers)} tricks, see the table of pairs")
    return "; ".join(words) or "every other trick, in any order"
