"""Compute one number per output unit, for all layers of one width at once."""

import math
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def over_rows(reduce: Callable[..., Tensor], *lists: list[Tensor]) -> list[Tensor]:
    """Apply `reduce` to the rows of each tensor (R, ...); a vector is one row.

    On an accelerator, tensors of one width are joined first, because launching a kernel for each takes longer than the
    copy. On a CPU, the copy takes longer: clipping ResNet-50 takes 63 ms without it, 354 ms with it (one thread).

    Args:
        reduce: takes as many tables (rows, width) as there are lists -> (rows,).
        lists: tensors; those at the same place in each list have the same shape.

    Returns:
        One tensor for each place, of a shape that broadcasts to the tensors there: (R, 1, ...), (1,) or ().
    """
    members_of: defaultdict[tuple[Any, ...], list[tuple[int, int, tuple[int, ...]]]] = defaultdict(list)
    found: dict[int, Tensor] = {}
    for i, tensors in enumerate(zip(*lists, strict=True)):
        first = tensors[0]
        rows = first.shape[0] if first.ndim > 1 else 1
        width = math.prod(first.shape[1:]) if first.ndim > 1 else first.numel()
        kind: tuple[Any, ...] = (width, first.dtype, first.device) if _joins(first) else (width, i)
        members_of[kind].append((i, rows, (rows, *[1] * (first.ndim - 1))[: first.ndim]))
    for (width, *_), members in members_of.items():
        tables = [_join([tensors[i].reshape(-1, width) for i, _, _ in members]) for tensors in lists]
        for (i, _, shape), values in zip(members, reduce(*tables).split([r for _, r, _ in members]), strict=True):
            found[i] = values.view(shape)
    return [found[i] for i in range(len(lists[0]))]


def _joins(tensor: Tensor) -> bool:
    return tensor.device.type != "cpu"


def _join(tables: list[Tensor]) -> Tensor:
    return torch.cat(tables) if len(tables) > 1 else tables[0]
