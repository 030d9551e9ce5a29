"""Magnified weight decay: its frequency, its factor, and weight decay that is restored."""

import pytest
import torch
from lightning.pytorch.plugins.precision import MixedPrecision

from callbacks import Linear, MagnifiedWeightDecay, NoBiasDecay
from callbacks.frame.chance import is_drawn
from tests.callbacks.conftest import At, Foreign, assert_equal, weights
from tests.conftest import tiny_classifier


@pytest.mark.parametrize("probability", [0.0, 0.1, 0.5, 1.0])
def test_draws_by_their_share(probability):
    draws = torch.tensor([[is_drawn(seed, step, probability) for step in range(500)] for seed in range(20)]).double()
    assert draws.mean() == pytest.approx(probability, abs=0.01)
    assert draws.mean(1).std() == pytest.approx((probability * (1 - probability) / 500) ** 0.5, rel=0.4)  # seeds differ
    if 0 < probability < 1:
        pairs = (draws[:, 1:] * draws[:, :-1]).mean()  # steps are independent
        assert pairs == pytest.approx(probability**2, abs=0.01)


def decays(trainer, model, data, *tricks, **arguments):
    """Return weight decay of each group in each optimizer step, and after each batch."""
    used, after = [], []

    def hook(trainer, model):
        read = lambda optimizer, *_: used.append([g["weight_decay"] for g in optimizer.param_groups])  # noqa: E731
        trainer.optimizers[0].register_step_post_hook(read)

    look = At(
        "on_train_batch_end", lambda t, _: after.append([g["weight_decay"] for g in t.optimizers[0].param_groups])
    )
    run = trainer(callbacks=[look, At("on_train_start", hook), *tricks], **arguments)
    run.fit(model, data)
    return used, after


@pytest.mark.parametrize("make", [tiny_classifier, Foreign])
def test_the_steps_that_are_drawn_are_magnified(trainer, tiny_data, make):
    trick = MagnifiedWeightDecay(0.5, 3.0)
    used, after = decays(trainer, make(), tiny_data, NoBiasDecay(), trick, max_epochs=4)
    expected = [[3e-4 if is_drawn(0, step, 0.5) else 1e-4, 0.0] for step in range(12)]
    assert len({row[0] for row in expected}) == 2
    for row, right in zip(used, expected, strict=True):
        assert row == pytest.approx(right)
    assert after == [[1e-4, 0.0]] * 12


def test_what_it_does_to_a_step(trainer, tiny_data):
    """With a gradient of zero, a step of SGD is w <- (1 - lr factor decay) w."""
    model = tiny_classifier(optimizer="momentum", lr=0.5, weight_decay=0.1)
    zero = At("on_before_optimizer_step", lambda trainer, model: [p.grad.zero_() for p in model.parameters()])
    before = weights(model)
    trick = MagnifiedWeightDecay(1.0, 3.0)
    trainer(callbacks=[trick, zero], max_steps=1, max_epochs=-1).fit(model, tiny_data)
    for name, p in model.named_parameters():
        torch.testing.assert_close(p.detach(), before[name] * 0.85)


def test_steps_not_batches_and_a_schedule(trainer, tiny_data):
    trick = MagnifiedWeightDecay(Linear(1, 0, until="1st"))
    used, _ = decays(trainer, tiny_classifier(), tiny_data, trick, accumulate_grad_batches=3)
    assert used == [[2e-4], [1e-4]]


def test_a_step_left_out_by_16_bit_scaling_leaves_nothing(trainer, tiny_data):
    spoil = At("on_after_backward", lambda _, model: model.network.head.bias.grad.fill_(float("inf")))
    half = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu"))
    after = []
    look = At("on_train_batch_end", lambda t, _: after.append(t.optimizers[0].param_groups[0]["weight_decay"]))
    used, _ = decays(
        trainer, tiny_classifier(), tiny_data, MagnifiedWeightDecay(1.0), spoil, look, plugins=[half], max_epochs=1
    )
    assert used == [] and after == [1e-4] * 3


def test_an_exception_leaves_nothing(trainer, tiny_data):
    def stop(trainer, model):
        raise RuntimeError("stop")

    run = trainer(callbacks=[MagnifiedWeightDecay(1.0), At("on_before_optimizer_step", stop)])
    with pytest.raises(RuntimeError, match="stop"):
        run.fit(tiny_classifier(), tiny_data)
    assert run.optimizers[0].param_groups[0]["weight_decay"] == 1e-4


def test_the_optimizer_has_its_hooks_back(trainer, tiny_data):
    run = trainer(callbacks=[MagnifiedWeightDecay(1.0)], max_epochs=1)
    run.fit(tiny_classifier(), tiny_data)
    assert not run.optimizers[0]._optimizer_step_post_hooks


def test_seeds_differ_and_a_file_brings_its_own(trainer, tiny_data, tmp_path, monkeypatch):
    def run(seed, **fit):
        monkeypatch.setenv("PL_GLOBAL_SEED", str(seed))
        torch.manual_seed(0)
        model = tiny_classifier(weight_decay=0.1)
        save = At("on_train_epoch_end", lambda t, _: t.current_epoch or t.save_checkpoint(tmp_path / f"{seed}.ckpt"))
        trainer(callbacks=[MagnifiedWeightDecay(0.5, 9.0), save], max_epochs=3).fit(model, tiny_data, **fit)
        return weights(model)

    one, two = run(1), run(2)
    assert not torch.equal(one["network.head.weight"], two["network.head.weight"])
    assert_equal(run(3, ckpt_path=tmp_path / "1.ckpt"), one)


@pytest.mark.parametrize("arguments", [{"probability": -0.1}, {"probability": 1.1}, {"factor": 0}])
def test_refuses_wrong_arguments(arguments):
    with pytest.raises(ValueError, match="must be in"):
        MagnifiedWeightDecay(**arguments)
