"""Write the pages that are made from the code and from results/, before Sphinx looks for sources.

A page is written only where its text changed, so that Sphinx builds nothing twice; a page that is no longer made goes.
"""

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.util import logging

FOLDERS = ("models", "tricks", "data", "evidence", "notebooks", "api")  # made, and nothing else in them
log = logging.getLogger(__name__)


def pages() -> Iterator[tuple[str, str]]:
    """Yield path, from docs/, and text of every page that is made."""
    from builder import api, data, evidence, models, notebooks, tricks

    for room in (models, tricks, data, evidence, notebooks, api):
        yield from room.pages()


def write(app: Sphinx) -> None:
    """Write what changed, remove what is no longer made."""
    from builder import diagrams, explorer, pictures

    made_files = Path(app.srcdir, "made")
    diagrams.draw(made_files / "diagrams")
    pictures.draw(made_files / "pictures")
    explorer.write_explorer(made_files / "extra" / "explorer")
    made, changed = set(), 0
    for name, text in pages():
        path = Path(app.srcdir, name)
        made.add(path)
        if not path.exists() or path.read_text() != text:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
            changed += 1
    for folder in FOLDERS:
        for path in set(Path(app.srcdir, folder).glob("*")) - made:
            path.unlink()
    log.info("%s pages from the code, %s of them new", len(made), changed)


def without_fields(app: Sphinx, what: str, name: str, kind: Any, options: Any, lines: list[str]) -> None:
    """Take the six fields out of a class's docstring: they stand at the top of its page."""
    from zoo.frame.fields import fields_of

    if what != "class" or not (fields := fields_of(kind)):
        return
    text = inspect.cleandoc("\n".join(lines))
    lines[:] = text.replace(fields.strip(), "").splitlines()


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect to the events of a build."""
    app.connect("builder-inited", write)
    app.connect("autodoc-process-docstring", without_fields, priority=100)  # before napoleon, which is at 500
    return {"parallel_read_safe": True, "parallel_write_safe": True}
