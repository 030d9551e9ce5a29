"""Flooding: by hand, its gradient, and a run that stays near the level."""

import pytest
import torch
import torch.nn.functional as F

from callbacks import Flooding
from callbacks.loss.flooding import flood
from tests.callbacks.conftest import SeenSteps, assert_equal, weights
from tests.callbacks.dropout.sheets import CLASSICS, close
from tests.conftest import tiny_classifier


def test_by_hand():
    loss = torch.tensor([0.5, 0.1, 0.02, 0.0], requires_grad=True)
    flooded = flood(loss, 0.1)
    torch.testing.assert_close(flooded, torch.tensor([0.5, 0.1, 0.18, 0.2]))
    flooded.sum().backward()
    assert loss.grad[[0, 2, 3]].tolist() == [1, -1, -1]


def test_reaches_the_run(tiny_model, tiny_data, trainer):
    steps = SeenSteps()
    trainer(callbacks=[Flooding(2.8), steps], max_epochs=1).fit(tiny_model, tiny_data)
    plain = [F.cross_entropy(step.logits, step.targets) for step in steps.steps]
    assert min(plain) < 2.8 < max(plain)
    for step, loss in zip(steps.steps, plain, strict=True):
        torch.testing.assert_close(step.loss, (loss - 2.8).abs() + 2.8)


def test_training_floats_where_it_would_sink():
    """Logistic regression on linearly separable images: without flooding, the loss would go to 0."""
    torch.manual_seed(0)
    x, w = torch.randn(64, 8), torch.randn(8)
    y, ends = (x @ w > 0).float(), []
    for b in (0.0, 0.3):
        line = torch.zeros(8, requires_grad=True)
        for _ in range(300):
            loss = F.binary_cross_entropy_with_logits(x @ line, y)
            (slope,) = torch.autograd.grad(flood(loss, b), line)
            line.data -= 0.5 * slope
        ends.append(loss.item())
    assert ends[0] < 0.15 and ends[1] == pytest.approx(0.3, abs=0.02)


def test_a_level_that_is_never_reached_changes_nothing(tiny_data, trainer):
    """Above the level, the gradient is bit-identical to that of the loss."""
    ends = []
    for tricks in ([], [Flooding(2**-20)]):
        torch.manual_seed(0)
        model = tiny_classifier()
        trainer(callbacks=tricks, max_epochs=1).fit(model, tiny_data)
        ends.append(weights(model))
    assert_equal(*ends)


@pytest.mark.parametrize("b", [0, -0.1])
def test_refuses_a_level_out_of_range(b):
    with pytest.raises(ValueError, match="b must be in"):
        Flooding(b)


def test_the_slow_loops_numbers():
    for row in CLASSICS["flooding"]["values"]:
        loss = torch.tensor(row["loss"], requires_grad=True)
        flooded = flood(loss, CLASSICS["flooding"]["b"])
        flooded.backward()
        close(flooded.item(), row["flooded"])
        assert loss.grad == row["gradient_sign"]
