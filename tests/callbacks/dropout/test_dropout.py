"""Dropout: by hand, its moments, torch's layer, and the form of 2014."""

from math import sqrt

import pytest
import torch

import callbacks
from callbacks.dropout import dropout
from tests.callbacks.dropout.sheets import assert_moments_of_dropout
from tests.conftest import tiny_classifier


def test_dropout_by_hand():
    u = torch.tensor([0.0, 0.19, 0.2, 0.9])
    torch.testing.assert_close(dropout.mask(u, 0.2), torch.tensor([0, 0, 1.25, 1.25]))
    assert torch.equal(dropout.mask(u, 0.2, "2014"), torch.tensor([0.0, 0, 1, 1]))


def test_the_form_of_2014_scales_evaluation(trainer, tiny_data):
    model, pooled, heads = tiny_classifier(), [], []
    model.network.dropout.p = 0.0
    model.network.dropout.register_forward_hook(lambda m, i, y: pooled.append(y))
    model.network.head.register_forward_hook(lambda m, i, y: heads.append((m.training, i[0])))
    trick = callbacks.Dropout(0.4, form="2014")
    run = trainer(callbacks=[trick], max_epochs=1)
    run.fit(model, tiny_data, tiny_data)
    assert {training for training, _ in heads} == {True, False}
    for (training, x), y in zip(heads, pooled, strict=True):
        if training:
            assert ((x == y) | (x == 0)).all() and (x != y).any()
        else:
            torch.testing.assert_close(x, y * 0.6)
    inside = run.callback_metrics["val/loss"].item()
    assert trainer(callbacks=[trick]).validate(model, tiny_data, verbose=False)[0]["val/loss"] == pytest.approx(inside)
    assert trainer().validate(model, tiny_data, verbose=False)[0]["val/loss"] != pytest.approx(inside, rel=1e-6)


def test_the_form_of_2014_acts_at_every_step():
    with pytest.raises(ValueError, match="leave out participation"):
        callbacks.Dropout(0.5, form="2014", participation=0.5)
    with pytest.raises(ValueError, match="take inverted"):
        callbacks.Dropout(0.5, "input", form="2014")
    with pytest.raises(ValueError, match="did you mean"):
        callbacks.Dropout(form="inverse")


@pytest.mark.parametrize("p", [0.1, 0.4])
def test_expectation_and_variance(p):
    torch.manual_seed(0)
    y = callbacks.Dropout(p).drop(torch.ones(400, 200), p)
    assert_moments_of_dropout(y, p)
    assert (y == 0).float().mean().item() == pytest.approx(p, abs=5 * sqrt(p * (1 - p) / y.numel()))


def test_the_same_scale_as_torchs():
    torch.manual_seed(0)
    x = torch.rand(8, 64) + 1
    ours, theirs = callbacks.Dropout(0.3).drop(x, 0.3) / x, torch.nn.Dropout(0.3)(x) / x
    torch.testing.assert_close(ours.amax(), theirs.amax())
