"""Accumulation that changes from epoch to epoch: steps, schedules, resumes; and Lightning's own callback."""

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import GradientAccumulationScheduler

from callbacks import AccumulationSchedule, CosineDecay, Linear, ReduceOnPlateau, WarmUp
from callbacks.frame.decay import cosine
from datamodules import Digits
from tests.callbacks.conftest import At, Foreign, SeenRates, assert_equal, weights
from tests.conftest import TinyNetwork, tiny_classifier
from zoo import Classifier


class Steps(L.Callback):
    """Record (epoch, batches since the last step) at every optimizer step."""

    def __init__(self):
        self.seen, self.batches = [], 0

    def on_train_batch_start(self, *args):
        self.batches += 1

    def on_before_optimizer_step(self, trainer, model, optimizer):
        self.seen.append((trainer.current_epoch, self.batches))
        self.batches = 0


def steps(trainer, data, *tricks, model=None, fit=(), **arguments):
    seen = Steps()
    run = trainer(callbacks=[*tricks, seen], **arguments)
    run.fit(model or tiny_classifier(lr=0.1), data, **dict(fit))
    assert len(seen.seen) == run.global_step or fit
    return seen.seen


def test_steps_of_each_epoch(trainer, tiny_data):
    """Three batches per epoch; the last step of an epoch has the remaining batches."""
    seen = steps(trainer, tiny_data, AccumulationSchedule((1, 3), (2, 5)), max_epochs=4)
    assert seen == [(0, 1)] * 3 + [(1, 2), (1, 1), (2, 2), (2, 1), (3, 3)]


def test_epochs_in_any_order():
    trick = AccumulationSchedule((3, 1), (5, 2))
    assert [trick.factor(epoch) for epoch in range(5)] == [1, 2, 2, 5, 5]


def test_multiples_of_the_trainers_number(trainer, tiny_data):
    trick = AccumulationSchedule((0, 1), (1, 2))
    seen = steps(trainer, tiny_data, trick, accumulate_grad_batches=2, limit_train_batches=3)
    assert seen == [(0, 2), (0, 1), (1, 3)]
    assert trick.get_accumulate_grad_batches(1) == 4


@pytest.mark.parametrize("epochs, factors", [((1, 3), (2, 3)), ((0, 2), (3, 1))])
def test_trains_as_lightnings_does(trainer, tiny_data, epochs, factors):
    ends = []
    lightnings = GradientAccumulationScheduler(dict(zip(epochs, factors, strict=True)))
    for trick in (AccumulationSchedule(epochs, factors), lightnings):
        torch.manual_seed(0)
        model = tiny_classifier(lr=0.1)
        trainer(callbacks=[trick], max_epochs=4).fit(model, tiny_data)
        ends.append(weights(model))
    assert_equal(*ends)


@pytest.mark.parametrize("trick", [AccumulationSchedule((1, 3), (2, 3)), AccumulationSchedule((0, 2), (3, 1))])
def test_schedules_of_the_rate_end_when_the_run_does(trainer, tiny_data, trick):
    seen = SeenRates()
    run = trainer(callbacks=[CosineDecay(), trick, seen], max_epochs=5)
    run.fit(tiny_classifier(lr=0.1), tiny_data)
    total = run.global_step
    assert total == (3 + 2 + 2 + 1 + 1 if trick.epochs[0] else 1 + 1 + 3 + 3 + 3)
    assert [rate[0] for rate in seen.rates] == pytest.approx([0.1 * cosine(t, total) for t in range(total)])
    assert run.estimated_stepping_batches == 15  # Lightning's wrong estimate


def test_warm_up_and_plateau_count_right(trainer, tiny_data):
    for schedule in (WarmUp(2), ReduceOnPlateau(None, warmup_epochs=2)):
        seen = SeenRates()
        tricks = [schedule, AccumulationSchedule((1,), (3,)), seen]
        trainer(callbacks=tricks, max_epochs=4).fit(tiny_classifier(lr=1.0), tiny_data)
        assert [rate[0] for rate in seen.rates] == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1])


# ---- after a fit


