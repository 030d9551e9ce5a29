"""The stages of a network as a table: shape, stride, receptive field and cost, as text or HTML."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from torch import nn

from zoo.tools.complexity import stage_costs
from zoo.tools.receptive import Field, receptive_fields

HEADS = ("stage", "output", "stride", "sees", "parameters", "MACs")


@dataclass(frozen=True)
class StageRow:
    """One row.

    Attributes:
        name: of the stage; "head" for everything after the last one.
        shape: of its output for one image: (C, H, W), or (L, D) for tokens.
        field: receptive field and stride in pixels of the image; None: not known, as for tokens that are sorted.
        parameters, macs: of everything after the end of the stage before.
        memory: bytes of all its layers' outputs in float32, kept by training for the backward pass.
    """

    name: str
    shape: tuple[int, ...]
    field: Field | None
    parameters: int
    macs: int
    memory: int

    @property
    def words(self) -> tuple[str, str, str, str]:
        """Name, output, stride and receptive field in words."""
        return self.name, shape_words(self.shape), *field_words(self.field)


def stage_table(network: nn.Module, image_size: int | None = None) -> list[StageRow]:
    """Return a row for every stage, then the head; the sums of parameters and MACs are the whole network's.

    Args:
        network: has `stages`, as a `Classifier` does; unchanged.
        image_size: side of the images in pixels, if the network does not know it; None: the network's, else 224.

    Raises:
        TypeError: the network names no stages.
    """
    size = image_size or getattr(network, "image_size", None) or 224
    try:
        fields = receptive_fields(network, size)
    except (NotImplementedError, IndexError):  # tokens that are sorted; a network without maps
        fields = {}
    costs = stage_costs(network, size)
    return [StageRow(c.name, c.shape, fields.get(c.name), c.parameters, c.macs, c.memory) for c in costs]


def shape_words(shape: Sequence[int]) -> str:
    """Write sizes as "64 x 8 x 8"."""
    return " x ".join(map(str, shape))


def field_words(field: Field | None) -> tuple[str, str]:
    """Write stride and receptive field as words."""
    if field is None:
        return "", ""
    if field.size is None or field.stride is None:
        return "", "whole image"
    stride, size = (str(v[0]) if v[0] == v[1] else f"{v[0]} x {v[1]}" for v in (field.stride, field.size))
    return stride, size


def stage_html(network: nn.Module, image_size: int | None = None) -> str:
    """Return the table as HTML, as notebooks show it. Arguments and errors: as for `stage_table`."""
    rows = [(*row.words, f"{row.parameters:,}", f"{row.macs:,}") for row in stage_table(network, image_size)]
    head = "".join(f"<th>{name}</th>" for name in HEADS)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
