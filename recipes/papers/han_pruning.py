"""Han et al. 2015, table 1: LeNet-300-100 with a twelfth of its weights

Paper:    Learning Both Weights and Connections for Efficient Neural Networks (Han, Pool, Tran, Dally; NIPS 2015)
          https://arxiv.org/abs/1506.02626, tables 1 and 3
Source:   the paper; github senya-ashukha/variational-dropout-sparsifies-dnn at 3d9b78ac, README (repeats its numbers)
Settings: MNIST, 60,000 images / 255; 784-300-100-10 ReLU; 8 % of the weights stay in the first layer, 9 % in the second
          and 26 % in the last; pruned in rounds, with training at a tenth of the rate after each. Ours, since the paper
          does not state them: SGD .1, momentum .9, weight decay 5e-4, batch 128, 20 epochs, the rate to 0 along a
          cosine;
          then ten rounds of two epochs, in each of which .78 of the weights stay
Trap:     Epochs, batch and number of rounds are not stated.
Rule:     one run, last epoch; the claim that matters is the difference
"""

import copy
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from callbacks import CosineDecay
from callbacks.frame.trick import Trick
from callbacks.network.magnitude_pruning import magnitude_mask
from recipes.papers.frame.data import digits
from recipes.papers.frame.optimization import sgd
from recipes.papers.frame.row import Effect, Fit, Published, Row, Run
from zoo import MLP

LR, ROUNDS, EPOCHS = 0.1, 10, 2  # rounds of so many epochs
KEPT = {"hidden1.linear": 0.08, "hidden2.linear": 0.09, "head": 0.26}


class Rounds(Trick):
    """Prune the smallest weights of each layer before each round; what is pruned stays 0."""

    def __init__(self) -> None:
        self.masks: dict[str, Tensor] = {}

    @torch.no_grad()
    def on_train_epoch_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        """Prune a layer to `kept ** (round / ROUNDS)` of its weights."""
        done = min(trainer.current_epoch // EPOCHS + 1, ROUNDS) / ROUNDS
        for name, kept in KEPT.items():
            self.masks[name] = magnitude_mask(weight_of(model, name), 1 - kept**done)
        self.apply(model)

    def on_train_batch_end(
        self, trainer: L.Trainer, model: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Set pruned weights to 0, which the momentum may have moved."""
        self.apply(model)

    @torch.no_grad()
    def apply(self, model: L.LightningModule) -> None:
        """Multiply the weights by their masks."""
        for name, mask in self.masks.items():
            weight_of(model, name).mul_(mask)


def weight_of(model: nn.Module, name: str) -> nn.Parameter:
    """Return the weight of a layer."""
    return model.get_parameter(f"{name}.weight")


def network(lr: float = LR) -> MLP:
    """Return the network."""
    return MLP("300-100", 10, in_chans=1, **sgd(lr, momentum=0.9, weight_decay=5e-4))


def trained_network(run: Run) -> MLP:
    """Return a copy of the trained network, with a tenth of the rate."""
    copied = network(LR / 10)
    copied.load_state_dict(copy.deepcopy(run["dense"].network.state_dict()))
    return copied


ROW = Row(
    name="han_pruning",
    data=digits,
    arms={
        "dense": Fit(lambda run: network(), lambda run: [CosineDecay()], epochs=20),
        "pruned": Fit(trained_network, lambda run: [Rounds()], epochs=ROUNDS * EPOCHS),
    },
    claims=(
        Published("dense", (98.36,)),
        Published("pruned", (98.41,)),
        Effect("pruned", "dense", (0.05,)),
    ),
    seeds=5,
    minutes=3,
)
