"""A step of the 94 % run through `Trainer.fit`, against one of the authors' loop, on a CPU.

Command:   python benchmarks/speedrun_step.py airbench94_muon.py
Measures:  CPU seconds of one thread a step, in float32 and `channels_last`, of the same random images in memory, from
           the same weights: forward, backward, both optimizers and rates. Nothing is compiled. The sides take turns;
           the ratio is the median of the rounds' ratios. The mean losses are printed beside each other
Reference: `airbench94_muon.py` of https://github.com/KellerJordan/cifar10-airbench (f1c599c): its network, its Muon and
           the arithmetic of a step of its `main`, without data and evaluation, which it has for a GPU alone
"""

import argparse
import logging
import os
import statistics
import time
import warnings
from pathlib import Path
from types import ModuleType

import lightning as L
import torch
import torch.nn.functional as F
from _turns import CLOCK
from speedrun import load_reference
from step_overhead import Batches, Clock, make_batches
from torch import Tensor

from callbacks import LabelSmoothing, PolynomialDecay
from recipes.cifar10_speedrun import STAGES
from recipes.frame import records
from recipes.frame.speedrun import CifarNet, WhitenedPatches
from zoo import Classifier

FIRST = 2  # steps that allocate memory: not timed


def ours(reference: ModuleType, batches: list[list[Tensor]], steps: int) -> tuple[float, float]:
    """Return seconds a step, and the mean loss."""
    size, clock = len(batches[0][0]), Clock()
    rates = {"matrix_lr": 0.67 * size, "vector_lr": 0.053 * size}
    model = Classifier(
        CifarNet(), num_classes=10, optimizer="filtermuon", lr=0.24, weight_decay=2e-6 * size, optimizer_options=rates,
        channels_last=True, stages=STAGES,
    )  # fmt: skip
    model.network.load_state_dict(start(reference).state_dict())
    model.untrained = False  # so that the first layer stays as it is
    tricks = [WhitenedPatches(), PolynomialDecay(power=1), LabelSmoothing(0.2), clock]
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    trainer = L.Trainer(accelerator="cpu", max_epochs=1, callbacks=tricks, logger=False, **quiet)
    trainer.fit(model, Batches(batches, steps))
    return statistics.median(clock.seconds[FIRST:]), trainer.callback_metrics["train/loss"].item()


def start(reference: ModuleType) -> torch.nn.Module:
    """Return the authors' network with weights drawn by its own `reset`, in float32."""
    torch.manual_seed(0)
    network = reference.CifarNet().float()
    network.reset()
    return network.to(memory_format=torch.channels_last)


def theirs(reference: ModuleType, batches: list[list[Tensor]], steps: int) -> tuple[float, float]:
    """Return the same of a loop with the authors' network and optimizers."""
    network, size = start(reference).train(), len(batches[0][0])
    decay = 2e-6 * size
    filters = [p for p in network.parameters() if p.ndim == 4 and p.requires_grad]
    norms = [p for name, p in network.named_parameters() if "norm" in name and p.requires_grad]
    groups = [
        {"params": [network.whiten.bias], "lr": 0.053, "weight_decay": decay / 0.053},
        {"params": norms, "lr": 0.053, "weight_decay": decay / 0.053},
        {"params": [network.head.weight], "lr": 0.67, "weight_decay": decay / 0.67},
    ]
    sgd = torch.optim.SGD(groups, momentum=0.85, nesterov=True, fused=True)
    muon = reference.Muon(filters, lr=0.24, momentum=0.6, nesterov=True)
    first = {id(group): group["lr"] for group in sgd.param_groups + muon.param_groups}
    seconds, losses, bias_steps = [], [], 3 * steps
    last = time.process_time()
    for step in range(steps):
        images, targets = batches[step % len(batches)]
        logits = network(images.contiguous(memory_format=torch.channels_last), whiten_bias_grad=step < bias_steps)
        loss = F.cross_entropy(logits, targets, label_smoothing=0.2, reduction="sum")
        loss.backward()
        losses.append(loss.detach() / size)
        for group in sgd.param_groups[:1]:
            group["lr"] = first[id(group)] * (1 - step / bias_steps)
        for group in sgd.param_groups[1:] + muon.param_groups:
            group["lr"] = first[id(group)] * (1 - step / steps)
        sgd.step()
        muon.step()
        network.zero_grad(set_to_none=True)
        now = time.process_time()
        seconds.append(now - last)
        last = now
    return statistics.median(seconds[FIRST:]), torch.stack(losses).mean().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("reference", type=Path, help="the authors' airbench94_muon.py")
    parser.add_argument("--rounds", type=int, default=7, help="times that each side runs (default 7)")
    parser.add_argument("--steps", type=int, default=10, help="steps a run (default 10)")
    parser.add_argument("--images", type=int, default=128, help="a step (default 128; the program has 2000)")
    given = parser.parse_args()
    os.environ["TORCHDYNAMO_DISABLE"] = "1"
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    reference, batches = load_reference(given.reference.resolve()), make_batches(4, given.images)
    sides, begin = {"ours": [], "authors": []}, time.perf_counter()
    for i in range(given.rounds):
        pair = [("ours", ours), ("authors", theirs)]
        for name, run in pair if i % 2 else pair[::-1]:
            seconds, loss = run(reference, batches, given.steps)
            sides[name].append(seconds)
            print(f"round {i + 1}  {name:8} {1e3 * seconds:7.1f} ms a step  loss {loss:.5f}", flush=True)
    ratios = [a / b for a, b in zip(*sides.values(), strict=True)]
    metrics = {f"ms {name}": 1e3 * statistics.median(values) for name, values in sides.items()}
    metrics |= {"ratio": statistics.median(ratios), "ratio low": min(ratios), "ratio high": max(ratios)}
    print(f"ratio {metrics['ratio']:.3f} ({min(ratios):.3f} to {max(ratios):.3f})")
    arguments = {"rounds": given.rounds, "steps": given.steps, "images": given.images}
    record = {"arguments": arguments, "seed": 0, "metrics": metrics, "seconds": time.perf_counter() - begin}
    records.append("speedrun_step", record | {"clock": CLOCK})


if __name__ == "__main__":
    main()
