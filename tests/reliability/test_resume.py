"""Exact resume: a run stopped at any moment ends with the bits of one that was not, whichever tricks are in it."""

import zlib

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint

import callbacks
from tests.reliability import runs
from tests.reliability.runs import (
    ALL,
    EPOCHS,
    LEFT_OUT,
    LISTS,
    ON_GPUS,
    QUIET,
    REST,
    SLOW,
    SURGERY,
    SaveAt,
    StopAfter,
    Watch,
    build_tricks,
    data,
    differences,
    final,
    fit,
    model,
    same,
)

# hook, the call of it at which a checkpoint is written, the batch (epoch, number) that comes next
MOMENTS = {
    1: [
        ("on_train_batch_end", 7, (1, 2)),  # in mid-epoch
        ("on_train_batch_end", 5, (1, 0)),  # the last batch of an epoch
        ("on_validation_end", 1, (1, 0)),
        ("on_train_epoch_end", 1, (1, 0)),
    ],
    2: [
        ("on_train_batch_end", 6, (1, 1)),  # in mid-accumulation
        ("on_train_batch_end", 5, (1, 0)),  # an epoch's last batch, a step of one batch only
        ("on_validation_end", 1, (1, 0)),
    ],
}


def stop_and_resume(folder, which, moments, workers=0, **options):
    """Trains once without a stop, then once more from each moment."""
    saver = SaveAt(folder, [(hook, n) for hook, n, _ in moments])
    straight = fit(which, more=(saver,), workers=workers, **options)
    for hook, n, following in moments:
        resumed = fit(which, ckpt_path=folder / f"{hook}-{n}.ckpt", workers=workers, **options)
        assert resumed["seen"][0][0] == following, f"after {hook} {n}"
        assert differences(straight, resumed) == [], f"after {hook} {n}"


def moments_of(which):
    """All for "all", "scheduled" and "none"; of one trick, mid-epoch and one end of an epoch, by a hash of its name."""
    middle, *ends = MOMENTS[1]
    alone = which not in ("all", "scheduled", "none")
    return [middle, ends[zlib.crc32(which.encode()) % len(ends)]] if alone else MOMENTS[1]


@pytest.mark.parametrize("which", [pytest.param(w, marks=[pytest.mark.slow] if w in ALL else []) for w in LISTS])
@pytest.mark.one_in(4)
def test_exact(which, tmp_path):
    """A trick that "all" has resumes there too, and at the end of an epoch in `test_every_trick.py`."""
    stop_and_resume(tmp_path, which, moments_of(which))


REST_AND_SLOW = [*(f"rest{i}" for i in range(len(REST))), *sorted(SLOW)]  # all tricks that are not in "all"


def slow_but(*quick):
    names = ["none", "scheduled", "all", *REST_AND_SLOW]
    return [pytest.param(name, marks=[] if name in quick else [pytest.mark.slow]) for name in names]


@pytest.mark.parametrize("which", slow_but("none", "scheduled"))
@pytest.mark.one_in(6)
def test_exact_with_accumulation(which, tmp_path):
    stop_and_resume(tmp_path, which, MOMENTS[2], accumulate_grad_batches=2)


@pytest.mark.parametrize("which", slow_but("all"))
@pytest.mark.one_in(6)
def test_exact_with_workers(which, tmp_path):
    """They know nothing of accumulation, which "all" has beside them."""
    accumulate = 2 if which == "all" else 1
    stop_and_resume(tmp_path, which, MOMENTS[accumulate], workers=2, accumulate_grad_batches=accumulate)


def test_all_but_the_named_tricks_go_together(tmp_path):
    """So "all" means all: a trick that cannot join is named in LEFT_OUT, and refuses."""
    assert set(ALL) | LEFT_OUT | SURGERY | SLOW | ON_GPUS == set(callbacks.__all__)
    for name in LEFT_OUT:
        with pytest.raises(ValueError):
            fit("all", more=tuple(build_tricks(name)))


