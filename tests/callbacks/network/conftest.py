"""Layers for tests of initialisations, and their fans."""

import pytest
import torch
from torch import nn

from zoo import Classifier


def wide() -> Classifier:
    """Layers of every kind that is initialised, large enough for statistics."""
    torch.manual_seed(0)
    layers = [
        nn.Conv2d(3, 128, 5), nn.BatchNorm2d(128), nn.ReLU(), nn.Conv2d(128, 64, 3, groups=4), nn.LayerNorm([64, 2, 2]),
        nn.Flatten(), nn.Linear(256, 100), nn.Linear(100, 10),
    ]  # fmt: skip
    for layer in layers:
        for p in layer.parameters():
            nn.init.constant_(p, 0.7)
    return Classifier(nn.Sequential(*layers))


FANS = {0: (75, 3200), 3: (288, 576), 6: (256, 100), 7: (100, 10)}  # k^2 C_in / groups, k^2 C_out


@pytest.fixture
def drawn(tiny_data, trainer):
    """Return `drawn(trick)`, which gives the wide network's layers after the trick."""

    def draw(trick):
        model = wide()
        torch.manual_seed(1)
        trick.setup(trainer(), model, "fit")
        return model.network

    return draw
