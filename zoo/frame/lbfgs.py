"""L-BFGS: a quasi-Newton method for whole batches, with torch's line search.

Paper:    On the Limited Memory BFGS Method for Large Scale Optimization (Liu, Nocedal; Mathematical Programming 1989)
          https://doi.org/10.1007/BF01589116
Code:     torch.optim.LBFGS, used here; scipy.optimize.minimize, with which the tests compare
Equation: theta <- theta - t H g, where H is made of the last `history_size` steps and changes of the gradient, and t
          satisfies the strong Wolfe conditions
Shapes:   all parameters as one vector
Defaults: those of torch, but line_search_fn = "strong_wolfe": without a line search the loss may grow without bound
Differs:  nothing

An optimizer step calls the training step up to 25 times: hooks, tricks and batch norms see the batch as often, and the
logged losses are those of all points of the line search. Train on one whole batch, without dropout and without random
augmentation.
"""

from typing import Any

import lightning as L
import torch
from torch.optim.optimizer import ParamsT


class LBFGS(torch.optim.LBFGS):
    """`Classifier(..., optimizer="lbfgs", lr=1.0, weight_decay=0.0)`.

    Args:
        params: one group of parameters.
        lr: the first length that the line search tries, > 0; 1 is Newton's step.
        weight_decay: must be 0.
        line_search_fn: "strong_wolfe", or None for steps of length `lr`.
        options: of `torch.optim.LBFGS`, such as `max_iter` and `history_size`.

    Raises:
        ValueError: a weight decay, or several groups.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1.0,
        weight_decay: float = 0.0,
        line_search_fn: str | None = "strong_wolfe",
        **options: Any,
    ):
        if weight_decay:
            raise ValueError(
                f"L-BFGS has no weight decay, got {weight_decay}: give weight_decay=0; the trick L2 adds the penalty "
                "to the loss"
            )
        super().__init__(params, lr=lr, line_search_fn=line_search_fn, **options)


def check_lbfgs(trainer: L.Trainer) -> None:
    """Refuse a run in which L-BFGS would be wrong. Call when an epoch begins; does nothing for other optimizers.

    Raises:
        ValueError: gradients are accumulated, clipped or scaled (16-mixed), or a trick has split the parameter group.
    """
    if not any(isinstance(optimizer, LBFGS) for optimizer in trainer.optimizers):
        return
    reasons = {
        "accumulates gradients: leave out what does, and take a larger batch": trainer.accumulate_grad_batches > 1,
        "trains in 16-mixed: take precision='32-true', since its line search needs losses without a scale": (
            trainer.precision == "16-mixed"
        ),
        "clips gradients: leave out gradient_clip_val, since it learns the curvature from them": bool(
            trainer.gradient_clip_val
        ),
        "has several parameter groups: leave out the trick that splits them, such as NoBiasDecay or LayerDecay": any(
            len(optimizer.param_groups) > 1 for optimizer in trainer.optimizers
        ),
    }
    if wrong := [reason for reason, is_so in reasons.items() if is_so]:
        raise ValueError(f"optimizer='lbfgs' and a run that {'; and that '.join(wrong)}")