@pytest.mark.parametrize(
    ("options", "moments"),
    [
        ({"limit_train_batches": 3}, [("on_train_batch_end", 2, (0, 2)), ("on_train_batch_end", 3, (1, 0))]),
        ({"val_check_interval": 0.5}, [("on_validation_end", 1, (0, 2)), ("on_validation_end", 3, (1, 2))]),
        (
            {"reload_dataloaders_every_n_epochs": 1, "num_sanity_val_steps": 2},
            [("on_train_batch_end", 7, (1, 2)), ("on_validation_end", 2, (1, 0))],
        ),
        ({"limit_val_batches": 0}, [("on_train_batch_end", 10, (2, 0)), ("on_train_epoch_end", 2, (2, 0))]),
        ({"check_val_every_n_epoch": 2}, [("on_train_batch_end", 5, (1, 0)), ("on_train_epoch_end", 1, (1, 0))]),
        ({"max_steps": 12}, [("on_train_batch_end", 7, (1, 2)), ("on_validation_end", 1, (1, 0))]),
        ({"val_check_interval": 3, "accumulate_grad_batches": 2}, [("on_validation_end", 2, (1, 3))]),
        (
            {"precision": "bf16-mixed", "gradient_clip_val": 0.1},
            [("on_train_batch_end", 7, (1, 2)), ("on_validation_end", 1, (1, 0))],
        ),
        ({"accumulate_grad_batches": 4}, [("on_train_batch_end", 7, (1, 2)), ("on_train_batch_end", 5, (1, 0))]),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_exact_with_other_options(options, moments, tmp_path):
    """They change the loop and its schedules; clipping and 16 bits meet all tricks."""
    stop_and_resume(tmp_path, "all" if "precision" in options else "scheduled", moments, **options)


SECOND = [("on_train_batch_end", 1), ("on_train_batch_end", 4), ("on_validation_end", 1)]


# within an epoch and at its end
@pytest.mark.parametrize(
    ("first", "accumulate"), [(0, 2), pytest.param(1, 1, marks=[pytest.mark.slow, pytest.mark.whole])]
)
def test_stopped_twice(first, accumulate, tmp_path):
    """A file written after a resume is as good as one written before."""
    hook, n, _ = MOMENTS[accumulate][first]
    options = {"accumulate_grad_batches": accumulate}
    straight = fit("all", more=(SaveAt(tmp_path, [(hook, n)]),), **options)
    again = tmp_path / "again"
    once = fit("all", more=(SaveAt(again, SECOND),), ckpt_path=tmp_path / f"{hook}-{n}.ckpt", **options)
    assert differences(straight, once) == []
    for hook, n in SECOND:
        twice = fit("all", ckpt_path=again / f"{hook}-{n}.ckpt", **options)
        assert 0 < len(twice["seen"]) <= len(once["seen"]), f"{hook} {n}"
        assert differences(straight, twice) == [], f"{hook} {n}"


@pytest.mark.parametrize("hook", ["on_train_batch_end", "on_validation_end", "on_train_epoch_end"])
def test_a_finished_run_is_not_trained_further(hook, tmp_path, monkeypatch):
    """From the very last batch, Lightning leaves out the last validation, which EarlyStopping would have looked at."""
    monkeypatch.setattr(runs, "ALL", [name for name in ALL if name != "EarlyStopping"])
    calls = 5 * EPOCHS if hook == "on_train_batch_end" else EPOCHS
    straight = fit("all", more=(SaveAt(tmp_path, [(hook, calls)]),))
    resumed = fit("all", ckpt_path=tmp_path / f"{hook}-{calls}.ckpt")
    assert resumed["seen"] == []
    kept = [key for key in straight if key.startswith(("/weights", "/averages", "/optimizer"))]
    assert [key for key in kept if not same(straight[key], resumed[key])] == []


def test_more_epochs_after_the_end(tmp_path):
    """Two epochs, then four from its last file, are four epochs (with tricks that do not ask for the run's length)."""
    straight = fit("EMA", max_epochs=4)
    fit("EMA", max_epochs=2, more=(SaveAt(tmp_path, [("on_train_epoch_end", 2)]),))
    resumed = fit("EMA", max_epochs=4, ckpt_path=tmp_path / "on_train_epoch_end-2.ckpt")
    assert differences(straight, resumed) == []


class SaveAfterFit(Checkpoint):
    """As a user does who calls `trainer.save_checkpoint` after fit."""

    def __init__(self, path):
        self.path = path

    def on_fit_end(self, trainer, module):
        trainer.save_checkpoint(self.path)


@pytest.mark.parametrize("name", ["on_train_batch_end-7", "on_train_epoch_end-2", "after_fit"])
def test_max_steps_then_more_epochs(name, tmp_path):
    """Stopped in mid-epoch: the rest of that epoch is not left out."""
    straight = fit("EMA")
    moments = [("on_train_batch_end", 7), ("on_train_epoch_end", 2)]
    fit("EMA", max_steps=7, more=(SaveAt(tmp_path, moments), SaveAfterFit(tmp_path / "after_fit.ckpt")))
    resumed = fit("EMA", ckpt_path=tmp_path / f"{name}.ckpt")
    assert resumed["seen"][0][0] == (1, 2)
    assert differences(straight, resumed) == []


def test_kept_files(tmp_path):
    """ModelCheckpoint that keeps the best two of the average's accuracy, every third step, with a last file."""
    straight = fit("all", more=(keep_best(tmp_path / "straight"),))
    keep = keep_best(tmp_path / "stopped")
    fit("all", more=(keep, StopAfter(9)))
    again = keep_best(tmp_path / "stopped")
    resumed = fit("all", more=(again,), ckpt_path=tmp_path / "stopped" / "last.ckpt")
    assert differences(straight, resumed) == []
    names = [sorted(path.name for path in (tmp_path / part).iterdir()) for part in ("straight", "stopped")]
    assert names[0] == names[1] and "last.ckpt" in names[0]


def keep_best(folder):
    # validation at the end of epochs 0 and 1 gives the number; the moments after it choose by it
    return ModelCheckpoint(
        folder, "{step}", "val/acc_ema0.999", mode="max", save_top_k=2, every_n_train_steps=6, save_last=True
    )


def test_second_fit_in_one_process(trainer):
    """The same model, tricks and data once more: a run of its own from where the weights are, nothing stale."""
    tricks, trained, images = build_tricks("all"), model(), data()
    ends = []
    for _ in range(2):
        watch = Watch()
        run = trainer(**{**QUIET, "callbacks": [*tricks, watch]})
        run.fit(trained, images)
        ends.append(final(run, trained) | {"seen": watch.seen})
    other, watch = model(), Watch()
    other.load_state_dict({k.removeprefix("/weights/"): v for k, v in ends[0].items() if k.startswith("/weights/")})
    other.untrained = False
    run = trainer(**{**QUIET, "callbacks": [*build_tricks("all"), watch]})
    run.fit(other, data())
    assert [s[0] for s in ends[1]["seen"]] == [s[0] for s in watch.seen]
    assert differences(ends[1], final(run, other) | {"seen": watch.seen}) == []


def test_evaluation_after_a_resume(tmp_path, trainer):
    """`test` on the resumed objects is `test` on those of the straight run, raw and averaged."""
    scores = []
    for path in (None, tmp_path / "on_train_batch_end-7.ckpt"):
        run = trainer(
            **QUIET | {"enable_checkpointing": True},
            callbacks=[*build_tricks("all"), SaveAt(tmp_path, [MOMENTS[1][0][:2]])],
        )
        trained, images = model(), data()
        run.fit(trained, images, ckpt_path=path)
        scores.append(run.test(trained, images, verbose=False)[0])
    assert scores[0] == scores[1]
    assert {"test/acc", "test/acc_ema0.999"} <= scores[0].keys()


def test_every_epoch_starts_once(tmp_path):
    """`on_train_epoch_start` is called for each epoch that begins, also right after a resume."""
    fit("none", more=(SaveAt(tmp_path, [("on_train_batch_end", 5)]),))
    started = []
    count = L.pytorch.callbacks.LambdaCallback(on_train_epoch_start=lambda t, m: started.append(t.current_epoch))
    fit("none", more=(count,), ckpt_path=tmp_path / "on_train_batch_end-5.ckpt")
    assert started == [1, 2]


@pytest.mark.parametrize("which", ["scheduled", pytest.param("all", marks=[pytest.mark.slow, pytest.mark.whole])])
def test_a_chain_of_resumes(which, tmp_path):
    """Stopped after every single batch."""
    straight = fit(which)
    path, seen = None, []
    for n in range(1, 5 * EPOCHS + 1):
        saver = SaveAt(tmp_path / str(n), [("on_train_batch_end", 1)])
        run = fit(which, more=(saver, StopAfter(1)) if n < 5 * EPOCHS else (), ckpt_path=path)
        path = tmp_path / str(n) / "on_train_batch_end-1.ckpt"
        seen.append(run["seen"][0])
    assert seen == straight["seen"]
    assert differences(straight, run) == []


@pytest.mark.parametrize(("processes", "batches"), [(2, 3), (1, 9), (2, 9)])
def test_processes_that_make_epochs_longer_are_refused(processes, batches, tmp_path, tiny_model, tiny_data, trainer):
    """Three batches here: as many in two processes is right, and so is another length in one, which the user set."""
    run, path = trainer(max_epochs=1), tmp_path / "last.ckpt"
    run.fit(tiny_model, tiny_data)
    run.save_checkpoint(path)
    checkpoint = torch.load(path, weights_only=True)
    assert checkpoint["epoch_of"] == {"processes": 1, "batches": 3}
    torch.save(checkpoint | {"epoch_of": {"processes": processes, "batches": batches}}, path)
    if (processes, batches) == (2, 9):
        with pytest.raises(ValueError, match="had 2 processes and 9 batches an epoch, this one has 1 and 3"):
            trainer(max_epochs=2).fit(tiny_model, tiny_data, ckpt_path=path, weights_only=True)
    else:
        trainer(max_epochs=2).fit(tiny_model, tiny_data, ckpt_path=path, weights_only=True)
