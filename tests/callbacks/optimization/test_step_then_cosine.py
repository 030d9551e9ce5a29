"""Step then cosine: whole learning rate curves of real runs, against torch's schedulers for the halves."""

import pytest
from torch.optim.lr_scheduler import CosineAnnealingLR, MultiStepLR

from callbacks import StepThenCosine
from callbacks.frame.decay import cosine
from tests.callbacks.optimization.curves import LR, curve, reference, warm


def test_steps_then_cosine(trainer, tiny_data):
    """60 epochs of steps and 60 of cosine, scaled to a sixtieth of the length."""
    ours = curve(trainer, tiny_data, StepThenCosine(), max_epochs=8)
    assert ours[:12] == pytest.approx([LR] * 6 + [LR / 10] * 6)
    assert ours[12:] == pytest.approx([LR / 10 * cosine(t, 12) for t in range(12)])


def test_steps_then_cosine_has_torchs_halves(trainer, tiny_data):
    trick = StepThenCosine((1, "5st", 3), gamma=0.5, cosine_from=2, warmup_epochs=0.5)
    ours = curve(trainer, tiny_data, trick, max_epochs=4)
    steps = reference(6, lambda o: warm(o, 2, MultiStepLR(o, [1, 3], gamma=0.5)))  # 3 and 5, less the warm-up
    halves = steps + [0.25 * rate for rate in reference(6, lambda o: CosineAnnealingLR(o, T_max=6))]
    assert ours == pytest.approx(halves)  # a milestone after the switch has no effect


def test_what_it_refuses(trainer, tiny_data):
    with pytest.raises(ValueError, match=r"gamma must be in \(0, inf\], not"):
        StepThenCosine(gamma=0)
    with pytest.raises(ValueError, match="a time is"):
        StepThenCosine(cosine_from=-1)
    with pytest.raises(ValueError, match="the cosine would begin at step 6 of 6: let it begin earlier"):
        curve(trainer, tiny_data, StepThenCosine(cosine_from=2))
