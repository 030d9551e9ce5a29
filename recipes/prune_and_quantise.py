"""ResNet-20 on CIFAR-10, made smaller and faster after training: slimmed, pruned, fine-tuned, and in 8-bit integers.

Paper:    Learning Efficient Convolutional Networks through Network Slimming (Liu et al.; ICCV 2017)
          https://arxiv.org/abs/1708.06519; int8 as in https://arxiv.org/abs/1712.05877. Their networks differ from ours
Command:  zoo run prune_and_quantise --images 5000 --folder CIFAR-10-JPEG --record
Data:     CIFAR-10-JPEG: lossy copies (quality 75) of CIFAR-10; compare runs on them with each other only. All networks
          train on the same `images` of the 50,000, stratified by class, and are tested on all 10,000
Settings: ResNet-20 with Nesterov SGD, rate .1, decay 5e-4 on weights alone, batches of 128, an epoch of warm-up,
          cosine, crop from 4 pixels of padding, flip, bf16, and an L1 penalty of 1e-4 on gammas. Then the least
          important channels are removed from the inner layer of each block; option A shortcuts tie the others. The
          pruned network is fine-tuned at a tenth of the rate without the penalty. It is quantised with 512 training
          images as calibration. Nothing was tuned on the test images. The table has accuracy, and images a second in
          batches of 64 on the CPU, in float32 and int8
Result:
| network | test/acc | parameters | MACs | images/s | seconds | seeds |
| --- | --- | --- | --- | --- | --- | --- |
| dense | 0.5634 (1 run) | 269,722 | 40,551,040 | 1,958 (1 run) | 66.0 (1 run) | 1 |
| dense, int8 | 0.5612 (1 run) | 269,722 | 40,551,040 | 6,364 (1 run) | 66.0 (1 run) | 1 |
| pruned, tuned | 0.5475 (1 run) | 138,058 | 19,980,928 | 2,451 (1 run) | 82.7 (1 run) | 1 |
| pruned, tuned, int8 | 0.5466 (1 run) | 138,058 | 19,980,928 | 7,413 (1 run) | 82.7 (1 run) | 1 |
| pruned | 0.1796 (1 run) | 138,058 | 19,980,928 | 2,462 (1 run) | 66.0 (1 run) | 1 |

- Data: CIFAR-10-JPEG: lossy copies (quality 75) of CIFAR-10; compare runs on them with each other only. All networks
  train on the same `images` of the 50,000, stratified by class, and are tested on all 10,000
- Command: zoo run prune_and_quantise --images 5000 --folder CIFAR-10-JPEG --record
- Arguments: by=gamma, checkpoint=False, data=CIFAR-10-JPEG, epochs=10, images=5000, precision=bf16-mixed, share=0.5,
  tuning=3
- Hardware: AMD EPYC, 1 threads
- Versions: lightning 2.6.6, python 3.11.7, timm 1.0.31, torch 2.14.1
- Commit: 3719340
"""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from time import perf_counter
from typing import Literal, cast

import lightning as L
import torch
from torch import Tensor, nn

import zoo
from callbacks import CosineDecay, NoBiasDecay, Slimming
from datamodules import ImageData
from recipes import Recipe
from recipes.frame import records
from recipes.frame.cifar import FAST, TRAINING_IMAGES, Cifar
from zoo.tools.complexity import total_macs

SIDE, BATCH = 32, 128
CALIBRATION = 512  # images
LR = 0.1
COLUMNS = {"parameters": 0, "MACs": 0, "images/s": 0}  # further columns of the table: digits after the point
Step = Literal["dense", "tuned"]


def recipe(
    step: Step = "dense",
    images: int = TRAINING_IMAGES,
    epochs: int = 10,
    tuning: int = 3,
    share: float = 0.5,
    by: Literal["gamma", "l1"] = "gamma",
    checkpoint: Path | None = None,
    source: Cifar = FAST,
    seed: int = 0,
) -> Recipe:
    """Train and test the dense network, or the pruned one. The pruned one trains the dense one first.

    Args:
        step: "dense": from scratch; "tuned": the pruned network, fine-tuned.
        images: number of training images, at most 50,000, stratified by class.
        epochs: passes over them from scratch.
        tuning: passes over them of the pruned network.
        share: fraction of the removable channels to remove, in (0, 1).
        by: "gamma" or "l1": measure of a channel's importance; see `zoo.prune_channels`.
        checkpoint: a trained dense network; None: train one.
        source: where the images are, see `Cifar`.
        seed: of the weights, the order of the images and every random draw.
    """
    L.seed_everything(seed, workers=True, verbose=False)
    data = read(images, source)
    model: zoo.Classifier
    tricks: list[L.Callback]
    if step == "dense":
        model = zoo.ResNet("20", data.num_classes, SIDE, optimizer="sgd", lr=LR, weight_decay=5e-4)
        tricks, length = [Slimming(1e-4)], epochs
    else:
        model = prune(dense(images, epochs, checkpoint, source, seed)[0], share, by)
        tricks, length = [], tuning
    return Recipe(
        name="prune_and_quantise",
        model=model,
        data=data,
        callbacks=[CosineDecay(min(1.0, length / 4)), NoBiasDecay(), *tricks],
        trainer={"max_epochs": length, "limit_val_batches": 0, "precision": source.precision},
        seed=seed,
        arguments={
            "step": step,
            "images": images,
            "epochs": epochs,
            "tuning": tuning,
            "share": share,
            "by": by,
            "checkpoint": checkpoint is not None,
            **source.record,
        },
    )


