"""SWA: the mean of the epochs' weights, batch norms, the learning rate, files."""

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import StochasticWeightAveraging
from torch.optim.swa_utils import AveragedModel, update_bn

import zoo
from callbacks import SWA, CosineDecay, LayerDecay
from callbacks.frame.batch_norm_statistics import renew_statistics
from callbacks.optimization.swa import straight_line
from tests.callbacks.conftest import At, Foreign, SeenRates, assert_equal, weights
from tests.callbacks.optimization.test_ema import assert_close
from tests.conftest import tiny_classifier
from zoo import ResNet


class AtSteps(L.Callback):
    """Record the raw weights after every optimizer step."""

    def __init__(self):
        self.seen = {}

    def on_train_batch_end(self, trainer, model, *_):
        self.seen.setdefault(trainer.global_step, weights(model))


def mean(states):
    return {k: torch.stack([s[k].double() for s in states]).mean(0) for k in states[0]}


def parameters(model, state):
    return {name: state[name] for name, _ in model.named_parameters()}


# ---- the average


@pytest.mark.parametrize("start, every, steps", [(1, 1, [3, 6, 9]), ("4st", "2st", [4, 6, 8]), ("0.5dur", 1, [4, 7])])
def test_mean_of_what_is_taken(trainer, tiny_data, start, every, steps):
    model, swa, seen = tiny_classifier(), SWA(start, every), AtSteps()
    trainer(callbacks=[swa, seen], max_epochs=3).fit(model, tiny_data)
    assert swa.taken == len(steps)
    expected = mean([seen.seen[step] for step in steps])
    assert_close(parameters(model, swa.average), expected)


def test_steps_not_batches(trainer, tiny_data):
    """With accumulation of two, an epoch of three batches has two steps."""
    model, swa, seen = tiny_classifier(), SWA(1), AtSteps()
    trainer(callbacks=[swa, seen], max_epochs=3, accumulate_grad_batches=2).fit(model, tiny_data)
    assert_close(parameters(model, swa.average), mean([seen.seen[step] for step in (2, 4, 6)]))


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_same_as_torchs_with_its_batch_norms(trainer, tiny_data, precision):
    model, swa, held = tiny_classifier(), SWA(1), {}

    def follow(trainer, model):
        held.setdefault("torch", AveragedModel(model))
        held["torch"].update_parameters(model)

    run = trainer(callbacks=[swa, At("on_train_epoch_end", follow)], precision=precision)
    run.fit(model, tiny_data)
    with run.precision_plugin.forward_context():
        update_bn(tiny_data, held["torch"])
    theirs = held["torch"].module.state_dict()
    tight = {} if precision == "32-true" else {"rtol": 1e-2, "atol": 1e-2}
    for name, value in swa.average.items():
        torch.testing.assert_close(value, theirs[name], **tight)
    assert swa.average["network.block1.bn1.num_batches_tracked"] == 3


def test_frozen_statistics_stay(trainer, tiny_data):
    model, swa = tiny_classifier(), SWA(1)
    model.network.block1.bn1.eval()
    trainer(callbacks=[swa]).fit(model, tiny_data)
    assert_equal(
        {k: v for k, v in swa.average.items() if "block1.bn1.running" in k},
        {k: v for k, v in weights(tiny_classifier()).items() if "block1.bn1.running" in k},
    )
    assert swa.average["network.block2.bn1.running_mean"].any()
    assert not model.network.block1.bn1.training and model.network.block2.bn1.training
    assert model.network.block2.bn1.momentum == 0.1


def test_statistics_are_those_without_dropout():
    network = torch.nn.Sequential(torch.nn.Dropout(0.5), torch.nn.BatchNorm2d(1))
    state = weights(network)
    renew_statistics(network, state, iter([torch.ones(4, 1, 2, 2), 3 * torch.ones(4, 1, 2, 2)]))
    assert state["1.running_mean"] == 2 and state["1.running_var"] == 0
    assert all(module.training for module in network.modules())
    assert network[1].running_mean == 0


def test_training_does_not_notice(trainer, tiny_data):
    """Only the rate changes."""
    ends, draws = [], []
    draw = At("on_train_end", lambda *_: draws.append(torch.rand(3)))
    for tricks in ([], [SWA("2st", "1st", lr_factor=None)]):
        torch.manual_seed(0)
        model = tiny_classifier()
        trainer(callbacks=[*tricks, draw]).fit(model, tiny_data, tiny_data)
        ends.append(weights(model))
    assert_equal(*ends)
    assert torch.equal(*draws)


def test_no_epoch_is_added_where_lightnings_adds_one(trainer, tiny_data):
    """If the first assertion fails, Lightning has fixed it."""
    counts = []
    for trick in (StochasticWeightAveraging(0.01, 0.5), SWA("0.5dur")):
        starts = []
        count = At("on_train_epoch_start", lambda *_, starts=starts: starts.append(1))
        trainer(callbacks=[trick, count], max_epochs=3).fit(tiny_classifier(), tiny_data)
        counts.append(len(starts))
    assert counts == [4, 3]


def test_before_the_start_there_is_none(trainer, tiny_data, tmp_path):
    swa, model = SWA(5), tiny_classifier()
    run = trainer(callbacks=[swa])
    run.fit(model, tiny_data, tiny_data)
    assert swa.average is None and "val/acc_swa" not in run.callback_metrics
    run.save_checkpoint(tmp_path / "file.ckpt")
    assert "averages" not in torch.load(tmp_path / "file.ckpt", weights_only=True)
    with pytest.raises(RuntimeError, match="SWA.* has no average yet"):
        swa.copy_to(model)


