"""Frame of initialisations: draw weights once, in an untrained network; never replace loaded or trained weights."""

from abc import abstractmethod
from typing import ClassVar

import lightning as L
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn

from callbacks.frame.needs import Need
from callbacks.frame.pair_needs import Claims
from callbacks.frame.trick import Trick
from zoo.frame.run import callbacks_of

LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


class Initialise(Trick):
    """Abstract. Draws the weights of all convolutions and linear layers, and sets their biases to 0 (`fill_bias`)."""

    picture = "weights"
    taxonomy = "optimisation"
    needs: ClassVar[tuple[Need, ...]] = (Claims("draw the weights"),)

    def prepare(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        if stage != "fit" or not is_untrained(self, model):
            return
        for layer in model.modules():
            if isinstance(layer, LAYERS):
                self.fill(layer.weight)
                if layer.bias is not None:
                    self.fill_bias(layer.bias, layer.weight)
        for other in callbacks_of(trainer):  # such as ZeroLastConv, in either order of the list
            if hasattr(other, "zero_after_drawing"):
                other.zero_after_drawing(model)

    def on_train_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        model.untrained = False  # type: ignore[assignment]  # a plain flag; a Classifier sets it by itself

    @abstractmethod
    def fill(self, weight: Tensor) -> None:
        """Fill a weight in place."""

    def fill_bias(self, bias: Tensor, weight: Tensor) -> None:
        """Fill the bias of a weight's layer in place."""
        nn.init.zeros_(bias)


def is_untrained(trick: L.Callback, model: L.LightningModule) -> bool:
    """Return whether the network is untrained. Print a message if it was trained or has loaded weights."""
    untrained: bool = getattr(model, "untrained", True)
    if not untrained:
        rank_zero_info(f"{type(trick).__name__} leaves the network alone: it was trained, or has loaded weights")
    return untrained
