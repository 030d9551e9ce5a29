"""Check that a run can resume with its checkpoint's optimizer; if not, say what has changed."""

from collections.abc import Sequence
from typing import Any

import torch

from zoo.frame.about import ABOUT


def check_optimizer(checkpoint: dict[str, Any], optimizer: str) -> None:
    """Refuse the state of another optimizer. Raises ValueError."""
    theirs = checkpoint.get("hyper_parameters", {}).get("optimizer", optimizer)
    if theirs != optimizer:
        raise ValueError(
            f"the checkpoint has the state of optimizer={theirs!r}, the model has {optimizer!r}: take the same, or "
            "begin a new run with weights=FILE"
        )


def group_sizes(states: Sequence[Any]) -> list[list[int]]:
    """Return the number of parameters in each group of each optimizer; nothing for states of another form."""
    groups = [state.get("param_groups", ()) for state in states if isinstance(state, dict)]
    return [[len(group["params"]) for group in each] for each in groups if each]


def check_groups(checkpoint: dict[str, Any], optimizers: Sequence[torch.optim.Optimizer], now: list[str]) -> None:
    """Refuse parameter groups that differ from the checkpoint's, and name the tricks added or removed.

    Args:
        checkpoint: its entries "optimizer_states" and "about".
        optimizers: of this run, after all tricks have formed their groups.
        now: tricks of this run.

    Raises:
        ValueError: says how many groups there are and which tricks differ.
    """
    theirs = group_sizes(checkpoint.get("optimizer_states", ()))
    ours = [[len(group["params"]) for group in optimizer.param_groups] for optimizer in optimizers]
    if not theirs or theirs == ours:
        return
    before = (checkpoint.get(ABOUT) or {}).get("tricks") or []
    gone, new = [x for x in before if x not in now], [x for x in now if x not in before]
    words = [f"{', '.join(names)} {how}" for names, how in ((gone, "is missing"), (new, "is new")) if names]
    raise ValueError(
        f"the optimizer's groups have {_count(ours)} parameters, those of the checkpoint {_count(theirs)}; "
        f"{'; '.join(words) or 'other layers are trained'}: resume with the checkpoint's tricks and network, or begin "
        "a new run with weights=FILE"
    )


def _count(sizes: list[list[int]]) -> str:
    return " | ".join(" + ".join(map(str, each)) for each in sizes)
