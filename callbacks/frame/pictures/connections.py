"""Kind "connections": the weights of a linear layer before a dropout of weights, its mask, and the weights after it."""

import numpy as np
import torch
from torch import Tensor, nn

from callbacks.frame.pictures.apart import apart, fit, fresh
from callbacks.frame.pictures.features import LEGEND, tile, to_colours
from callbacks.frame.pictures.photographs import sheet
from callbacks.frame.trick import Trick
from zoo import Classifier
from zoo.frame.figures import Sheet

INPUTS, CLASSES, CELL = 24, 24, 9


def draw(trick: Trick) -> Sheet:
    """Draw what one batch sees of a layer: the images are the unit vectors, so that the outputs are its weights."""
    with apart(3):
        layer = nn.Linear(INPUTS, CLASSES, bias=False)
        nn.init.uniform_(layer.weight, 0.2, 1)
        seen: list[Tensor] = []
        layer.register_forward_hook(lambda m, inputs, output: seen.append(output.detach().T))
        images = torch.eye(INPUTS)[:, None, :, None]
        before = layer.weight.detach().clone()
        copy = fresh(trick, participation=1.0)
        fit(Classifier(nn.Sequential(nn.Flatten(), layer), num_classes=CLASSES), [images, torch.arange(INPUTS)], [copy])
    after = seen[0]
    b, a = before.double().numpy(), after.double().numpy()
    tiles = [tile((248 - 228 * m).round().astype(np.uint8), CELL) for m in (b, np.clip(a / 2, 0, 1))]
    tiles.insert(1, tile(to_colours(a / b), CELL))
    page = sheet([tiles], [""], [["weights", "mask", "weights in training, halved"]])
    caption = f"A layer of {INPUTS} inputs (columns) and {CLASSES} outputs (rows) under {trick!r}. {LEGEND}"
    return Sheet(page, caption, exact=True)
