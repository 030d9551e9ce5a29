"""`zoo show MODEL [VARIANT]`: print a model's docstring, its cost by stage and layer, and its receptive fields.

Plain text that is as wide as it must be: numbers are never cut, whatever it is piped into.
"""

import argparse
import inspect
import sys
from collections.abc import Iterable
from importlib import import_module
from typing import Any

from recipes.frame import catalogue
from recipes.frame.errors import PlainParser, UsageError, unknown

USAGE = "zoo show MODEL [VARIANT] [--image-size N] [--num-classes K]"


def main(arguments: list[str]) -> None:
    """Print a model's description and cost."""
    options = _parse(arguments)
    entries = {entry.name: entry for entry in catalogue.models()}
    if options.model not in entries:
        raise unknown("model", options.model, entries)
    model = build(options.model, options.variant, options.image_size, options.num_classes)
    print("\n".join(lines(entries[options.model].doc, model)))


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = PlainParser(usage=USAGE, description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("model", metavar="MODEL", help="a name of `zoo models`")
    parser.add_argument("variant", metavar="VARIANT", nargs="?", help="a row of the paper's table; else the default")
    parser.add_argument("--image-size", type=int, help="side of the images in pixels; else the model's default")
    parser.add_argument("--num-classes", type=int, help="classes; else 1000, or what the variant was made for")
    return parser.parse_args(arguments)


def build(name: str, variant: str | None = None, image_size: int | None = None, num_classes: int | None = None) -> Any:
    """Build a model on the meta device. Raises UsageError for an unknown variant; the error names the nearest ones."""
    import torch

    kind = getattr(import_module("zoo"), name)
    rows = list(getattr(sys.modules[kind.__module__], "VARIANTS", ()))
    if variant is not None and rows and variant not in map(str, rows):
        raise unknown(f"variant of {name}", variant, map(str, rows))
    for option, value in (("--image-size", image_size), ("--num-classes", num_classes)):
        if value is not None and value < 1:
            raise UsageError(f"{option} must be 1 or more, got {value}")
    given = {"variant": variant, "image_size": image_size, "num_classes": num_classes}
    with torch.device("meta"):
        return kind(**{key: value for key, value in given.items() if value is not None})


def lines(doc: str, model: Any) -> Iterable[str]:
    """Yield docstring, stages and layers, line by line."""
    from zoo.tools.complexity import costs
    from zoo.tools.stage_table import shape_words, stage_table

    size, arguments = model.image_size, inspect.signature(type(model).__init__).parameters
    variant = model.hparams.get("variant", arguments["variant"].default if "variant" in arguments else "")
    yield doc
    yield f"\n{type(model).__name__}({str(variant)!r}), images of {size} x {size} px, {model.num_classes} classes\n"
    stages = stage_table(model, size)
    rows = [[*stage.words, *figures(stage)] for stage in stages]
    rows.append(["total", "", "", "", *figures(*stages)])
    yield from columns(["stage", "output", "stride", "sees", "parameters", "MACs", "KB"], rows, left=2)
    yield "\nA stage begins where the one before it ends. Strides and what a unit sees are in pixels of the image."
    yield "KB: outputs of all its layers in float32, for one image, as training keeps them.\n"
    rows = [[c.name, c.kind, shape_words(c.shape), *figures(c)] for c in costs(model, size) if c.kind != "Identity"]
    yield from columns(["layer", "kind", "output", "parameters", "MACs", "KB"], rows, left=3)


def figures(*rows: Any) -> tuple[str, str, str]:
    """Add up parameters, multiply-adds and KB."""
    parameters, macs, memory = (sum(getattr(row, name) for row in rows) for name in ("parameters", "macs", "memory"))
    return f"{parameters:,}", f"{macs:,}", f"{memory / 1024:,.2f}"


def columns(heads: list[str], rows: list[list[str]], left: int) -> Iterable[str]:
    """Yield a table as lines of text: the first `left` columns to the left, numbers to the right."""
    table = [heads, *rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        cells = (
            cell.ljust(w) if i < left else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join(cells).rstrip()
