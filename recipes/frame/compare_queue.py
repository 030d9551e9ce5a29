"""A comparison on several machines: the queue is an Optuna study, and `zoo worker STORAGE` takes runs from it.

The storage is a file on a folder that all machines share (Optuna's journal), or the address of a database such as
`postgresql://user@host/name`. SQLite is refused: it has no row locks, so that two workers take the same run. A password
belongs into ~/.pgpass or PGPASSWORD, since workers have the address on their command line.

The results come back through the study: the machines need not share anything else. A run is sent as a pickle: whoever
can write to the storage can run code on the workers.
"""

import base64
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import cloudpickle

from recipes.frame.compare_work import Job

STUDY = "compare"
BEAT = 30.0  # seconds between signs of life of a run
DEAD = 300.0  # seconds without one after which a run is given to another worker
LOOK = 2.0  # seconds between looks at the queue


class Engine(Protocol):
    """The interface of the engine in `compare_engine.py` that the queue needs."""

    folder: Path
    workers: int
    storage: str | None
    failed: set[str]

    def result(self, job: Job) -> dict[str, Any] | None: ...

    def run(self, jobs: Iterable[Job]) -> None: ...

    def note(self, job: Job) -> None: ...

    def say(self, job: Job) -> None: ...


def open_study(storage: str) -> Any:
    """Open the study that is the queue, or make it.

    Args:
        storage: the path of a journal, or the URL of a database.

    Raises:
        ImportError: without Optuna or the driver of the database; says how to install it.
        ValueError: for SQLite.
        ConnectionError: the database does not answer.
    """
    if storage.startswith("sqlite"):
        raise ValueError(
            "SQLite cannot be a queue: it has no row locks, so two workers took the same run, 2 to 16 times in 200. "
            "Give the path of a journal file on a shared folder, or a PostgreSQL address"
        )
    try:
        optuna = import_module("optuna")
    except ImportError as error:
        raise ImportError('the queue is Optuna\'s: pip install "lightning-zoo[search]"') from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if "://" in storage:
        backend = open_database(optuna, storage)
    else:
        Path(storage).parent.mkdir(parents=True, exist_ok=True)
        journal = import_module("optuna.storages.journal")
        backend = optuna.storages.JournalStorage(journal.JournalFileBackend(storage))
    return optuna.create_study(storage=backend, study_name=STUDY, load_if_exists=True)


def open_database(optuna: Any, address: str) -> Any:
    """Open Optuna's storage in a database. Errors: see `open_study`."""
    errors = import_module("sqlalchemy.exc")
    # a run takes hours: a connection for each question, since one that is kept would be cut
    options = {"poolclass": import_module("sqlalchemy.pool").NullPool}
    try:
        url = re.sub("^postgres(ql)?://", "postgresql+psycopg://", address)  # for any version of SQLAlchemy
        return optuna.storages.RDBStorage(url, engine_kwargs=options)
    except ImportError as error:
        raise ImportError('the driver of PostgreSQL is missing: pip install "lightning-zoo[queue]"') from error
    except errors.OperationalError as error:
        shown = re.sub(r":[^:@/]*@", ":***@", address)
        raise ConnectionError(f"the queue {shown} does not answer: {str(error.orig).splitlines()[0]}") from error


# ---- the parent


def enqueue(study: Any, jobs: list[Job]) -> None:
    """Put runs into the queue that are neither in it nor done. One process does this."""
    states = import_module("optuna.trial").TrialState
    there = {t.user_attrs.get("key") for t in study.get_trials(deepcopy=False) if t.state != states.FAIL}
    for job in jobs:
        if job.key not in there:
            payload = base64.b64encode(cloudpickle.dumps(job)).decode()
            study.enqueue_trial({}, user_attrs={"key": job.key, "job": payload, "name": str(job)})


def run(engine: Engine, waiting: list[Job]) -> None:
    """Enqueue runs, start `engine.workers` workers here, and wait until all runs are done or have failed.

    Raises:
        RuntimeError: all workers started here have died.
    """
    storage = engine.storage or ""
    study = open_study(storage)
    enqueue(study, waiting)
    command = [sys.executable, "-m", "recipes.command.main", "worker", storage, "--folder", str(engine.folder)]
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)  # what this process can import, a worker can
    environment = {**os.environ, "PYTHONPATH": path}
    workers = [subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment) for _ in range(engine.workers)]
    try:
        while waiting := [job for job in waiting if not collect(engine, study, job)]:
            if workers and all(worker.poll() for worker in workers):  # none runs, and none ended well
                raise RuntimeError(
                    f"all {len(workers)} workers of this machine have died, and {len(waiting)} runs are not done; "
                    "their errors are printed above. The same call again goes on"
                )
            time.sleep(LOOK)
        for worker in workers:  # the last run has still to report to the study
            worker.wait()
    finally:
        for worker in workers:
            worker.terminate()


