"""The example of every trick's page runs as it stands; cut short after two batches."""

import functools
import warnings

import lightning
import pytest
from examples import MODELS, OF_BOXES, TEACHERS, example

import callbacks

QUICK = ("MixUp", "EMA", "KnowledgeDistillation", "PatchDropout")
CUT = {"limit_train_batches": 2, "limit_val_batches": 1, "num_sanity_val_steps": 0, "accelerator": "cpu", "devices": 1}
QUIET = dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing"), False)
EVERY = [*callbacks.__all__, *callbacks.OF_BOXES]
every = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in EVERY]


@pytest.mark.parametrize("trick", every)
@pytest.mark.one_in(6)
def test_it_runs(trick, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(lightning, "Trainer", functools.partial(lightning.Trainer, **CUT, **QUIET))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scope: dict = {}
        exec(example(trick), scope)
    assert scope["trainer"].global_step > 0 or trick == "AccumulationSchedule"


def test_models_and_teachers_are_of_tricks():
    assert {*MODELS, *TEACHERS} <= {*EVERY} and [*OF_BOXES] == callbacks.OF_BOXES
