"""`make evidence`: do the missing runs of the programme in recipes/frame/evidence.py, one after the other.

Each run is recorded as soon as it ends; started again, the command goes on where it stopped. Several processes may work
on one checkout: each run is done by one of them.
"""

import argparse
import logging
import os
import subprocess
import time
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from recipes.frame import records
from recipes.frame.arms import REGIMES
from recipes.frame.cifar import Cifar
from recipes.frame.evidence import (
    Job,
    best_value,
    is_done,
    is_ready,
    is_waiting,
    precision,
    programme,
    teacher_path,
)
from recipes.frame.processor import advice
from recipes.frame.regime import NONE, accuracy, build_trial

LOCKS = Path("runs") / "evidence"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the programme; return 1 if a run has failed."""
    options = _parse(arguments)
    if options.list:
        for job in _jobs(options.regime):
            print("done   " if is_done(job) else "missing", job)
        return 0
    torch.set_num_threads(1)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", ".*LeafSpec", FutureWarning)
    records.commit()  # of the code that this process runs, whatever is committed later
    failed: set[Job] = set()
    while (options.most is None or options.most > 0) and (taken := _take(failed, options.regime)):
        job, lock = taken
        try:
            stopped = not run(job, options)
        except Exception:
            traceback.print_exc()
            failed.add(job)
            stopped = False
        finally:
            lock.release()
        if stopped:
            break
        options.most = options.most and options.most - 1
    else:
        if waiting := sum(is_waiting(job) and not is_done(job) for job in _jobs(options.regime)):
            print(f"runs that wait for a processor with bfloat16, in which their arms were begun: {waiting}")
    return int(bool(failed))


def _jobs(regime: str | None) -> list[Job]:
    """Return the programme, or its runs in one regime."""
    return [job for job in programme() if regime in (None, job.regime.name)]


def _take(failed: set[Job], regime: str | None = None) -> tuple[Job, FileLock] | None:
    """Return the first run that is ready and not taken by another process, with its lock."""
    LOCKS.mkdir(parents=True, exist_ok=True)
    for job in _jobs(regime):
        if job in failed or is_done(job) or not is_ready(job):
            continue
        lock = FileLock(LOCKS / f"{job.regime.name} {job.arm} {job.value} {job.seed}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            continue
        if not is_done(job):  # another process finished it meanwhile
            return job, lock
        lock.release()
    return None


def run(job: Job, options: argparse.Namespace) -> bool:
    """Do one run and record it; return False if it was stopped."""
    value = job.value if job.choosing else best_value(job.regime, job.arm)
    lr = value if job.arm == NONE else best_value(job.regime, NONE)
    source = Cifar(options.root, options.folder, precision(job))
    print(f"{job} {advice(source.precision)}", flush=True)
    trial = build_trial(
        job.regime,
        job.arm,
        value,
        lr,
        source=source,
        choosing=job.choosing,
        teacher=teacher_path(job.regime, job.regime.arms[job.arm].taught),
        seed=job.seed,
    )
    start = time.perf_counter()
    teaches = job.arm in job.regime.teachers
    metrics = trial.run(save=teacher_path(job.regime, job.arm).parent if teaches else False, record=True)
    if trial.stopped:
        return False
    result = metrics["val/acc"] if job.choosing else accuracy(metrics)
    print(f"{job}: {result:.4f}, {time.perf_counter() - start:.0f} s", flush=True)
    if options.commit:
        commit(trial.name, f"Run of {job}: {result:.4f}")
    return True


def commit(name: str, message: str) -> None:
    """Commit the file of results alone; another process may hold git's lock for a moment."""
    path = str((records.RESULTS / f"{name}.jsonl").resolve())
    root = str(records.RESULTS.resolve().parent)
    for command in (["add", path], ["commit", "-q", "-m", message, "--", path]):
        for _ in range(10):
            done = subprocess.run(["git", "-C", root, *command], capture_output=True, text=True)
            if done.returncode == 0:
                break
            time.sleep(1)
        else:
            print(f"not committed: {done.stderr.strip() or done.stdout.strip()}", flush=True)
            return


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m recipes.command.evidence", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--root", type=Path, default=Path("data"), help="where CIFAR-10 is, or is downloaded to")
    parser.add_argument("--folder", type=Path, help="the same images as files: train/<class>/*, test/<class>/*")
    parser.add_argument("--regime", choices=[one.name for one in REGIMES], help="do the runs of one regime alone")
    parser.add_argument("--commit", action="store_true", help="commit the file of results after each run")
    parser.add_argument("--most", type=int, help="do at most this many runs")
    parser.add_argument("--list", action="store_true", help="print the planned runs and which are done")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    os.nice(19)
    raise SystemExit(main())
