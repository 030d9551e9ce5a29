"""Learning rate curves of real runs, and of torch's schedulers."""

import torch
from torch.optim.lr_scheduler import LinearLR, SequentialLR

from tests.callbacks.conftest import SeenRates
from tests.conftest import tiny_classifier

LR = 0.1


def curve(trainer, data, *tricks, model=None, **arguments):
    """Return the first group's rate at every optimizer step."""
    rates = SeenRates()
    run = trainer(callbacks=[*tricks, rates], **arguments)
    run.fit(model or tiny_classifier(lr=LR), data)
    assert len(rates.rates) == run.global_step
    return [rate[0] for rate in rates.rates]


def reference(steps, make):
    """Return the rates of torch's scheduler, stepped with every optimizer step."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=LR)
    scheduler, rates = make(optimizer), []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def warm(optimizer, m, then):
    """Warm up: i / m at batch i = 1 .. m; then start another scheduler."""
    return SequentialLR(optimizer, [LinearLR(optimizer, 1 / m, total_iters=m - 1), then], milestones=[m])
