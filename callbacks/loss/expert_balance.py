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
import torch
import torch.nn.functional as F
from torch import Tensor

from callbacks.frame.model_needs import HasModule
from callbacks.frame.needs import Range
from callbacks.frame.schedule import Rate, rate_now, rate_values
from callbacks.frame.trick import Trick
from zoo import Step
from zoo.frame.figures import Picture
from zoo.moe_vit import MoE, balance


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

    def draw(self) -> Picture:
        """Draw the term over the fraction of tokens that goes to the first of four experts, as sure gates send them."""
        from callbacks.frame.pictures.curves import panels

        shares = [i / 60 for i in range(15, 61)]
        factor = max(rate_values(self.weight))
        terms = [factor * imbalance(share, 4).item() for share in shares]
        caption = f"What {self!r} adds to the loss for each layer of four experts, of which one gets most tokens."
        return panels({"term of the loss": {"": (shares, terms)}}, "fraction of tokens of one expert", caption)


def imbalance(share: float, experts: int) -> Tensor:
    """Return the balance of 240 tokens of which a fraction goes to one expert and the others share the rest, ()."""
    counts = [round(240 * share), *[round(240 * (1 - share) / (experts - 1))] * (experts - 1)]
    choice = torch.arange(experts).repeat_interleave(torch.tensor(counts))[None]
    return balance(F.one_hot(choice, experts).float(), choice)
