"""No bias decay: decay the weights of convolutions and linear layers only.

Paper:    Bag of Tricks for Image Classification with CNNs (He et al.; CVPR 2019) https://arxiv.org/abs/1812.01187, 3.1
Code:     GluonCV `--no-wd`; timm `param_groups_weight_decay`
Equation: weight_decay = 0 for every parameter of at most one dimension (biases, gamma, beta)
Shapes:   parameters (D,) and () -> a group of their own
Defaults: none to choose
Differs:  nothing on CNNs. Tokens and position embeddings of transformers have more than one dimension, and decay.
"""

import lightning as L

from callbacks.frame.groups import regroup
from callbacks.frame.trick import Trick


def split(group: dict) -> list[dict]:
    """Split a parameter group into the part that decays and the part that does not."""
    weights = [p for p in group["params"] if p.ndim > 1]
    rest = [p for p in group["params"] if p.ndim <= 1]
    return [{**group, "params": weights}, {**group, "params": rest, "weight_decay": 0.0}]


class NoBiasDecay(Trick):
    """Split the parameter groups of any LightningModule before training."""

    picture = "rates"
    taxonomy = "penalty"

    def __init__(self):
        pass

    def on_fit_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        regroup(trainer, split)
