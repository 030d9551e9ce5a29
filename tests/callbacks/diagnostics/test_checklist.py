"""Checklist: the page, the time that the checks are in the trainer's list, and a run that does not change."""

import lightning as L
import pytest
from torch import nn

from callbacks import Checklist, DeadUnits, GradientFlow, Kaiming, MixUp, NaNGuard, UpdateRatio
from callbacks.frame.diagnostic import Diagnostic
from tests.callbacks.conftest import At, Foreign, assert_equal, hooks, weights
from tests.conftest import tiny_classifier


def test_the_page(tiny_data, trainer, caplog):
    model = tiny_classifier()
    model.network.forgotten = nn.Linear(3, 3)
    trick = Checklist(steps=3)
    run = trainer(callbacks=[trick])
    with caplog.at_level("INFO"):
        run.fit(model, tiny_data, tiny_data)
    page = next(r.message for r in caplog.records if r.message.startswith("Checklist after 3 steps"))
    lines = page.splitlines()[1:]
    assert [line.split()[0] for line in lines] == sorted(line.split()[0] for line in lines)  # LOOK before ok
    assert any(line.startswith("  LOOK  GradientFlow") and "forgotten" in line for line in lines)
    named = {line.split()[1] for line in lines}
    assert named == {
        "LearningRateRange",
        "InitialLoss",
        "OverfitSamples",
        "GradientFlow",
        "UpdateRatio",
        "DeadUnits",
        "NaNGuard",
    }
    assert not any(isinstance(c, Diagnostic) and c is not trick for c in run.callbacks)


def test_what_is_said_of_each_epoch_stands_once_on_the_page(tiny_data, trainer, caplog):
    model = tiny_classifier()
    model.network.forgotten = nn.Linear(3, 3)
    with caplog.at_level("INFO"):
        trainer(callbacks=[Checklist(steps=15)], max_epochs=5).fit(model, tiny_data)
    page = next(r.message for r in caplog.records if r.message.startswith("Checklist after 15 steps"))
    (flow,) = (line for line in page.splitlines() if "GradientFlow" in line and "forgotten" in line)
    assert "at step 13 no gradient reaches" in flow and flow.endswith("(5 times)")
    assert len(page.splitlines()) < 14


def test_the_run_is_not_touched_by_the_checklist(tiny_data, trainer):
    """The weights are bit-identical to those without it, also with the range test: each step has its own seed."""
    ends = []
    for tricks in ([], [Checklist(steps=4)]):
        L.seed_everything(3, verbose=False)
        model = tiny_classifier()
        trainer(callbacks=[Kaiming(), *tricks, MixUp()]).fit(model, tiny_data, tiny_data)
        ends.append(weights(model))
    assert_equal(*ends)


def test_the_page_of_a_short_run_and_of_a_foreign_module(tiny_data, trainer):
    trick = Checklist(steps=1000)
    trainer(callbacks=[trick]).fit(Foreign(), tiny_data)
    assert trick.findings and not any("ln K" in f.text for f in trick.findings)


def test_the_page_warns_of_nothing_and_leaves_no_hook(tiny_data, trainer, monkeypatch):
    monkeypatch.setattr(Diagnostic, "quiet", False)
    model, trick = tiny_classifier(), Checklist(steps=1)
    model.network.head.weight.data.mul_(1000)
    run = trainer(callbacks=[trick], max_epochs=1)
    run.fit(model, tiny_data)  # warnings are errors
    assert not all(finding.well for finding in trick.findings)
    assert hooks(model) == 0


def test_an_exception_takes_the_checks_out(tiny_data, trainer):
    def stop(trainer, model):
        raise RuntimeError("stop")

    run = trainer(callbacks=[Checklist(), At("on_before_backward", stop)])
    with pytest.raises(RuntimeError, match="stop"):
        run.fit(tiny_classifier(), tiny_data)
    assert not any(isinstance(callback, GradientFlow | DeadUnits | NaNGuard) for callback in run.callbacks)


def test_the_users_own_checks_stay(tiny_data, trainer):
    own = UpdateRatio(every=1, low=0, high=100)
    trick = Checklist(steps=2)
    run = trainer(callbacks=[trick, own])
    run.fit(tiny_classifier(), tiny_data)
    assert len(own.findings) == 6 and own in run.callbacks