# ---- its scores


def test_the_last_validation_is_of_the_renewed_average(trainer, tiny_data):
    swa = SWA("2st", "1st")
    run = trainer(callbacks=[swa])
    run.fit(tiny_classifier(), tiny_data, tiny_data)
    fresh = tiny_classifier()
    swa.copy_to(fresh)
    expected = trainer().validate(fresh, tiny_data, verbose=False)[0]
    for name in ("loss", "acc", "top5"):
        assert run.callback_metrics[f"val/{name}_swa"].item() == expected[f"val/{name}"]
    assert run.test(fresh, tiny_data, verbose=False)[0]["test/loss_swa"] == expected["val/loss"]


def test_a_run_that_was_stopped_is_renewed_too(trainer, tiny_data):
    swa = SWA("1st", "1st")
    stop = At("on_train_batch_end", lambda t, _: setattr(t, "should_stop", t.global_step == 5))
    trainer(callbacks=[swa, stop], max_epochs=9).fit(tiny_classifier(), tiny_data)
    assert swa.taken == 5 and swa.average["network.block1.bn1.num_batches_tracked"] == 3


# ---- its learning rate


def test_straight_line_by_hand():
    assert [straight_line(1.0, 0.5, step, 4) for step in (0, 1, 4, 9)] == [1, 0.875, 0.5, 0.5]
    assert straight_line(1.0, 0.5, 0, 0) == 0.5


@pytest.mark.parametrize("order", [1, -1])
def test_the_rate_is_taken_over_from_any_schedule(trainer, tiny_data, order):
    alone, last = SeenRates(), []
    look = At("on_train_batch_end", lambda t, _: last.append([g["lr"] for g in t.optimizers[0].param_groups]))
    trainer(callbacks=[CosineDecay(), alone]).fit(tiny_classifier(lr=0.1), tiny_data)
    tricks = [SWA("3st", lr_factor=0.2, anneal="2st"), CosineDecay(), LayerDecay(0.5)][::order]
    trainer(callbacks=[*tricks, look]).fit(tiny_classifier(lr=0.1), tiny_data)
    there = alone.rates[3][0]
    expected = [r[0] for r in alone.rates[:3]] + [there, (there + 0.02) / 2, 0.02]
    for rates, rate in zip(last, expected, strict=True):
        assert rates == pytest.approx([rate / 4, rate / 2, rate])


# ---- files


@pytest.mark.parametrize("step", [2, 3, 4, 5])
@pytest.mark.filterwarnings("ignore:You're resuming from")
def test_a_resumed_run_goes_on(trainer, tiny_data, tmp_path, step):
    """All batches are equal, so a loader that does not resume its position does no harm."""
    data = torch.utils.data.DataLoader([next(iter(tiny_data))] * 3, batch_size=None)

    def run(**fit):
        torch.manual_seed(0)
        swa, model, rates = SWA("3st", "1st", anneal="3st"), tiny_classifier(), SeenRates()
        save = At("on_train_batch_end", lambda t, _: t.global_step == step and t.save_checkpoint(file))
        trainer(callbacks=[swa, CosineDecay(), rates, save], max_epochs=3).fit(model, data, **fit)
        return swa, rates.rates

    file = tmp_path / "file.ckpt"
    straight, rates = run()
    resumed, again = run(ckpt_path=file)
    assert again == rates[step:] and again
    assert_equal(resumed.average, straight.average)
    assert resumed.taken == straight.taken == 7


def test_every_file_holds_it(trainer, tiny_data, tmp_path):
    torch.manual_seed(0)
    model, swa = ResNet("20", num_classes=10), SWA("1st", "1st")
    run = trainer(callbacks=[swa], max_epochs=1)
    run.fit(model, tiny_data)
    for only in (False, True):
        run.save_checkpoint(tmp_path / "file.ckpt", weights_only=only)
        assert_equal(weights(zoo.load(tmp_path / "file.ckpt", average=repr(swa))), swa.average)
        assert_equal(weights(zoo.load(tmp_path / "file.ckpt")), weights(model))


def test_foreign_modules(trainer, tiny_data):
    swa = SWA("2st", "1st")
    run = trainer(callbacks=[swa])
    run.fit(Foreign(), tiny_data, tiny_data)
    assert swa.taken == 5 and run.callback_metrics["val/acc_swa"].isfinite()


@pytest.mark.parametrize("arguments", [{"start": "late"}, {"every": "often"}, {"anneal": "x"}, {"lr_factor": 0}])
def test_refuses_wrong_arguments(arguments):
    with pytest.raises(ValueError, match="a time is a number|lr_factor must be in"):
        SWA(**arguments)


def test_refuses_to_average_more_often_than_there_are_steps(trainer, tiny_data):
    with pytest.raises(ValueError, match="less than one optimizer step"):
        trainer(callbacks=[SWA(every=0)]).fit(tiny_classifier(), tiny_data)


def test_statistics_are_renewed_though_the_last_average_was_taken_before_the_resume(trainer, tiny_data, tmp_path):
    file, ends = tmp_path / "file.ckpt", []
    save = At("on_train_epoch_end", lambda t, _: t.current_epoch or t.save_checkpoint(file))
    for path in (None, file):
        torch.manual_seed(0)
        swa = SWA("2st", 9)
        trainer(callbacks=[swa, save]).fit(tiny_classifier(), tiny_data, ckpt_path=path)
        ends.append(swa.average)
    assert swa.taken == 1
    assert_equal(*ends)
    assert ends[0]["network.block1.bn1.num_batches_tracked"] == 3
