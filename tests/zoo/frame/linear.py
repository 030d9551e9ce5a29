"""A network, and data, so small that a loop written out can follow them."""

import lightning as L
import torch
from torch import nn
from torch.utils.data import DataLoader

from zoo import Classifier


class Linear(nn.Module):
    """(N, 3, 2, 2) -> (N, K), so small that a loop written out can follow it."""

    def __init__(self, classes: int = 10):
        super().__init__()
        self.fc = nn.Linear(12, classes)

    def forward(self, x):
        return self.fc(x.flatten(1))


def linear(classes: int = 10, **training) -> Classifier:
    torch.manual_seed(0)
    return Classifier(Linear(classes), **training)


def collate(items):
    return [torch.stack([x for x, _ in items]), torch.stack([y for _, y in items])]


def loader(n: int = 10, classes: int = 10) -> DataLoader:
    """Batches of four, the last one smaller, in order."""
    torch.manual_seed(1)
    images, targets = torch.randn(n, 3, 2, 2), torch.randint(classes, (n,))
    return DataLoader(list(zip(images, targets, strict=True)), batch_size=4, collate_fn=collate)


def metrics_of(run: L.Trainer) -> dict[str, float]:
    return {name: value.item() for name, value in run.callback_metrics.items()}
