"""Pages of the data modules."""

import inspect
from collections.abc import Iterator
from pathlib import Path

import datamodules
from builder.text import cell, fields, prose, table
from recipes.frame import catalogue
from recipes.frame.catalogue import Entry

ROOT = Path(__file__).resolve().parents[2]


def pages() -> Iterator[tuple[str, str]]:
    """Yield path and text of every page."""
    entries = catalogue.datamodules()
    names = "\n".join(entry.name for entry in entries)
    rows = [[f"[{entry.name}]({entry.name}.md)", cell(entry.line)] for entry in entries]
    yield (
        "data/index.md",
        f"""# Data

```{{include}} ../../README.md
:start-after: "## Data"
:end-before: "## What there is"
```

{table(["data module", "what it is"], rows, "filterable")}

```{{toctree}}
:hidden:

{names}
```
""",
    )
    for entry in entries:
        yield f"data/{entry.name}.md", page(entry)


def page(entry: Entry) -> str:
    """Write the page of one data module."""
    path = Path(inspect.getfile(getattr(datamodules, entry.name)))
    said = fields((name, prose(catalogue.field(entry.doc, name))) for name in ("Paper", "Files", "Licence", "Differs"))
    parts = [
        f"# {entry.name}",
        prose(entry.line),
        said,
        f"`zoo data show {entry.name}` prints its parts, classes and counts.",
        "## Arguments",
        f"```{{eval-rst}}\n.. autoclass:: datamodules.{entry.name}\n   :members:\n```",
        "## The code",
        f"```{{literalinclude}} ../../datamodules/{path.relative_to(ROOT / 'datamodules')}\n:language: python\n```",
    ]
    return "\n\n".join(filter(None, parts)) + "\n"
