"""Records of runs: one JSON line a run in `results/<name>.jsonl`. All tables are made from these lines."""

import json
import os
import platform
import statistics
import subprocess
from collections.abc import Iterable
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock

from zoo.frame import atomic

HERE = Path(__file__).resolve().parents[2]
CHECKOUT = HERE if (HERE / "pyproject.toml").exists() else None
RESULTS = (CHECKOUT or Path()) / "results"


class Summary(NamedTuple):
    """Mean, sample standard deviation (n - 1 below; NaN for one run) and number of runs: they stand together."""

    mean: float
    std: float
    n: int


Record = dict[str, Any]  # one run: a line of results/


def append(name: str, record: Record) -> Record:
    """Add one run to `results/<name>.jsonl`: its measurements, hardware and versions.

    Args:
        name: of the recipe or benchmark.
        record: at least `arguments` (dict), `seed` (int), `metrics` (dict of numbers) and `seconds`. Hardware,
            versions and commit are filled in where they are missing.

    Raises:
        ValueError: one of the four is missing: such a line could not be made again.
    """
    missing = {"arguments", "seed", "metrics", "seconds"} - set(record)
    if missing:
        raise ValueError(f"a record needs {', '.join(sorted(missing))} so that the run can be repeated")
    record = {"hardware": hardware(), "versions": versions(), "commit": commit(), **record}
    RESULTS.mkdir(parents=True, exist_ok=True)
    path, line = (RESULTS / f"{name}.jsonl").resolve(), json.dumps(record, sort_keys=True) + "\n"
    with FileLock(RESULTS / f".{name}.jsonl.lock"):  # locked, because two processes at once would lose a line
        before = path.read_bytes() if path.exists() else b""
        with atomic.replace(path) as file:
            file.write(before + line.encode())
    return record


def read(name: str) -> list[Record]:
    """Read the runs of `name`, in order of their first run.

    A seed that was run again with the same arguments on the same hardware counts once, with its last run.
    """
    return list({_key(record, "arguments", "hardware", "seed"): record for record in lines(name)}.values())


def lines(name: str) -> list[Record]:
    """Read every line of `results/<name>.jsonl`."""
    path = RESULTS / f"{name}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def groups(records: Iterable[Record]) -> list[list[Record]]:
    """Group runs that differ only in their seeds."""
    found: dict[str, list[Record]] = {}
    for record in records:
        found.setdefault(_key(record, "arguments", "hardware"), []).append(record)
    return list(found.values())


def summary(values: Iterable[float]) -> Summary:
    """Compute mean, sample standard deviation and number of `values`.

    Raises:
        ValueError: no values.
    """
    values = list(values)
    if not values:
        raise ValueError("nothing was measured: run the recipe with --record first")
    std = statistics.stdev(values) if len(values) > 1 else float("nan")
    return Summary(statistics.fmean(values), std, len(values))


def words(values: Iterable[float]) -> str:
    """Write mean ± sample standard deviation with four digits; "1 run" for a single one; nothing for none."""
    if not (values := list(values)):
        return ""
    mean, std, n = summary(values)
    return f"{mean:.4f} ± {std:.4f}" if n > 1 else f"{mean:.4f} (1 run)"


def hardware(device: str = "cpu") -> Record:
    """Name the processor or the GPU, and the number of threads; nothing that names the machine."""
    import torch

    if device.startswith("cuda"):
        return {"device": torch.cuda.get_device_name(device), "threads": torch.get_num_threads()}
    return {"device": _cpu(), "threads": torch.get_num_threads()}


def versions() -> dict[str, str]:
    """Return the versions of Python, torch, Lightning and timm."""
    return {"python": platform.python_version(), **{p: version(p) for p in ("torch", "lightning", "timm")}}


@cache
def commit() -> str | None:
    """Return the short commit of the checkout, with "+" if files differ from it; None outside of a checkout.

    It is read once a process: a long one goes on with the code that it began with.
    """
    if CHECKOUT is None:
        return None
    # results/ grows with every run: that is no change to the code that was run.
    sha, changed = _git("rev-parse", "--short", "HEAD"), _git("status", "--porcelain", "--", ".", ":!results")
    return sha and sha + "+" * bool(changed)


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(CHECKOUT), *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None  # no git, or no commit yet
    return done.stdout.strip()


def _cpu() -> str:
    if os.path.exists("/proc/cpuinfo"):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _key(record: Record, *fields: str) -> str:
    return json.dumps([record[field] for field in fields], sort_keys=True)
