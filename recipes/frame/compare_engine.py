"""Do the runs of a comparison, each once and in a process of its own, as many at a time as there are workers."""

import multiprocessing
import time
from collections.abc import Iterable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import cloudpickle
from filelock import FileLock
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, TaskID

from recipes.frame import records
from recipes.frame.compare_work import Job, read_result, run_job, score, work

FOLDER = Path("runs") / "compare"
TRIES = 3  # attempts at a run whose process dies
GRACE = 30.0  # seconds in which a run must stop when it is asked to


class Engine:
    """Do each run once, in as many processes at a time as there are workers.

    Args:
        folder: folder of the runs.
        workers: number of runs at a time; 0: in this process.
        record: add a line for each run to results/.
        quiet: print nothing.
        storage: storage of the queue, see `compare`.
        own: record each run in the file of its recipe, see `compare`.
    """

    def __init__(
        self,
        folder: Path,
        workers: int,
        record: bool = True,
        quiet: bool = False,
        storage: str | None = None,
        own: bool = False,
    ):
        self.folder, self.workers, self.record, self.own = Path(folder), workers, record, own
        self.storage = storage
        self.console = Console(quiet=quiet)
        self.failed: set[str] = set()  # keys of runs

    def result(self, job: Job) -> dict[str, Any] | None:
        """Return what the run measured; None if it is not done."""
        return read_result(self.folder / job.key)

    def run(self, jobs: Iterable[Job]) -> None:
        """Do the runs that are not done yet. Return when all are done or have failed."""
        jobs = list(jobs)
        waiting = [job for job in jobs if self.result(job) is None and job.key not in self.failed]
        if not waiting:
            pass
        elif self.storage is not None:
            from recipes.frame import compare_queue

            compare_queue.run(self, waiting)
        elif self.workers == 0:
            self._here(waiting)
        else:
            Pool(self).run(waiting)
        for job in jobs:
            self.note(job)

    def _here(self, jobs: list[Job]) -> None:
        for job in jobs:
            if run_job(job, self.folder / job.key) is None:
                raise KeyboardInterrupt
            self.say(job)

    def note(self, job: Job) -> None:
        """Add a run's line to results/, unless it is there."""
        result = self.result(job)
        if not self.record or result is None:
            return
        arguments = {**result["arguments"]}
        name = arguments.pop("recipe") if self.own else "compare"
        arguments |= {} if self.own else {"key": job.key, "arm": job.arm, "fold": job.fold}
        records.RESULTS.mkdir(parents=True, exist_ok=True)
        with FileLock(records.RESULTS / f".{name}.lock"):
            if not any(line.get("key") == job.key for line in records.lines(name)):
                records.append(name, {**result, "key": job.key, "arguments": arguments, "seed": job.seed})

    def say(self, job: Job) -> None:
        """Print a line about a run that has ended."""
        result = self.result(job)
        if result is None:
            log = self.folder / job.key / "log.txt"
            lines = log.read_text().splitlines() if log.exists() else []
            self.console.print(escape(f"{job}: failed ({lines[-1] if lines else 'killed'}); see {log}"))
        else:
            self.console.print(f"{escape(str(job))}: {score(result, job.goal):.4f}, {result['seconds']:.0f} s")


@dataclass
class Running:
    """A process at work."""

    job: Job
    process: BaseProcess
    alive: Connection  # the child holds the other end, and stops when this process ends
    task: TaskID


class Pool:
    """The processes of one call of `Engine.run`, and their progress bars."""

    def __init__(self, engine: Engine):
        self.engine = engine
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(["torch", "lightning.pytorch", "recipes.frame.compare_work"])
        self.told, self.tell = self.context.Pipe(duplex=False)
        self.running: dict[int, Running] = {}  # by sentinel
        self.tries: dict[str, int] = {}

    def run(self, waiting: list[Job]) -> None:
        """Do these runs."""
        waiting = list(waiting)
        with Progress(console=self.engine.console, disable=not self.engine.console.is_terminal) as self.display:
            whole = self.display.add_task("all runs", total=len(waiting))
            try:
                while waiting or self.running:
                    while waiting and len(self.running) < self.engine.workers:
                        self.start(waiting.pop(0))
                    ended = self.look()
                    waiting += [job for job in ended if self.again(job)]
                    self.display.update(whole, advance=sum(not self.open(job) for job in ended))
            except BaseException:
                self.stop()
                raise

    def start(self, job: Job) -> None:
        """Start a process."""
        theirs, ours = self.context.Pipe(duplex=False)
        arguments = (cloudpickle.dumps(job), str(self.engine.folder / job.key), theirs, self.tell)
        process = self.context.Process(target=work, args=arguments)
        process.start()
        theirs.close()
        task = self.display.add_task(escape(str(job)), total=1.0)
        self.running[process.sentinel] = Running(job, process, ours, task)

    def look(self) -> list[Job]:
        """Read the processes' messages for half a second; return the runs whose process has ended."""
        ended = []
        for one in wait([*self.running, self.told], 0.5):
            if isinstance(one, int):
                ended.append(self.end(self.running.pop(one)))
        tasks = {running.job.key: running.task for running in self.running.values()}  # those that still have a bar
        while self.told.poll():
            key, fraction = self.told.recv()
            if key in tasks:
                self.display.update(tasks[key], completed=fraction)
        return ended

    def end(self, one: Running) -> Job:
        """Clean up after a process that has ended."""
        one.process.join()
        one.alive.close()
        self.display.remove_task(one.task)
        if self.engine.result(one.job) is not None:
            self.engine.note(one.job)
            self.engine.say(one.job)
        elif one.process.exitcode == 3:  # another process does this run
            time.sleep(1)
        else:
            self.tries[one.job.key] = self.tries.get(one.job.key, 0) + 1
            if self.tries[one.job.key] >= TRIES or (one.process.exitcode or 0) > 0:  # an error would come again
                self.engine.failed.add(one.job.key)
                self.engine.say(one.job)
        return one.job

    def open(self, job: Job) -> bool:
        """Tell whether the run is neither done nor given up."""
        return self.engine.result(job) is None and job.key not in self.engine.failed

    def again(self, job: Job) -> bool:
        """Tell whether the run must be started again."""
        return self.open(job)

    def stop(self) -> None:
        """Ask all processes to end after the batch. Kill those that do not end within the grace period."""
        for one in self.running.values():
            one.process.terminate()
        deadline = time.monotonic() + GRACE
        try:
            for one in self.running.values():
                one.process.join(max(0.0, deadline - time.monotonic()))
        finally:  # a second Ctrl-C comes here at once
            for one in self.running.values():
                if one.process.is_alive():
                    one.process.kill()
