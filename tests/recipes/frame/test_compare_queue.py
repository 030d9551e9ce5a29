"""The queue: SQLite is refused, nothing is enqueued or done twice, runs of dead workers are done by others."""

import base64
import sys
import time
from functools import partial

import pytest

from callbacks import MixUp
from recipes.frame import compare_queue, records
from recipes.frame.compare import Plus, compare
from recipes.frame.compare_engine import Engine
from recipes.frame.compare_queue import collect, enqueue, open_study, revive, work_on
from recipes.frame.compare_work import Job, score
from tests.recipes.frame.test_compare import tiny

optuna = pytest.importorskip("optuna")
pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(compare_queue, "LOOK", 0.01)
    monkeypatch.chdir(tmp_path)


def jobs(count: int) -> list[Job]:
    return [Job(f"key{i}", "none", i, tiny, Plus()) for i in range(count)]


def here(folder) -> Engine:
    return Engine(folder, workers=0, record=False, quiet=True)


def test_sqlite_is_refused_with_the_reason():
    with pytest.raises(ValueError, match="no row locks"):
        open_study("sqlite:///queue.db")


def test_a_worker_does_what_is_queued_and_the_results_come_back(tmp_path):
    storage = str(tmp_path / "queue.log")
    study = open_study(storage)
    enqueue(study, jobs(2))
    enqueue(study, jobs(2))  # again: they are there
    assert work_on(storage, here(tmp_path / "there"), patience=0) == 2
    assert work_on(storage, here(tmp_path / "there"), patience=0) == 0
    parent = here(tmp_path / "here")
    for job in jobs(2):
        assert collect(parent, study, job)
        assert 0 < score(parent.result(job)) <= 1
    assert len(study.get_trials()) == 2


def test_a_run_that_fails_is_given_up(tmp_path, monkeypatch):
    storage = str(tmp_path / "queue.log")
    study = open_study(storage)
    enqueue(study, jobs(1))
    monkeypatch.setattr(Engine, "run", lambda self, jobs: None)
    assert work_on(storage, here(tmp_path / "there"), patience=0) == 1
    parent = here(tmp_path / "here")
    assert collect(parent, study, jobs(1)[0]) and parent.failed == {"key0"}


def test_the_run_of_a_dead_worker_is_done_by_another(tmp_path, monkeypatch):
    storage = str(tmp_path / "queue.log")
    study = open_study(storage)
    enqueue(study, jobs(1))
    study.ask()  # a worker takes it, and is killed
    revive(study)
    assert [trial.state.name for trial in study.get_trials()] == ["RUNNING"]
    monkeypatch.setattr(compare_queue, "DEAD", 0.0)
    time.sleep(0.01)
    revive(study)
    assert [trial.state.name for trial in study.get_trials()] == ["FAIL", "WAITING"]
    assert work_on(storage, here(tmp_path / "there"), patience=0) == 1
    assert collect(here(tmp_path / "here"), study, jobs(1)[0])


ABSENT = "there is no module 'no_such_module' here: start `zoo worker` where it can be imported, or install it"
OLDER = "its clone of the code differs from the parent's; bring both to one commit"


@pytest.mark.parametrize(("module", "words"), [("no_such_module", ABSENT), ("recipes.frame.compare", OLDER)])
def test_a_run_that_cannot_be_loaded_is_given_up_and_the_next_is_done(tmp_path, capsys, module, words):
    storage = str(tmp_path / "queue.log")
    study = open_study(storage)
    broken = base64.b64encode(f"c{module}\nNetwork\n.".encode()).decode()  # a pickle of a name in it, of no such name
    study.enqueue_trial({}, user_attrs={"key": "key0", "job": broken, "name": "none, seed 0"})
    enqueue(study, jobs(2))  # key0 is in the queue
    assert work_on(storage, here(tmp_path / "there"), patience=0) == 2
    (line,) = (line for line in capsys.readouterr().err.splitlines() if "cannot load" in line)
    assert line.startswith("none, seed 0: this machine cannot load it: ") and line.endswith(words)
    parent = here(tmp_path / "here")
    assert collect(parent, study, jobs(2)[0]) and parent.failed == {"key0"}
    assert collect(parent, study, jobs(2)[1]) and parent.failed == {"key0"}


def test_workers_that_all_die_end_the_wait(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", "false")
    engine = Engine(tmp_path / "runs", workers=2, record=False, quiet=True, storage=str(tmp_path / "queue.log"))
    with pytest.raises(RuntimeError, match="all 2 workers of this machine have died, and 1 runs are not done"):
        engine.run(jobs(1))


@pytest.mark.slow
def test_two_workers_in_two_processes(tmp_path, monkeypatch):
    monkeypatch.delenv("PYTHONPATH", raising=False)  # a worker imports what this process can, wherever it starts
    storage = str(tmp_path / "queue.log")
    base = partial(tiny, epochs=2)
    found = compare(
        base, {"none": [], "MixUp": [MixUp()]}, 2, workers=2, storage=storage, folder=tmp_path / "runs", quiet=True
    )
    assert found["MixUp"].n == 2 and len(records.read("compare")) == 4
    done = [trial for trial in open_study(storage).get_trials() if trial.state.name == "COMPLETE"]
    assert len(done) == 4 == len({trial.user_attrs["key"] for trial in done})
