"""Snapshot ensemble: the cycles, the snapshots in memory and in files, and the vote."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader

from callbacks import SnapshotEnsemble
from callbacks.optimization.snapshot_ensemble import mean_softmax
from tests.callbacks.conftest import At, Foreign, SeenRates, assert_equal, weights
from tests.conftest import tiny_classifier


def run(trainer, data, trick, *more, model=None, fit=(), **arguments):
    trained = trainer(callbacks=[trick, *more], **arguments)
    trained.fit(model or tiny_classifier(lr=0.1), data, **dict(fit))
    return trained


def history(into):
    """Return a callback that stores the weights after every optimizer step in a dict."""
    return At("on_train_batch_end", lambda t, model: into.setdefault(t.global_step, weights(model)))


# ---- the cycles


@pytest.mark.parametrize("cycles, ends", [(1, [15]), (3, [5, 10, 15]), (4, [4, 8, 12, 15]), (5, [3, 6, 9, 12, 15])])
def test_rates_are_the_papers(trainer, tiny_data, cycles, ends):
    rates, seen = SeenRates(), {}
    trick = SnapshotEnsemble(cycles, last=cycles)
    run(trainer, tiny_data, trick, rates, history(seen), max_epochs=5)
    length = math.ceil(15 / cycles)
    paper = [0.1 / 2 * (math.cos(math.pi * ((t - 1) % length) / length) + 1) for t in range(1, 16)]
    assert [rate[0] for rate in rates.rates] == pytest.approx(paper)
    assert len(trick.snapshots) == len(ends)
    for snapshot, end in zip(trick.snapshots, ends, strict=True):
        assert_equal(snapshot, seen[end])


def test_steps_count_not_batches(trainer, tiny_data):
    """The batch after a cycle's last step changes batch-norm statistics, so it must not be in the snapshot."""
    trick, seen = SnapshotEnsemble(2, last=2), {}
    run(trainer, tiny_data, trick, history(seen), max_epochs=4, accumulate_grad_batches=2)
    for snapshot, end in zip(trick.snapshots, (4, 8), strict=True):
        assert_equal(snapshot, seen[end])


@pytest.mark.parametrize("cycles", [2, 3])
def test_all_vote_by_default(cycles, trainer, tiny_data):
    trick = SnapshotEnsemble(cycles)
    run(trainer, tiny_data, trick)
    assert len(trick.snapshots) == cycles and repr(trick) == f"SnapshotEnsemble(cycles={cycles})"


def test_only_the_last_are_kept(trainer, tiny_data):
    trick, seen = SnapshotEnsemble(5, last=2), {}
    run(trainer, tiny_data, trick, history(seen), max_epochs=5)
    assert [one["network.head.bias"].tolist() for one in trick.snapshots] == [
        seen[step]["network.head.bias"].tolist() for step in (12, 15)
    ]


def test_a_run_that_is_stopped_keeps_whole_cycles(trainer, tiny_data):
    trick = SnapshotEnsemble(5)
    stop = At("on_train_epoch_end", lambda t, _: setattr(t, "should_stop", t.current_epoch == 2))
    run(trainer, tiny_data, trick, stop, max_epochs=10)  # cycles of two epochs, stopped after three
    assert len(trick.snapshots) == 1


# ---- the vote


def test_vote_by_hand():
    """Probabilities 3 : 1 and 1 : 3 give 1 : 1; 9 : 1 and 1 : 1 give 7 : 3, not 3 : 1."""
    one, two = torch.tensor([[3.0, 1.0], [9.0, 1.0]]).log(), torch.tensor([[1.0, 3.0], [1.0, 1.0]]).log()
    expected = torch.tensor([[0.5, 0.5], [0.7, 0.3]])
    torch.testing.assert_close(mean_softmax([one, two]).exp(), expected)
    torch.testing.assert_close(mean_softmax([one + 7, two]).exp(), expected)  # of softmaxes, not of logits
    assert mean_softmax([one.bfloat16()]).dtype == torch.float32


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_scores_are_those_of_the_mean_probabilities(trainer, tiny_data, precision):
    trick, model = SnapshotEnsemble(3, last=3), tiny_classifier(lr=0.3)
    trained = run(trainer, tiny_data, trick, model=model, precision=precision)
    values = trained.test(model, tiny_data, verbose=False)[0]
    predictions, probabilities = trainer(precision=precision), []
    for snapshot in trick.snapshots:
        one = tiny_classifier()
        one.load_state_dict(snapshot)
        probabilities.append(torch.cat(predictions.predict(one, tiny_data)).float())
    mean, targets = sum(probabilities) / 3, torch.cat([targets for _, targets in tiny_data])
    assert values["test/loss_snapshots3"] == pytest.approx(F.nll_loss(mean.log(), targets).item(), rel=1e-4)
    assert values["test/acc_snapshots3"] == pytest.approx((mean.argmax(1) == targets).float().mean().item())
    assert {"test/acc", "test/loss", "test/top5", "test/top5_snapshots3"} < values.keys()
    assert values["test/loss"] != values["test/loss_snapshots3"]


