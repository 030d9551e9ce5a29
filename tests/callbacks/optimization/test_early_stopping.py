"""Early stopping: the end of a run, compared with Lightning's callback, and the final weights."""

from types import SimpleNamespace

import lightning as L
import pytest
import torch

from callbacks import EMA, EarlyStopping, ReduceOnPlateau
from tests.callbacks.conftest import At, Foreign, assert_equal, weights
from tests.callbacks.optimization.test_reduce_on_plateau import Logs, Losses
from tests.conftest import tiny_classifier

VALUES = [3.0, 2.0, 2.5, 1.95, 2.2, 1.0, 1.1, 1.2, 0.99, 0.6, 0.7]


def run(trainer, data, trick, *more, model=None, fit=(), **arguments):
    arguments = {"max_epochs": len(VALUES), "limit_train_batches": 1, "limit_val_batches": 1, **arguments}
    trained = trainer(callbacks=[trick, *more], **arguments)
    trained.fit(model or tiny_classifier(lr=0.1), data, data, **dict(fit))
    return trained


def after_epochs(into):
    """Return a callback that appends the weights to a list at the end of each validation."""
    return At("on_validation_end", lambda t, model: t.sanity_checking or into.append(weights(model)))


@pytest.mark.parametrize(
    "mode, patience, min_delta",
    [
        ("min", 1, 0),
        ("max", 2, 0),
        ("min", 2, 0.1),
        ("max", 3, 0.02),
        pytest.param("min", 20, 0, marks=pytest.mark.slow),
    ],
)
def test_stops_when_lightnings_does(trainer, tiny_data, mode, patience, min_delta):
    values = VALUES if mode == "min" else [-value for value in VALUES]
    ours = EarlyStopping("given", mode, patience, min_delta)
    theirs = L.pytorch.callbacks.EarlyStopping("given", min_delta, patience, mode=mode)
    ends = [run(trainer, tiny_data, trick, Logs(values)).current_epoch for trick in (ours, theirs)]
    assert ends[0] == ends[1]
    assert ours.best_value == pytest.approx(theirs.best_score.item())
    assert ours.stopped == (theirs.stopped_epoch > 0)


@pytest.mark.parametrize("patience, best", [(1, 1), (2, 5), (3, 9)])
def test_leaves_the_best_weights(trainer, tiny_data, patience, best):
    """With a patience of 3, the run reaches its regular end."""
    seen, model = [], tiny_classifier(lr=0.1)
    trick = EarlyStopping("given", patience=patience)
    run(trainer, tiny_data, trick, Logs(VALUES), after_epochs(seen), model=model)
    assert len(seen) == min(best + patience + 1, len(VALUES))
    assert_equal(weights(model), seen[best])
    assert trick.best_value == pytest.approx(VALUES[best])
    assert not torch.equal(seen[best]["network.head.bias"], seen[-1]["network.head.bias"])


def test_the_best_score_is_that_of_the_weights(trainer, tiny_data):
    trick, model = EarlyStopping(patience=2), tiny_classifier(lr=1.0)
    run(trainer, tiny_data, trick, model=model, limit_val_batches=1.0)
    assert trainer().validate(model, tiny_data, verbose=False)[0]["val/loss"] == pytest.approx(trick.best_value)


def test_the_training_loss_without_validation(trainer, tiny_data):
    losses, seen = [1, 2, 3, 3, 2, 0.5, 0, 6, 0, 2, 2, 2, 0, 0, 0], []  # means 2, 1.83, 2, 2, 0
    save = At("on_train_epoch_end", lambda t, model: seen.append(weights(model)))
    trick, model = EarlyStopping(None, patience=2), Losses(losses)
    trained = trainer(callbacks=[trick, save], max_epochs=5)
    trained.fit(model, tiny_data)
    assert trained.current_epoch == 4 and trick.best_value == pytest.approx(5.5 / 3)
    assert_equal(weights(model), seen[1])


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_value_that_is_not_finite_stops_at_once(trainer, tiny_data, bad):
    seen, model = [], tiny_classifier(lr=0.1)
    trick = EarlyStopping("given")
    trained = run(trainer, tiny_data, trick, Logs([2.0, 1.0, bad, 0.5]), after_epochs(seen), model=model, max_epochs=4)
    assert trained.current_epoch == 3
    assert_equal(weights(model), seen[1])


def test_what_another_stops_keeps_its_last_weights(trainer, tiny_data):
    """So Ctrl-C loses nothing."""
    seen, model = [], tiny_classifier(lr=0.1)
    stop = At("on_train_epoch_end", lambda t, _: setattr(t, "should_stop", t.current_epoch == 2))
    run(trainer, tiny_data, EarlyStopping("given"), Logs(VALUES), stop, after_epochs(seen), model=model)
    assert len(seen) == 3
    assert_equal(weights(model), seen[2])


