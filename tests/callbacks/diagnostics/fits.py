"""Shared by the tests of diagnostics."""

import torch
from torch.utils.data import DataLoader

from tests.conftest import tiny_classifier


def found(trick, trainer, data, model=None, **options):
    torch.manual_seed(0)
    trainer(callbacks=[trick], **options).fit(model or tiny_classifier(), data, data)
    return trick.findings


def batches(images, targets, times=1):
    return DataLoader([[images, targets]] * times, batch_size=None, collate_fn=list)
