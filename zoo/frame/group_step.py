"""What our optimizers share: a step is one of each group of parameters."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, overload

import torch


class GroupOptimizer(torch.optim.Optimizer):
    """An optimizer that writes `step_group` instead of `step`."""

    @abstractmethod
    def step_group(self, group: dict[str, Any], params: list[torch.Tensor]) -> None:
        """Make one step of those parameters of a group that have a gradient."""

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Make one step. `closure`: recomputes the loss, as in any optimizer of torch."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if params:
                self.step_group(group, params)
        return loss
