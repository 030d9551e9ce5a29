"""HTML with which objects show themselves in notebooks."""

import html
from collections.abc import Iterable, Sequence


def table(rows: Iterable[Sequence[object]], heads: Sequence[str] = ()) -> str:
    """Return a table of cells, escaped. A cell of several lines keeps them."""
    cell = lambda value: html.escape(str(value)).replace("\n", "<br>")  # noqa: E731
    head = "".join(f"<th>{cell(name)}</th>" for name in heads)
    lines = ["".join(f'<td style="text-align:left">{cell(value)}</td>' for value in row) for row in rows]
    return f"<table><tr>{head}</tr>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def heading(text: str) -> str:
    """Return a line of code in bold."""
    return f"<p><strong><code>{html.escape(text)}</code></strong></p>"


def fields(text: str) -> str:
    """Return the fields of a docstring, "Paper: ...", as they are set."""
    return f'<pre style="white-space:pre-wrap">{html.escape(text)}</pre>'
