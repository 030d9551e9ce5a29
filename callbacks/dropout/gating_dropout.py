"""Gating dropout: at random steps, skip the routing: send each image to the machine's own expert, or to none.

Paper:    Gating Dropout: Communication-efficient Regularization for Sparsely Activated Transformers (Liu, Kim, Muzio,
          Awadalla; ICML 2022) https://arxiv.org/abs/2205.14336, section 3
Code:     none by the authors
Equation: with probability p, one draw for each layer and step, the same on every machine:  "gate": y = g_r E_r(x), r
          the machine's own expert;  "gate-expert": y = 0, the residual is left.  Else y = g_e E_e(x), e = argmax g
Shapes:   tokens (N, L, D) -> same; on one machine, image b of N has r = floor(b E / N)
Defaults: p = .3: ours; kind = "gate" (the paper's Gate-Drop)
Differs:  on one machine nothing is sent, so this saves time only as "gate-expert". The own expert's output is weighted
          by its gate, so that the gate learns from it: ours. Evaluation always routes.
"""

from typing import Literal, get_args

import lightning as L

from callbacks.frame.chance import is_drawn
from callbacks.frame.model_needs import HasModule
from callbacks.frame.needs import Choice, Range
from callbacks.frame.schedule import Linear, Rate, rate_now
from callbacks.frame.trick import Trick
from zoo.frame.figures import Picture
from zoo.frame.seeds import global_seed, mix
from zoo.moe_vit import MoE

Kind = Literal["gate", "gate-expert"]


def skips(seed: int, step: int, layers: int, p: float) -> list[bool]:
    """Return which layers skip the routing at a step: the same on all machines, which share the seed of the run."""
    return [is_drawn(mix(seed, layer), step, p) for layer in range(layers)]


class GatingDropout(Trick):
    """Switch routing off in the training of a `MoEViT`, at random for each layer and step.

    Args:
        p: probability that a layer does not route, in [0, 1], or a `Schedule`.
        kind: "gate" or "gate-expert", see the equation.

    Raises:
        ValueError: for an argument out of its range.
        TypeError: for a network without experts.
    """

    needs = (
        Range("p", 0, 1, off_at_low=True),
        Choice("kind", get_args(Kind)),
        HasModule(lambda m: isinstance(m, MoE), "acts on experts", "take MoEViT, or build with `zoo.moe_vit.MoE`"),
    )
    examples = ({"p": Linear(0, 1), "kind": "gate-expert"},)

    def __init__(self, p: Rate = 0.3, kind: Kind = "gate"):
        self.p, self.kind = p, kind
        self._seed = global_seed()

    def prepare(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        if stage == "fit":
            self._seed = global_seed()

    def on_train_batch_start(self, trainer: L.Trainer, model: L.LightningModule, batch: list, batch_idx: int) -> None:
        layers = [module for module in model.modules() if isinstance(module, MoE)]
        dropped_layers = skips(self._seed, trainer.global_step, len(layers), rate_now(self.p, trainer))
        for layer, dropped in zip(layers, dropped_layers, strict=True):
            layer.drop = self.kind if dropped else None

    def on_train_batch_end(self, trainer: L.Trainer, model: L.LightningModule, *_) -> None:
        self.teardown(trainer, model, "fit")

    def leave(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        for module in model.modules():
            if isinstance(module, MoE):
                module.drop = None

    def state_dict(self) -> dict[str, int]:
        return {"seed": self._seed}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self._seed = state["seed"]

    def draw(self) -> Picture:
        """Draw the layers of a MoEViT that route at each of 24 steps."""
        from callbacks.frame.pictures.switches import draw_switches

        routes = lambda model: [float(m.drop is None) for m in model.modules() if isinstance(m, MoE)]  # noqa: E731
        return draw_switches(self, routes, "layers of experts", "Pale layers route their tokens, orange ones do not.")
