"""Pages of the tricks: a gallery by room, one page a trick, and which of them go together."""

import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from itertools import groupby
from pathlib import Path

from equations import EQUATIONS
from examples import example

import callbacks
from builder.models import six
from builder.text import WIDE, breakable, cell, code, fields, index_title, prose, sentence, table
from recipes.command import card, tables
from recipes.frame import catalogue
from recipes.frame.catalogue import Entry

DOCS = Path(__file__).resolve().parents[1]
PICTURES = DOCS / "made" / "pictures"
ROOMS = {
    "data": "change the batch",
    "network": "change the network",
    "dropout": "hide features",
    "loss": "change the error, or add a penalty",
    "distillation": "add a teacher",
    "optimization": "change steps and weights",
    "diagnostics": "watch a run and change nothing",
}


def pages() -> Iterator[tuple[str, str]]:
    """Yield path and text of every page."""
    yield "tricks/index.md", gallery()
    yield "tricks/pairs.md", pairs()
    for entry in catalogue.every_trick():
        yield f"tricks/{entry.name}.md", page(entry)


def picture(trick: str) -> str:
    """Return the file name of a trick's picture; empty if there is none."""
    return next((f"{trick}{end}" for end in (".svg", ".webp") if (PICTURES / f"{trick}{end}").exists()), "")


def gallery() -> str:
    """Write a card for each trick, by room."""
    rooms = {room: list(entries) for room, entries in groupby(catalogue.every_trick(), key=lambda e: e.room)}
    parts = [f"# Tricks\n\n{sum(map(len, rooms.values()))} training tricks as callbacks, one file a paper. {INTRO}"]
    for room in ROOMS:
        cards = "\n".join(_card(entry) for entry in rooms[room])
        title = room.capitalize()
        parts.append(f'## {title}\n\nTricks that {ROOMS[room]}.\n\n<ul class="gallery">\n{cards}\n</ul>')
    parts.append(f"## What they regularise through\n\n{link(tables.taxonomy())}")
    names = "\n".join(entry.name for entry in catalogue.every_trick())
    parts.append(f"```{{toctree}}\n:hidden:\n\npairs\n{names}\n```")
    return "\n\n".join(parts) + "\n"


def link(table: str) -> str:
    """Make the names of a table links to the tricks' pages."""
    return re.sub(r"`(\w+)`", r"[\1](\1.md)", table)


INTRO = """Each works on every model on which it can work,
and says clearly when it cannot. [Which tricks go together](pairs.md) has the exceptions,
[MixUp with a timm model](../start.md#mixup-with-a-timm-model) shows how a trick is used.

<div class="filter-cards"></div>"""


def _card(entry: Entry) -> str:
    shown = picture(entry.name)
    image = f'<img class="dark-light" loading="lazy" alt="" src="../_images/{shown}">' if shown else ""
    gain = card.gain(entry.name, short=True)
    measured = f"<small>{gain}</small>" if gain else ""
    name, line = breakable(entry.name), sentence(entry.line).replace("&", "&amp;").replace("<", "&lt;")
    return f'<li><a href="{entry.name}.html">{image}<strong>{name}</strong></a> {line} {measured}</li>'


def page(entry: Entry) -> str:
    """Write the page of one trick."""
    path = Path(inspect.getfile(getattr(callbacks, entry.name)))
    line = sentence(entry.line)
    parts = [
        f"# {entry.name}",
        index_title(catalogue.field(entry.doc, "Paper")),
        prose(line),
        _figure(entry.name),
        f"$$\n{EQUATIONS[entry.name]}\n$$",
        six(entry.doc, "Equation"),
        "## An example",
        code(example(entry.name)),
        TIMM if entry.room == "data" and not getattr(callbacks, entry.name).needs_boxes else "",
        "## Gain and cost",
        gains(entry.name),
        "## With other tricks",
        f"{prose(sentence(card.limits(entry.name)))}. The [matrix of pairs](pairs.md) has all tricks.",
        "## Arguments",
        f"```{{eval-rst}}\n.. autoclass:: callbacks.{entry.name}\n```",
        "## The code",
        f"```{{literalinclude}} ../../callbacks/{path.parent.name}/{path.name}\n:language: python\n```",
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


TIMM = "On a network of timm's: [MixUp with a timm model](../start.md#mixup-with-a-timm-model)."


def _figure(trick: str) -> str:
    shown = picture(trick)
    if not shown:
        return ""
    words = prose((PICTURES / f"{trick}.txt").read_text())
    return f"```{{figure}} ../made/pictures/{shown}\n:alt: What {trick} does\n:class: dark-light\n\n{words}\n```"


def gains(trick: str) -> str:
    """Write published gains, and gain and cost as they were measured here."""
    names = {"Found": "Published", "Gain": "Gain here", "Cost": "Cost here"}
    return fields((names[name], prose(sentence(text))) for name, text in card.facts(trick).items() if name in names)


def pairs() -> str:
    """Write what cannot be combined, and the whole matrix."""
    limits = import_module("callbacks.frame.pairs").limits
    kinds = [getattr(callbacks, entry.name) for entry in catalogue.every_trick()]
    rows = [
        [f"[{kind.__name__}]({kind.__name__}.md)", why, cell(", ".join(names))]
        for kind in kinds
        for why, names in limits(kind, kinds).items()
    ]
    return f"""{WIDE}# Which tricks go together

Made from the code. The tests train every two tricks on a network on which both work, those of this page in both
orders, and hold the page to what happened: what is not listed here trains together.

{table(["trick", "how", "with"], rows, "filterable")}

## The matrix

The row stands before the column in the list of callbacks.

{matrix(kinds)}
"""


SIGNS = {"": "together", "<": "the row must stand after the column", "x": "never together"}


def matrix(kinds: list[type]) -> str:
    """Write the matrix of pairs as an HTML table."""
    heads = "".join(f'<th scope="col"><span>{kind.__name__}</span></th>' for kind in kinds)
    rows = "\n".join(_matrix_row(kind, kinds) for kind in kinds)
    legend = ", ".join(f"<code>{sign or 'empty'}</code> {words}" for sign, words in SIGNS.items())
    return f"""<p>{legend}.</p>
<div class="matrix" tabindex="0" role="region" aria-label="matrix of pairs"><table>
<thead><tr><td></td>{heads}</tr></thead><tbody>
{rows}
</tbody></table></div>"""


def _matrix_row(first: type, kinds: list[type]) -> str:
    refusal = import_module("callbacks.frame.pairs").refusal
    cells = ""
    for second in kinds:
        sign = "" if not refusal(first, second) else "<" if not refusal(second, first) else "x"
        word = f' class="{"after" if sign == "<" else "never"}"' if sign else ""
        cells += f"<td{word}>{sign.replace('<', '&lt;')}</td>"
    return f'<tr><th scope="row">{first.__name__}</th>{cells}</tr>'
