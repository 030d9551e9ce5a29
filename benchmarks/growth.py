"""How time and memory grow with the number of images, classes, pixels and tricks.

Command:  python benchmarks/growth.py, then python -m recipes.frame.growth docs/growth.svg for the figure
Measures: CPU seconds of one thread, medians, and the memory that a process takes at its peak beyond what it had
          before; each point in a process of its own. Images: batches of 128 from `Arrays` of random 8 x 8 px, shuffled
          and cropped; the first batch draws the order of the epoch. Classes, pixels: a step (forward, backward, SGD
          with momentum) of ResNet-20 in float32, with 32 images of 32 px and with 1 image. Tricks: a step of
          `Trainer.fit`, ResNet-20, 8 images of 32 px, with the first k tricks of a list. CPU seconds are no wall
          seconds: the core was shared
"""

import argparse
import logging
import multiprocessing
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import lightning as L
import numpy as np
import torch
import torch.nn.functional as F
from _turns import CLOCK, seconds

import callbacks as c
from datamodules import Arrays
from recipes.frame import records
from zoo import ResNet

SIZES = {
    "images": (1_000, 10_000, 100_000, 1_000_000),
    "classes": (10, 100, 1_000, 21_841),
    "pixels": (32, 64, 128, 256, 512),
    "tricks": (0, 2, 4, 6, 8, 10),
}
TRICKS = (  # those of the first page, then four that act at every step
    *(lambda: c.CosineDecay(warmup_epochs=0.5), lambda: c.MixUp(0.2), lambda: c.LabelSmoothing(0.1), c.NoBiasDecay),
    *(c.ZeroGamma, lambda: c.EMA(0.999), c.Cutout, c.GradientClipping, c.ConfidencePenalty, c.GradientCentralization),
)
WARMUP = 3  # steps of a run with tricks that are not counted


def memory(name: str) -> int:
    """Return a line of /proc/self/status in bytes: "VmRSS" now, "VmHWM" at the peak."""
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith(name))
    return 1024 * int(line.split()[1])


def images(n: int, rounds: int) -> dict[str, float]:
    """Return seconds of the first batch, and of each further one."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (n, 8, 8, 3), np.uint8)
    before = reset()
    data = Arrays(pixels, torch.arange(n) % 10, 128, padding=1, flip=True, mean=(0.5,) * 3, std=(0.2,) * 3)
    data.setup("fit")
    start = time.process_time()
    batches = iter(data.train_dataloader())
    next(batches)
    first = time.process_time() - start
    return {"first": first, "seconds": median(lambda: next(batches, None), min(5 * rounds, n // 128 - 2))} | peak(
        before
    )


def step(n: int, classes: int, size: int, rounds: int) -> dict[str, float]:
    network = ResNet("20", num_classes=classes, image_size=32).train()  # meant for small images, takes any
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9)
    x, y = torch.randn(n, 3, size, size), torch.zeros(n, dtype=torch.long)
    before = reset()

    def once() -> None:
        loss = F.cross_entropy(network(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return {"seconds": median(once, rounds)} | peak(before)


class Clock(L.Callback):
    def __init__(self):
        self.seconds, self.last = [], 0.0

    def on_train_batch_end(self, trainer, model, outputs, batch, batch_idx) -> None:
        now = time.process_time()
        self.seconds.append(now - self.last)
        self.last = now


def tricks(k: int, rounds: int) -> dict[str, float]:
    torch.manual_seed(0)
    batch, clock = [torch.randn(8, 3, 32, 32), torch.arange(8)], Clock()
    off = dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing"), False)
    loader = torch.utils.data.DataLoader([batch] * (WARMUP + 5 * rounds), batch_size=None, collate_fn=list)
    trainer = L.Trainer(max_epochs=1, accelerator="cpu", callbacks=[*(one() for one in TRICKS[:k]), clock], **off)
    model, before = ResNet("20", num_classes=10, image_size=32, lr=0.01), reset()
    trainer.fit(model, loader)
    return {"seconds": statistics.median(clock.seconds[WARMUP:])} | peak(before)


def reset() -> int:
    """Forget the peak so far; return the memory now."""
    Path("/proc/self/clear_refs").write_text("5")
    return memory("VmRSS")


def peak(before: int) -> dict[str, float]:
    return {"MB": (memory("VmHWM") - before) / 1e6}


def median(call: Callable[[], object], rounds: int) -> float:
    call()
    return statistics.median(seconds(call) for _ in range(rounds))


MEASURE: dict[str, Callable[[int, int], dict[str, float]]] = {
    "images": images,
    "classes": lambda k, rounds: step(32, k, 32, rounds),
    "pixels": lambda size, rounds: step(1, 10, size, rounds),
    "tricks": tricks,
}


def alone(what: str, size: int, rounds: int) -> dict[str, float]:
    """Measure a point in a process of its own: memory that another point freed would hide its own."""
    queue = multiprocessing.get_context("fork").SimpleQueue()
    child = multiprocessing.get_context("fork").Process(target=lambda: queue.put(MEASURE[what](size, rounds)))
    child.start()
    child.join()
    if child.exitcode:
        raise RuntimeError(f"{what} {size} ended with {child.exitcode}")
    return queue.get()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3, help="times that each point is measured (default 3)")
    parser.add_argument("--rows", nargs="*", default=list(SIZES), choices=SIZES, metavar="ROW")
    arguments = vars(parser.parse_args())
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    commit, metrics, start = records.commit(), {}, time.perf_counter()
    for what in arguments["rows"]:
        for size in SIZES[what]:
            found = alone(what, size, arguments["rounds"])
            metrics |= {f"{what} {size} {name}": value for name, value in found.items()}
            print(what, size, {name: round(value, 5) for name, value in found.items()}, flush=True)
    record = {"arguments": arguments, "seed": 0, "metrics": metrics, "seconds": time.perf_counter() - start}
    if arguments["rows"] == list(SIZES):
        records.append("growth", record | {"clock": CLOCK, "commit": commit})


if __name__ == "__main__":
    main()
