"""Clustering dropout of weights: rates by hand over a run, and the share and the mean of each weight."""

from math import sqrt

import pytest
import torch
from torch import nn

import callbacks
from callbacks.frame.group_rates import unit_rates
from tests.callbacks.conftest import At
from tests.conftest import tiny_classifier


def test_share_and_mean_of_each_weight():
    torch.manual_seed(0)
    trick, layer, n = callbacks.ClusteringDropConnect(), nn.Linear(2, 3, bias=False), 3000
    p = torch.tensor([[0.1, 0.7], [0.4, 0.4], [0.7, 0.1]])
    trick._rates["head"], trick._acts, x = p, True, torch.eye(2)
    found = torch.stack([trick._connect("head", 1.0, layer, (x,), layer(x)).T for _ in range(n)])  # (n, 3, 2): M W
    ratio = found.detach() / layer.weight.detach()
    assert torch.allclose(ratio.amax(0), 1 / (1 - p))
    gone = (ratio == 0).float().mean(0)
    assert ((gone - p).abs() < 5 * (p * (1 - p) / n).sqrt()).all()
    assert gone.std() > 0.1 and sqrt(n) > 50


@pytest.mark.parametrize("of", ["weights", "derivatives"])
def test_groups_over_a_run(of, trainer, tiny_data):
    """Of six steps, the first and fourth group: by |w| as it is then, or by the average of |dL/dw|."""
    trick, model = callbacks.ClusteringDropConnect(every=3, decay=0.5, clusters=2, of=of), tiny_classifier()
    seen, rates, weight = [], [], model.network.head.weight
    look = At("on_before_optimizer_step", lambda *_: seen.append((weight if of == "weights" else weight.grad).clone()))
    after = At("on_train_batch_end", lambda *_: rates.append(trick._rates["network.head"]))
    trainer(callbacks=[trick, look, after]).fit(model, tiny_data, tiny_data)
    average, expected = None, []
    for i, r in enumerate(r.detach().abs() for r in seen):
        average = r if average is None or of == "weights" else 0.5 * average + 0.5 * r
        expected.append(unit_rates(average.flatten(), 2, 0.1, 0.7).view_as(r) if i % 3 == 0 else expected[-1])
    assert len(rates) == 6 and not torch.equal(rates[0], rates[3])
    torch.testing.assert_close(torch.stack(rates), torch.stack(expected))
    again = callbacks.ClusteringDropConnect()
    again.load_state_dict(trick.state_dict())
    assert torch.equal(again._rates["network.head"], rates[-1])


def test_what_it_refuses():
    bad = [{"low": 0.8}, {"high": 1}, {"decay": 1}, {"clusters": 1}, {"every": 0}, {"of": "units"}, {"where": None}]
    for arguments in bad:
        with pytest.raises(ValueError, match="DropConnect"):
            callbacks.ClusteringDropConnect(**arguments)
