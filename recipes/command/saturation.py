"""Write the tables of recipes/frame/saturation.py: what it says of a run, and what was measured beside it."""

from typing import NamedTuple

from recipes.command import tables
from recipes.frame import records
from recipes.frame.saturation import BUCKET, Parts, all_reduce, simulate

BATCH = 256  # images of a process
A100 = 2470  # images/s of ResNet-50 on one: NVIDIA/DeepLearningExamples, resnet50v1.5, PyTorch, mixed precision
EIGHT = 16_621  # images/s on eight, there
WEIGHTS = 4 * 25_557_032  # bytes of ResNet-50's gradients
BUS = 205e9  # bytes a second in a machine of A100s: nccl-tests, issue 290
IMAGES = {  # bytes of one (138 GB by 1.28 million; the mean of 60 after `zoo prepare --size 256`), metric of its speed
    "files": (138e9 / 1_281_167, "bytes"),
    "prepared": (28.8e3, "prepared, bytes"),
}


class Run(NamedTuple):
    """ResNet-50 on ImageNet with A100s: GPUs, a key of `IMAGES`, and cores of a GPU.

    `between` is what a machine's network sends for each GPU, `store` what the store sends in all; bytes a second.
    """

    gpus: int
    images: str
    cores: int
    between: float = 47e9
    store: float = float("inf")


SLOW, STORE = 1.25e9 / 8, 20e9  # 10 Gb a machine of eight; a store
RUNS = (
    Run(1, "files", 2),
    Run(1, "files", 4),
    Run(1, "prepared", 2),
    Run(8, "files", 4),
    Run(64, "files", 4),
    Run(64, "files", 4, SLOW),
    Run(512, "files", 4, store=STORE),
    Run(512, "prepared", 4, store=STORE),
)


def simulation() -> str:
    """Write what is simulated of `RUNS`, with our loader's speed from the last run of benchmarks/loader_jpeg.py."""
    runs = records.read("loader_jpeg")
    if not runs:
        return tables.NOT_YET
    rows = []
    for run in RUNS:
        found, step = simulate(parts(run, runs[-1]["metrics"])), BATCH / A100
        between = "" if run.gpus <= 8 else f"{run.between / 1e9:.2g}"
        store = "" if run.store == float("inf") else f"{run.store / 1e9:.0f}"
        share = f"{step / found.seconds:.2f}"
        rows.append([f"{run.gpus}", run.images, f"{run.cores}", between, store, share, found.limit])
    heads = ["GPUs", "images", "cores a GPU", "between machines, GB/s a GPU", "store, GB/s", "of n times one", "limit"]
    return tables.markdown(heads, rows)


def parts(run: Run, loader: dict[str, float]) -> Parts:
    """Return the seconds of a run's parts; `loader` has images a second of one core."""
    size, metric = IMAGES[run.images]
    reduce = all_reduce(WEIGHTS, run.gpus, BUS, run.between)
    last = reduce * min(1, BUCKET / WEIGHTS)
    store = BATCH * size * run.gpus / run.store
    return Parts(BATCH / A100, BATCH / loader[metric], run.cores, store, reduce, last, run.gpus)


def measurements() -> str:
    """Write steps that benchmarks/saturation.py and benchmarks/read_ahead.py measured, and those simulated."""
    rows: list[tuple[str, float, float]] = []
    for name, seconds in (metrics("saturation") or {}).items():
        pace, _, workers = name.partition(" ms, workers ")
        if workers:
            found = simulate(Parts(1e-3 * float(pace), 0.2, int(workers)), steps=24).seconds
            rows.append((f"a batch takes 200 ms, a step {pace}; workers: {workers}", seconds, found))
    ahead = metrics("read_ahead") or {}
    for delay in sorted({name.partition(",")[0] for name in ahead}, key=lambda text: float(text.split()[0])):
        one, four = (64 / ahead[f"{delay}, {way}: images/s"] for way in ("when needed", "read ahead"))
        rows.append((f"a store waits {delay}; 4 chunks ahead", four, simulate(Parts(0.0, one, 4), steps=24).seconds))
    rows.append(("8 A100s, as published; a loader without limit", BATCH * 8 / EIGHT, seconds_without_loader()))
    cells = [[what, f"{1e3 * x:.0f}", f"{1e3 * y:.0f}", f"{x / y:.2f}"] for what, x, y in rows]
    return tables.markdown(["what", "ms a step, measured", "simulated", "measured / simulated"], cells)


def seconds_without_loader() -> float:
    """Return the seconds of a step of eight A100s, that no loader slows down."""
    reduce = all_reduce(WEIGHTS, 8, BUS)
    return simulate(Parts(BATCH / A100, reduce=reduce, last=reduce * BUCKET / WEIGHTS, processes=8)).seconds


def metrics(name: str) -> dict[str, float] | None:
    """Return the figures of a benchmark's last run; None without one."""
    runs = records.read(name)
    return runs[-1]["metrics"] if runs else None