def test_one_snapshot_is_the_model_itself(trainer, tiny_data):
    model = tiny_classifier(lr=0.3)
    values = run(trainer, tiny_data, SnapshotEnsemble(5, last=1), model=model).test(model, tiny_data, verbose=False)[0]
    assert values["test/loss_snapshots1"] == pytest.approx(values["test/loss"], rel=1e-6)


def test_views_of_an_image_vote_too(trainer, tiny_data):
    trick, model = SnapshotEnsemble(2, last=2), tiny_classifier(lr=0.3)
    trained = run(trainer, tiny_data, trick, model=model)
    twice = DataLoader([[torch.stack([x, x], 1), targets] for x, targets in tiny_data], batch_size=None)
    once, again = (trained.test(model, data, verbose=False)[0] for data in (tiny_data, twice))
    assert again["test/loss_snapshots2"] == pytest.approx(once["test/loss_snapshots2"], rel=1e-5)


def test_nothing_votes_before_training(trainer, tiny_data):
    values = trainer(callbacks=[SnapshotEnsemble()]).test(tiny_classifier(), tiny_data, verbose=False)[0]
    assert values.keys() == {"test/loss", "test/acc", "test/top5"}


def test_a_foreign_module(trainer, tiny_data):
    class Tested(Foreign):
        def test_step(self, batch, batch_idx):
            pass

    trick, model = SnapshotEnsemble(2, last=2), Tested()
    values = run(trainer, tiny_data, trick, model=model).test(model, tiny_data, verbose=False)[0]
    assert values.keys() == {"test/loss_snapshots2", "test/acc_snapshots2", "test/top5_snapshots2"}


# ---- files


@pytest.mark.parametrize("step", [3, 6])  # cycles of five and four steps
def test_a_resumed_run_has_all_snapshots(trainer, tiny_data, tmp_path, step):
    file = tmp_path / "file.ckpt"
    save = At("on_train_batch_end", lambda t, _: t.global_step == step and t.save_checkpoint(file))
    straight, resumed = SnapshotEnsemble(2, last=2), SnapshotEnsemble(2, last=2)
    for trick, more, fit in ((straight, (save,), {}), (resumed, (), {"ckpt_path": file, "weights_only": True})):
        torch.manual_seed(0)
        model = tiny_classifier(lr=0.1)
        trained = run(trainer, tiny_data, trick, *more, model=model, fit=fit, max_epochs=3)
    assert len(straight.snapshots) == 2
    for one, two in zip(straight.snapshots, resumed.snapshots, strict=True):
        assert_equal(one, two)
    assert "test/acc_snapshots2" in trained.test(model, tiny_data, verbose=False)[0]


def test_a_file_is_tested_with_its_snapshots(trainer, tiny_data, tmp_path):
    trick, model, file = SnapshotEnsemble(3, last=2), tiny_classifier(lr=0.1), tmp_path / "file.ckpt"
    trained = run(trainer, tiny_data, trick, model=model)
    trained.save_checkpoint(file)
    expected = trained.test(model, tiny_data, verbose=False)[0]
    again = trainer(callbacks=[SnapshotEnsemble(3, last=2)])
    values = again.test(tiny_classifier(), tiny_data, ckpt_path=file, weights_only=True, verbose=False)[0]
    assert values == expected
    parameters = 4 * sum(value.numel() for value in model.state_dict().values())
    assert file.stat().st_size < 5.5 * parameters + 30_000  # weights, momentum, two snapshots


def test_a_second_fit_starts_anew(trainer, tiny_data):
    trick = SnapshotEnsemble(3, last=3)
    for _ in range(2):
        run(trainer, tiny_data, trick)
        assert len(trick.snapshots) == 3


@pytest.mark.parametrize("arguments", [{"cycles": 0}, {"cycles": 2, "last": 3}, {"last": 0}])
def test_refuses_wrong_numbers(arguments):
    with pytest.raises(ValueError, match="1 <= last <= cycles"):
        SnapshotEnsemble(**arguments)
