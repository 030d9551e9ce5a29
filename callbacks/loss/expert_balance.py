"""Expert balance: keeps a gate from sending every token to the same expert.

Paper:    Switch Transformers: Scaling to Trillion Parameter Models with Simple and Efficient Sparsity (Fedus, Zoph,
          Shazeer; JMLR 2022) https://arxiv.org/abs/2101.03961, equations 4 to 6
Code:     none; the term is `balance` in `zoo/moe_vit.py`
Equation: L' = L + alpha sum_layers E sum_e f_e P_e,   f_e the share of the tokens that choose e, P_e its mean gate
Shapes:   gates (N, L, E) -> scalar for each layer, 1 where everything is even, at most E
Defaults: alpha = .01 (the paper)
Differs:  nothing. Layers that a step did not route (`GatingDropout`) add nothing.
"""

import lightning as L

from callbacks.frame.schedule import Rate, Schedule, rate_now, rate_values
from callbacks.frame.trick import Trick, needs_on_loss, needs_range
from zoo import Step
from zoo.moe_vit import MoE


class ExpertBalance(Trick):
    """Adds to the loss how unevenly the experts of a `MoEViT` are used.

    Args:
        weight: alpha, > 0, or a `Schedule`.

    Raises:
        ValueError: for a weight out of its range.
        TypeError: for a LightningModule that does not call `on_loss`, or without experts; says what to add.
    """

    taxonomy = "penalty"

    def __init__(self, weight: Rate = 0.01):
        for value in rate_values(weight):
            needs_range(self, "weight", value, 0, float("inf"), open_low=not isinstance(weight, Schedule))
        self.weight = weight

    def setup(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        needs_on_loss(self, model)
        if not any(isinstance(module, MoE) for module in model.modules()):
            raise TypeError(
                f"ExpertBalance needs experts, and {type(model).__name__} has none: take MoEViT, or build with "
                "`zoo.moe_vit.MoE` and give, in training, extras['balance'], a list of its balances"
            )

    def on_loss(self, model: L.LightningModule, step: Step) -> None:
        for term in step.extras["balance"]:
            step.loss = step.loss + rate_now(self.weight, model.trainer) * term
