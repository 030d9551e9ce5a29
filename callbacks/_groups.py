"""Splitting an optimizer's parameter groups, and scaling their rates, so that schedulers and a resume follow."""

from collections.abc import Callable
from typing import Any

import lightning as L

# the lists that a torch scheduler keeps with one entry a group, made before the split
PER_GROUP = ("base_lrs", "_last_lr", "lr_lambdas", "min_lrs", "max_lrs", "base_momentums", "max_momentums")


def regroup(trainer: L.Trainer, split: Callable[[dict], list[dict]]) -> None:
    """Replaces each parameter group by those that `split` makes of it. Call in `on_fit_start`.

    There the optimizers are made but not yet restored, so that a resume finds the groups that it saved.
    """
    for optimizer in trainer.optimizers:
        old = list(optimizer.param_groups)
        new = [(i, group) for i, parent in enumerate(old) for group in split(parent) if group["params"]]
        optimizer.param_groups[:] = [group for _, group in new]
        for config in trainer.lr_scheduler_configs:
            if config.scheduler.optimizer is optimizer:
                _widen(config.scheduler, [i for i, _ in new], len(old))


def _widen(scheduler: Any, parents: list[int], before: int) -> None:
    for name, value in vars(scheduler).items():
        if name in ("_schedulers", "schedulers"):
            for inner in value:
                _widen(inner, parents, before)
        elif name in PER_GROUP and isinstance(value, list) and len(value) == before:
            setattr(scheduler, name, [value[i] for i in parents])
