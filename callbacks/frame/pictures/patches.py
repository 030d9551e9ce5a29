"""Kind "patches": the patches of three photographs that a transformer keeps in training."""

from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from callbacks.frame.pictures.apart import apart, fit, fresh
from callbacks.frame.pictures.photographs import CLASSES, SIDE, batch, picture_of, sheet
from callbacks.frame.trick import Trick
from zoo import Classifier, ViT
from zoo.frame.figures import Sheet

PATCH = 16
GRID = SIDE // PATCH


class Tokens(L.Callback):
    """Record the tokens of the modules whose output a trick shortens."""

    def __init__(self) -> None:
        self.seen: dict[str, Tensor] = {}

    def on_fit_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        for name, module in model.named_modules():
            module.register_forward_hook(lambda m, i, y, name=name: self.keep(name, m, y))

    def keep(self, name: str, module: nn.Module, output: Any) -> None:
        """Keep the tokens."""
        if module.training and isinstance(output, Tensor) and output.ndim == 3:
            self.seen[name] = output.detach().clone()


def draw(trick: Trick) -> Sheet:
    """Draw the photographs, and those patches of them that go on."""
    images, targets = batch()
    with apart():
        first, last = Tokens(), Tokens()
        model: Classifier = ViT("Ti/16", num_classes=3, image_size=SIDE)
        fit(model, [images, targets], [first, fresh(trick), last])
    before, after = next((first.seen[n], y) for n, y in last.seen.items() if y.shape != first.seen[n].shape)
    kept = torch.stack([(b[:, None] == a[None]).all(2).any(1) for b, a in zip(before, after, strict=True)])
    mask = kept[:, -GRID * GRID :].view(3, 1, GRID, GRID).repeat_interleave(PATCH, 2).repeat_interleave(PATCH, 3)
    rows = [[picture_of(image) for image in some] for some in (images, torch.where(mask, images, 1.8))]
    under = [[*CLASSES], [f"{kept[i, -GRID * GRID :].sum()} of {GRID * GRID} patches" for i in range(3)]]
    caption = f"Three photographs, and the patches of them that an untrained ViT keeps in training with {trick!r}."
    return Sheet(sheet(rows, ["image", "kept"], under), caption)
