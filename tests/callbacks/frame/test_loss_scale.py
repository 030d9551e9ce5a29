"""Tricks that compare gradients with other quantities, under the loss scale of 16-bit training."""

import lightning as L
import pytest
import torch
from lightning.pytorch.plugins.precision import MixedPrecision

import callbacks
from callbacks.dropout.clustering_drop_connect import running_mean
from tests.conftest import tiny_classifier

COMPARE = {
    "AdaptiveGradientClipping": {},
    "ClusteringDropConnect": {"of": "derivatives"},
    "GradientClipping": {},
    "GradientFlow": {},
    "Slimming": {},
}


def half(scale: float = 2.0**16) -> MixedPrecision:
    return MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=scale))


def test_every_trick_that_acts_before_the_optimizer_is_here_or_minds_no_scale():
    before = L.Callback.on_before_optimizer_step
    acts = {name for name in callbacks.__all__ if getattr(callbacks, name).on_before_optimizer_step is not before}
    minds_none = {"GradientCentralization", "GradualUnfreezing", "Hints", "MagnifiedWeightDecay", "SWA", "UpdateRatio"}
    assert acts == {*COMPARE, *minds_none}


@pytest.mark.parametrize("name", COMPARE)
def test_refuses_a_fused_optimizer(name, trainer, tiny_data):
    model = tiny_classifier(optimizer="adamw", optimizer_options={"fused": True})
    trick = getattr(callbacks, name)(**COMPARE[name])
    with pytest.raises(TypeError, match=f"{name} needs gradients without the scale.*set fused=False"):
        trainer(callbacks=[trick], plugins=[half()]).fit(model, tiny_data)


@pytest.mark.parametrize("name", ["ClusteringDropConnect", "GradientFlow", "Slimming"])
def test_sees_gradients_without_the_scale(name, trainer, tiny_data):
    """What it adds or measures is what it is at a scale of 1."""

    def run(scale):
        torch.manual_seed(3)
        trick, model = getattr(callbacks, name)(**COMPARE[name]), tiny_classifier()
        trainer(callbacks=[trick], plugins=[half(scale)], max_steps=2, max_epochs=-1).fit(model, tiny_data)
        return trick, [p.detach() for p in model.parameters()]

    (trick, ours), (plain, theirs) = run(64.0), run(1.0)
    torch.testing.assert_close(ours, theirs, rtol=1e-2, atol=1e-4)
    if name == "ClusteringDropConnect":
        torch.testing.assert_close(trick._average, plain._average, rtol=2e-2, atol=1e-5)
    if name == "GradientFlow":
        assert trick.measured[1] == pytest.approx(plain.measured[1], rel=2e-2, abs=1e-5)


def test_a_step_that_overflows_is_not_measured(trainer, tiny_data):
    """The scaler skips it, and halves the scale until a step passes."""
    flow, ratio = callbacks.GradientFlow(), callbacks.UpdateRatio(every=1)
    trainer(callbacks=[flow, ratio], plugins=[half(2.0**40)], max_epochs=20).fit(tiny_classifier(), tiny_data)
    assert flow.findings and not any("above" in finding.text for finding in flow.findings)
    assert ratio.findings and not any("less than" in finding.text for finding in ratio.findings)


def test_derivatives_that_overflow_leave_their_average_alone():
    inf, r = float("inf"), torch.tensor([1.0, float("inf"), 4.0])
    average = running_mean(r, None, 0.5)
    assert average.tolist() == [1, 0, 4]
    assert running_mean(torch.tensor([3.0, 2.0, inf]), average, 0.5).tolist() == [2, 1, 4]
