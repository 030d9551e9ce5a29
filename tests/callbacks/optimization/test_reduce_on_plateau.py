"""Reduce on plateau: rates of real runs, value by value those of torch's ReduceLROnPlateau."""

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from callbacks import CosineDecay, EarlyStopping, LinearScaling, NoBiasDecay, ReduceOnPlateau
from datamodules import Digits
from tests.callbacks.conftest import At, Foreign, SeenRates
from tests.conftest import tiny_classifier
from zoo import Classifier

VALUES = [3.0, 2.0, 2.5, 1.9999, 2.2, 1.0, 1.1, 1.2, 0.5, 0.6]


class Logs(Callback):
    """Log a given value in each validation of a fit."""

    def __init__(self, values, name="given"):
        self.values, self.name = values, name

    def on_validation_epoch_end(self, trainer, model):
        if not trainer.sanity_checking:
            model.log(self.name, self.values[trainer.current_epoch])


def curve(trainer, data, trick, *more, model=None, fit=(), **arguments):
    rates = SeenRates()
    run = trainer(callbacks=[*more, trick, rates], **arguments)
    run.fit(model or tiny_classifier(lr=0.1), data, data, **dict(fit))
    return [rate[0] for rate in rates.rates]


def reference(values, each, **arguments):
    """Return torch's rates, with `each` steps per epoch."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    scheduler, rates = ReduceLROnPlateau(optimizer, eps=0, **arguments), []
    for value in values:
        rates += [optimizer.param_groups[0]["lr"]] * each
        scheduler.step(value)
    return rates


@pytest.mark.parametrize(
    "mode, patience, gamma, threshold", [("max", 0, 0.1, 1e-4), ("min", 1, 0.5, 1e-4), ("min", 0, 0.3, 0.2)]
)
def test_is_torchs(trainer, tiny_data, mode, patience, gamma, threshold):
    trick = ReduceOnPlateau("given", mode, gamma, patience, threshold)
    ours = curve(trainer, tiny_data, trick, Logs(VALUES), max_epochs=10, limit_train_batches=1)
    theirs = reference(VALUES, 1, mode=mode, factor=gamma, patience=patience, threshold=threshold)
    assert ours == pytest.approx(theirs)


def test_defaults_are_torchs_and_watch_the_validation_loss(trainer, tiny_data):
    ours = curve(trainer, tiny_data, ReduceOnPlateau(), Logs([1.0] * 14, "val/loss_"), max_epochs=2)
    assert ours == [0.1] * 6
    trick = ReduceOnPlateau("given")
    ours = curve(trainer, tiny_data, trick, Logs([1.0] * 14), max_epochs=14, limit_train_batches=1)
    assert ours == pytest.approx(reference([1.0] * 14, 1))
    assert ours[11:] == pytest.approx([0.1, 0.01, 0.01])


def test_every_validation_counts_not_every_epoch(trainer, tiny_data):
    trick = ReduceOnPlateau("given", patience=0, gamma=0.5)
    ours = curve(trainer, tiny_data, trick, Logs([1.0] * 9), val_check_interval=1, max_epochs=1)
    assert ours == pytest.approx([0.1, 0.1, 0.05])
    ours = curve(trainer, tiny_data, trick, Logs([1.0] * 9), check_val_every_n_epoch=2, max_epochs=6)
    assert ours == pytest.approx([0.1] * 12 + [0.05] * 6)


class Losses(Foreign):
    """A module with given training losses: one value per batch, three batches per epoch."""

    def __init__(self, losses):
        super().__init__()
        self.losses = iter(losses)

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        return loss - loss.detach() + next(self.losses)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_without_a_metric_the_mean_training_loss_of_an_epoch(trainer, tiny_data, accumulate):
    losses = [1, 2, 3, 3, 2, 0.5, 0, 6, 0, 1, 1, 1]  # means 2, 1.83, 2, 1
    trick = ReduceOnPlateau(None, patience=0, gamma=0.5)
    seen = []
    judge, trick.judge = trick.judge, lambda t, m, value: (seen.append(value), judge(t, m, value))
    curve(trainer, tiny_data, trick, model=Losses(losses), max_epochs=4, accumulate_grad_batches=accumulate)
    assert seen == pytest.approx([2, 5.5 / 3, 2, 1])
    assert trick._plateau.get_last_lr() == [0.5]


def test_warm_up_then_plateau_of_a_run_without_end(trainer, tiny_data):
    stop = At("on_train_epoch_end", lambda t, _: setattr(t, "should_stop", t.current_epoch == 3))
    trick = ReduceOnPlateau("given", patience=0, warmup_epochs=1, warmup_kind="constant")
    ours = curve(trainer, tiny_data, trick, Logs([1.0] * 9), stop, max_epochs=-1)
    assert ours == pytest.approx([0.01] * 3 + [0.1] * 3 + [0.01] * 3 + [0.001] * 3)


def test_groups_that_others_split_and_scale_follow(trainer, tiny_data):
    rates = SeenRates()
    tricks = [Logs(VALUES), ReduceOnPlateau("given", patience=0), NoBiasDecay(), LinearScaling(base=2), rates]
    trainer(callbacks=tricks, max_epochs=10, limit_train_batches=1).fit(tiny_classifier(lr=0.1), tiny_data, tiny_data)
    assert rates.rates == [pytest.approx([2 * rate] * 2) for rate in reference(VALUES, 1, patience=0)]


@pytest.mark.parametrize(
    "metric, hook",
    [
        ("given", "on_validation_end"),
        (None, "on_train_epoch_end"),
        pytest.param("given", "on_train_epoch_end", marks=pytest.mark.slow),
        pytest.param(None, "on_validation_end", marks=pytest.mark.slow),
    ],
)
def test_a_resumed_run_follows(trainer, tiny_data, tmp_path, hook, metric):
    file = tmp_path / "file.ckpt"
    save = At(hook, lambda t, _: t.current_epoch == 4 and not t.sanity_checking and t.save_checkpoint(file))
    curves = []
    for fit in ({}, {"ckpt_path": file, "weights_only": True}):
        trick = ReduceOnPlateau(metric, "min" if metric else "max", patience=0)
        torch.manual_seed(0)
        rates = SeenRates()
        run = trainer(callbacks=[Logs(VALUES), trick, rates, *([] if fit else [save])], max_epochs=10)
        run.fit(tiny_classifier(lr=0.1), tiny_data, tiny_data, **fit)
        curves.append(rates.rates)
    assert curves[1] == curves[0][-len(curves[1]) :] and len(curves[1]) == 15
    assert len({rate for (rate,) in curves[0][:15]}) > 1  # the rate has changed before the resume


def test_a_second_fit_starts_anew(trainer, tiny_data):
    trick = ReduceOnPlateau("given", patience=0)
    first, again = (curve(trainer, tiny_data, trick, Logs(VALUES), max_epochs=4) for _ in range(2))
    assert first == again and len(set(first)) == 2


def test_evaluation_alone_is_no_plateau(trainer, tiny_data, tmp_path):
    trick, model = ReduceOnPlateau(patience=0), tiny_classifier()
    run = trainer(callbacks=[trick])
    for _ in range(3):
        run.validate(model, tiny_data, verbose=False)
    run.save_checkpoint(tmp_path / "file.ckpt")
    assert trick._plateau.last_epoch == 0


def test_refusals(trainer, tiny_data):
    with pytest.raises(ValueError, match=r"has no 'val/los'; did you mean 'val/loss'"):
        curve(trainer, tiny_data, ReduceOnPlateau("val/los"))
    with pytest.raises(ValueError, match="reads 'val/loss' after each validation, and this run has none"):
        trainer(callbacks=[ReduceOnPlateau()]).fit(tiny_classifier(), tiny_data)
    with pytest.raises(ValueError, match="this run has none"):
        curve(trainer, tiny_data, ReduceOnPlateau(), limit_val_batches=0)
    with pytest.raises(ValueError, match="both set the learning rate"):
        curve(trainer, tiny_data, ReduceOnPlateau(), CosineDecay())
    for gamma in (0, 1):
        with pytest.raises(ValueError, match=r"gamma must be in \(0, 1\)"):
            ReduceOnPlateau(gamma=gamma)
    with pytest.raises(ValueError, match="mode has no 'less'; there are: min, max"):
        ReduceOnPlateau(mode="less")
    with pytest.raises(ValueError, match="patience must be in"):
        ReduceOnPlateau(patience=-1)
    with pytest.raises(ValueError, match="threshold must be in"):
        ReduceOnPlateau(threshold=-1)


@pytest.mark.parametrize(
    "trick", [ReduceOnPlateau(patience=0), EarlyStopping(patience=1)], ids=lambda t: type(t).__name__
)
def test_without_validation_images_it_says_so_before_training(trick):
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    model = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(192, 10)), 10)
    trainer = L.Trainer(max_epochs=1, accelerator="cpu", callbacks=[trick], **quiet)
    with pytest.raises(ValueError, match="this run has none: give it data to validate on, or set metric=None"):
        trainer.fit(model, Digits(256, val_split=0))
    assert trainer.global_step == 0


def test_a_training_metric_is_sent_to_the_training_loss():
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    model = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(192, 10)), 10)
    trainer = L.Trainer(max_epochs=1, accelerator="cpu", callbacks=[EarlyStopping("train/loss")], **quiet)
    with pytest.raises(ValueError, match="set metric=None for the loss of each training epoch"):
        trainer.fit(model, Digits(256))
