"""Add the six fields of a file's docstring to `help` of its model or trick."""

import inspect
import re
import sys

SECTION = re.compile(r"^(Args|Attributes|Returns|Raises):$", re.MULTILINE)


def fields_of(cls: type) -> str:
    """Return the six fields of a class's file, "Paper:" to "Differs:"; "" if it has none."""
    head = inspect.cleandoc(getattr(sys.modules.get(cls.__module__), "__doc__", None) or "")
    start = re.search(r"^Paper:", head, re.MULTILINE)
    return head[start.start() :] if start else ""


def with_fields(cls: type) -> str | None:
    """Return a class's docstring with its file's fields before "Args:"; None if it has no docstring of its own."""
    own, fields = vars(cls).get("__doc__"), fields_of(cls)
    if not own or not fields:
        return own
    doc = inspect.cleandoc(own)
    section = SECTION.search(doc)
    at = section.start() if section else len(doc)
    return "\n\n".join(filter(None, [doc[:at].rstrip(), fields, doc[at:]])) + "\n"