def prune(model: zoo.Classifier, share: float, by: str) -> zoo.Classifier:
    """Return the pruned network with a tenth of the rate."""
    smaller = cast(zoo.Classifier, zoo.prune_channels(model, share, by))
    smaller.hparams["lr"] = LR / 10
    return smaller


@cache
def read(images: int, source: Cifar) -> ImageData:
    """Build the data, once in each process for all steps."""
    return source.load(BATCH, images)


@cache
def dense(images: int, epochs: int, checkpoint: Path | None, source: Cifar, seed: int) -> tuple[zoo.Classifier, float]:
    """Return the dense network, trained or from a file, and the seconds of its training."""
    if checkpoint is not None:
        return zoo.load(checkpoint), 0.0
    one = recipe("dense", images, epochs, source=source, seed=seed)
    metrics = one.run(test=False, save=False)
    return one.model, metrics["seconds"]


def calibration(data: ImageData) -> Iterator[Tensor]:
    """Yield training images as the network sees them, in batches (N, 3, H, W)."""
    count = 0
    for batch in data.train_dataloader():
        yield data.on_after_batch_transfer(batch, 0)[0].float()
        count += len(batch[0])
        if count >= CALIBRATION:
            return


def accuracy(model: zoo.Classifier, data: ImageData) -> float:
    """Measure the accuracy on the test images, in float32 or int8, on the CPU."""
    trainer = L.Trainer(
        accelerator="cpu", devices=1, logger=False, enable_progress_bar=False, enable_checkpointing=False
    )
    return trainer.test(model, data, verbose=False)[0]["test/acc"]


@torch.inference_mode()
def speed(network: nn.Module, seconds: float = 2.0, batch: int = 64) -> float:
    """Measure images a second on the CPU: the best pass in `seconds`, since other work may slow the machine down."""
    network, images = network.cpu().eval(), torch.randn(batch, 3, SIDE, SIDE)
    network(images)
    best, end = float("inf"), perf_counter() + seconds
    while perf_counter() < end:
        start = perf_counter()
        network(images)
        best = min(best, perf_counter() - start)
    return batch / best


def main(
    images: int = TRAINING_IMAGES,
    epochs: int = 10,
    tuning: int = 3,
    share: float = 0.5,
    by: Literal["gamma", "l1"] = "gamma",
    checkpoint: Path | None = None,
    source: Cifar = FAST,
    seed: int = 0,
    record: bool = False,
) -> None:
    """Train, prune, fine-tune and quantise; print a row for each network.

    Args:
        images, epochs, tuning, share, by, checkpoint, source, seed: as in `recipe`.
        record: add each run to results/, from which the tables are made.
    """
    one = recipe("tuned", images, epochs, tuning, share, by, checkpoint, source, seed)
    whole, training = dense(images, epochs, checkpoint, source, seed)
    data, pruned = one.data, cast(zoo.Classifier, zoo.prune_channels(whole, share, by))
    tuned = one.run(test=False, save=False)["seconds"]
    rows = {  # network; the float one to count parameters and multiply-adds of; seconds of training
        "dense": (whole, whole, training),
        "dense, int8": (zoo.quantise(whole, calibration(data)), whole, training),
        "pruned": (pruned, pruned, training),
        "pruned, tuned": (one.model, one.model, training + tuned),
        "pruned, tuned, int8": (zoo.quantise(one.model, calibration(data)), one.model, training + tuned),
    }
    for name, (network, counted, seconds) in rows.items():
        metrics = {"test/acc": accuracy(network, data), "parameters": sum(p.numel() for p in counted.parameters())}
        metrics |= {"MACs": total_macs(counted, SIDE), "images/s": speed(network), "seconds": seconds}
        if record:
            arguments = {"network": name} | {k: v for k, v in one.arguments.items() if k != "step"}
            records.append(one.name, {"arguments": arguments, "seed": seed, "metrics": metrics, "seconds": seconds})
        print(
            f"{name:<22}{metrics['test/acc']:.4f}  {metrics['parameters']:>9,} parameters  {metrics['MACs']:>12,} MACs"
            f"  {metrics['images/s']:6.0f} images/s",
            flush=True,
        )
