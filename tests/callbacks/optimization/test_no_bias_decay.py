"""No bias decay: timm's split, and its effect on a step."""

import pytest
import timm
import torch
from torch import nn

from callbacks import NoBiasDecay
from callbacks.optimization.no_bias_decay import split
from tests.callbacks.conftest import At, Foreign, assert_equal, weights
from tests.conftest import tiny_classifier
from zoo import Classifier, ResNet


def groups_of(trainer, model, data, *tricks, **arguments):
    run = trainer(callbacks=[*tricks], **{"max_epochs": 1, **arguments})
    run.fit(model, data)
    return run.optimizers[0].param_groups


def test_split_by_hand():
    weight, bias, scalar = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(()))
    group = {"params": [weight, bias, scalar], "lr": 0.3, "weight_decay": 0.1}
    decayed, rest = split(group)
    assert decayed == {"params": [weight], "lr": 0.3, "weight_decay": 0.1}
    assert rest["params"][0] is bias and rest["params"][1] is scalar
    assert rest["lr"] == 0.3 and rest["weight_decay"] == 0


@pytest.mark.parametrize("make", [lambda: ResNet("20", num_classes=10), tiny_classifier])
def test_same_split_as_timm(trainer, tiny_data, make):
    model = make()
    groups = groups_of(trainer, model, tiny_data, NoBiasDecay())
    theirs = timm.optim.param_groups_weight_decay(model, weight_decay=1e-4)
    ours = {group["weight_decay"]: {id(p) for p in group["params"]} for group in groups}
    assert ours == {group["weight_decay"]: {id(p) for p in group["params"]} for group in theirs}
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))


def test_only_weights_shrink_where_there_is_no_gradient(trainer, tiny_data):
    """With a gradient of zero, a step of SGD is w <- (1 - lr decay) w."""
    model = tiny_classifier(optimizer="momentum", lr=0.5, weight_decay=0.2)
    zero = At("on_before_optimizer_step", lambda trainer, model: [p.grad.zero_() for p in model.parameters()])
    before = weights(model)
    groups_of(trainer, model, tiny_data, NoBiasDecay(), zero, limit_train_batches=1)
    for name, p in model.named_parameters():
        torch.testing.assert_close(p.detach(), before[name] * (0.9 if p.ndim > 1 else 1.0))


def test_twice_is_once(trainer, tiny_data):
    groups = groups_of(trainer, tiny_classifier(), tiny_data, NoBiasDecay(), NoBiasDecay())
    assert [group["weight_decay"] for group in groups] == [1e-4, 0]


def test_no_empty_groups(trainer, tiny_data):
    model = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(192, 10, bias=False)))
    assert [len(group["params"]) for group in groups_of(trainer, model, tiny_data, NoBiasDecay())] == [1]


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adamw"])
def test_a_resumed_run_keeps_groups_and_ends_with_the_same_bits(trainer, tiny_data, tmp_path, optimizer):
    def make():
        torch.manual_seed(0)
        return tiny_classifier(optimizer=optimizer, lr=0.01)

    straight = make()
    save = At("on_train_epoch_end", lambda t, _: t.current_epoch or t.save_checkpoint(tmp_path / "file.ckpt"))
    trainer(callbacks=[NoBiasDecay(), save]).fit(straight, tiny_data)
    resumed = make()
    run = trainer(callbacks=[NoBiasDecay()])
    run.fit(resumed, tiny_data, ckpt_path=tmp_path / "file.ckpt")
    assert_equal(weights(resumed), weights(straight))
    assert [group["weight_decay"] for group in run.optimizers[0].param_groups] == [1e-4, 0]


def test_foreign_modules_are_split(trainer, tiny_data):
    assert [group["weight_decay"] for group in groups_of(trainer, Foreign(), tiny_data, NoBiasDecay())] == [1e-4, 0]
