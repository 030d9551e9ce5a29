"""Write MyST markdown: prose from docstrings, tables, code."""

import re
from collections.abc import Iterable, Sequence

ADDRESS = re.compile(r"https?://[^\s)>]*[^\s)>.,;:]")
WIDE = "---\nhtml_theme.sidebar_secondary.remove: true\n---\n\n"  # of a page whose tables need the room
QUOTED = re.compile(r"(`[^`]+`)")


def prose(text: str) -> str:
    """Escape what markdown would read as a sign, keep words in backquotes, turn addresses into links."""
    parts = QUOTED.split(text)
    return "".join(part if QUOTED.fullmatch(part) else _escape(part) for part in parts)


def _escape(text: str) -> str:
    ends, last = [], 0
    for found in ADDRESS.finditer(text):
        ends += [re.sub(r"([\\*_<|$\[\]{}#`~])", r"\\\1", text[last : found.start()]), f"<{found[0]}>"]
        last = found.end()
    return "".join([*ends, re.sub(r"([\\*_<|$\[\]{}#`~])", r"\\\1", text[last:])])


def cell(text: str) -> str:
    """Return prose that may stand in a table."""
    return prose(text).replace("\n", " ")


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], classes: str = "") -> str:
    """Write a table of cells that are markdown already; with the class `filterable` readers can filter it by text."""
    lines = [heads, ["---"] * len(heads), *rows]
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"````{{table}}\n:class: {classes}\n\n{text}\n````" if classes else text


def code(text: str, language: str = "python") -> str:
    """Write a block of code."""
    return f"```{language}\n{text.strip()}\n```"


def plain(lines: Sequence[str]) -> str:
    """Write lines that were laid out by hand: letters of equal width, long lines wrap."""
    return "```{code-block} text\n:class: field\n\n" + "\n".join(lines) + "\n```"


def fields(pairs: Iterable[tuple[str, str]]) -> str:
    """Write a list of names and what they say, in markdown; empty ones are left out."""
    return "\n\n".join(f"**{name}**\n: " + text.replace("\n", "\n  ") for name, text in pairs if text)


def sentence(text: str) -> str:
    """Begin with a capital."""
    return text[:1].upper() + text[1:]


def breakable(name: str) -> str:
    """Let a long name break before its capitals, in raw HTML."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "<wbr>", name)


def index_title(paper: str) -> str:
    """Put the title of a paper into the index, by which a search finds the page first."""
    title = re.split(r" \(|;| https?:", paper)[0].strip()
    return "" if not title or title.startswith("none") else f"```{{index}} ! single: {title}\n```"
