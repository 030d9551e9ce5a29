"""Cosine decay: whole learning rate curves of real runs, against torch's scheduler."""

import math

import pytest
from torch.optim.lr_scheduler import CosineAnnealingLR

from callbacks import CosineDecay
from callbacks.frame.decay import cosine
from tests.callbacks.optimization.curves import LR, curve, reference, warm


def test_cosine_by_hand():
    assert [cosine(t, 4) for t in range(5)] == pytest.approx([1, 0.8535534, 0.5, 0.1464466, 0])


@pytest.mark.parametrize("accumulate, steps", [(1, 15), (2, 10), (3, 5)])
def test_cosine_is_torchs(trainer, tiny_data, accumulate, steps):
    ours = curve(trainer, tiny_data, CosineDecay(), max_epochs=5, accumulate_grad_batches=accumulate)
    assert ours == pytest.approx(reference(steps, lambda o: CosineAnnealingLR(o, T_max=steps)))
    assert ours[0] == LR


@pytest.mark.parametrize(
    "epochs, accumulate, m, steps", [(2, 1, 6, 15), (2, 2, 4, 10), (0.5, 1, 2, 15), (1.5, 2, 3, 10)]
)
def test_warm_up_then_cosine_is_torchs(trainer, tiny_data, epochs, accumulate, m, steps):
    ours = curve(trainer, tiny_data, CosineDecay(epochs), max_epochs=5, accumulate_grad_batches=accumulate)
    theirs = reference(steps, lambda o: warm(o, m, CosineAnnealingLR(o, T_max=steps - m)))
    assert ours == pytest.approx(theirs)
    assert ours[:m] == pytest.approx([LR * i / m for i in range(1, m + 1)])


def multiplier_then_cosine(x, num_step, epochs, warmup_epochs=1, warmup_factor=1e-3, end_factor=1e-6):
    """The multiplier of the lists of tricks that have gone round since 2021, literally."""
    if x <= warmup_epochs * num_step:
        alpha = x / (warmup_epochs * num_step)
        return warmup_factor * (1 - alpha) + alpha
    t, T = x - warmup_epochs * num_step, (epochs - warmup_epochs) * num_step
    return (1 + math.cos(t * math.pi / T)) / 2 * (1 - end_factor) + end_factor


@pytest.mark.parametrize("warmup_epochs", [1, 3])
def test_multiplier_then_cosine_with_an_end(trainer, tiny_data, warmup_epochs):
    ours = curve(trainer, tiny_data, CosineDecay(warmup_epochs, "multiplier", end=1e-6), max_epochs=5)
    assert ours == pytest.approx([LR * multiplier_then_cosine(x, 3, 5, warmup_epochs) for x in range(15)], rel=1e-12)
    assert ours[0] == pytest.approx(1e-3 * LR)


def test_a_cosine_ends_at_its_end(trainer, tiny_data):
    ours = curve(trainer, tiny_data, CosineDecay(end=0.2), max_epochs=5)
    assert ours == pytest.approx(reference(15, lambda o: CosineAnnealingLR(o, 15, eta_min=0.2 * LR)))


def test_refuses_an_end_above_the_start():
    with pytest.raises(ValueError, match="end must be in"):
        CosineDecay(end=1.1)
