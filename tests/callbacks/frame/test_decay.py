"""All schedules that depend on the step alone: warm-up, accumulation, groups, resumes and refusals."""

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, LinearLR
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
from tests.callbacks.conftest import Foreign, SeenRates
from tests.callbacks.optimization.curves import LR, curve, reference
from tests.conftest import tiny_classifier


@pytest.mark.parametrize(
    "kind, theirs",
    [("multiplier", lambda o: LinearLR(o, 1e-3, total_iters=6)), ("constant", lambda o: ConstantLR(o, 0.1, 6))],
)
def test_warm_ups_are_torchs(trainer, tiny_data, kind, theirs):
    ours = curve(trainer, tiny_data, StepDecay((99,), warmup_epochs=2, warmup_kind=kind), max_epochs=4)
    assert ours == pytest.approx(reference(12, theirs))
    assert ours[6:] == [LR] * 6


@pytest.mark.parametrize("change", [{1: 2, 3: 3}, {0: 2, 2: 1}])
@pytest.mark.parametrize("trick", [CosineDecay(), PolynomialDecay(1, 2)])
def test_under_lightnings_changing_accumulation(trainer, tiny_data, change, trick):
    """Lightning's estimate uses the first epoch's accumulation: a cosine would end above 0, or too early."""
    ours = curve(trainer, tiny_data, trick, GradientAccumulationScheduler({**change}), max_epochs=4)
    steps = 3 + 2 + 2 + 1 if 1 in change else 2 + 2 + 3 + 3
    assert len(ours) == trick.total == steps
    if isinstance(trick, CosineDecay):
        assert ours == pytest.approx(reference(steps, lambda o: CosineAnnealingLR(o, T_max=steps)))
    else:
        assert trick.warmup == (5 if 1 in change else 4)
        assert ours[-1] == pytest.approx(LR / (steps - trick.warmup))


@pytest.mark.parametrize("epochs", [-1, 5])
def test_max_steps(trainer, tiny_data, epochs):
    ours = curve(trainer, tiny_data, CosineDecay(), max_epochs=epochs, max_steps=8)
    assert ours == pytest.approx(reference(8, lambda o: CosineAnnealingLR(o, T_max=8)))


class Stream(IterableDataset):
    """Images without a known number."""

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
    with pytest.raises(ValueError, match="cannot turn 1 epochs into steps"):
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
    with pytest.raises(ValueError, match=r"a warm-up has no 'cubic'; there are: linear, multiplier, constant"):
        CosineDecay(1, "cubic")
