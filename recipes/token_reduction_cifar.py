"""A small ViT on CIFAR-10 from scratch, and versions of it that drop patches, all fine-tuned from its weights.

Paper:    Training data-efficient image transformers (Touvron et al.; ICML 2021) https://arxiv.org/abs/2012.12877, table
          9, adapted to small images and few epochs. The papers of the versions are in their files in zoo/ and
          callbacks/dropout/. Nobody published this comparison
Command:  zoo run token_reduction_cifar --folder CIFAR-10-JPEG --record
Data:     CIFAR-10-JPEG: lossy copies (quality 75) of CIFAR-10; compare runs on them with each other only. Half of
          45,000 images to train, 5,000 to validate, 10,000 to test
Settings: ViT-Ti with patches of 4 pixels: 64 patches and the class token. From scratch: 4 epochs of batches of 64,
          AdamW with rate 1e-3 and decay .05, half an epoch of warm-up, cosine, gradient norm clipped to 1, mixup (.2)
          or CutMix (1) on a quarter of the batches, crop from 4 pixels of padding, flip, bf16. Then each version trains
          for one more epoch at rate 3e-4; a tenth of it is warm-up. "ViT trained on" has that epoch too and drops
          nothing: compare the versions with it. Nothing was tuned. PatchSlimming's error is the smallest at which 55 %
          of the multiply-adds are left. MACs, images/s and the number of tokens after each quarter of the blocks are
          those of inference, in float32. Images/s are measured on test images, and each version takes turns with the
          dense network. The two patch dropouts save in training alone. All three ViTs of the DVT start from the trained
          one. DVT's thresholds are the best on the validation images at 65 % of the dense network's multiply-adds. Its
          MACs are the mean over the test images. The machine did other work during the recorded runs: their training
          images/s are orders of magnitude
Result:
| version | test/acc | MACs | tokens 1 | tokens 2 | tokens 3 | tokens 4 | training images/s | inference images/s | dense images/s | seconds | seeds |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
| PatchSlimming | 0.4581 (1 run) | 200,562,048 | 49 | 33 | 29 | 1 | 109 (1 run) | 205 (1 run) | 113 (1 run) | 206.3 (1 run) | 1 |
| ViT trained on | 0.4565 (1 run) | 365,107,584 | 65 | 65 | 65 | 65 | 63 (1 run) | 115 (1 run) | 115 (1 run) | 354.5 (1 run) | 1 |
| AttentionPatchDropout 0.25 | 0.4523 (1 run) | 365,107,584 | 65 | 65 | 65 | 65 | 78 (1 run) | 112 (1 run) | 112 (1 run) | 288.9 (1 run) | 1 |
| PatchDropout 0.5 | 0.4502 (1 run) | 365,107,584 | 65 | 65 | 65 | 65 | 117 (1 run) | 114 (1 run) | 115 (1 run) | 191.8 (1 run) | 1 |
| EViT 0.7 | 0.4498 (1 run) | 246,896,256 | 65 | 47 | 35 | 26 | 90 (1 run) | 161 (1 run) | 112 (1 run) | 248.3 (1 run) | 1 |
| ViT | 0.4312 (1 run) | 365,107,584 | 65 | 65 | 65 | 65 | 64 (1 run) | 110 (1 run) | 112 (1 run) | 1,411.1 (1 run) | 1 |
| DVT | 0.4034 (1 run) | 214,775,238 |  |  |  |  | 22 (1 run) | 234 (1 run) | 116 (1 run) | 1,031.5 (1 run) | 1 |
| DynamicViT 0.7 | 0.3722 (1 run) | 235,514,016 | 65 | 45 | 32 | 22 | 45 (1 run) | 177 (1 run) | 116 (1 run) | 499.7 (1 run) | 1 |

- Data: CIFAR-10-JPEG: lossy copies (quality 75) of CIFAR-10; compare runs on them with each other only. Half of
  45,000 images to train, 5,000 to validate, 10,000 to test
- Command: zoo run token_reduction_cifar --folder CIFAR-10-JPEG --record
- Arguments: epochs=4, fraction=0.5, images=CIFAR-10-JPEG, precision=bf16-mixed, tuning=1
- Hardware: AMD EPYC, 1 threads
- Versions: lightning 2.6.6, python 3.11.7, timm 1.0.31, torch 2.15.0
- Commit: 9ae0ef7
"""

from collections.abc import Callable, Iterable
from functools import cache, partial
from time import perf_counter
from typing import Any, Literal, TypeVar, cast, get_args

import lightning as L
import torch
from torch import Tensor

