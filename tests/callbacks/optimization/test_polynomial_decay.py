"""Polynomial decay: whole learning rate curves of real runs, against torch's scheduler."""

import pytest
from torch.optim.lr_scheduler import PolynomialLR

from callbacks import PolynomialDecay
from tests.callbacks.optimization.curves import LR, curve, reference


@pytest.mark.parametrize("power, warmup", [(0.9, 0), (1, 1), (3, 2)])
def test_polynomial_is_torchs(trainer, tiny_data, power, warmup):
    ours = curve(trainer, tiny_data, PolynomialDecay(power, warmup), max_epochs=5)
    theirs = reference(15 - 3 * warmup, lambda o: PolynomialLR(o, total_iters=15 - 3 * warmup, power=power))
    assert ours[3 * warmup :] == pytest.approx(theirs)
    assert ours[: 3 * warmup] == pytest.approx([LR * i / (3 * warmup) for i in range(1, 3 * warmup + 1)])


def test_polynomial_of_power_one_is_a_line(trainer, tiny_data):
    assert curve(trainer, tiny_data, PolynomialDecay(1)) == pytest.approx([LR * left / 6 for left in range(6, 0, -1)])


def test_refuses_a_power_of_zero():
    with pytest.raises(ValueError, match="power must be in"):
        PolynomialDecay(0)
