"""Subtree dropout: at random nodes of a soft tree, drop the left subtree and use the right one alone.

Paper:    Dropout Regularization in Hierarchical Mixture of Experts (Irsoy, Alpaydin; Neurocomputing 2021)
          https://arxiv.org/abs/1812.10158
Code:     none by the authors was found
Equation: y_m = delta_m g_m y_left + (1 - delta_m g_m) y_right,  delta_m ~ Bernoulli(1 - p) for each example and node;
          evaluation: delta_m = 1 - p, which is the mean over all draws, since y is linear in each delta_m
Shapes:   gates (N, 2^h - 1) -> same
Defaults: p = .1: ours
Differs:  written from the abstract and a port's equations. The port draws once for a batch, and halves p from level to
          level towards the root; here each example draws, at one p. The rule for evaluation is derived, not the
          paper's: 1 - p is a buffer of the network, and still counts where the network trains without this trick.
"""

import lightning as L
from torch import Tensor, nn

from callbacks.frame.masks import draws
from callbacks.frame.model_needs import HasModule
from callbacks.frame.needs import Range
from callbacks.frame.pair_needs import Claims
from callbacks.frame.schedule import Linear, Rate, rate_now
from callbacks.frame.trick import Trick
from zoo.hierarchical_mixture import GateScale


def cut(gates: Tensor, u: Tensor, kept: Tensor | float) -> Tensor:
    """Return delta_m g_m: gates whose left subtree stays, and 0 for the others.

    Args:
        gates: g (N, 2^h - 1).
        u: uniform draws in [0, 1) of the same shape.
        kept: the probability to stay, 1 - p: a subtree stays where u is below it.
    """
    return gates * (u < kept)


class SubtreeDropout(Trick):
    """Cut subtrees of a `HierarchicalMixture` in training: each example goes through a smaller tree of its own.

    The rightmost leaf always stays. Evaluation takes the whole tree with its gates multiplied by 1 - p, which is the
    expectation over all smaller trees. The number 1 - p is a buffer of the network.

    Args:
        p: probability that a node loses its left subtree, in [0, 1], or a `Schedule`; evaluation takes its last value.

    Raises:
        ValueError: for a probability out of its range.
        TypeError: for a network without a soft tree.
    """

    picture = "parts"
    needs = (
        Claims("scale a tree's gates"),
        Range("p", 0, 1, off_at_low=True),
        HasModule(
            lambda module: isinstance(module, GateScale),
            "cuts a tree of experts",
            "take HierarchicalMixture, or build with `zoo.hierarchical_mixture.SoftTree`",
        ),
    )
    examples = ({"p": Linear(0, 0.3)},)

    def __init__(self, p: Rate = 0.1):
        self.p = p

    def on_fit_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self.keep_hooks(*(scale.register_forward_hook(self._draw) for scale in scales(model)))
        self._set(trainer, model)

    def on_train_batch_start(self, trainer: L.Trainer, model: L.LightningModule, batch: list, batch_idx: int) -> None:
        self._set(trainer, model)

    def _set(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        for scale in scales(model):
            scale.get_buffer("scale").fill_(1 - rate_now(self.p, trainer))

    def _draw(self, module: GateScale, inputs: tuple[Tensor], scaled: Tensor) -> Tensor:
        if not module.training:
            return scaled
        return cut(inputs[0], draws(inputs[0], *inputs[0].shape), module.get_buffer("scale"))


def scales(model: nn.Module) -> list[GateScale]:
    """Return the modules of a model at which its trees multiply their gates."""
    return [module for module in model.modules() if isinstance(module, GateScale)]
