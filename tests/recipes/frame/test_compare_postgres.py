"""The queue in a PostgreSQL server of this machine: two workers do each run once; a silent server is one line."""

import contextlib
import glob
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from callbacks import MixUp
from recipes.command.worker import main as worker
from recipes.frame import compare_queue, records
from recipes.frame.compare import Plus, compare
from recipes.frame.compare_queue import enqueue, open_study, revive, work_on
from recipes.frame.compare_work import Job
from recipes.frame.errors import UsageError
from tests.recipes.frame.test_compare import tiny

pytest.importorskip("optuna")
pytest.importorskip("psycopg", reason="the driver of PostgreSQL")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(compare_queue, "LOOK", 0.05)
    monkeypatch.chdir(tmp_path)


def program(name: str) -> str | None:
    """Of the newest version; Debian leaves them out of the path."""
    return shutil.which(name) or next(iter(sorted(glob.glob(f"/usr/lib/postgresql/*/bin/{name}"), reverse=True)), None)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def server():
    """The address of an empty server, whose data are in a folder that is deleted; it refuses to run as root."""
    if program("initdb") is None or program("postgres") is None:
        pytest.skip("initdb of PostgreSQL is not installed")
    owner = {}
    if os.geteuid() == 0:
        try:
            user = pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip("PostgreSQL does not run as root, and there is no user postgres")
        owner = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    folder, port = Path(tempfile.mkdtemp(prefix="queue")), free_port()
    if owner:
        os.chown(folder, owner["user"], owner["group"])
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder, **owner}
    first = [program("initdb"), "-D", folder / "data", "-U", "zoo", "-A", "trust", "--no-sync"]
    subprocess.run(first, check=True, **quiet)
    address = ["-p", str(port), "-k", folder, "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]
    process = subprocess.Popen([program("postgres"), "-D", folder / "data", *address], **quiet)
    try:
        deadline = time.monotonic() + 60
        while not answers(port):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.1)
        yield f"postgresql://zoo@127.0.0.1:{port}/postgres"
    finally:
        process.send_signal(3)  # SIGQUIT: at once
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def answers(port: int) -> bool:
    import psycopg

    with contextlib.suppress(psycopg.OperationalError):
        psycopg.connect(f"postgresql://zoo@127.0.0.1:{port}/postgres").close()
        return True
    return False


@pytest.fixture
def storage(server, monkeypatch):
    """A queue of its own in the server."""
    monkeypatch.setattr(compare_queue, "STUDY", f"compare{time.monotonic_ns()}")
    return server


class Counter:
    """An engine that trains nothing and writes down what it was given."""

    done: list[str]

    def __init__(self):
        self.done = []

    def run(self, jobs):
        self.done += [job.key for job in jobs]
        time.sleep(0.01)

    def result(self, job):
        return {"seconds": 0.0}


def test_two_workers_share_the_runs(storage):
    jobs = [Job(f"key{i}", "none", i, tiny, Plus()) for i in range(8)]
    enqueue(open_study(storage), jobs)
    engines = [Counter(), Counter()]
    threads = [threading.Thread(target=work_on, args=(storage, engine, 0)) for engine in engines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(engines[0].done + engines[1].done) == sorted(job.key for job in jobs)
    assert all(engine.done for engine in engines)


def test_the_run_of_a_dead_worker_goes_to_another(storage, monkeypatch):
    study = open_study(storage)
    enqueue(study, [Job("key0", "none", 0, tiny, Plus())])
    study.ask()  # a worker takes it, and is killed
    monkeypatch.setattr(compare_queue, "DEAD", 0.0)
    time.sleep(0.01)
    revive(study)
    engine = Counter()
    assert work_on(storage, engine, 0) == 1 and engine.done == ["key0"]


@pytest.mark.slow
@pytest.mark.whole  # on a folder's storage, test_compare_queue.py has it
def test_a_comparison_by_two_workers(server, tmp_path, monkeypatch):
    monkeypatch.delenv("PYTHONPATH", raising=False)  # a worker imports what this process can, wherever it starts
    arms = {"none": [], "MixUp": [MixUp()]}
    found = compare(partial(tiny, epochs=2), arms, 2, workers=2, storage=server, folder=tmp_path / "runs", quiet=True)
    assert found["MixUp"].n == 2 and found["MixUp"].failed == [] and len(records.read("compare")) == 4
    trials = [trial for trial in open_study(server).get_trials() if "key" in trial.user_attrs]
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 4
    assert len({trial.user_attrs["key"] for trial in trials}) == 4


def test_a_server_that_does_not_answer_is_one_line():
    address = f"postgresql://zoo:secret@127.0.0.1:{free_port()}/postgres"
    with pytest.raises(ConnectionError, match=r"the queue postgresql://zoo:\*\*\*@127.* does not answer: ") as caught:
        open_study(address)
    assert "\n" not in str(caught.value) and "secret" not in str(caught.value)
    with pytest.raises(UsageError, match="does not answer"):
        worker([address])
