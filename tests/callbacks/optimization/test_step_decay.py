"""Step decay: whole learning rate curves of real runs, against torch's scheduler."""

import pytest
from torch.optim.lr_scheduler import MultiStepLR

from callbacks import StepDecay
from tests.callbacks.optimization.curves import LR, curve, reference


@pytest.mark.parametrize("accumulate, per_epoch", [(1, 3), (2, 2)])
def test_steps_are_torchs(trainer, tiny_data, accumulate, per_epoch):
    trick = StepDecay((2, 4), gamma=0.3)
    ours = curve(trainer, tiny_data, trick, max_epochs=5, accumulate_grad_batches=accumulate)
    milestones = [2 * per_epoch, 4 * per_epoch]
    assert ours == pytest.approx(reference(5 * per_epoch, lambda o: MultiStepLR(o, milestones, gamma=0.3)))


def test_warm_up_then_steps(trainer, tiny_data):
    ours = curve(trainer, tiny_data, StepDecay((2, 3), warmup_epochs=1), max_epochs=4)
    assert ours == pytest.approx([LR / 3, LR * 2 / 3, LR, LR, LR, LR, *[LR / 10] * 3, *[LR / 100] * 3])


def test_milestones_in_every_unit(trainer, tiny_data):
    ours = curve(trainer, tiny_data, StepDecay(("0.7dur", "2ep", "2st"), gamma=0.5), max_epochs=10)
    drops = [i for i in range(1, 30) if ours[i] < ours[i - 1]]
    assert drops == [2, 6, 21]


def test_what_it_refuses():
    with pytest.raises(ValueError, match=r"gamma must be in \(0, inf\], not 0"):
        StepDecay(gamma=0)
    with pytest.raises(ValueError, match="a time is"):
        StepDecay(("third",))
