"""ClusteringDropout: groups and rates against reference values and scikit-learn, and a run's average by hand."""

import json
from math import sqrt
from pathlib import Path

import pytest
import torch
from sklearn.cluster import KMeans

import callbacks
from callbacks.dropout.clustering_dropout import responses
from callbacks.frame.group_rates import clusters, unit_rates
from tests.callbacks.conftest import At
from tests.conftest import tiny_classifier

SHEET = json.loads((Path(__file__).parents[2] / "data/dropout/clustering_dropout.json").read_text())


def close(ours, theirs, **tolerance):
    torch.testing.assert_close(ours, torch.tensor(theirs), **{"rtol": 1e-6, "atol": 1e-6} | tolerance)


def test_by_hand():
    r, expected = torch.tensor(SHEET["input"]["mean_response"]), SHEET["expected"]
    label, centres = clusters(r, 3)
    assert label.tolist() == expected["label"]
    close(centres, expected["centre"])
    close(unit_rates(r, 3, 0.1, 0.7), expected["unit_p"])


@pytest.mark.parametrize("seed", range(3))
def test_groups_as_scikit_learn_has_them(seed):
    torch.manual_seed(seed)
    r = torch.rand(60) ** 2
    start = r.quantile(torch.tensor([1 / 6, 1 / 2, 5 / 6]))
    theirs = KMeans(3, init=start[:, None].numpy(), n_init=1, max_iter=300, tol=0).fit(r[:, None].numpy())
    label, centres = clusters(r, 3)
    assert label.tolist() == theirs.labels_.tolist()
    close(centres, theirs.cluster_centers_[:, 0].tolist(), rtol=1e-5)


@pytest.mark.parametrize("r", [torch.zeros(5), torch.full((5,), 2.0), torch.ones(1)])
def test_units_that_are_alike_have_the_mean_rate(r):
    close(unit_rates(r, 3, 0.2, 0.6), [0.4] * len(r))


def test_fewer_units_than_groups():
    close(unit_rates(torch.tensor([1.0, 3.0]), 3, 0.2, 0.6), [0.6, 0.2])


def test_responses_of_units():
    x = torch.randn(3, 4, 5, 2)
    close(responses(x), x.abs().mean((0, 2, 3)).tolist())
    close(responses(x[..., 0, 0]), x[..., 0, 0].abs().mean(0).tolist())
    close(responses(x[..., 0]), x[..., 0].abs().mean((0, 1)).tolist())


@pytest.mark.parametrize("shape", [(4000, 3), (4000, 2, 3), (4000, 3, 2, 1)])
def test_share_and_mean_of_each_unit(shape):
    torch.manual_seed(0)
    trick, p, n = callbacks.ClusteringDropout(), [0.1, 0.4, 0.7], shape[0]
    trick._rates["spot"] = torch.tensor(p)
    x = torch.ones(shape, requires_grad=True)
    y = trick._at("spot", x, 1.0)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())
    units = (y.mT if y.ndim == 3 else y.flatten(2) if y.ndim == 4 else y[..., None]).detach()  # (N, D, ...)
    assert torch.equal(units, units[..., :1].expand_as(units))
    for i, rate in enumerate(p):
        values = units[:, i, 0]
        assert (values == 0).float().mean().item() == pytest.approx(rate, abs=5 * sqrt(rate * (1 - rate) / n))
        assert values.max().item() == pytest.approx(1 / (1 - rate))
    assert trick._at("spot", x.detach().bfloat16(), 1.0).isfinite().all()


def test_average_and_groups_over_a_run(trainer, tiny_data):
    """Of six batches, the first and fourth group the units: rates by hand, from the head's input."""
    trick, model, seen, rates = callbacks.ClusteringDropout(every=3, decay=0.5, clusters=2), tiny_classifier(), [], []
    model.network.head.register_forward_pre_hook(lambda m, i: seen.append(i[0].detach()) if m.training else None)
    look = At("on_train_batch_end", lambda t, m: rates.append(trick._rates["network.head"]))
    trainer(callbacks=[trick, look]).fit(model, tiny_data, tiny_data)
    average, expected = None, []
    for i, x in enumerate(seen):
        r = x.abs().mean(0)
        average = r if average is None else 0.5 * average + 0.5 * r
        expected.append(unit_rates(average, 2, 0.1, 0.7) if i % 3 == 0 else expected[-1])
    torch.testing.assert_close(torch.stack(rates), torch.stack(expected))
    assert len({tuple(r.tolist()) for r in rates}) == 2 and {0.1, 0.7} == {round(v, 6) for v in rates[0].tolist()}
    state = trick.state_dict()
    assert state["batches"] == 6
    torch.testing.assert_close(state["average"]["network.head"], average)
    again = callbacks.ClusteringDropout()
    again.load_state_dict(state)
    assert again._batches == 6 and torch.equal(again._rates["network.head"], rates[-1])


def test_groups_by_derivatives_over_a_run(trainer, tiny_data):
    """The responses are the means of |dL/dx| of the head's input, before the mask."""
    trick, model = callbacks.ClusteringDropout(every=1, decay=0.5, of="derivatives"), tiny_classifier()
    seen, rates = [], []

    def watch(module, inputs):
        if module.training:
            inputs[0].register_hook(lambda slope: seen.append(slope.detach()))

    model.network.head.register_forward_pre_hook(watch)
    look = At("on_train_batch_end", lambda t, m: rates.append(trick._rates["network.head"]))
    trainer(callbacks=[trick, look]).fit(model, tiny_data, tiny_data)
    average, expected = None, []
    for slope in seen:
        r = slope.abs().mean(0)
        average = r if average is None else 0.5 * average + 0.5 * r
        expected.append(unit_rates(average, 3, 0.1, 0.7))
    assert len(seen) == 6 and average.max() > 0
    torch.testing.assert_close(torch.stack(rates), torch.stack(expected))


def test_what_it_refuses():
    with pytest.raises(ValueError, match="ClusteringDropout has no 'weights'"):
        callbacks.ClusteringDropout(of="weights")
    bad = [{"low": 0.8}, {"high": 1}, {"decay": 1}, {"clusters": 1}, {"every": 0}, {"low": -0.1}, {"participation": 0}]
    for arguments in bad:
        with pytest.raises(ValueError, match="ClusteringDropout"):
            callbacks.ClusteringDropout(**arguments)
