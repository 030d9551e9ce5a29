"""L2: by hand, its gradient, weight decay with SGD but not with Adam, and a run on a schedule."""

import pytest
import torch
import torch.nn.functional as F

from callbacks import L2, Linear, NoBiasDecay
from callbacks.frame.penalty import weights_of
from callbacks.loss.l2 import l2
from tests.callbacks.conftest import SeenSteps, weights
from tests.callbacks.dropout.sheets import CLASSICS, close
from tests.conftest import tiny_classifier


def test_by_hand():
    assert l2([torch.tensor([[3.0, -4.0]]), torch.tensor([[[1.0]], [[-1.0]]])]) == (9 + 16 + 2) / 2


def test_the_gradient_is_the_weights():
    w = torch.tensor([[3.0, -4.0, 0.5]], requires_grad=True)
    torch.testing.assert_close(torch.autograd.grad(l2([w]), w)[0], w)
    zero = torch.zeros(2, 2, requires_grad=True)
    assert torch.autograd.grad(l2([zero]), zero)[0].eq(0).all()


def test_default():
    assert L2().weight == 1e-4


def test_biases_norms_and_frozen_parts_are_not_penalised(tiny_model):
    tiny_model.network.head.requires_grad_(False)
    names = {id(p): name for name, p in tiny_model.named_parameters()}
    penalised = {names[id(p)] for p in weights_of(tiny_model)}
    blocks = [f"network.block{i}.{part}.weight" for i in (1, 2) for part in ("conv1", "downsample")]
    assert penalised == {*blocks}


def test_reaches_the_run_on_a_schedule(tiny_model, tiny_data, trainer):
    steps, terms = SeenSteps(), []

    def look(model, step):
        terms.append(sum(p.detach().square().sum() / 2 for p in model.parameters() if p.ndim > 1))
        steps.steps.append(step)

    steps.on_loss = look
    trainer(callbacks=[L2(Linear(0, 0.6)), steps]).fit(tiny_model, tiny_data)
    assert len(steps.steps) == 6
    for i, (step, term) in enumerate(zip(steps.steps, terms, strict=True)):
        torch.testing.assert_close(step.loss, F.cross_entropy(step.logits, step.targets) + 0.1 * i * term)


def trained(trainer, data, tricks, **training):
    torch.manual_seed(0)
    model = tiny_classifier(**training)
    trainer(callbacks=tricks, max_epochs=4, accumulate_grad_batches=3).fit(model, data)
    return weights(model)


def distance(a, b):
    return max((a[key] - b[key]).abs().max().item() for key in a if a[key].is_floating_point())


def test_with_sgd_it_is_weight_decay_and_with_adamw_it_is_not(tiny_data, trainer):
    for optimizer, lr, same in (("momentum", 0.05, True), ("adamw", 0.01, False)):
        options = {"optimizer": optimizer, "lr": lr}
        penalty = trained(trainer, tiny_data, [L2(0.1)], weight_decay=0.0, **options)
        decay = trained(trainer, tiny_data, [NoBiasDecay()], weight_decay=0.1, **options)
        assert (distance(penalty, decay) < 1e-6) == same
        assert distance(decay, trained(trainer, tiny_data, [], weight_decay=0.0, **options)) > 1e-3


def test_refuses_a_wrong_weight():
    with pytest.raises(ValueError, match="weight must be"):
        L2(0)


def test_the_slow_loops_numbers():
    close(l2([torch.tensor(CLASSICS["l1_l2"]["w"])]), CLASSICS["l1_l2"]["half_l2"])
