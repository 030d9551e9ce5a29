"""What Lightning, the frame of tricks and logging add to a training step, against a loop written out by hand.

Command:  python benchmarks/step_overhead.py
Measures: process time a step, one thread, of ResNet-20, batch 128, 32 x 32 random images, normalised, in memory. One
          side is `Trainer.fit` with seven tricks. The other is a plain loop with the same arithmetic: mixup, smoothed
          targets, two parameter groups, warm-up and cosine, an average of the weights, running loss and accuracy. They
          take turns, round by round; the ratio is the median of the rounds' ratios.
"""

import argparse
import logging
import math
import statistics
import time
import warnings
from types import SimpleNamespace

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor

from callbacks import EMA, CosineDecay, LabelSmoothing, LinearScaling, MixUp, NoBiasDecay, ZeroGamma
from recipes.frame import records
from zoo import ResNet

TARGET = 1.05  # the Trainer's step divided by the loop's, at most
CLASSES, BATCH, WARMUP = 10, 128, 3  # the first steps allocate memory: not timed
LR, DECAY, EPS, ALPHA, AVERAGE = 0.1, 1e-4, 0.1, 0.2, 0.999
EPOCHS = 2  # one of warm-up, one of decay


def make_batches(n: int, count: int = BATCH) -> list[list[Tensor]]:
    torch.manual_seed(0)
    return [[torch.randn(count, 3, 32, 32), torch.randint(CLASSES, (count,))] for _ in range(n)]


def make_model() -> ResNet:
    torch.manual_seed(0)
    return ResNet("20", num_classes=CLASSES, image_size=32, lr=LR, weight_decay=DECAY)


class Clock(L.Callback):
    """Measure the process time between the ends of two batches. The loop's clock reads at the same places."""

    def __init__(self):
        self.seconds = []

    def on_train_batch_start(self, trainer, model, batch, batch_idx) -> None:
        if trainer.global_step == 0:
            self.last = time.process_time()

    def on_train_batch_end(self, trainer, model, outputs, batch, batch_idx) -> None:
        now = time.process_time()
        self.seconds.append(now - self.last)
        self.last = now


class Batches:
    """Repeat the same few batches, in fresh lists since tricks refill them."""

    def __init__(self, batches: list[list[Tensor]], n: int):
        self.batches, self.n = batches, n
        self.batch_sampler = SimpleNamespace(batch_size=len(batches[0][0]))  # where `LinearScaling` looks

    def __len__(self) -> int:
        return self.n

    def __iter__(self):
        return (list(self.batches[i % len(self.batches)]) for i in range(self.n))


def with_trainer(batches: list[list[Tensor]], steps: int) -> tuple[float, float]:
    """Return seconds a step, and the loss of the last epoch."""
    clock = Clock()
    tricks = [
        CosineDecay(warmup_epochs=1),
        LinearScaling(),
        NoBiasDecay(),
        ZeroGamma(),
        LabelSmoothing(EPS),
        MixUp(ALPHA),
        EMA(AVERAGE),
    ]
    trainer = L.Trainer(
        max_epochs=EPOCHS,
        accelerator="cpu",
        callbacks=[*tricks, clock],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    trainer.fit(make_model(), Batches(batches, steps))
    return statistics.median(clock.seconds[WARMUP:]), trainer.callback_metrics["train/loss"].item()


def by_hand(batches: list[list[Tensor]], steps: int) -> tuple[float, float]:
    """Run the same steps by hand; return seconds a step, and the loss of the last epoch."""
    model, total, count = make_model().train(), steps * EPOCHS, len(batches[0][0])
    for name, p in model.named_parameters():
        if name.endswith("bn2.weight"):
            torch.nn.init.zeros_(p)
    groups = [
        {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": DECAY},
        {"params": [p for p in model.parameters() if p.ndim <= 1], "weight_decay": 0},
    ]
    optimizer = torch.optim.SGD(groups, lr=LR, momentum=0.9, nesterov=True)
    live = model.state_dict()
    floats = [value for value in live.values() if value.is_floating_point()]
    average, seconds = [value.clone() for value in floats], []
    for step in range(total):
        if step % steps == 0:
            sums = torch.zeros(2)
        if step == 0:
            last = time.process_time()
        images, targets = batches[step % steps % len(batches)]
        factor = (step + 1) / steps if step < steps else (1 + math.cos(math.pi * (step - steps) / (total - steps))) / 2
        for group in optimizer.param_groups:
            group["lr"] = LR * count / 256 * factor
        lam = torch.distributions.Beta(ALPHA, ALPHA).sample().item()
        perm = torch.randperm(count)
        targets = F.one_hot(targets, CLASSES).float()
        images, targets = (lam * x + (1 - lam) * x[perm] for x in (images, targets))
        logits = model(images)
        loss = F.cross_entropy(logits, (1 - EPS) * targets + EPS / CLASSES)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(average, floats, 1 - AVERAGE)
            hits = targets.gather(1, logits.argmax(1, keepdim=True)).sum()
            sums += torch.stack([loss * count, hits])
        now = time.process_time()
        seconds.append(now - last)
        last = now
    return statistics.median(seconds[WARMUP:]), sums[0].item() / (count * steps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=7, help="times that each side runs (default 7)")
    parser.add_argument("--steps", type=int, default=20, help="steps an epoch, two epochs a run (default 20)")
    arguments = vars(parser.parse_args())
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    batches, start = make_batches(8), time.perf_counter()
    sides = {"Trainer": [], "by hand": []}
    for i in range(arguments["rounds"]):
        pair = [("Trainer", with_trainer), ("by hand", by_hand)]
        for name, run in pair if i % 2 else pair[::-1]:
            seconds, loss = run(batches, arguments["steps"])
            sides[name].append(seconds)
            print(f"round {i + 1}  {name}  {1e3 * seconds:7.1f} ms a step  loss {loss:.4f}", flush=True)
    ratios = [a / b for a, b in zip(*sides.values(), strict=True)]
    metrics = {f"ms {name}": 1e3 * statistics.median(values) for name, values in sides.items()}
    metrics |= {"ratio": statistics.median(ratios), "ratio low": min(ratios), "ratio high": max(ratios)}
    for name in sides:
        print(f"{name:8} {metrics[f'ms {name}']:8.1f} ms a step")
    print(f"ratio {metrics['ratio']:.3f} ({min(ratios):.3f} to {max(ratios):.3f}); target at most {TARGET}")
    record = {"arguments": arguments, "seed": 0, "metrics": metrics, "seconds": time.perf_counter() - start}
    records.append("step_overhead", record)


if __name__ == "__main__":
    main()
