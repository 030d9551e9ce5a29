"""UpdateRatio: the ratio by hand, its median, and learning rates that are too low or too high."""

import pytest
import torch
from torch import nn

from callbacks import UpdateRatio
from tests.callbacks.conftest import At
from tests.callbacks.diagnostics.fits import batches, found
from tests.conftest import tiny_classifier
from zoo import Classifier


@pytest.mark.parametrize(("lr", "word"), [(1e-9, "raise the learning rate"), (5.0, "lower the learning rate")])
def test_updates_that_are_too_small_or_large(lr, word, tiny_data, trainer):
    findings = found(UpdateRatio(every=3), trainer, tiny_data, tiny_classifier(lr=lr))
    assert [f.text.split()[1] for f in findings] == ["3", "6"]
    assert not findings[0].well and word in findings[0].text


def test_the_ratio_by_hand(trainer):
    """One weight matrix, plain gradient descent: the step is lr times the gradient."""
    torch.manual_seed(0)
    model = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(12, 10)), num_classes=10, lr=0.5, weight_decay=0)
    model.hparams.optimizer_options = {"momentum": 0.0, "nesterov": False}
    images, targets = torch.randn(4, 3, 2, 2), torch.arange(4)
    weight = model.network[1].weight
    loss = nn.functional.cross_entropy(model(images), targets)
    (gradient,) = torch.autograd.grad(loss, weight)
    expected = (0.5 * gradient).norm() / weight.norm()
    trick = UpdateRatio(every=1, low=0, high=10)
    trainer(callbacks=[trick], max_steps=1).fit(model, batches(images, targets))
    assert f"by {expected:.1e} of" in trick.findings[0].text


def test_one_layer_that_runs_away_is_not_the_median(trainer):
    network = nn.Sequential(nn.Flatten(), *(nn.Linear(2, 2, bias=False) for _ in range(3)))
    network[1].weight.data.fill_(1e-3)

    def constant(trainer, model):
        for p in model.parameters():
            p.grad = torch.full_like(p, 1e-3 * p.detach().norm().item() if p is not network[1].weight else 1.0)

    model = Classifier(network, num_classes=2, optimizer="momentum", lr=1.0, weight_decay=0.0)
    trick = UpdateRatio(every=1, high=0.1)
    data = batches(torch.randn(4, 1, 1, 2), torch.tensor([0, 1, 0, 1]))
    trainer(callbacks=[At("on_before_optimizer_step", constant), trick], max_epochs=1).fit(model, data)
    (finding,) = trick.findings
    assert finding.well and "2.0e-03" in finding.text
