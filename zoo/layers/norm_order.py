"""A batch norm before or after the activation of a layer.

Paper:    Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate Shift (Ioffe, Szegedy;
          ICML 2015) https://arxiv.org/abs/1502.03167, section 3.2, which has it before
"""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Literal

from torch import nn

Norm = Literal["before", "after"]


def add_norm(layers: Mapping[str, nn.Module], bn: nn.Module, norm: Norm | None) -> nn.Sequential:
    """Return the layers with a batch norm, `bn`.

    Args:
        layers: a layer with weights, and perhaps its activation, `act`.
        bn: the batch norm.
        norm: its place, "before" or "after" the activation; None: leave it out.

    Raises:
        ValueError: another place.
    """
    if norm not in (None, "before", "after"):
        raise ValueError(f"norm must be 'before', 'after' or None, got {norm!r}")
    items = [*layers.items()]
    if norm is not None:
        position = [*layers].index("act") if norm == "before" and "act" in layers else len(items)
        items.insert(position, ("bn", bn))
    return nn.Sequential(OrderedDict(items))