def test_an_epoch_that_is_cut_short_is_not_judged(trainer, tiny_data):
    """Its validation is repeated when a resume has trained the rest."""
    stop = At("on_train_batch_end", lambda t, _: setattr(t, "should_stop", t.global_step == 5))
    for metric in ("given", None):
        trick, values = EarlyStopping(metric), []
        trick.judge = lambda t, m, value, into=values: into.append(value)
        trained = run(trainer, tiny_data, trick, Logs(VALUES), stop, limit_train_batches=3)
        assert trained.global_step == 5 and len(values) == 1


@pytest.mark.parametrize(
    "metric, hook",
    [
        ("given", "on_validation_end"),
        (None, "on_train_epoch_end"),
        pytest.param("given", "on_train_epoch_end", marks=pytest.mark.slow),
        pytest.param(None, "on_validation_end", marks=pytest.mark.slow),
    ],
)
def test_a_resumed_run_is_exact(trainer, tiny_data, tmp_path, metric, hook):
    """The file is from epoch 3. The best epoch is an earlier one, so its weights must be in the file."""
    file, ends = tmp_path / "file.ckpt", []
    save = At(hook, lambda t, _: t.current_epoch == 3 and t.save_checkpoint(file))
    for fit in ({}, {"ckpt_path": file, "weights_only": True}):
        torch.manual_seed(0)
        trick, model = EarlyStopping(metric, mode="max", patience=6), tiny_classifier(lr=0.1)
        trained = run(trainer, tiny_data, trick, Logs(VALUES), *([] if fit else [save]), model=model, fit=fit)
        ends.append((weights(model), trained.current_epoch, trick.best_value, trick.waited))
    assert_equal(ends[0][0], ends[1][0])
    assert ends[0][1:] == ends[1][1:]
    if metric:
        assert ends[0][1:] == (7, 3.0, 6)


def test_files_hold_the_present_weights(trainer, tiny_data, tmp_path):
    """A resume continues from them, also from the file of the last epoch."""
    seen, file = [], tmp_path / "file.ckpt"
    save = At("on_train_end", lambda t, _: t.save_checkpoint(file))
    model = tiny_classifier(lr=0.1)
    run(trainer, tiny_data, EarlyStopping("given", patience=1), Logs(VALUES), after_epochs(seen), save, model=model)
    assert_equal(torch.load(file, weights_only=True)["state_dict"], seen[-1])
    assert_equal(weights(model), seen[1])


def test_beside_an_average(trainer, tiny_data):
    ema, alone = EMA(0.5), EMA(0.5)
    stop = At("on_train_epoch_end", lambda t, _: setattr(t, "should_stop", t.current_epoch == 2))
    for tricks in ([EarlyStopping("given", patience=1), ema], [stop, alone]):
        torch.manual_seed(0)
        run(trainer, tiny_data, tricks[0], Logs(VALUES), *tricks[1:])
    assert_equal(ema.average, alone.average)  # up to the last step, not up to the best weights


def test_a_second_fit_starts_anew(trainer, tiny_data):
    trick = EarlyStopping("given", patience=2)
    ends = [run(trainer, tiny_data, trick, Logs(VALUES)).current_epoch for _ in range(2)]
    assert ends == [8, 8]


def test_foreign_modules(trainer, tiny_data):
    trick = EarlyStopping("loss", patience=2)
    run(trainer, tiny_data, trick, model=Foreign())
    assert trick.best_value is not None


def test_refusals(trainer, tiny_data):
    with pytest.raises(ValueError, match=r"EarlyStopping: the log of this run has no 'val/accuracy'; .*val/acc"):
        run(trainer, tiny_data, EarlyStopping("val/accuracy"))
    with pytest.raises(ValueError, match="this run has none: give it data to validate on, or set metric=None"):
        trainer(callbacks=[EarlyStopping()]).fit(tiny_classifier(), tiny_data)
    with pytest.raises(ValueError, match="patience must be in"):
        EarlyStopping(patience=0)
    with pytest.raises(ValueError, match="min_delta must be in"):
        EarlyStopping(min_delta=-1)


def test_ranks_exchange_numbers_on_their_device(monkeypatch, tiny_model):
    """NCCL takes no CPU tensors; here the run's device is "meta", and tensors elsewhere are refused."""

    def all_reduce(value):
        assert value.device.type == "meta"

    for name, answer in {"is_initialized": True, "get_world_size": 2}.items():
        monkeypatch.setattr(torch.distributed, name, lambda answer=answer: answer)
    monkeypatch.setattr(torch.distributed, "all_reduce", all_reduce)
    run = SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device("meta")), callbacks=[])
    for trick in (EarlyStopping(), ReduceOnPlateau()):
        trick.prepare(run, tiny_model, "fit")
        assert trick.state_dict()["sum"].device.type == "meta"
