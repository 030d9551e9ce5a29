"""Gradient centralization: rows of mean zero, the authors' formula, and conserved sums."""

import pytest
import torch

from callbacks import GradientCentralization
from callbacks.frame import rows
from callbacks.optimization.gradient_centralization import centralize
from tests.callbacks.conftest import Foreign, weights
from tests.callbacks.optimization.test_adaptive_gradient_clipping import SHAPES, Seen
from tests.conftest import tiny_classifier


def authors(x, conv_only=False):
    """`centralized_gradient` of https://github.com/Yonghongwei/Gradient-Centralization, literally."""
    if x.ndim > (3 if conv_only else 1):
        return x - x.mean(dim=tuple(range(1, x.ndim)), keepdim=True)
    return x


def test_by_hand():
    g = torch.tensor([[1.0, 3.0], [0.0, 5.0]])
    centralize([g])
    assert g.tolist() == [[-1, 1], [-2.5, 2.5]]


@pytest.mark.parametrize("joined", [False, True])
def test_as_the_authors(monkeypatch, joined):
    monkeypatch.setattr(rows, "_joins", lambda tensor: joined)
    torch.manual_seed(0)
    gradients = [torch.randn(shape) for shape in SHAPES if len(shape) > 1]
    expected = [authors(g) for g in gradients]
    centralize(gradients)
    torch.testing.assert_close(gradients, expected)
    once = [g.clone() for g in gradients]
    centralize(gradients)  # a projection: twice is once
    torch.testing.assert_close(gradients, once, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("conv_only", [False, True])
@pytest.mark.parametrize("make", [tiny_classifier, Foreign])
def test_every_step_meets_centralised_gradients(trainer, tiny_data, make, conv_only):
    before, after = Seen(), Seen()
    run = trainer(callbacks=[before, GradientCentralization(conv_only), after], accumulate_grad_batches=2)
    run.fit(make(), tiny_data)
    assert len(after.steps) == 4
    for old, new in zip(before.steps, after.steps, strict=True):
        for name, g in old.items():
            torch.testing.assert_close(new[name], authors(g, conv_only))
    kept = {name for name in old if torch.equal(old[name], new[name])}
    assert ("network.head.weight" in kept) == conv_only and "network.head.bias" in kept
    assert "network.block2.conv1.weight" not in kept


def test_the_sum_of_a_units_weights_never_changes(trainer, tiny_data):
    """Without weight decay, weights move on a hyperplane (section 4.2 of the paper)."""
    torch.manual_seed(0)
    model = tiny_classifier(weight_decay=0.0)
    start = weights(model)
    trainer(callbacks=[GradientCentralization()]).fit(model, tiny_data)
    for name, p in model.named_parameters():
        if p.ndim > 1:
            torch.testing.assert_close(p.flatten(1).sum(1), start[name].flatten(1).sum(1), rtol=1e-4, atol=1e-5)
            assert not torch.equal(p, start[name])
