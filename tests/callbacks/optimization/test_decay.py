"""Schedules of the step alone, with warm-up: whole learning rate curves of real runs, against torch's schedulers."""

import math

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, LinearLR, MultiStepLR, PolynomialLR, SequentialLR
from torch.utils.data import DataLoader, IterableDataset

from callbacks import (
    SWA,
    CosineDecay,
    LinearScaling,
    MultiScale,
    NoBiasDecay,
    PolynomialDecay,
    StepDecay,
    StepThenCosine,
    StepwiseCosine,
)
from callbacks.frame.decay import cosine
from tests.callbacks.conftest import Foreign, SeenRates
from tests.conftest import tiny_classifier

LR = 0.1


def curve(trainer, data, *tricks, model=None, **arguments):
    """The first group's rate at every optimizer step."""
    rates = SeenRates()
    run = trainer(callbacks=[*tricks, rates], **arguments)
    run.fit(model or tiny_classifier(lr=LR), data)
    assert len(rates.rates) == run.global_step
    return [rate[0] for rate in rates.rates]


def reference(steps, make):
    """What torch's scheduler gives, stepped with every optimizer step."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=LR)
    scheduler, rates = make(optimizer), []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def warm(optimizer, m, then):
    """Batch i = 1 .. m at i / m, then another scheduler from its start."""
    return SequentialLR(optimizer, [LinearLR(optimizer, 1 / m, total_iters=m - 1), then], milestones=[m])


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


def notes_factor(x, num_step, epochs, warmup_epochs=1, warmup_factor=1e-3, end_factor=1e-6):
    """The multiplier of the lists of tricks that have gone round since 2021, literally."""
    if x <= warmup_epochs * num_step:
        alpha = x / (warmup_epochs * num_step)
        return warmup_factor * (1 - alpha) + alpha
    t, T = x - warmup_epochs * num_step, (epochs - warmup_epochs) * num_step
    return (1 + math.cos(t * math.pi / T)) / 2 * (1 - end_factor) + end_factor


@pytest.mark.parametrize("warmup_epochs", [1, 3])
def test_multiplier_then_cosine_with_an_end(trainer, tiny_data, warmup_epochs):
    ours = curve(trainer, tiny_data, CosineDecay(warmup_epochs, "multiplier", end=1e-6), max_epochs=5)
    assert ours == pytest.approx([LR * notes_factor(x, 3, 5, warmup_epochs) for x in range(15)], rel=1e-12)
    assert ours[0] == pytest.approx(1e-3 * LR)


@pytest.mark.parametrize(
    "kind, theirs",
    [("multiplier", lambda o: LinearLR(o, 1e-3, total_iters=6)), ("constant", lambda o: ConstantLR(o, 0.1, 6))],
)
def test_warm_ups_are_torchs(trainer, tiny_data, kind, theirs):
    ours = curve(trainer, tiny_data, StepDecay((99,), warmup_epochs=2, warmup_kind=kind), max_epochs=4)
    assert ours == pytest.approx(reference(12, theirs))
    assert ours[6:] == [LR] * 6


def test_a_cosine_ends_at_its_end(trainer, tiny_data):
    ours = curve(trainer, tiny_data, CosineDecay(end=0.2), max_epochs=5)
    assert ours == pytest.approx(reference(15, lambda o: CosineAnnealingLR(o, 15, eta_min=0.2 * LR)))


@pytest.mark.parametrize("power, warmup", [(0.9, 0), (1, 1), (3, 2)])
def test_polynomial_is_torchs(trainer, tiny_data, power, warmup):
    ours = curve(trainer, tiny_data, PolynomialDecay(power, warmup), max_epochs=5)
    theirs = reference(15 - 3 * warmup, lambda o: PolynomialLR(o, total_iters=15 - 3 * warmup, power=power))
    assert ours[3 * warmup :] == pytest.approx(theirs)
    assert ours[: 3 * warmup] == pytest.approx([LR * i / (3 * warmup) for i in range(1, 3 * warmup + 1)])


def test_polynomial_of_power_one_is_a_line(trainer, tiny_data):
    assert curve(trainer, tiny_data, PolynomialDecay(1)) == pytest.approx([LR * left / 6 for left in range(6, 0, -1)])


def test_steps_then_cosine(trainer, tiny_data):
    """60 epochs of steps and 60 of cosine, at a sixtieth of the length."""
    ours = curve(trainer, tiny_data, StepThenCosine(), max_epochs=8)
    assert ours[:12] == pytest.approx([LR] * 6 + [LR / 10] * 6)
    assert ours[12:] == pytest.approx([LR / 10 * cosine(t, 12) for t in range(12)])


def test_steps_then_cosine_has_torchs_halves(trainer, tiny_data):
    trick = StepThenCosine((1, "5st", 3), gamma=0.5, cosine_from=2, warmup_epochs=0.5)
    ours = curve(trainer, tiny_data, trick, max_epochs=4)
    steps = reference(6, lambda o: warm(o, 2, MultiStepLR(o, [1, 3], gamma=0.5)))  # 3 and 5, less the warm-up
    halves = steps + [0.25 * rate for rate in reference(6, lambda o: CosineAnnealingLR(o, T_max=6))]
    assert ours == pytest.approx(halves)  # a milestone after the switch counts for nothing


@pytest.mark.parametrize("every, k", [(1, 3), ("2st", 2), ("0.2dur", 3)])
def test_stairs_of_a_cosine(trainer, tiny_data, every, k):
    ours = curve(trainer, tiny_data, StepwiseCosine(every), max_epochs=5)
    smooth = reference(15, lambda o: CosineAnnealingLR(o, T_max=15))
    assert ours == pytest.approx([smooth[k * (t // k)] for t in range(15)])


def test_stairs_begin_after_the_warm_up(trainer, tiny_data):
    ours = curve(trainer, tiny_data, StepwiseCosine("2st", warmup_epochs=1), max_epochs=2)
    assert ours == pytest.approx([LR / 3, LR * 2 / 3, LR, LR, LR, LR * cosine(2, 3)])


@pytest.mark.parametrize("change", [{1: 2, 3: 3}, {0: 2, 2: 1}])
@pytest.mark.parametrize("trick", [CosineDecay(), PolynomialDecay(1, 2)])
def test_under_lightnings_changing_accumulation(trainer, tiny_data, change, trick):
    """Lightning's own estimate is of the first epoch's accumulation: a cosine would end high, or end early."""
    ours = curve(trainer, tiny_data, trick, GradientAccumulationScheduler({**change}), max_epochs=4)
    steps = 3 + 2 + 2 + 1 if 1 in change else 2 + 2 + 3 + 3
    assert len(ours) == trick.total == steps
    if isinstance(trick, CosineDecay):
        assert ours == pytest.approx(reference(steps, lambda o: CosineAnnealingLR(o, T_max=steps)))
    else:
        assert trick.warmup == (5 if 1 in change else 4)
        assert ours[-1] == pytest.approx(LR / (steps - trick.warmup))


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


@pytest.mark.parametrize("epochs", [-1, 5])
def test_max_steps(trainer, tiny_data, epochs):
    ours = curve(trainer, tiny_data, CosineDecay(), max_epochs=epochs, max_steps=8)
    assert ours == pytest.approx(reference(8, lambda o: CosineAnnealingLR(o, T_max=8)))


class Stream(IterableDataset):
    """Images whose number nobody knows."""

    def __init__(self, items):
        self.items = items

    def __iter__(self):
        return iter(self.items)


def test_data_without_a_length(trainer, tiny_data):
    data = DataLoader(Stream(tiny_data.dataset), tiny_data.batch_size, collate_fn=tiny_data.collate_fn)
    ours = curve(trainer, data, CosineDecay(), max_epochs=-1, max_steps=8)
    assert ours == pytest.approx(reference(8, lambda o: CosineAnnealingLR(o, T_max=8)))
    with pytest.raises(ValueError, match="the training data has no length: set max_steps"):
        curve(trainer, data, CosineDecay())
    with pytest.raises(ValueError, match="1 epochs are how many steps"):
        curve(trainer, data, CosineDecay(warmup_epochs=1), max_epochs=-1, max_steps=8)
    curve(trainer, data, SWA("3st", "2st", anneal=0), MultiScale(multiple=4), max_epochs=-1, max_steps=8)


@pytest.mark.parametrize("trick", [CosineDecay(1), StepDecay((1,))])
def test_foreign_modules_follow(trainer, tiny_data, trick):
    assert curve(trainer, tiny_data, trick, model=Foreign()) == curve(trainer, tiny_data, trick)


@pytest.mark.parametrize("order", [1, -1])
def test_groups_that_others_split_and_scale_follow(trainer, tiny_data, order):
    rates = SeenRates()
    tricks = [CosineDecay(0.5), NoBiasDecay(), LinearScaling(base=2)][::order]
    trainer(callbacks=[*tricks, rates]).fit(tiny_classifier(lr=LR), tiny_data)
    alone = curve(trainer, tiny_data, CosineDecay(0.5))
    assert rates.rates == [pytest.approx([2 * rate, 2 * rate]) for rate in alone]  # batch 4 for base 2


def test_each_group_keeps_its_own_rate(trainer, tiny_data):
    class TwoRates(Foreign):
        def configure_optimizers(self):
            head, rest = self.network.head.parameters(), self.network.block1.parameters()
            return torch.optim.SGD([{"params": rest, "lr": 0.4}, {"params": head, "lr": 0.1}])

    rates = SeenRates()
    trainer(callbacks=[CosineDecay(), rates]).fit(TwoRates(), tiny_data)
    assert rates.rates[0] == [0.4, 0.1]
    assert all(a == pytest.approx(4 * b) for a, b in rates.rates)


def test_a_second_fit_starts_anew(trainer, tiny_data):
    trick, model = CosineDecay(1), tiny_classifier(lr=LR)
    first = curve(trainer, tiny_data, trick, model=model)
    assert curve(trainer, tiny_data, trick, model=model) == first


@pytest.mark.parametrize(
    "trick",
    [CosineDecay(1), StepDecay(("0.5dur",), warmup_epochs=0.5), StepThenCosine(), StepwiseCosine("2st", 1)],
    ids=lambda trick: type(trick).__name__,
)
def test_a_resumed_run_follows_the_same_curve(trainer, tiny_data, trick, tmp_path):
    class Save(L.Callback):
        def on_train_epoch_end(self, trainer, model):
            trainer.save_checkpoint(tmp_path / f"{trainer.current_epoch}.ckpt")

    straight = curve(trainer, tiny_data, trick, Save(), max_epochs=4)
    rates = SeenRates()
    run = trainer(callbacks=[trick, rates], max_epochs=4)
    run.fit(tiny_classifier(lr=LR), tiny_data, ckpt_path=tmp_path / "1.ckpt")
    assert [rate[0] for rate in rates.rates] == straight[6:]


# ---- refusals


class OwnScheduler(Foreign):
    def configure_optimizers(self):
        optimizer = super().configure_optimizers()
        return [optimizer], [CosineAnnealingLR(optimizer, 5)]


@pytest.mark.parametrize("tricks", [(CosineDecay, StepDecay), (StepDecay, CosineDecay), (CosineDecay, CosineDecay)])
def test_refuses_two_schedules(trainer, tiny_data, tricks):
    with pytest.raises(ValueError, match="both set the learning rate: take one of them out"):
        curve(trainer, tiny_data, *(trick() for trick in tricks))


def test_refuses_a_model_with_its_own_scheduler(trainer, tiny_data):
    with pytest.raises(ValueError, match="model's own scheduler both set the learning rate"):
        curve(trainer, tiny_data, CosineDecay(), model=OwnScheduler())


@pytest.mark.parametrize("arguments", [{"max_epochs": 2}, {"max_epochs": -1, "max_steps": 6}, {"max_steps": 5}])
@pytest.mark.parametrize("trick", [CosineDecay(2), StepDecay(warmup_epochs=3)])
def test_refuses_a_warm_up_that_leaves_nothing(trainer, tiny_data, trick, arguments):
    with pytest.raises(ValueError, match="leave nothing: train longer or warm up for less"):
        curve(trainer, tiny_data, trick, **{"max_epochs": 2, **arguments})


def test_refuses_a_run_without_end(trainer, tiny_data):
    with pytest.raises(ValueError, match="needs a run with an end"):
        curve(trainer, tiny_data, CosineDecay(), max_epochs=-1)


def test_refuses_wrong_arguments(trainer, tiny_data):
    with pytest.raises(ValueError, match="warmup_epochs must be >= 0, got -1"):
        curve(trainer, tiny_data, CosineDecay(-1))
    with pytest.raises(ValueError, match="gamma must be > 0, got 0"):
        StepDecay(gamma=0)
    for make in (lambda: StepDecay(("third",)), lambda: StepThenCosine(cosine_from=-1), lambda: StepwiseCosine("x")):
        with pytest.raises(ValueError, match="a time is"):
            make()
    with pytest.raises(ValueError, match=r"a warm-up has no 'cubic'; there are: linear, multiplier, constant"):
        CosineDecay(1, "cubic")
    with pytest.raises(ValueError, match="end must be in"):
        CosineDecay(end=1.1)
    with pytest.raises(ValueError, match="power must be in"):
        PolynomialDecay(0)
    with pytest.raises(ValueError, match="gamma must be > 0"):
        StepThenCosine(gamma=0)


def test_refuses_what_leaves_nothing(trainer, tiny_data):
    with pytest.raises(ValueError, match="the cosine would begin at step 6 of 6: let it begin earlier"):
        curve(trainer, tiny_data, StepThenCosine(cosine_from=2))
    with pytest.raises(ValueError, match=r"every '0.05dur' is less than one optimizer step: make it longer"):
        curve(trainer, tiny_data, StepwiseCosine("0.05dur"))
