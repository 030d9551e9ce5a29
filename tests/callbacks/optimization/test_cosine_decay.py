"""Cosine decay: whole learning rate curves of real runs, against torch's scheduler."""

import math

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import StochasticWeightAveraging
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR

from callbacks import CosineDecay
from callbacks.frame.decay import cosine
from datamodules import Digits
from tests.callbacks.optimization.curves import LR, curve, reference, warm
from zoo import Classifier


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
    """Return the multiplier of published lists of tricks (2021), literally."""
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


def fit_digits(trick, more=(), **options):
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = L.Trainer(accelerator="cpu", callbacks=[trick, *more], **quiet, **options)
    trainer.fit(Classifier(nn.Sequential(nn.Flatten(), nn.Linear(192, 10)), 10, lr=1.0), Digits(256))
    return trainer


def test_a_warm_up_is_given_in_steps_or_as_a_fraction_too():
    rates = []

    class Seen(L.Callback):
        def on_before_optimizer_step(self, trainer, model, optimizer):
            rates.append(optimizer.param_groups[0]["lr"])

    fit_digits(CosineDecay(warmup_epochs="4st"), [Seen()], max_epochs=2)
    assert rates[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0]) and rates[5] < 1
    with pytest.raises(ValueError, match="a time is a number of epochs"):
        CosineDecay(warmup_epochs="4 steps")


def test_a_warm_up_longer_than_a_fast_dev_run_is_shortened():
    trick = CosineDecay(warmup_epochs=5)
    fit_digits(trick, fast_dev_run=3)
    assert trick.warmup == 2
    with pytest.raises(ValueError, match="train longer or warm up for less"):
        fit_digits(CosineDecay(warmup_epochs=5), max_epochs=2)


def test_lightnings_weight_averaging_is_refused_beside_a_schedule():
    with pytest.raises(ValueError, match=r"take callbacks\.SWA"):
        fit_digits(CosineDecay(), [StochasticWeightAveraging(0.01)], max_epochs=2)


def test_a_parameter_group_added_in_mid_run_is_scheduled_too():
    """Lightning's BaseFinetuning adds groups in this way."""

    class Adds(L.Callback):
        def on_train_epoch_start(self, trainer, model):
            if trainer.current_epoch == 1:
                group = {"params": [nn.Parameter(torch.zeros(2))], "lr": 0.5}
                trainer.optimizers[0].add_param_group(group)

    trainer = fit_digits(CosineDecay(), [Adds()], max_epochs=3)
    first, second = (group["lr"] for group in trainer.optimizers[0].param_groups)
    assert second == pytest.approx(0.5 * first)
