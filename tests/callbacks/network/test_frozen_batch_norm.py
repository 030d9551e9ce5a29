"""Frozen batch norm: bit-identical statistics, gamma and beta as asked; the rest learns as without it."""

import pytest
import torch
from torch import nn
from torchvision.ops import FrozenBatchNorm2d

from callbacks import FrozenBatchNorm, NoBiasDecay, Norm
from callbacks.network.frozen_batch_norm import batch_norms
from tests.callbacks.conftest import At, Foreign, assert_equal, weights
from tests.conftest import tiny_classifier
from zoo import Classifier


@pytest.fixture
def model():
    """A tiny network with means and variances of data."""
    torch.manual_seed(0)
    model = tiny_classifier(weight_decay=0.1)
    for norm in batch_norms(model):
        nn.init.normal_(norm.running_mean, std=0.3)
        nn.init.uniform_(norm.running_var, 0.5, 2)
    model.untrained = False
    return model


def statistics(model):
    return {k: v.clone() for k, v in model.state_dict().items() if "running" in k or "tracked" in k}


def affine(model):
    return {f"{i}{n}": p.detach().clone() for i, m in enumerate(batch_norms(model)) for n, p in m.named_parameters()}


@pytest.mark.parametrize("frozen", [False, True])
def test_statistics_stay_and_the_rest_learns(model, tiny_data, trainer, frozen):
    before, stats, scales = weights(model), statistics(model), affine(model)
    trainer(callbacks=[FrozenBatchNorm(frozen)]).fit(model, tiny_data, tiny_data)
    assert_equal(statistics(model), stats)
    assert all(torch.equal(value, scales[k]) == frozen for k, value in affine(model).items())  # not even decayed
    assert not torch.equal(model.network.block1.conv1.weight, before["network.block1.conv1.weight"])


def test_a_step_is_that_of_torchvisions_layer(model, tiny_data, trainer):
    """The same network with torchvision's frozen norms, trained by hand."""
    trick = tiny_classifier(optimizer="momentum", weight_decay=0.0)
    trick.load_state_dict(model.state_dict())
    trick.network.dropout.p = 0.0
    theirs = tiny_classifier().network
    theirs.load_state_dict(model.network.state_dict())
    theirs.dropout.p = 0.0
    for block in (theirs.block1, theirs.block2):
        frozen = FrozenBatchNorm2d(block.bn1.num_features)
        frozen.load_state_dict({k: v for k, v in block.bn1.state_dict().items() if "tracked" not in k})
        block.bn1 = frozen
    trainer(callbacks=[FrozenBatchNorm(affine=True)], max_epochs=1).fit(trick, tiny_data)
    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.1, momentum=0.9)
    for images, targets in tiny_data:
        optimizer.zero_grad()
        nn.functional.cross_entropy(theirs(images), targets).backward()
        optimizer.step()
    mine = dict(trick.network.named_parameters())
    for name, value in theirs.named_parameters():
        torch.testing.assert_close(mine[name], value)


@pytest.mark.parametrize("hook", ["on_train_epoch_start", "on_train_batch_start", "on_validation_end"])
def test_stays_although_the_network_is_put_in_training_mode(model, tiny_data, trainer, hook):
    stats = statistics(model)
    look = At(hook, lambda trainer, model: model.train())
    trainer(callbacks=[look, FrozenBatchNorm()]).fit(model, tiny_data, tiny_data)
    assert_equal(statistics(model), stats)


def test_only_batch_norms_are_in_eval_mode(model, tiny_data, trainer):
    modes = {}
    look = At(
        "on_train_batch_end", lambda trainer, model: modes.update({n: m.training for n, m in model.named_modules()})
    )
    trainer(callbacks=[FrozenBatchNorm(), look]).fit(model, tiny_data, tiny_data)
    assert [name for name, training in modes.items() if not training] == ["network.block1.bn1", "network.block2.bn1"]


def test_afterwards_the_norms_train_again(model, tiny_data, trainer):
    trainer(callbacks=[FrozenBatchNorm(affine=True)]).fit(model, tiny_data)
    assert all(p.requires_grad for p in model.parameters()) and all(m.training for m in model.modules())
    stats = statistics(model)
    trainer(max_epochs=1).fit(model, tiny_data)
    assert any(not torch.equal(value, stats[k]) for k, value in statistics(model).items())


def test_afterwards_also_when_the_run_fails(model, tiny_data, trainer):
    def fail(trainer, model):
        raise RuntimeError("as planned")

    with pytest.raises(RuntimeError, match="as planned"):
        trainer(callbacks=[FrozenBatchNorm(affine=True), At("on_train_batch_end", fail)]).fit(model, tiny_data)
    assert all(p.requires_grad for p in model.parameters()) and all(m.training for m in batch_norms(model))


def test_what_was_frozen_before_stays_frozen(model, tiny_data, trainer):
    model.network.block1.bn1.weight.requires_grad_(False)
    trainer(callbacks=[FrozenBatchNorm(affine=True)], max_epochs=1).fit(model, tiny_data)
    assert not model.network.block1.bn1.weight.requires_grad and model.network.block1.bn1.bias.requires_grad


def test_beside_split_groups_and_on_a_foreign_module(model, tiny_data, trainer):
    trainer(callbacks=[FrozenBatchNorm(affine=True), NoBiasDecay()]).fit(model, tiny_data)
    foreign = Foreign()
    scales = affine(foreign)
    trainer(callbacks=[FrozenBatchNorm(affine=True)]).fit(foreign, tiny_data)
    assert_equal(affine(foreign), scales)


def test_says_that_a_new_network_has_no_statistics(tiny_model, trainer, caplog):
    with caplog.at_level("INFO"):
        FrozenBatchNorm().setup(trainer(), tiny_model, "fit")
    assert "its batch norms have seen nothing" in caplog.text


def test_refusals(tiny_model, tiny_data, trainer):
    with pytest.raises(TypeError, match="no batch norms to freeze: take FrozenBatchNorm out"):
        FrozenBatchNorm().setup(trainer(), Classifier(nn.Linear(3, 2)), "fit")
    with pytest.raises(ValueError, match="both choose the norms: take one of them out"):
        trainer(callbacks=[FrozenBatchNorm(), Norm()]).fit(tiny_model, tiny_data)


@pytest.mark.parametrize("hook", ["on_train_batch_end", "on_validation_batch_end"])
def test_an_exception_leaves_the_norms_in_the_networks_mode(model, tiny_data, trainer, hook):
    def stop(trainer, model):
        raise RuntimeError("stop")

    run = trainer(callbacks=[FrozenBatchNorm(affine=True), At(hook, stop)], num_sanity_val_steps=0)
    with pytest.raises(RuntimeError, match="stop"):
        run.fit(model, tiny_data, tiny_data)
    assert {m.training for m in model.modules()} == {hook == "on_train_batch_end"}
    assert all(p.requires_grad for p in model.parameters())
