"""Expert balance: penalise a gate that sends most tokens to the same expert.

Paper:    Switch Transformers: Scaling to Trillion Parameter Models with Simple and Efficient Sparsity (Fedus, Zoph,
          Shazeer; JMLR 2022) https://arxiv.org/abs/2101.03961, equations 4 to 6
Code:     none; the term is `balance` in `zoo/moe_vit.py`
Equation: L' = L + alpha sum_layers E sum_e f_e P_e,   f_e the fraction of tokens sent to expert e, P_e its mean gate
Shapes:   gates (N, L, E) -> scalar for each layer: 1 if all experts are used equally, at most E
Defaults: weight = .01 (alpha), the paper's
Differs:  nothing. Layers that are not routed in a step (`GatingDropout`) add nothing.
"""

import lightning as L

from callbacks.frame.model_needs import HasModule
from callbacks.frame.needs import Range
from callbacks.frame.schedule import Rate, rate_now
from callbacks.frame.trick import Trick
from zoo import Step
from zoo.moe_vit import MoE


class ExpertBalance(Trick):
    """Add the imbalance of the experts of a `MoEViT` to the loss.

    Args:
        weight: alpha, > 0, or a `Schedule`.

    Raises:
        ValueError: if the weight is out of its range.
        TypeError: if the LightningModule has no experts or does not call `on_loss`; the message says what to add.
    """

    needs = (
        Range("weight", 0, off_at_low=True),
        HasModule(
            lambda module: isinstance(module, MoE),
            "needs experts",
            "take MoEViT, or build with `zoo.moe_vit.MoE` and give extras['balance'], a list of balances",
        ),
    )
    examples = ({"weight": 1.0},)
    taxonomy = "penalty"

    def __init__(self, weight: Rate = 0.01):
        self.weight = weight

    def on_loss(self, model: L.LightningModule, step: Step) -> None:
        for term in step.extras["balance"]:
            step.loss = step.loss + rate_now(self.weight, model.trainer) * term
