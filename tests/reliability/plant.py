"""Plant small faults in the code, one at a time, and see whether the tests notice: `python tests/reliability/plant.py`.

Command:  python tests/reliability/plant.py --commit d38b9d9 --first 1 --last 100
          python tests/reliability/plant.py --again            (those that survived, with the tests as they are now)
          python tests/reliability/plant.py --equivalent 7 "why behaviour stays the same"
Measures: which of the faults that are drawn by `--seed` make a test fail. A fault is a change of one expression or one
          statement, see `faults.py`. The tests are those that concern the file, fast ones first: its mirror in tests/,
          the tests that name it or what uses it, then the contract tests of its members; then the slow ones of both.
          A fault has `--cpu` seconds of processor time. `by` is the first test that fails, `error` what it says.
Results:  results/planted_faults.jsonl, a line a fault: `caught_first` is the first run, `caught` the last one,
          `changes` is 0 for a fault that was judged to change nothing, with the reason.

mutmut and cosmic-ray plant comparisons, signs and constants too. What goes wrong in this project most easily, a dropped
`detach`, H for W, another axis, a clamp or a reset that is missing, they do not; and they run one test command for all.
"""

import argparse
import contextlib
import json
import math
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

from recipes.frame import records  # noqa: E402
from tests.reliability.concerned import Tests, concerned  # noqa: E402
from tests.reliability.faults import Fault, draw, plant  # noqa: E402

NAME = "planted_faults"
NO_TESTS = 5  # pytest's exit code
WALL = 1200  # seconds a stage: a test that waits uses no processor time


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=2026, help="of the draw (default 2026)")
    parser.add_argument("--commit", default="HEAD", help="what to plant in (default HEAD)")
    parser.add_argument("--first", type=int, default=1, help="number of the first fault (default 1)")
    parser.add_argument("--last", type=int, default=100, help="number of the last fault (default 100)")
    parser.add_argument("--cpu", type=int, default=90, help="seconds of processor time a fault (default 90)")
    parser.add_argument("--again", action="store_true", help="repeat the faults that survived")
    parser.add_argument("--equivalent", nargs=2, metavar=("NUMBER", "REASON"), help="note that a fault changes nothing")
    parser.add_argument("--list", action="store_true", help="print the faults and plant none")
    given = parser.parse_args()
    if given.equivalent:
        return equivalent(int(given.equivalent[0]), given.equivalent[1])
    lines = {run["arguments"]["number"]: run for run in recorded()}
    scratch = Path(tempfile.mkdtemp(prefix="planted-"))
    try:
        git(ROOT, "clone", "-q", "--shared", str(ROOT), str(scratch))
        git(scratch, "checkout", "-q", git(ROOT, "rev-parse", given.commit))
        if given.again:
            faults = [Fault(**run["arguments"]) for run in lines.values() if survived(run)]
        else:
            faults = draw(scratch, given.seed, given.last)[given.first - 1 :]
        if given.list:
            return print(*faults, sep="\n")
        warm_up()
        for fault in faults:
            trial(scratch, fault, given, lines.get(fault.number) if given.again else None)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    tally()


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", "-C", folder, *arguments], check=True, capture_output=True, text=True).stdout.strip()


def recorded() -> list[records.Record]:
    return records.read(NAME)


def survived(run: records.Record) -> bool:
    return bool(run["metrics"]["changes"] and not run["metrics"]["caught"])


def trial(scratch: Path, fault: Fault, given: argparse.Namespace, before: records.Record | None) -> None:
    """Plant one fault, run its tests, take it out, and write the line."""
    path, start = scratch / fault.file, time.perf_counter()
    try:
        clean = path.read_text()
        faulty = plant(clean, fault)
    except (FileNotFoundError, ValueError):  # the code has changed since
        return print(f"{fault.number:4} gone           {fault}", flush=True)
    path.write_text(faulty)
    try:
        found = noticed(scratch, concerned(scratch, fault.file), given.cpu)
    finally:
        path.write_text(clean)
    by = found["by"]
    caught = int(bool(by))
    first = before["metrics"]["caught_first"] if before else caught
    metrics = {"caught": caught, "caught_first": first, "changes": 1}
    seconds = round(time.perf_counter() - start, 1)
    record = {
        "arguments": vars(fault),
        "seed": given.seed,
        "metrics": metrics,
        "seconds": seconds,
        "cpu": given.cpu,
        **found,
    }
    record["commit"] = git(scratch, "rev-parse", "--short", "HEAD")
    records.append(NAME, record)
    print(f"{fault.number:4} {'caught  ' if by else 'SURVIVED'} {seconds:5.0f} s {fault}  {by}", flush=True)


