"""Pages of what was measured: recipes, published rows run again, comparisons, benchmarks."""

import re
from collections.abc import Iterator
from pathlib import Path

from builder import explorer
from builder.text import fields, prose
from recipes.command import tables
from recipes.frame import catalogue
from recipes.frame.catalogue import Entry

ROOT = Path(__file__).resolve().parents[2]


def pages() -> Iterator[tuple[str, str]]:
    """Yield path and text of every page."""
    entries = catalogue.recipes()
    yield "evidence/index.md", index(entries)
    yield "evidence/explorer.md", EXPLORER.format(explorer.body())
    yield "evidence/reproductions.md", REPRODUCTIONS.format(plain(tables.reproductions()), plain(tables.checkpoints()))
    yield "evidence/benchmarks.md", BENCHMARKS.format(plain(tables.throughput()), plain(tables.benchmarks()))
    for entry in entries:
        yield f"evidence/{entry.name}.md", page(entry)


def plain(text: str) -> str:
    """Return a table of `make tables` as markdown of this site: no dollar sign or tag by accident."""
    return re.sub(r"(?<!\\)([$<])", r"\\\1", text)


def index(entries: list[Entry]) -> str:
    """Write the list of recipes."""
    rows = "\n".join(f"- [{entry.name}]({entry.name}.md): {prose(entry.line)}" for entry in entries)
    names = "\n".join(entry.name for entry in entries)
    return f"""# Recipes and evidence

A recipe is one Python file for each claimed result. Every number below was measured; the command beside it repeats the
run. [How numbers are made](../evidence.md) has the rules. The [Explorer](explorer.md) shows all runs;
[Reproductions](reproductions.md) has published rows run again, with verdicts; [Benchmarks](benchmarks.md) has what is
fast.

{rows}

```{{toctree}}
:hidden:

How numbers are made <../evidence>
explorer
reproductions
benchmarks
{names}
```
"""


EXPLORER = """# Explorer of runs

Every run of `results/` as a dot: its accuracy against its seconds of training, parameters or multiply-adds. The bar is
the 95 % interval of the mean of its seeds. A regime is a recipe; networks are counted without what a trick adds.

<link rel="stylesheet" href="../explorer/explorer.css">

{}

<script src="../explorer/runs.js"></script>
<script src="../explorer/explorer.js"></script>
"""

REPRODUCTIONS = """# Reproductions

Published rows run again. The rule of each verdict is written in the row's file before it runs: *inside*, *outside*, or
*undecided* while the interval is too wide. `zoo reproduce NAME` repeats a row.

{}

## Published checkpoints in our networks

`zoo verify FILE` repeats these.

{}
"""

BENCHMARKS = """# Benchmarks

## Speed of each family by that of the reference

Above 1 ours is faster than the same network of timm or torchvision.

{}

## The rest

{}
"""


def page(entry: Entry) -> str:
    """Write the page of one recipe."""
    said = fields((name, prose(catalogue.field(entry.doc, name))) for name in ("Paper", "Settings", "Differs"))
    parts = [
        f"# {entry.name}",
        prose(entry.line),
        said,
        "## Result",
        plain(tables.recipe_result(entry)),
        "## The code",
        f"```{{literalinclude}} ../../recipes/{entry.name}.py\n:language: python\n```",
    ]
    return "\n\n".join(filter(None, parts)) + "\n"
