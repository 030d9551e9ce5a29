"""L1: by hand, its gradient, and a run on a schedule."""

import pytest
import torch
import torch.nn.functional as F

from callbacks import L1, Linear
from callbacks.loss.l1 import l1
from tests.callbacks.conftest import SeenSteps
from tests.callbacks.dropout.sheets import CLASSICS, close


def test_by_hand():
    assert l1([torch.tensor([[3.0, -4.0]]), torch.tensor([[[1.0]], [[-1.0]]])]) == 9


def test_the_gradient_is_the_sign():
    w = torch.tensor([[3.0, -4.0, 0.5]], requires_grad=True)
    assert torch.autograd.grad(l1([w]), w)[0].tolist() == [[1, -1, 1]]
    zero = torch.zeros(2, 2, requires_grad=True)
    assert torch.autograd.grad(l1([zero]), zero)[0].eq(0).all()


def test_default():
    assert L1().weight == 1e-5


def test_reaches_the_run_on_a_schedule(tiny_model, tiny_data, trainer):
    steps, terms = SeenSteps(), []

    def look(model, step):
        terms.append(sum(p.detach().abs().sum() for p in model.parameters() if p.ndim > 1))
        steps.steps.append(step)

    steps.on_loss = look
    trainer(callbacks=[L1(Linear(0, 0.6)), steps]).fit(tiny_model, tiny_data)
    assert len(steps.steps) == 6
    for i, (step, term) in enumerate(zip(steps.steps, terms, strict=True)):
        torch.testing.assert_close(step.loss, F.cross_entropy(step.logits, step.targets) + 0.1 * i * term)


def test_refuses_a_wrong_weight():
    with pytest.raises(ValueError, match="weight must be"):
        L1(0)


def test_the_slow_loops_numbers():
    close(l1([torch.tensor(CLASSICS["l1_l2"]["w"])]), CLASSICS["l1_l2"]["l1"])
