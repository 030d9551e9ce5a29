"""DeadUnits: the fraction by hand, a dead layer, one measurement per epoch, no hook that remains."""

import pytest
import torch

from callbacks import DeadUnits
from callbacks.diagnostics.dead_units import dead_fraction
from tests.callbacks.conftest import At, hooks
from tests.callbacks.diagnostics.fits import found
from tests.conftest import tiny_classifier


def test_dead_fraction_by_hand():
    a = torch.zeros(2, 4, 3, 3)
    a[1, 0, 2, 2] = a[0, 3] = 1
    assert dead_fraction(a) == 0.5
    assert dead_fraction(a.permute(0, 2, 3, 1).flatten(1, 2)) == 0.5  # tokens (N, L, D)


def test_rectifiers_are_looked_at_once_an_epoch(tiny_data, trainer):
    assert len(found(DeadUnits(fraction=1.0), trainer, tiny_data, max_epochs=2)) == 2


def test_no_hook_of_dead_units_outlives_an_exception(tiny_data, trainer):
    def stop(trainer, model):
        raise RuntimeError("stop")

    model = tiny_classifier()
    with pytest.raises(RuntimeError, match="stop"):
        trainer(callbacks=[DeadUnits(), At("on_before_zero_grad", stop)]).fit(model, tiny_data)
    assert hooks(model) == 0


def test_rectifiers_that_are_dead(tiny_data, trainer):
    model = tiny_classifier()
    model.network.block1.downsample.bias.data.fill_(-1000)
    findings = found(DeadUnits(), trainer, tiny_data, model, max_epochs=1)
    assert not findings[0].well and "network.block1.relu (100%)" in findings[0].text
    assert found(DeadUnits(), trainer, tiny_data, max_epochs=1)[0].well
    assert not model.network.block1.relu._forward_hooks