def test_the_trainer_gets_its_number_back(trainer, tiny_data):
    run = trainer(callbacks=[AccumulationSchedule((0,), (3,))], accumulate_grad_batches=2)
    for _ in range(2):
        run.fit(tiny_classifier(), tiny_data)
        assert run.accumulate_grad_batches == 2
        run.fit_loop.max_epochs += 2

    class Failing(Foreign):
        def training_step(self, batch, batch_idx):
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        run.fit(Failing(), tiny_data)
    assert run.accumulate_grad_batches == 2


def test_lightnings_does_not_give_it_back(trainer, tiny_data):
    """The reason for the test above; if this fails, Lightning has fixed it."""
    run = trainer(callbacks=[GradientAccumulationScheduler({0: 3})])
    run.fit(tiny_classifier(), tiny_data)
    assert run.accumulate_grad_batches == 3
    run.fit_loop.max_epochs = 4
    with pytest.raises(ValueError, match="You have set `accumulate_grad_batches`"):
        run.fit(tiny_classifier(), tiny_data)


# ---- resume


def in_mid_epoch(trainer, tmp_path, make):
    """Save a file in the second epoch, after batch 2 of 5; return the steps after it, without and with a resume."""
    file, ends = tmp_path / "file.ckpt", []
    save = At("on_train_batch_end", lambda t, _: t.fit_loop.total_batch_idx == 6 and t.save_checkpoint(file))
    for fit in ({}, {"ckpt_path": file, "weights_only": True}):
        torch.manual_seed(0)
        model = Classifier(TinyNetwork(), lr=0.05)
        data = Digits(8, val_split=1437 - 40, num_workers=0)
        seen = Steps()
        run = trainer(callbacks=[make(), *([] if fit else [save]), seen], max_epochs=3, limit_val_batches=0)
        run.fit(model, data, **fit)
        ends.append((seen.seen, weights(model)))
    return ends


@pytest.mark.filterwarnings("ignore:The 'train_dataloader' does not have many workers")
def test_a_resume_in_mid_epoch_is_exact(trainer, tmp_path):
    straight, resumed = in_mid_epoch(trainer, tmp_path, lambda: AccumulationSchedule((1,), (2,)))
    assert straight[0] == [(0, 1)] * 5 + [(1, 2), (1, 2), (1, 1), (2, 2), (2, 2), (2, 1)]
    assert resumed[0] == straight[0][6:]
    assert_equal(straight[1], resumed[1])


@pytest.mark.filterwarnings("ignore:The 'train_dataloader' does not have many workers")
def test_lightnings_forgets_its_epoch(trainer, tmp_path):
    """The reason for the test above; if this fails, Lightning has fixed it."""
    straight, resumed = in_mid_epoch(trainer, tmp_path, lambda: GradientAccumulationScheduler({0: 1, 1: 2}))
    assert straight[0][6:8] == [(1, 2), (1, 1)]
    assert resumed[0][:3] == [(1, 1), (1, 1), (1, 1)]


# ---- refusals


def test_refusals(trainer, tiny_data):
    for epochs, factors in (((), ()), ((1, 2), (2,)), ((-1,), (2,)), ((1,), (0,)), ((1,), (1.5,))):
        with pytest.raises(ValueError, match="takes as many epochs >= 0 as factors >= 1"):
            AccumulationSchedule(epochs, factors)
    with pytest.raises(ValueError, match="and Lightning's both schedule the accumulation: take one of them out"):
        steps(trainer, tiny_data, GradientAccumulationScheduler({1: 2}), AccumulationSchedule())

    class Manual(Foreign):
        automatic_optimization = False

    with pytest.raises(TypeError, match="must accumulate by itself"):
        steps(trainer, tiny_data, AccumulationSchedule(), model=Manual())


def test_rates_of_other_tricks_end_when_the_run_does(trainer, tiny_data):
    """9 steps: three of one batch each in the first epoch, then two per epoch."""
    rate, seen = Linear(0, 1), []
    look = At("on_before_optimizer_step", lambda trainer, model: seen.append(rate.now(trainer)))
    run = trainer(callbacks=[AccumulationSchedule((1,), (2,)), look], max_epochs=4)
    run.fit(tiny_classifier(), tiny_data)
    assert seen == pytest.approx([step / 9 for step in range(9)])
