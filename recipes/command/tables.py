"""Make every table from results/ and the code: `python -m recipes.command.tables [--check]`, or `make tables`.

In markdown a table stands between `<!-- table: NAME -->` and `<!-- /table -->`. In a recipe it is the field `Result:`,
the last one of the module's docstring. The site (`make site`) shows the rest.
"""

import argparse
import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

from recipes.frame import catalogue, records
from recipes.frame.errors import ROOT

COSTS = ROOT / "recipes" / "frame" / "costs.py"
BLOCK = re.compile(r"(<!-- table: (?P<name>[\w-]+) -->\n).*?(<!-- /table -->)", re.DOTALL)
RESULT = re.compile(r"^Result:.*?(?=^\"\"\")", re.DOTALL | re.MULTILINE)
NOT_YET = "not measured yet"


def main() -> None:
    """Rewrite every table, or with `--check` say which differ."""
    parser = argparse.ArgumentParser(
        prog="python -m recipes.command.tables", description=(__doc__ or "").split("\n", 1)[0]
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail where a table differs from its source"
    )
    check = parser.parse_args().check
    stale = {path: text for path, text in [(COSTS, costs()), *render()] if text != path.read_text()}
    for path, text in stale.items():
        print(f"{'stale' if check else 'rewritten'}: {path.relative_to(ROOT)}")
        if not check:
            path.write_text(text)
    sys.exit(bool(check and stale))


def render() -> Iterable[tuple[Path, str]]:
    """Yield each file with tables, and its new text."""
    for path in pages():
        yield path, BLOCK.sub(_fill, path.read_text())
    for entry in catalogue.recipes():
        path = ROOT / "recipes" / f"{entry.name}.py"
        block = "Result:\n" + recipe_result(entry) + "\n"
        yield path, RESULT.sub(block.replace("\\", r"\\"), path.read_text(), count=1)


def _fill(match: re.Match[str]) -> str:
    return f"{match[1]}{TABLES[match['name']]()}\n{match[3]}"