def warm_up() -> None:
    """Import what is slow and not ours: each stage is a fork of this process."""
    import lightning  # noqa: F401
    import pytest  # noqa: F401
    import sklearn.datasets  # noqa: F401
    import timm  # noqa: F401
    import torchmetrics  # noqa: F401
    import torchvision  # noqa: F401


def noticed(scratch: Path, stages: list[Tests], cpu: int) -> dict[str, str]:
    """Run the stages until a test fails: its name and its error, empty where none did; and whether time ran out."""
    report, left = scratch / ".first_failure", float(cpu)
    report.unlink(missing_ok=True)
    for tests in stages:
        left -= in_a_fork(scratch, tests, report, math.ceil(left)) if tests.paths else 0
        if report.exists() or left <= 0:
            break
    found = json.loads(report.read_text()) if report.exists() else {"by": "", "error": ""}
    return found | ({"note": "time ran out"} if left <= 0 and not found["by"] else {})


def in_a_fork(scratch: Path, tests: Tests, report: Path, limit: int) -> float:
    """Run tests in `scratch`; return the seconds of processor time."""
    child = os.fork()
    if not child:
        os.setsid()
        os._exit(run_here(scratch, tests, report, limit))
    end, done = time.monotonic() + WALL, (0, 0, None)
    while not done[0]:
        time.sleep(0.1)
        if time.monotonic() > end:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return math.inf
        done = os.wait4(child, os.WNOHANG)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # what a test left behind
    code = os.waitstatus_to_exitcode(done[1])
    if code > 0 and code != NO_TESTS and not report.exists():
        raise RuntimeError(f"pytest ended with {code}: {tests}")
    return done[2].ru_utime + done[2].ru_stime


def run_here(scratch: Path, tests: Tests, report: Path, limit: int) -> int:
    """Run pytest in this process, which is a fork, until `limit` seconds of processor time are over."""
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    os.chdir(scratch)
    os.environ |= {"PYTHONPATH": str(scratch), "OMP_NUM_THREADS": "1"}
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # plugins that are imported already cannot be rewritten
    ours = {"zoo", "callbacks", "datamodules", "recipes", "tests"}
    for name in [name for name in sys.modules if name.split(".")[0] in ours]:
        del sys.modules[name]
    elsewhere = [p for p in sys.path if Path(p or ".").resolve() not in (ROOT, Path(__file__).parent)]
    sys.path[:] = [str(scratch), *elsewhere]
    import pytest
    import torch

    torch.set_num_threads(1)
    arguments = ["-x", "-q", "-p", "no:cacheprovider", "-p", "pytest_timeout", *tests.paths, "-m", tests.marks]
    return int(pytest.main(arguments + (["-k", tests.names] if tests.names else []), plugins=[First(report)]))


class First:
    """Write down the first failure."""

    def __init__(self, file: Path):
        self.file = file

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed and not self.file.exists():
            error = next((line[1:] for line in str(report.longrepr).splitlines() if line.startswith("E ")), "")
            self.file.write_text(json.dumps({"by": report.nodeid, "error": error.strip()[:160]}))

    pytest_collectreport = pytest_runtest_logreport


def equivalent(number: int, reason: str) -> None:
    run = next(run for run in recorded() if run["arguments"]["number"] == number)
    records.append(NAME, {**run, "metrics": {**run["metrics"], "changes": 0}, "reason": reason})


def tally() -> None:
    runs = [run["metrics"] for run in recorded()]
    real = [m for m in runs if m["changes"]]
    first, now = (sum(m[key] for m in real) for key in ("caught_first", "caught"))
    print(f"{len(runs)} planted, {len(runs) - len(real)} change nothing")
    print(f"of {len(real)}: {first} caught at first, {now} now")
    print(json.dumps([run["arguments"]["number"] for run in recorded() if survived(run)]), "survive")


if __name__ == "__main__":
    main()