def collect(engine: Engine, study: Any, job: Job) -> bool:
    """Write a run's result into its folder if the study has it; tell whether the run is done or has failed."""
    if engine.result(job) is None:
        mine = [t.user_attrs for t in study.get_trials(deepcopy=False) if t.user_attrs.get("key") == job.key]
        found = next((attributes["result"] for attributes in mine if "result" in attributes), None)
        if found is None:
            if not any(attributes.get("failed") for attributes in mine):
                return False
            engine.failed.add(job.key)
            engine.say(job)
            return True
        folder = engine.folder / job.key
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / "result.part"
        part.write_text(found)
        part.replace(folder / "result.json")
    engine.note(job)
    engine.say(job)
    return True


# ---- a worker


def work_on(storage: str, engine: Engine, patience: float = 60.0) -> int:
    """Take runs from the queue until it is empty; return how many were done.

    Args:
        storage: see `open_study`.
        engine: does a run in a process of its own.
        patience: seconds to wait for a first run.
    """
    study, states = open_study(storage), import_module("optuna.trial").TrialState
    done, deadline = 0, time.monotonic() + patience
    while True:
        if study.get_trials(deepcopy=False, states=(states.WAITING,)):
            done += take(study, engine)
        elif study.get_trials(deepcopy=False, states=(states.RUNNING,)):
            revive(study)
            time.sleep(LOOK)
        elif done or time.monotonic() > deadline:
            return done
        else:
            time.sleep(LOOK)


def take(study: Any, engine: Engine) -> bool:
    """Take a run and do it; return whether there was one."""
    states = import_module("optuna.trial").TrialState
    trial = study.ask()
    key = trial.user_attrs.get("key")
    if key is None:  # the queue had just become empty, and Optuna made a new trial
        study.tell(trial, state=states.FAIL)
        return False
    others = study.get_trials(deepcopy=False, states=(states.COMPLETE,))
    if any(other.user_attrs.get("key") == key for other in others):
        study.tell(trial, state=states.FAIL)
        return True
    result = _do(trial, engine)
    if result is None:
        trial.set_user_attr("failed", True)
        study.tell(trial, state=states.FAIL)
    else:
        trial.set_user_attr("result", json.dumps(result))
        study.tell(trial, 0.0)
    return True


def _do(trial: Any, engine: Engine) -> dict[str, Any] | None:
    try:
        job = cloudpickle.loads(base64.b64decode(trial.user_attrs["job"]))
    except Exception as error:
        print(f"{trial.user_attrs['name']}: this machine cannot load it: {_reason(error)}", file=sys.stderr)
        return None
    with _Beat(trial):
        engine.run([job])
    return engine.result(job)


def _reason(error: Exception) -> str:
    """Say in one line why a run that another machine has pickled cannot be loaded."""
    if isinstance(error, ModuleNotFoundError):
        return f"there is no module {error.name!r} here: start `zoo worker` where it can be imported, or install it"
    if isinstance(error, AttributeError):
        return f"{str(error).rstrip('.')}: its clone of the code differs from the parent's; bring both to one commit"
    return repr(error)


def revive(study: Any) -> None:
    """Give runs to other workers if theirs sent no heartbeat for five minutes."""
    states = import_module("optuna.trial").TrialState
    for trial in study.get_trials(deepcopy=False, states=(states.RUNNING,)):
        started = trial.datetime_start.timestamp() if trial.datetime_start else time.time()
        if "key" in trial.user_attrs and time.time() - trial.user_attrs.get("beat", started) > DEAD:
            try:
                study.tell(trial.number, state=states.FAIL)
            except (ValueError, RuntimeError):  # another worker was faster
                continue
            kept = {name: trial.user_attrs[name] for name in ("key", "job", "name")}
            study.enqueue_trial({}, user_attrs=kept)


class _Beat:
    """Send heartbeats while a run is in progress."""

    def __init__(self, trial: Any):
        self.trial, self.over = trial, threading.Event()

    def _tick(self) -> None:
        while not self.over.is_set():
            self.trial.set_user_attr("beat", time.time())
            self.over.wait(BEAT)

    def __enter__(self) -> None:
        self.thread = threading.Thread(target=self._tick, daemon=True)
        self.thread.start()

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join()
