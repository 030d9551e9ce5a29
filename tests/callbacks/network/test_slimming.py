"""Slimming: the subgradient by hand, once per step also with accumulation, and gammas that move to zero."""

import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision
from torch import nn

from callbacks import Linear, Norm, Slimming
from callbacks.network.slimming import add_penalty, gammas_of
from tests.callbacks.conftest import At
from tests.conftest import tiny_classifier
from zoo import Classifier, ResNet, prune_channels


def test_by_hand():
    gamma, gradient = torch.tensor([2.0, -0.5, 0.0]), torch.tensor([1.0, 1.0, 1.0])
    add_penalty([gamma], [gradient], 0.1)
    torch.testing.assert_close(gradient, torch.tensor([1.1, 0.9, 1.0]))


def test_is_the_gradient_of_the_penalty():
    gammas = [torch.randn(5).requires_grad_(), torch.randn(3).requires_grad_()]
    gradients = [torch.zeros(5), torch.zeros(3)]
    add_penalty(gammas, gradients, 0.3)
    expected = torch.autograd.grad(0.3 * sum(g.abs().sum() for g in gammas), gammas)
    for mine, theirs in zip(gradients, expected, strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("accumulate", [1, 3])
def test_a_step_has_it_once(tiny_data, trainer, accumulate):
    """Gammas with and without it differ by lr lambda after one step, of three batches or of one."""
    ends = []
    for tricks in ([], [Slimming(0.5)]):
        torch.manual_seed(0)
        model = tiny_classifier(optimizer="momentum", weight_decay=0.0)
        model.network.dropout.p = 0.0
        trainer(callbacks=tricks, max_steps=1, accumulate_grad_batches=accumulate).fit(model, tiny_data)
        ends.append([g.detach().clone() for g in gammas_of(model)])
    for plain, slim in zip(*ends, strict=True):
        torch.testing.assert_close(plain - slim, torch.full_like(plain, 0.1 * 0.5))  # momentum's first step is plain


def test_a_rate_on_a_schedule(tiny_data, trainer):
    """The schedule starts at 0, so the first step is the plain one."""
    ends = []
    for tricks in ([], [Slimming(Linear(0, 1))]):
        torch.manual_seed(0)
        model = tiny_classifier()
        trainer(callbacks=tricks, max_steps=1).fit(model, tiny_data)
        ends.append(model.network.block1.bn1.weight.detach().clone())
    assert torch.equal(*ends)


def test_the_schedule_moves_with_the_steps(tiny_data, trainer):
    seen = []
    zero = At("on_before_optimizer_step", lambda _, model: [p.grad.zero_() for p in model.parameters()])
    look = At("on_before_optimizer_step", lambda _, model: seen.append(gammas_of(model)[0].grad.clone()))
    model = tiny_classifier(lr=1e-3)
    trainer(callbacks=[zero, Slimming(Linear(0, 3, until="3st")), look], max_epochs=1).fit(model, tiny_data)
    torch.testing.assert_close(torch.stack(seen), torch.tensor([[0.0], [1.0], [2.0]]).expand(3, seen[0].numel()))


def test_gammas_shrink_and_the_smallest_channels_can_leave(tiny_data, trainer):
    torch.manual_seed(0)
    model = ResNet("20", num_classes=10, image_size=8, optimizer="momentum", lr=0.05, weight_decay=0.0)
    before = sum(g.detach().abs().sum() for g in gammas_of(model))
    trainer(callbacks=[Slimming(0.05)], max_epochs=5).fit(model, tiny_data)
    assert sum(g.detach().abs().sum() for g in gammas_of(model)) < 0.97 * before
    assert prune_channels(model, 0.3, "gamma")(torch.randn(2, 3, 8, 8)).shape == (2, 10)


def test_the_logged_loss_is_without_it(tiny_data, trainer):
    losses = []
    for tricks in ([], [Slimming(100.0)]):
        torch.manual_seed(0)
        model = tiny_classifier(lr=1e-12)
        run = trainer(callbacks=tricks, max_epochs=1)
        run.fit(model, tiny_data)
        losses.append(run.callback_metrics["train/loss"].item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_gammas_of_other_norms_and_frozen_ones(tiny_data, trainer):
    model = tiny_classifier()
    for gamma in gammas_of(model):
        gamma.requires_grad_(False)
    trainer(callbacks=[Slimming(0.5)], max_epochs=1).fit(model, tiny_data)
    assert len(gammas_of(model)) == 2 and all((gamma == 1).all() for gamma in gammas_of(model))
    count = []
    look = At("on_train_start", lambda trainer, model: count.append(len(gammas_of(model))))
    trainer(callbacks=[Slimming(), Norm("group"), look], max_epochs=1).fit(tiny_classifier(), tiny_data)
    assert count == [2]


def test_refusals(trainer):
    with pytest.raises(TypeError, match="take Slimming out"):
        Slimming().setup(trainer(), Classifier(nn.Linear(3, 2)), "fit")
    with pytest.raises(ValueError, match="leave Slimming out"):
        Slimming(0)
    with pytest.raises(ValueError, match="weight must be in"):
        Slimming(-1.0)


def test_refuses_a_fused_optimizer_that_takes_the_scale_off_itself(tiny_data, trainer):
    half = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu"))
    model = tiny_classifier(optimizer="adamw", optimizer_options={"fused": True})
    with pytest.raises(TypeError, match="Slimming needs gradients without the scale.*set fused=False"):
        trainer(callbacks=[Slimming()], plugins=[half]).fit(model, tiny_data)
