"""Stepwise cosine: whole learning rate curves of real runs, against torch's smooth one."""

import pytest
from torch.optim.lr_scheduler import CosineAnnealingLR

from callbacks import StepwiseCosine
from callbacks.frame.decay import cosine
from tests.callbacks.optimization.curves import LR, curve, reference


@pytest.mark.parametrize("every, k", [(1, 3), ("2st", 2), ("0.2dur", 3)])
def test_stairs_of_a_cosine(trainer, tiny_data, every, k):
    ours = curve(trainer, tiny_data, StepwiseCosine(every), max_epochs=5)
    smooth = reference(15, lambda o: CosineAnnealingLR(o, T_max=15))
    assert ours == pytest.approx([smooth[k * (t // k)] for t in range(15)])


def test_stairs_begin_after_the_warm_up(trainer, tiny_data):
    ours = curve(trainer, tiny_data, StepwiseCosine("2st", warmup_epochs=1), max_epochs=2)
    assert ours == pytest.approx([LR / 3, LR * 2 / 3, LR, LR, LR, LR * cosine(2, 3)])


def test_what_it_refuses(trainer, tiny_data):
    with pytest.raises(ValueError, match="a time is"):
        StepwiseCosine("x")
    with pytest.raises(ValueError, match=r"every '0.05dur' is less than one optimizer step: make it longer"):
        curve(trainer, tiny_data, StepwiseCosine("0.05dur"))
