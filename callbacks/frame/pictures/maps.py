"""Kind "maps": the feature maps that a layer gives with a trick and without, in training."""

from collections import OrderedDict
from typing import Any

import lightning as L
from torch import Tensor, nn

from callbacks.frame.pictures.apart import apart, fit, fresh
from callbacks.frame.pictures.features import Edges, grey
from callbacks.frame.pictures.photographs import batch, sheet
from callbacks.frame.trick import Trick
from zoo import Classifier
from zoo.frame.figures import Sheet

SIDE = 56


class Last(L.Callback):
    """Keep what the layer gave at its last call in training. It is looked up after surgery."""

    output: Tensor

    def on_train_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        model.get_submodule("network.pool").register_forward_hook(self.keep)

    def keep(self, module: nn.Module, inputs: Any, output: Tensor) -> None:
        """Keep the output."""
        if module.training:
            self.output = output.detach()


def draw(trick: Trick) -> Sheet:
    """Draw edges of a photograph after max pooling, or after what the trick makes of that layer."""
    rows = []
    for tricks in ([], [fresh(trick, where=("stage1",), image_size=SIDE)]):
        with apart(3):
            layers = OrderedDict[str, nn.Module](edges=Edges(), pool=nn.MaxPool2d(2), conv=nn.Conv2d(16, 8, 3))
            layers |= OrderedDict(relu=nn.ReLU(), mean=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten(), head=nn.Linear(8, 3))
            model = Classifier(nn.Sequential(layers), 3, stages={"stage1": "pool", "stage2": "relu"}, lr=1e-6)
            last = Last()
            fit(model, batch(SIDE), [*tricks, last])
        rows.append(last.output[1, ::2].double().numpy())
    pages = [grey(row / row.max((1, 2), keepdims=True).clip(1e-6)) for row in rows]
    words = f"Edges of a photograph in eight channels, as the layer gives them without {trick!r} and with it."
    return Sheet(sheet(pages, ["without", "with"]), words, exact=True)
