"""Shared by the tests of tricks with input gradients."""

import torch
import torch.nn.functional as F

from tests.callbacks.conftest import SeenSteps
from tests.conftest import tiny_classifier


def start(network=None):
    torch.manual_seed(0)
    return tiny_classifier() if network is None else network


def by_hand(network, x, y):
    x = x.detach().requires_grad_()
    return torch.autograd.grad(F.cross_entropy(network(x), y, reduction="sum"), x)[0]


def one_step(trainer, model, data, trick):
    model.network.dropout.p = 0.0
    steps = SeenSteps()
    trainer(callbacks=[trick, steps], max_epochs=1, limit_train_batches=1).fit(model, data)
    return steps.steps[0]
