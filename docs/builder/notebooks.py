"""Pages of the notebooks: as they are committed, with their outputs; nothing is executed here."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from builder.text import prose

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
INTRO = """# Notebooks

Executed, with what they print and draw. `make notebooks` executes them again; their sources are in `notebooks/`.
"""


def pages() -> Iterator[tuple[str, str]]:
    """Yield path and text of every page."""
    parts, names = [INTRO], []
    for path in sorted(NOTEBOOKS.glob("[0-9]*.ipynb")):
        made = json.loads(path.read_text())
        title, words = opening(made)
        parts.append(f"## [{title}]({path.name})\n\n{prose(words)}")
        names.append(path.stem)
        yield f"notebooks/{path.name}", json.dumps(describe(made), indent=1)
    parts.append("```{toctree}\n:hidden:\n\n" + "\n".join(names) + "\n```")
    yield "notebooks/index.md", "\n\n".join(parts) + "\n"


def opening(made: dict[str, Any]) -> tuple[str, str]:
    """Return title and first paragraph."""
    title, _, rest = "".join(made["cells"][0]["source"]).partition("\n")
    return title.removeprefix("# "), rest.strip().partition("\n\n")[0].replace("\n", " ")


def describe(made: dict[str, Any]) -> dict[str, Any]:
    """Give each picture of a notebook the words of the heading above it, for readers who do not see it."""
    heading = ""
    for cell in made["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            heading = next((line.lstrip("# ") for line in text.splitlines() if line.startswith("#")), heading)
        else:
            cell["metadata"]["mystnb"] = {"image": {"alt": f"Figure of the section {heading}"}}
    return made
