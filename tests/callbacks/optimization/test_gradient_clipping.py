"""Gradient clipping: by hand, against Lightning's steps, and the loss scale of 16-bit training."""

import pytest
import torch
from lightning.pytorch.plugins.precision import MixedPrecision

from callbacks import GradientClipping, GradualUnfreezing, Linear
from tests.callbacks.conftest import Foreign, assert_equal, weights
from tests.callbacks.optimization.test_adaptive_gradient_clipping import Seen
from tests.conftest import tiny_classifier


def norm(gradients) -> float:
    return torch.cat([g.flatten() for g in gradients.values()]).norm().item()


def end(trainer, data, tricks=(), make=tiny_classifier, **options):
    torch.manual_seed(0)
    model = make()
    trainer(callbacks=[*tricks], **options).fit(model, data)
    return weights(model)


@pytest.mark.parametrize("make", [tiny_classifier, Foreign])
@pytest.mark.parametrize("kind, limit", [("norm", 0.05), ("value", 0.002)])
def test_takes_the_steps_of_lightnings(trainer, tiny_data, kind, limit, make):
    ours = end(trainer, tiny_data, [GradientClipping(limit, kind)], make, accumulate_grad_batches=2)
    own = {"gradient_clip_val": limit, "gradient_clip_algorithm": kind}
    assert_equal(ours, end(trainer, tiny_data, [], make, accumulate_grad_batches=2, **own))
    plain = end(trainer, tiny_data, [], make, accumulate_grad_batches=2)
    assert any(not torch.equal(ours[key], plain[key]) for key in ours)


@pytest.mark.parametrize("kind", ["norm", "value"])
def test_by_hand(trainer, tiny_data, kind):
    before, after = Seen(), Seen()
    trainer(callbacks=[before, GradientClipping(0.05, kind), after], max_steps=1, max_epochs=-1).fit(
        tiny_classifier(), tiny_data
    )
    old, new = before.steps[0], after.steps[0]
    assert norm(old) > 0.1
    for name, g in old.items():
        by_hand = g * 0.05 / norm(old) if kind == "norm" else g.clamp(-0.05, 0.05)
        torch.testing.assert_close(new[name], by_hand)


def test_what_is_small_enough_stays_as_it_is(trainer, tiny_data):
    plain = end(trainer, tiny_data)
    for kind in ("norm", "value"):
        assert_equal(end(trainer, tiny_data, [GradientClipping(1e6, kind)]), plain)


def test_follows_a_schedule(trainer, tiny_data):
    seen = Seen()
    trainer(callbacks=[GradientClipping(Linear(0.06, 0.01, until="5st")), seen]).fit(tiny_classifier(), tiny_data)
    expected = [0.06, 0.05, 0.04, 0.03, 0.02, 0.01]
    assert [norm(step) for step in seen.steps] == pytest.approx(expected, rel=1e-3)


def test_what_is_frozen_has_no_gradient(trainer, tiny_data):
    end(trainer, tiny_data, [GradientClipping(), GradualUnfreezing()])


@pytest.mark.parametrize("scale", [1.0, 2.0**10])
def test_the_scale_of_16_bit_training_is_off(trainer, tiny_data, scale):
    after, half = Seen(), MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=scale))
    end(trainer, tiny_data, [GradientClipping(0.05), after], plugins=[half], max_steps=1, max_epochs=-1)
    assert norm(after.steps[0]) == pytest.approx(0.05, rel=1e-3)


def test_refuses_a_fused_optimizer_under_that_scale(trainer, tiny_data):
    half = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu"))
    model = tiny_classifier(optimizer="adamw", optimizer_options={"fused": True})
    with pytest.raises(TypeError, match="GradientClipping needs gradients without the scale.*set fused=False"):
        trainer(callbacks=[GradientClipping()], plugins=[half]).fit(model, tiny_data)


@pytest.mark.parametrize("arguments", [{"limit": 0}, {"limit": Linear(1, -1)}])
def test_refuses_a_wrong_limit(arguments):
    with pytest.raises(ValueError, match="GradientClipping: limit must be in"):
        GradientClipping(**arguments)


def test_refuses_another_kind():
    with pytest.raises(ValueError, match="GradientClipping has no 'norms'; did you mean 'norm'"):
        GradientClipping(kind="norms")
