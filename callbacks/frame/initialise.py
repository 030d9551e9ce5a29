"""Initialisation happens once, on a fresh network: never on weights that were loaded or trained."""

from abc import abstractmethod
from typing import ClassVar

import lightning as L
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn

from callbacks.frame.needs import Claims, Need
from callbacks.frame.trick import Trick
from zoo.frame.run import callbacks_of

LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


class Initialise(Trick):
    """Abstract. Draws the weight of every convolution and linear layer anew, and sets its bias to 0 (`draw_bias`)."""

    taxonomy = "optimisation"
    needs: ClassVar[tuple[Need, ...]] = (Claims("draw the weights"),)

    def prepare(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        if stage != "fit" or not is_untrained(self, model):
            return
        for layer in model.modules():
            if isinstance(layer, LAYERS):
                self.draw(layer.weight)
                if layer.bias is not None:
                    self.draw_bias(layer.bias, layer.weight)
        for other in callbacks_of(trainer):  # what shall start at 0 does so in whichever order the two are listed
            if hasattr(other, "zero_after_drawing"):
                other.zero_after_drawing(model)

    def on_train_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        model.untrained = False  # type: ignore[assignment]  # a plain flag; a Classifier sets it by itself

    @abstractmethod
    def draw(self, weight: Tensor) -> None:
        """Fill a weight in place."""

    def draw_bias(self, bias: Tensor, weight: Tensor) -> None:
        """Fill the bias of a weight's layer in place."""
        nn.init.zeros_(bias)


def is_untrained(trick: L.Callback, model: L.LightningModule) -> bool:
    """Whether the network has neither been trained nor been given weights; says so if it has."""
    untrained: bool = getattr(model, "untrained", True)
    if not untrained:
        rank_zero_info(f"{type(trick).__name__} leaves the network alone: it has been trained, or was given weights")
    return untrained
