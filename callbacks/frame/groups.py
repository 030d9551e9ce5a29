"""Split an optimizer's parameter groups and scale their rates, so that schedulers and a resume follow."""

from collections.abc import Callable
from typing import Any

import lightning as L

Group = dict[str, Any]  # of parameters, as torch's optimizers keep them
# lists of a torch scheduler with one entry per group, made before the split
PER_GROUP = ("base_lrs", "_last_lr", "lr_lambdas", "min_lrs", "max_lrs", "base_momentums", "max_momentums")
RATES = ("lr", "initial_lr", "max_lr", "min_lr", "base_lrs", "_last_lr", "max_lrs", "min_lrs")  # of groups, schedulers


def regroup(trainer: L.Trainer, split: Callable[[Group], list[Group]]) -> None:
    """Replace each parameter group by those that `split` makes of it. Call in `on_fit_start`.

    At that time optimizers exist but are not restored yet, so a resume finds the groups that it saved. The `"scale"` of
    a new group multiplies its learning rates, also those that schedulers keep.
    """
    for optimizer in trainer.optimizers:
        old = list(optimizer.param_groups)
        new = [(i, group) for i, parent in enumerate(old) for group in split(parent) if group["params"]]
        scales = [group.pop("scale", 1.0) for _, group in new]
        for (_, group), scale in zip(new, scales, strict=True):
            group.update({name: group[name] * scale for name in RATES if name in group})
        optimizer.param_groups[:] = [group for _, group in new]
        for config in trainer.lr_scheduler_configs:
            if config.scheduler.optimizer is optimizer:
                _widen(config.scheduler, [i for i, _ in new], scales, len(old))


def _widen(scheduler: Any, parents: list[int], scales: list[float], before: int) -> None:
    for name, value in vars(scheduler).items():
        if name in ("_schedulers", "schedulers"):
            for inner in value:
                _widen(inner, parents, scales, before)
        elif name in PER_GROUP and isinstance(value, list) and len(value) == before:
            wide = [value[i] for i in parents]
            setattr(scheduler, name, [v * s for v, s in zip(wide, scales, strict=True)] if name in RATES else wide)
