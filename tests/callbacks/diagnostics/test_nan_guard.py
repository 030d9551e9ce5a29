"""NaNGuard: names the layer, the weights, the images or the loss, and saves batch and weights."""

import pytest
import torch
from torch import nn

from callbacks import NaNGuard
from callbacks.diagnostics.nan_guard import FILE, first_not_finite
from tests.callbacks.conftest import SeenSteps, hooks, weights
from tests.callbacks.diagnostics.fits import batches
from tests.conftest import tiny_classifier


def broken(tiny_data, trainer, tmp_path, change):
    model = tiny_classifier()
    change(model)
    before = weights(model)
    with pytest.raises(FloatingPointError) as error:
        trainer(callbacks=[NaNGuard()]).fit(model, tiny_data)
    return str(error.value), before, model


def test_a_nan_names_the_layer_and_keeps_batch_and_weights(tiny_data, trainer, tmp_path):
    class Broken(nn.Module):
        def forward(self, x):
            return x / 0 - x / 0

    def change(model):
        model.network.maxpool = Broken()

    text, before, model = broken(tiny_data, trainer, tmp_path, change)
    assert "first layer whose output is not finite is network.maxpool" in text
    after = weights(model)
    assert all(torch.equal(before[k], after[k]) for k, v in before.items() if "running" not in k and "num" not in k)
    images, targets = torch.load(tmp_path / FILE)
    assert torch.equal(targets, next(iter(tiny_data))[1]) and images.shape == (4, 3, 8, 8)


def test_weights_and_images_that_are_not_finite(tiny_data, trainer, tmp_path):
    text, *_ = broken(tiny_data, trainer, tmp_path, lambda m: m.network.head.weight.data[0].fill_(float("nan")))
    assert "Parameter network.head.weight is not finite" in text
    images, targets = next(iter(tiny_data))
    with pytest.raises(FloatingPointError, match="Its images are not finite"):
        trainer(callbacks=[NaNGuard()]).fit(tiny_classifier(), batches(images * float("inf"), targets))


def test_a_trick_that_breaks_the_loss(tiny_data, trainer):
    spoil = SeenSteps()
    spoil.on_loss = lambda model, step: setattr(step, "loss", step.loss * float("nan"))
    with pytest.raises(FloatingPointError, match="The outputs of all layers are finite: check the loss"):
        trainer(callbacks=[NaNGuard(), spoil]).fit(tiny_classifier(), tiny_data)


def test_the_search_for_the_layer_leaves_no_hook():
    network = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    assert first_not_finite(network, torch.full((1, 2), float("inf"))) is not None and hooks(network) == 0


def test_the_innermost_layer_is_named():
    network = nn.Sequential(nn.Sequential(nn.ReLU(), nn.LogSoftmax(1)), nn.Linear(2, 2))
    network[1].weight.data.fill_(float("inf"))
    assert first_not_finite(network, torch.ones(1, 2)) == "1"
    assert first_not_finite(nn.ReLU(), torch.ones(1, 2)) is None
