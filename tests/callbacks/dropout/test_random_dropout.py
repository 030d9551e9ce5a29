"""Masks that look at nothing: single features, channels and noise."""

from math import sqrt

import pytest
import torch

import callbacks
from callbacks.dropout import dropout, gaussian_dropout, uniform_dropout
from tests.conftest import tiny_classifier


def test_dropout_by_hand():
    u = torch.tensor([0.0, 0.19, 0.2, 0.9])
    torch.testing.assert_close(dropout.mask(u, 0.2), torch.tensor([0, 0, 1.25, 1.25]))
    assert torch.equal(dropout.mask(u, 0.2, "2014"), torch.tensor([0.0, 0, 1, 1]))


@pytest.mark.parametrize(("p", "sigma"), [(0.1, 1 / 3), (0.2, 0.5), (0.5, 1)])  # the sheet of classics
def test_gaussian_by_hand(p, sigma):
    n = torch.tensor([-1.0, 0.0, 2.0])
    torch.testing.assert_close(gaussian_dropout.noise(n, p), torch.tensor([1 - sigma, 1.0, 1 + 2 * sigma]))


def test_uniform_by_hand():
    u = torch.tensor([0.0, 0.25, 0.5, 1.0])
    torch.testing.assert_close(uniform_dropout.noise(u, 0.25), 2 * u)
    torch.testing.assert_close(uniform_dropout.noise(u, 0.1), 1 + (2 * u - 1) / sqrt(3))


@pytest.mark.parametrize("name", ["Dropout", "GaussianDropout", "UniformDropout", "SpatialDropout"])
@pytest.mark.parametrize("p", [0.1, 0.4])
def test_expectation_stays_and_variance_is_that_of_dropout(name, p):
    torch.manual_seed(0)
    n = 400 * 200
    x = torch.ones(400, 200, 2, 2) if name == "SpatialDropout" else torch.ones(400, 200)
    y = (
        getattr(callbacks, name)(p).drop(x, p).flatten(2).mean(-1)
        if x.ndim == 4
        else getattr(callbacks, name)(p).drop(x, p)
    )
    assert y.mean().item() == pytest.approx(1, abs=5 * sqrt(p / (1 - p) / n))
    assert y.var().item() == pytest.approx(p / (1 - p), rel=0.04)
    if name in ("Dropout", "SpatialDropout"):
        assert (y == 0).float().mean().item() == pytest.approx(p, abs=5 * sqrt(p * (1 - p) / n))


@pytest.mark.parametrize("shape", [(64, 32, 3, 3), (64, 9, 32), (64, 32)])
def test_spatial_drops_whole_channels_of_each_example(shape):
    torch.manual_seed(0)
    y = callbacks.SpatialDropout(0.5).drop(torch.ones(shape), 0.5)
    channels = y.flatten(2) if y.ndim == 4 else y.mT if y.ndim == 3 else y[..., None]  # (N, C, ...)
    kept = channels[..., 0]
    assert torch.equal(channels, kept[..., None].expand_as(channels))
    assert kept.unique().tolist() == [0, 2] and 0.4 < kept.mean() / 2 < 0.6
    assert len(kept.unique(dim=0)) == 64  # each example its own


def test_the_same_scale_as_torchs_layers():
    torch.manual_seed(0)
    x = torch.rand(8, 16, 4, 4) + 1
    for trick, layer in (
        (callbacks.Dropout(0.3), torch.nn.Dropout(0.3)),
        (callbacks.SpatialDropout(0.3), torch.nn.Dropout2d(0.3)),
    ):
        ours, theirs = trick.drop(x, 0.3) / x, layer(x) / x
        torch.testing.assert_close(ours.amax(), theirs.amax())


# ---- the form of 2014


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