def pages() -> list[Path]:
    """Return every markdown file that may hold tables."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def costs() -> str:
    """Return the text of recipes/frame/costs.py, counted on the meta device; takes half a minute."""
    from recipes.command.show import build
    from zoo.tools.complexity import total_macs

    counted = {}
    for entry in catalogue.models():
        model = build(entry.name)
        macs = total_macs(model, model.image_size)
        counted[entry.name] = (str(_default_variant(model)), sum(p.numel() for p in model.parameters()), macs)
    rows = [f'    "{name}": ("{variant}", {p}, {macs}),' for name, (variant, p, macs) in counted.items()]
    return COSTS.read_text().partition("COSTS = {")[0] + "\n".join(["COSTS = {", *rows, "}", ""])


def _default_variant(model: Any) -> str:
    given = inspect.signature(type(model)).parameters.get("variant")
    return str(given.default) if given else ""


def taxonomy() -> str:
    """Return the names of the tricks, by the symbol of training that they change."""
    symbols = import_module("callbacks.frame.trick").TAXONOMY
    rows = [
        [place or "none", f"${symbols[place]}$" if place else "", ", ".join(f"`{e.name}`" for e in entries)]
        for place, entries in catalogue.taxonomy().items()
    ]
    return markdown(["regularises through", "symbol", "tricks"], rows)


def reproductions() -> str:
    """Return the claims of published rows that were run, with our numbers and the verdict."""
    from recipes.command.reproduce import load_row, names
    from recipes.papers.frame.results import judge, read_runs, sentence

    lines = records.read("papers")
    rows = []
    for name in names():
        row = load_row(name)
        for claim, found in judge(row, read_runs(row, lines)):
            if found is not None:
                what, _, rest = sentence(claim, found).partition(": published ")
                published, _, ours = rest.partition("; ours ")
                numbers, _, word = ours.rpartition(": ")
                rows.append([f"`{name}`", what, published, numbers, f"**{word}**"])
    table = markdown(["row", "claim", "published", "ours", "verdict"], rows) if rows else NOT_YET
    return f"{table}\n\n" + "\n".join(_bullet(f"{k}: {v}") for k, v in _provenance(lines).items() if rows)


def checkpoints() -> str:
    """Return the accuracy of published checkpoints in our networks on named, checksummed images."""
    runs = records.read("verify")
    rows = []
    for run in runs:
        m, a = run["metrics"], run["arguments"]
        word = "inside" if m["low"] <= m["published"] <= m["high"] else "outside"
        network, ours = f"{a['model']}-{a['variant']}", f"{m['accuracy']:.1f}, {m['low']:.1f} to {m['high']:.1f}"
        rows.append([a["file"], network, f"{m['published']:.2f}", ours, f"**{word}**"])
    heads = ["file", "network", "published %", "ours %, 95 % interval", "verdict"]
    notes = {"Data": "the first 1,000 official test images of CIFAR-10, lossless", "Command": "zoo verify FILE"}
    facts = notes | _provenance(runs)
    return markdown(heads, rows) + "\n\n" + "\n".join(_bullet(f"{k}: {v}") for k, v in facts.items())


def throughput() -> str:
    """Return the last run of benchmarks/models.py: speed of each family by that of timm's or torchvision's network."""
    runs = records.read("models")
    if not runs:
        return NOT_YET
    rows: dict[str, dict[str, str]] = {}
    for name, ratio in runs[-1]["metrics"].items():
        network, what = name.rsplit(" ", 1)
        rows.setdefault(network, {})[what] = f"{ratio:.2f}"
    heads = list(dict.fromkeys(what for row in rows.values() for what in row))
    table = markdown(["network", *heads], [[name, *(row.get(h, "") for h in heads)] for name, row in rows.items()])
    return f"{table}\n\n- Hardware: {hardware(runs[-1])}\n- Command: `python benchmarks/models.py`"


def benchmarks() -> str:
    """Return the last run of each other file in benchmarks/."""
    rows = []
    for path in sorted((ROOT / "benchmarks").glob("[!_]*.py")):
        if path.stem in ("models", *OWN_TABLE):
            continue
        for run in records.read(path.stem)[-1:]:
            figures = ", ".join(f"{name} {_figure(value)}" for name, value in run["metrics"].items())
            what = (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n", 1)[0]
            rows.append([what, figures, hardware(run), f"`python benchmarks/{path.name}`"])
    return markdown(["what", "figures", "hardware", "command"], rows) if rows else NOT_YET


def planted_faults() -> str:
    """Return how many planted faults the tests noticed, by package, and which change nothing or are not noticed."""
    runs = records.read("planted_faults")
    if not runs:
        return NOT_YET
    groups: dict[str, list[records.Record]] = {}
    for run in runs:
        groups.setdefault(f"`{run['arguments']['file'].partition('/')[0]}/`", []).append(run)
    heads = ["where", "planted", "change nothing", "the others", "noticed at first", "noticed now"]
    table = markdown(heads, [_count_noticed(name, group) for name, group in [*groups.items(), ("all", runs)]])
    left = [
        [f"{a['kind']}: `{_short(a['old'])}` -> `{_short(a['new'])}`", f"`{a['file']}:{a['line']}`", why]
        for run in runs
        if (why := run.get("reason", "" if run["metrics"]["caught"] else "not noticed"))
        for a in [run["arguments"]]
    ]
    lists = [markdown(["fault", "where", "why no test fails"], left)] if left else []
    facts = {"Seed": str(runs[0]["seed"])} | _provenance(runs)
    return "\n\n".join([table, *lists, "\n".join(_bullet(f"{k}: {v}") for k, v in facts.items())])


def _count_noticed(name: str, runs: list[records.Record]) -> list[str]:
    others = [run["metrics"] for run in runs if run["metrics"]["changes"]]
    counts = (sum(metrics[key] for metrics in others) for key in ("caught_first", "caught"))
    return [name, *map(str, (len(runs), len(runs) - len(others), len(others), *counts))]


def _short(code: str) -> str:
    return textwrap.shorten(code, 60, placeholder=" ...")


def _figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def tricks_in_parts() -> str:
    """Return which tricks work where each process keeps a part of the weights."""
    callbacks = import_module("callbacks")  # late: it imports torch
    kinds = [getattr(callbacks, name) for name in callbacks.__all__]
    refused = [kind for kind in kinds if kind.whole_weights]
    own = [kind for kind in kinds if kind.reads_weights and kind not in refused]
    names = (", ".join(f"`{kind.__name__}`" for kind in those) for those in (refused, own))
    what = ["refused by name: they need whole weights", "work, and read weights in parts"]
    left = f"the other {len(kinds) - len(refused) - len(own)}"
    rows = [*map(list, zip(what, names, strict=True)), ["work as they are", left]]
    return markdown(["under `ModelParallelStrategy`", "tricks"], rows)


def _late(module: str, name: str) -> Callable[[], str]:
    """Return a table of a module that is imported late: it imports this one, and torch."""
    return lambda: str(getattr(import_module(f"recipes.command.{module}"), name)())


SUMMARIES = ("verdicts", "dozen", "progress", "surprises")
OWN_TABLE = ("goals", "cpu_training", "growth", "read_ahead")  # benchmarks with a table of their own, in `speed`
TABLES: dict[str, Callable[[], str]] = {
    **{"verified": checkpoints, "planted": planted_faults, "sharded": tricks_in_parts},
    **{name: _late("summaries", name) for name in SUMMARIES},
    **{name: _late("speed", name) for name in OWN_TABLE},
    "simulated": _late("saturation", "simulation"),
    "measured": _late("saturation", "measurements"),
}


# recipes whose table is not a row for each set of arguments: runs -> heads, rows
OWN: dict[str, Callable[[list[records.Record]], tuple[list[str], list[list[str]]]]] = {
    "data_is_short": lambda _: _of_regime("DATA_IS_SHORT"),
    "small_transformer": lambda _: _of_regime("SMALL_TRANSFORMER"),
    "time_is_short": lambda _: _of_regime("TIME_IS_SHORT"),
    "noisy_labels_fashion": lambda runs: import_module("recipes.noisy_labels_fashion").table(runs),
    "transfer_tiny_imagenet20": lambda runs: import_module("recipes.transfer_tiny_imagenet20").table(runs),
}


def _of_regime(name: str) -> tuple[list[str], list[list[str]]]:
    """Return the table of a regime of recipes/frame/arms.py."""
    heads, rows = import_module("recipes.frame.cards").table(getattr(import_module("recipes.frame.arms"), name))
    return heads, rows


def recipe_result(entry: catalogue.Entry) -> str:
    """Return the runs of one recipe, a row for each set of arguments; below, hardware, versions and command."""
    runs = records.read(entry.name)
    metrics = dict.fromkeys(sorted({m for run in runs for m in run["metrics"] if m.startswith("test/acc")}), 4)
    columns = catalogue.columns(entry.name)
    by = next((name for name in columns if name.startswith("test/")), "test/acc")
    metrics = metrics | columns if by == "test/acc" else columns
    every = dict.fromkeys(name for run in runs for name in run["arguments"])
    names = [name for name in every if len({_argument(run, name) for run in runs}) > 1]
    groups = records.groups(runs)
    if columns:  # a comparison: the best first
        groups.sort(key=lambda group: -records.summary(run["metrics"][by] for run in group).mean)
    heads = [*names, *metrics, "seconds", "seeds"]
    own = OWN.get(entry.name, lambda _: (heads, [_row(group, names, metrics) for group in groups]))
    table = markdown(*own(runs)) if runs else NOT_YET
    facts = {head: catalogue.field(entry.doc, head) for head in ("Published", "Data", "Command")}
    facts["Arguments"] = ", ".join(f"{name}={_argument(runs[0], name)}" for name in every if name not in names)
    if len(runs) == 1 and len(curve := runs[0].get("curve", ())) > 1:
        facts["Validation accuracy on the way"] = ", ".join(f"{value:.3f}" for value in curve)
    facts |= _provenance(runs) if runs else {}
    return f"{table}\n\n" + "\n".join(_bullet(f"{head}: {fact}") for head, fact in facts.items() if fact)


def _bullet(text: str) -> str:
    return textwrap.fill(text, 118, initial_indent="- ", subsequent_indent="  ", break_long_words=False)


def _row(group: list[records.Record], names: list[str], metrics: dict[str, int]) -> list[str]:
    """Return arguments, metrics with so many digits after the point, seconds and number of seeds."""
    arguments = [_argument(group[0], name) for name in names]
    cells = [_spread((r["metrics"][m] for r in group if m in r["metrics"]), digits) for m, digits in metrics.items()]
    return [*arguments, *cells, _spread((r["seconds"] for r in group), 1), str(len(group))]


def _argument(run: records.Record, name: str) -> str:
    value = run["arguments"].get(name, "")
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _spread(values: Iterable[float], digits: int) -> str:
    """Write mean ± sample standard deviation; "1 run" instead of the deviation of a single run."""
    values = list(values)
    if not values:
        return ""
    if digits == 0 and len(set(values)) == 1 and isinstance(values[0], int):
        return f"{values[0]:,}"  # a count, not a measurement
    mean, std, n = records.summary(values)
    return f"{mean:,.{digits}f} ± {std:,.{digits}f}" if n > 1 else f"{mean:,.{digits}f} (1 run)"


def _provenance(runs: list[records.Record]) -> dict[str, str]:
    def all_of(texts: Iterable[str]) -> str:
        return "; ".join(dict.fromkeys(texts))

    return {
        "Hardware": all_of(map(hardware, runs)),
        "Versions": all_of(", ".join(f"{name} {v}" for name, v in r["versions"].items()) for r in runs),
        "Commit": all_of(r["commit"] or "none" for r in runs),
    }


def hardware(run: records.Record) -> str:
    """Name the processor of a run, and its threads."""
    return f"{run['hardware']['device']}, {run['hardware']['threads']} threads"


def markdown(heads: list[str], rows: list[list[str]]) -> str:
    """Write a table in markdown."""
    lines = [heads, ["---"] * len(heads), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    main()
