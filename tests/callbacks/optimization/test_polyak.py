"""Polyak averaging: the plain mean of the weights in the last part of a run."""

import pytest
import torch
from torch.optim.swa_utils import AveragedModel

from callbacks import PolyakAveraging
from tests.callbacks.conftest import At, assert_equal, weights
from tests.callbacks.optimization.test_ema import assert_close
from tests.callbacks.optimization.test_swa import AtSteps, mean
from tests.conftest import tiny_classifier


@pytest.mark.parametrize("start, first", [("0.5dur", 3), (0, 1), ("4st", 4), (1, 3), ("1dur", 6)])
def test_mean_of_the_tail(trainer, tiny_data, start, first):
    model, trick, seen = tiny_classifier(), PolyakAveraging(start), AtSteps()
    trainer(callbacks=[trick, seen]).fit(model, tiny_data)
    states = [state for step, state in seen.seen.items() if step >= first]
    assert trick.taken == len(states) == 7 - first
    assert_close(trick.average, mean(states))
    assert trick.average["network.block1.bn1.num_batches_tracked"] == 6


def test_a_second_fit_begins_anew(trainer, tiny_data):
    trick = PolyakAveraging(0)
    trainer(callbacks=[trick]).fit(tiny_classifier(), tiny_data)
    seen, model = AtSteps(), tiny_classifier()
    trainer(callbacks=[trick, seen], max_epochs=1).fit(model, tiny_data)
    assert trick.taken == 3
    assert_close(trick.average, mean([*seen.seen.values()]))


def test_same_as_torchs(trainer, tiny_data):
    trick, held = PolyakAveraging(0), {}

    def follow(trainer, model):
        held.setdefault("torch", AveragedModel(model, use_buffers=True)).update_parameters(model)

    trainer(callbacks=[trick, At("on_train_batch_end", follow)]).fit(tiny_classifier(), tiny_data)
    assert_close(trick.average, held["torch"].module.state_dict())


def test_a_resumed_run_goes_on(trainer, tiny_data, tmp_path):
    file = tmp_path / "file.ckpt"
    save = At("on_train_epoch_end", lambda t, _: t.current_epoch == 1 and t.save_checkpoint(file))
    straight, resumed = PolyakAveraging("4st"), PolyakAveraging("4st")
    torch.manual_seed(0)
    trainer(callbacks=[straight, save], max_epochs=3).fit(tiny_classifier(), tiny_data)
    trainer(callbacks=[resumed], max_epochs=3).fit(tiny_classifier(), tiny_data, ckpt_path=file)
    assert_equal(resumed.average, straight.average)
    assert resumed.taken == straight.taken == 6


def test_two_tails_are_scored_side_by_side(trainer, tiny_data):
    early, late = PolyakAveraging("1st"), PolyakAveraging("5st")
    run = trainer(callbacks=[early, late])
    run.fit(tiny_classifier(), tiny_data, tiny_data)
    fresh = tiny_classifier()
    for trick in (early, late):
        trick.copy_to(fresh)
        assert_equal(weights(fresh), trick.average)
        expected = trainer().validate(fresh, tiny_data, verbose=False)[0]["val/loss"]
        assert run.callback_metrics[f"val/loss_polyak{trick.start}"].item() == expected


def test_refuses_what_is_no_time():
    with pytest.raises(ValueError, match="a time is a number"):
        PolyakAveraging("late")
