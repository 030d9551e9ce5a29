"""Confidence penalty: the entropy by hand and at its limits, the direction, the schedule, and in a run."""

import math

import pytest
import torch
import torch.nn.functional as F

from callbacks import ConfidencePenalty, Linear
from callbacks.loss.confidence_penalty import entropy
from tests.callbacks.conftest import SeenSteps


def test_by_hand():
    z = torch.tensor([[0.0, math.log(3)]])  # p = 1/4, 3/4
    expected = 0.25 * math.log(4) + 0.75 * math.log(4 / 3)
    assert entropy(z).item() == pytest.approx(expected, rel=1e-6)


def test_as_torch_has_it():
    torch.manual_seed(0)
    z = 5 * torch.randn(20, 7)
    torch.testing.assert_close(entropy(z), torch.distributions.Categorical(logits=z).entropy())


def test_limits_with_finite_slopes():
    z = torch.tensor([[0.0] * 10, [1e4] + [0.0] * 9], requires_grad=True)
    h = entropy(z)
    assert h.tolist() == pytest.approx([math.log(10), 0])
    h.sum().backward()
    assert z.grad.isfinite().all()


def test_it_is_the_distance_from_the_uniform_distribution():
    """-H(p) = KL(p || u) - ln K: label smoothing's KL with the two sides swapped."""
    torch.manual_seed(0)
    z = torch.randn(6, 5)
    kl = F.kl_div(torch.full((6, 5), 0.2).log(), z.log_softmax(1), reduction="none", log_target=True).sum(1)
    torch.testing.assert_close(-entropy(z), kl - math.log(5))


def test_reaches_the_run_on_a_schedule(tiny_model, tiny_data, trainer):
    steps = SeenSteps()
    trainer(callbacks=[ConfidencePenalty(Linear(0, 0.6)), steps]).fit(tiny_model, tiny_data)
    for i, step in enumerate(steps.steps):
        spread = torch.distributions.Categorical(logits=step.logits).entropy().mean()
        plain = F.cross_entropy(step.logits, step.targets)
        torch.testing.assert_close(step.loss, plain - 0.1 * i * spread)


@pytest.mark.parametrize("weight", [0, -1, Linear(0.1, -0.1)])
def test_refuses_a_wrong_weight(weight):
    with pytest.raises(ValueError, match="weight must be"):
        ConfidencePenalty(weight)
