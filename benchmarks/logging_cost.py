"""What logging adds to a step: our `Classifier`, the same without logging, and the usual two calls of `self.log`.

Command:  python benchmarks/logging_cost.py
Measures: microseconds of process time a step: a linear network 16 -> 10, batch 16, one thread, no validation, so
          nothing but overhead. The variants take turns, round by round. Time is measured in pieces of 50 steps, and one
          line is logged in each piece. The lower decile of all pieces counts: the cost of a step while nothing else
          uses the processor.
"""

import argparse
import logging
import statistics
import tempfile
import time
import warnings

import lightning as L
import torch
from lightning.pytorch.loggers import CSVLogger
from torch import nn
from torch.utils.data import DataLoader

from recipes.frame import records
from zoo import Classifier

PIECE = 50  # steps: Lightning's default of log_every_n_steps
TARGET = 70  # microseconds that logging may add to a step


class Silent(Classifier):
    """A classifier that counts nothing and logs nothing."""

    def on_train_batch_end(self, outputs, batch, batch_idx) -> None:
        pass

    def on_train_epoch_end(self) -> None:
        pass

    def on_train_start(self) -> None:
        super().on_train_start()
        self._window.update = lambda *_: None


class TwoCalls(Silent):
    """Log loss and accuracy as most code does: at every step, with `self.log`."""

    def training_step(self, batch, batch_idx):
        images, targets = self._check(batch, batch_idx)
        logits = self(images)
        loss = nn.functional.cross_entropy(logits, targets)
        self.log("train/loss", loss)
        self.log("train/acc", (logits.argmax(1) == targets).float().mean())
        return loss


class Clock(L.Callback):
    """Measure the process time of every `PIECE` steps, in microseconds a step."""

    def __init__(self):
        self.pieces, self.last = [], 0.0

    def on_train_batch_end(self, trainer, model, outputs, batch, batch_idx) -> None:
        if batch_idx % PIECE == 0:
            now = time.process_time()
            self.pieces.append(1e6 * (now - self.last) / PIECE)
            self.last = now


def network() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 10))


def batches(n: int) -> DataLoader:
    """Return the same batch n times, so that loading costs next to nothing."""
    one = [torch.randn(16, 1, 4, 4), torch.randint(10, (16,))]
    return DataLoader([one] * n, batch_size=None, collate_fn=list)


def run(kind: type[Classifier], steps: int, folder: str) -> list[float]:
    """Return microseconds a step, piece by piece."""
    clock = Clock()
    trainer = L.Trainer(
        max_epochs=1,
        accelerator="cpu",
        callbacks=[clock],
        logger=CSVLogger(folder),
        log_every_n_steps=PIECE,
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    trainer.fit(kind(network()), batches(steps))
    return clock.pieces[3:]  # the first pieces warm up


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=7, help="times that each variant runs (default 7)")
    parser.add_argument("--steps", type=int, default=1500, help="steps a run (default 1500)")
    arguments = vars(parser.parse_args())
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    L.seed_everything(0, verbose=False)
    kinds, start = {"none": Silent, "ours": Classifier, "self.log twice": TwoCalls}, time.perf_counter()
    times = {name: [] for name in kinds}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(arguments["rounds"]):
            for name, kind in kinds.items():
                times[name] += run(kind, arguments["steps"], folder)
    metrics = {f"us {name}": statistics.quantiles(pieces, n=10)[0] for name, pieces in times.items()}
    metrics |= {f"added us {name}": metrics[f"us {name}"] - metrics["us none"] for name in list(kinds)[1:]}
    print(f"{'logging':16} us a step   more than none")
    for name in kinds:
        print(f"{name:16} {metrics[f'us {name}']:9.0f}   {metrics.get(f'added us {name}', 0):9.0f}")
    print(f"target: ours at most {TARGET} us more")
    record = {"arguments": arguments, "seed": 0, "metrics": metrics, "seconds": time.perf_counter() - start}
    records.append("logging_cost", record)


if __name__ == "__main__":
    main()