import zoo
from callbacks import (
    AttentionPatchDropout,
    CosineDecay,
    MixUpOrCutMix,
    NoBiasDecay,
    PatchDropout,
    TokenDistillation,
    TokenRatio,
)
from datamodules import ImageData
from recipes import Recipe
from recipes.frame.cifar import FAST, Cifar
from zoo.patch_slimming import find_tokens_within
from zoo.tools.complexity import stage_costs, total_macs
from zoo.tools.early_exit import choose_exits, confidences, search_thresholds

SIDE, BATCH = 32, 64
TRAINING: dict[str, Any] = {"optimizer": "adamw", "weight_decay": 0.05}
SHARE = 0.55  # fraction of the multiply-adds that PatchSlimming leaves, as in its paper
EARLY = 0.65  # fraction that DVT takes on average: about what DynamicViT and EViT leave
COLUMNS = {  # further columns of the table: digits after the point
    "MACs": 0,
    "tokens 1": 0,
    "tokens 2": 0,
    "tokens 3": 0,
    "tokens 4": 0,
    "training images/s": 0,
    "inference images/s": 0,
    "dense images/s": 0,
}


Kind = TypeVar("Kind", bound=zoo.Classifier)


def like(vit: zoo.ViT, kind: type[Kind], **options: Any) -> Kind:
    """Build a model of this kind with the weights of `vit`; its other weights are initialised."""
    name = {"ViT": "Ti/16", "DVT": "DeiT-Ti"}.get(kind.__name__, "Ti")
    model = cast(Any, kind)(name, vit.num_classes, vit.image_size, **options, **TRAINING, lr=3e-4)
    model.load_state_dict(model.adapt(vit.state_dict()))
    return model


def slim(vit: zoo.ViT, data: ImageData) -> zoo.PatchSlimming:
    """Remove the patches that a batch of training images does not need."""
    model = like(vit, zoo.PatchSlimming, drop_path=0.0)
    images, _ = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)
    return model.slim(find_tokens_within(model, images, SHARE, step=4))


Made = tuple[zoo.Classifier, list[L.Callback]]
# Versions that are fine-tuned from the trained ViT: the network, and its own tricks.
VERSIONS: dict[str, Callable[[zoo.ViT, ImageData], Made]] = {
    "ViT trained on": lambda vit, data: (like(vit, zoo.ViT), []),
    "PatchDropout 0.5": lambda vit, data: (like(vit, zoo.ViT), [PatchDropout(0.5)]),
    "AttentionPatchDropout 0.25": lambda vit, data: (like(vit, zoo.ViT), [AttentionPatchDropout(0.25)]),
    "PatchSlimming": lambda vit, data: (slim(vit, data), []),
    "DynamicViT 0.7": lambda vit, data: (like(vit, zoo.DynamicViT), [TokenRatio(), TokenDistillation(vit)]),
    "EViT 0.7": lambda vit, data: (like(vit, zoo.EViT, drop_path=0.0), []),
    "DVT": lambda vit, data: (like(vit, zoo.DVT, drop_path=0.0), []),
}
Version = Literal["ViT", *VERSIONS]  # type: ignore[valid-type]  # read at run time, by the command line


def recipe(
    version: Version = "ViT",
    epochs: int = 4,
    tuning: int = 1,
    fraction: float = 0.5,
    source: Cifar = FAST,
    seed: int = 0,
) -> Recipe:
    """Train and test the dense ViT, or one of its versions. A version trains the ViT first, then is fine-tuned.

    Args:
        version: "ViT" (from scratch), or a key of `VERSIONS`.
        epochs: passes over the training images from scratch.
        tuning: passes over them of a version, from the trained ViT.
        fraction: fraction of the training images to use, in (0, 1].
        source: where the images are, see `Cifar`.
        seed: of the weights, the order of the images and every random draw.
    """
    start = None if version == "ViT" else dense(epochs, tuning, fraction, source, seed)[0].model
    L.seed_everything(seed, workers=True, verbose=False)
    data = images(fraction, source)
    tricks: list[L.Callback] = []
    model: zoo.Classifier
    if start is None:
        length, warmup = epochs, min(0.5, epochs / 4)
        model = zoo.ViT("Ti/16", data.num_classes, SIDE, **TRAINING, lr=1e-3)
    else:
        length, warmup = tuning, tuning / 10
        model, tricks = VERSIONS[version](cast(zoo.ViT, start), data)
    mixing = MixUpOrCutMix(mixup_alpha=0.2, cutmix_alpha=1.0, p=0.25)
    return Recipe(
        name="token_reduction_cifar",
        model=model,
        data=data,
        callbacks=[CosineDecay(warmup), NoBiasDecay(), mixing, *tricks],
        trainer={"max_epochs": length, "precision": source.precision, "gradient_clip_val": 1.0},
        seed=seed,
        arguments={
            "version": version,
            "epochs": epochs,
            "tuning": tuning,
            "fraction": fraction,
            "images": source.name,
            "precision": source.precision,
        },
    )


