"""ExpertBalance: the term by hand, in a run of a MoEViT, and refusals."""

import pytest
import torch
import torch.nn.functional as F

from callbacks import ExpertBalance, Linear
from tests.callbacks.conftest import SeenSteps
from zoo import MoEViT, Step


def test_every_layer_adds_its_term():
    trick, model = ExpertBalance(0.5), type("Model", (), {"trainer": None})()
    step = Step(None, None, None, torch.tensor(2.0), {"balance": [torch.tensor(1.0), torch.tensor(1.5)]})
    trick.on_loss(model, step)
    assert step.loss == 2 + 0.5 * (1 + 1.5)
    step = Step(None, None, None, torch.tensor(2.0), {"balance": []})  # no layer was routed
    trick.on_loss(model, step)
    assert step.loss == 2


def test_default():
    assert ExpertBalance().weight == 0.01


def test_follows_a_schedule_in_a_run(trainer):
    torch.manual_seed(4)
    data = [[torch.randn(2, 3, 16, 16), torch.tensor([1, 7])] for _ in range(3)]
    model = MoEViT("Ti", num_classes=10, image_size=16, experts=2, optimizer="sgd", lr=1e-2)
    steps = SeenSteps()
    trainer(callbacks=[ExpertBalance(Linear(0, 0.6)), steps]).fit(model, torch.utils.data.DataLoader(data, None))
    assert len(steps.steps) == 6
    for i, step in enumerate(steps.steps):
        assert step.extras["balance"] and all(0.9 < term < 2 for term in step.extras["balance"])
        plain = F.cross_entropy(step.logits, step.targets)
        torch.testing.assert_close(step.loss, plain + 0.1 * i * sum(step.extras["balance"]))


def test_refuses_a_network_without_experts_and_a_wrong_weight(tiny_model, tiny_data, trainer):
    with pytest.raises(TypeError, match="needs experts, and .* has none"):
        trainer(callbacks=[ExpertBalance()]).fit(tiny_model, tiny_data)
    with pytest.raises(ValueError, match="weight must be"):
        ExpertBalance(0)
