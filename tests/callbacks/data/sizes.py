"""Shared by the tests of tricks that resize images."""

import torch

from tests.callbacks.conftest import SeenBatches
from tests.conftest import tiny_classifier
from zoo import Classifier


def sizes(trick, data, trainer, **options):
    """Train with the trick, and return the width of each training batch. Validation keeps 8 px."""
    seen = SeenBatches()
    trainer(callbacks=[trick, seen], **options).fit(tiny_classifier(), data, data)
    assert all(images.shape[-1] == 8 for images, _ in seen.val)
    return [images.shape[-1] for images, _ in seen.train]


class FixedSize(Classifier):
    """A model that takes images of 8 x 8 px only."""

    def __init__(self):
        super().__init__(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 10)), num_classes=10)
