"""Every table, made from results/ and from the code: `python -m recipes._tables [--check]`, or `make tables`.

In markdown a table stands between `<!-- table: NAME -->` and `<!-- /table -->`. In a recipe it is the field `Result:`,
the last one of the module's docstring.
"""

import argparse
import ast
import re
import sys
import textwrap
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path

from recipes import _catalogue, _results

ROOT = _catalogue.ROOT
MARKDOWN = ("README.md",)
BLOCK = re.compile(r"(<!-- table: (?P<name>[\w-]+) -->\n).*?(<!-- /table -->)", re.DOTALL)
RESULT = re.compile(r"^Result:.*?(?=^\"\"\")", re.DOTALL | re.MULTILINE)
NOT_YET = "not measured yet"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m recipes._tables", description=__doc__.split("\n", 1)[0])
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail where a table differs from its source"
    )
    check = parser.parse_args().check
    stale = {path: text for path, text in rendered() if text != path.read_text()}
    for path, text in stale.items():
        print(f"{'stale' if check else 'rewritten'}: {path.relative_to(ROOT)}")
        if not check:
            path.write_text(text)
    sys.exit(bool(check and stale))


def rendered() -> Iterable[tuple[Path, str]]:
    """Each file that holds tables, and the text that it should have."""
    for path in (ROOT / name for name in MARKDOWN):
        yield path, BLOCK.sub(lambda m: f"{m[1]}{TABLES[m['name']]()}\n{m[3]}", path.read_text())
    for entry in _catalogue.recipes():
        path = ROOT / "recipes" / f"{entry.name}.py"
        block = "Result:\n" + recipe_result(entry) + "\n"
        yield path, RESULT.sub(lambda _, block=block: block, path.read_text(), count=1)


def models() -> str:
    package = import_module("zoo")
    rows = []
    for entry in _catalogue.models():
        module = import_module(getattr(package, entry.name).__module__)
        variants = ", ".join(map(str, getattr(module, "VARIANTS", ())))
        rows.append([f"`{entry.name}`", variants, _paper(entry.doc)])
    return markdown(["model", "variants", "paper"], rows)


def tricks() -> str:
    rows = [[e.room, f"`{e.name}`", e.line, _paper(e.doc)] for e in _catalogue.tricks()]
    return markdown(["room", "trick", "what it does", "paper"], rows)


def datamodules() -> str:
    return markdown(["data module", "what it is"], [[f"`{e.name}`", e.line] for e in _catalogue.datamodules()])


def results() -> str:
    """All recipes, one under the other."""
    return "\n\n".join(
        f"**[{entry.name}](recipes/{entry.name}.py)**: {entry.line}\n\n{recipe_result(entry)}"
        for entry in _catalogue.recipes()
    )


def benchmarks() -> str:
    """The last run of each file in benchmarks/."""
    rows = []
    for path in sorted((ROOT / "benchmarks").glob("[!_]*.py")):
        for run in _results.read(path.stem)[-1:]:
            figures = ", ".join(f"{name} {_figure(value)}" for name, value in run["metrics"].items())
            what = (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n", 1)[0]
            rows.append([what, figures, _hardware(run), f"`python benchmarks/{path.name}`"])
    return markdown(["what", "figures", "hardware", "command"], rows) if rows else NOT_YET


def _figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


TABLES: dict[str, Callable[[], str]] = {f.__name__: f for f in (models, tricks, datamodules, results, benchmarks)}


def recipe_result(entry: _catalogue.Entry) -> str:
    """The runs of one recipe, a row for each set of arguments; below, what they were run on, and the command."""
    runs = _results.read(entry.name)
    accuracies = sorted({m for run in runs for m in run["metrics"] if m.startswith("test/acc")})
    every = dict.fromkeys(name for run in runs for name in run["arguments"])
    names = [name for name in every if len({_argument(run, name) for run in runs}) > 1]
    heads = [*names, *accuracies, "seconds", "seeds"]
    table = markdown(heads, [_row(group, names, accuracies) for group in _results.groups(runs)]) if runs else NOT_YET
    facts = {head: _catalogue.field(entry.doc, head) for head in ("Published", "Data", "Command")}
    facts["Arguments"] = ", ".join(f"{name}={_argument(runs[0], name)}" for name in every if name not in names)
    facts |= _provenance(runs) if runs else {}
    return f"{table}\n\n" + "\n".join(_bullet(f"{head}: {fact}") for head, fact in facts.items() if fact)


def _bullet(text: str) -> str:
    return textwrap.fill(text, 118, initial_indent="- ", subsequent_indent="  ", break_long_words=False)


def _row(group: list[dict], names: list[str], accuracies: list[str]) -> list[str]:
    arguments = [_argument(group[0], name) for name in names]
    cells = [_spread((r["metrics"][m] for r in group if m in r["metrics"]), 4) for m in accuracies]
    return [*arguments, *cells, _spread((r["seconds"] for r in group), 1), str(len(group))]


def _argument(run: dict, name: str) -> str:
    value = run["arguments"].get(name, "")
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _spread(values: Iterable[float], digits: int) -> str:
    """Mean ± sample standard deviation; a single run says so instead of a deviation."""
    values = list(values)
    if not values:
        return ""
    mean, std, n = _results.summary(values)
    return f"{mean:.{digits}f} ± {std:.{digits}f}" if n > 1 else f"{mean:.{digits}f} (1 run)"


def _provenance(runs: list[dict]) -> dict[str, str]:
    def all_of(texts: Iterable[str]) -> str:
        return "; ".join(dict.fromkeys(texts))

    return {
        "Hardware": all_of(map(_hardware, runs)),
        "Versions": all_of(", ".join(f"{name} {v}" for name, v in r["versions"].items()) for r in runs),
        "Commit": all_of(r["commit"] or "none" for r in runs),
    }


def _hardware(run: dict) -> str:
    return f"{run['hardware']['device']}, {run['hardware']['threads']} threads"


def _paper(doc: str) -> str:
    """The first paper of a module as a link: its title without authors, and its address."""
    text = _catalogue.field(doc, "Paper")
    address = re.search(r"https?://\S+", text)
    title = re.split(r" \(| https?://", text, maxsplit=1)[0]
    return f"[{title}]({address[0].rstrip(',;')})" if address else title


def markdown(heads: list[str], rows: list[list[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    main()