@cache
def images(fraction: float, source: Cifar) -> ImageData:
    """Read the images, once in each process for all versions."""
    data = source.load(BATCH, val_split=0.1, fraction=fraction)
    data.prepare_data()
    data.setup("fit")
    return data


@cache
def dense(*arguments) -> tuple[Recipe, dict[str, float]]:
    """Return the ViT from scratch and its metrics; it is trained and tested once in each process."""
    one = recipe("ViT", *arguments)
    return one, one.run(save=False)


@torch.inference_mode()
def over_exits(model: zoo.DVT, data: ImageData, loader: Iterable[list[Tensor]]) -> tuple[Tensor, Tensor]:
    """Run all images of a loader; return the logits of every exit (E, N, K), targets (N,)."""
    batches = [data.on_after_batch_transfer(list(batch), 0) for batch in loader]
    logits = torch.cat([torch.stack(model.exits(images)) for images, _ in batches], 1)
    return logits, torch.cat([targets for _, targets in batches])


def early_exits(model: zoo.DVT, data: ImageData, budget: float) -> tuple[list[float], dict[str, float]]:
    """Find the best thresholds on validation images within a budget of multiply-adds; test them on the test images."""
    logits, targets = over_exits(model.cpu().eval(), data, data.val_dataloader())
    eta = search_thresholds(logits, model.macs(), budget, targets)
    logits, targets = over_exits(model, data, data.test_dataloader())
    exits = choose_exits(confidences(logits), eta)
    hits = logits.argmax(-1).gather(0, exits[None])[0] == targets
    macs = torch.tensor(model.macs())[exits].double().mean().round().int().item()
    shares = {f"leave at exit {i + 1}": (exits == i).float().mean().item() for i in range(len(eta))}
    return eta, {"test/acc": hits.float().mean().item(), "MACs": macs} | shares


Network = Callable[[Tensor], Any]


def least(networks: list[Network], images: Tensor, rounds: int = 5) -> list[float]:
    """Measure the seconds of each network for these images: the least of `rounds` in which they take turns."""
    seconds: list[list[float]] = [[] for _ in networks]
    for i in range(rounds + 1):
        for network, times in zip(networks, seconds, strict=True):
            start = perf_counter()
            with torch.inference_mode():
                network(images)
            if i:  # the first round warms memory up
                times.append(perf_counter() - start)
    return [min(times) for times in seconds]


def costs(model: zoo.Classifier, vit: zoo.ViT, data: ImageData) -> dict[str, float]:
    """Measure inference: multiply-adds for an image, tokens after each stage, images a second of both networks.

    For a DVT, whose images leave early, measure the accuracy too.
    """
    model, vit = model.cpu().eval(), vit.cpu().eval()
    network: Network = model
    measured: dict[str, float]
    if isinstance(model, zoo.DVT):
        eta, measured = early_exits(model, data, EARLY * total_macs(vit, SIDE))
        network = partial(model.early_exit, thresholds=eta)
    else:
        tokens = [row.shape[0] for row in stage_costs(model, SIDE) if row.name in model.stages]
        measured = {"MACs": float(total_macs(model, SIDE))} | {f"tokens {i}": n for i, n in enumerate(tokens, 1)}
    images, _ = data.on_after_batch_transfer(list(next(iter(data.test_dataloader()))), 0)
    ours, theirs = least([network, vit], images)
    return measured | {"inference images/s": len(images) / ours, "dense images/s": len(images) / theirs}


def main(
    versions: list[Version] | None = None,
    epochs: int = 4,
    tuning: int = 1,
    fraction: float = 0.5,
    source: Cifar = FAST,
    seed: int = 0,
    record: bool = False,
) -> None:
    """Train the ViT, then each version from it.

    Args:
        versions: which versions to train; None: all.
        epochs, tuning, fraction, source, seed: as in `recipe`.
        record: add each run to results/, from which the tables are made.
    """
    for version in versions or get_args(Version):
        scratch, metrics = dense(epochs, tuning, fraction, source, seed)
        one = scratch
        if version != "ViT":
            one = recipe(version, epochs, tuning, fraction, source, seed)
            metrics = one.run(save=False)
        metrics = (
            metrics
            | costs(one.model, cast(zoo.ViT, scratch.model), one.data)
            | {"training images/s": metrics["images/s"]}
        )
        if record:
            one.record(metrics)
        print(
            f"{version:<28}{metrics['test/acc']:.4f}  {metrics['MACs'] / 1e6:6.1f} M multiply-adds  images/s: "
            f"training {metrics['training images/s']:.0f}, inference {metrics['inference images/s']:.0f}, "
            f"dense {metrics['dense images/s']:.0f}  {metrics['seconds']:.0f} s",
            flush=True,
        )
