"""Every convolutional family at one small budget on CIFAR-10: the same images, optimizer and number of epochs for all.

Paper:    one for each family, in its file in zoo/. The optimizer is that of A ConvNet for the 2020s (Liu et al.; CVPR
          2022) https://arxiv.org/abs/2201.03545, table 5, with a rate for small batches. Nobody published this
          comparison
Command:  zoo run cifar10_families --images 5000 --folder CIFAR-10-JPEG --record
Data:     CIFAR-10-JPEG: lossy copies (quality 75) of CIFAR-10; compare runs on them with each other only. All families
          train on the same `images` of the 50,000, stratified by class, and are tested on all 10,000. The machine did
          other work during the recorded runs: their seconds and images/s are orders of magnitude, not measurements
Settings: the smallest published variant of each family with its small-image stem. 5 epochs of batches of 64, AdamW with
          rate 1e-3 and decay .05 (nothing was tuned), one epoch of warm-up, cosine, crop from 4 pixels of padding,
          flip, bf16, channels_last (not in the first 18 runs: it changes images/s, not accuracy). So the table shows
          which networks learn fast, not which are best when they are trained to the end. MobileNetV3 averages its batch
          statistics over a hundred steps, as published: too long for 390 steps
Result:
| family | variant | test/acc | parameters | MACs | images/s | seconds | seeds |
| --- | --- | --- | --- | --- | --- | --- | --- |
| InceptionResNetV2 | v2 | 0.6384 (1 run) | 54,321,834 | 2,235,524,096 | 20 (1 run) | 1,231.5 (1 run) | 1 |
| Xception | ImageNet | 0.5980 (1 run) | 20,827,442 | 1,359,655,936 | 33 (1 run) | 752.2 (1 run) | 1 |
| BNInception | BN | 0.5753 (1 run) | 10,272,810 | 626,616,320 | 72 (1 run) | 346.4 (1 run) | 1 |
| SENet | 18 | 0.5720 (1 run) | 11,263,042 | 555,509,760 | 11 (1 run) | 2,290.2 (1 run) | 1 |
| GoogLeNet | BN | 0.5651 (1 run) | 9,952,958 | 452,175,872 | 49 (1 run) | 507.5 (1 run) | 1 |
| CBAMResNet | 18 | 0.5572 (1 run) | 11,263,842 | 555,863,360 | 40 (1 run) | 623.7 (1 run) | 1 |
| PreActResNet | 18 | 0.5389 (1 run) | 11,172,170 | 555,422,720 | 53 (1 run) | 473.5 (1 run) | 1 |
| InceptionV3 | v3 | 0.5099 (1 run) | 24,371,444 | 937,772,032 | 47 (1 run) | 533.2 (1 run) | 1 |
| ResNeXt | 50-32x4d | 0.5049 (1 run) | 22,992,714 | 1,343,967,232 | 31 (1 run) | 809.6 (1 run) | 1 |
| ShuffleNetV1 | 0.5x-g3 | 0.5023 (1 run) | 242,134 | 11,126,976 | 150 (1 run) | 166.8 (1 run) | 1 |
| DenseNet | 40-12 | 0.4997 (1 run) | 1,019,722 | 264,812,928 | 26 (1 run) | 956.4 (1 run) | 1 |
| ResNet | 20 | 0.4934 (1 run) | 269,722 | 40,551,040 | 154 (1 run) | 162.2 (1 run) | 1 |
| NIN | thin | 0.4733 (1 run) | 247,594 | 59,338,752 | 142 (1 run) | 176.3 (1 run) | 1 |
| RepVGG | A0 | 0.4618 (1 run) | 7,840,874 | 489,075,200 | 30 (1 run) | 825.0 (1 run) | 1 |
| VGG | 11-BN | 0.4610 (1 run) | 28,149,514 | 171,679,744 | 35 (1 run) | 720.3 (1 run) | 1 |
| SKNet | 50 | 0.4529 (1 run) | 25,443,594 | 1,420,484,608 | 16 (1 run) | 1,550.4 (1 run) | 1 |
| RegNet | X-200MF | 0.4317 (1 run) | 2,319,482 | 59,862,624 | 59 (1 run) | 424.7 (1 run) | 1 |
| WideResNet | 16-1 | 0.4308 (1 run) | 175,066 | 26,657,408 | 264 (1 run) | 94.4 (1 run) | 1 |
| ConvNeXt | T | 0.4135 (1 run) | 27,823,498 | 1,450,200,576 | 22 (1 run) | 1,124.6 (1 run) | 1 |
| AlexNet | owt | 0.3999 (1 run) | 28,714,826 | 205,058,048 | 45 (1 run) | 555.5 (1 run) | 1 |
| InceptionV4 | v4 | 0.3864 (1 run) | 41,158,186 | 2,108,669,952 | 22 (1 run) | 1,130.3 (1 run) | 1 |
| MobileNetV2 | 0.35 | 0.3809 (1 run) | 408,938 | 15,611,136 | 112 (1 run) | 223.0 (1 run) | 1 |
| ZFNet | base | 0.3205 (1 run) | 29,990,026 | 396,173,312 | 60 (1 run) | 417.2 (1 run) | 1 |
| ShuffleNetV2 | 0.5x | 0.3182 (1 run) | 352,042 | 10,902,016 | 223 (1 run) | 112.0 (1 run) | 1 |
| MobileNetV1 | 0.25 | 0.3048 (1 run) | 215,642 | 12,038,656 | 194 (1 run) | 128.4 (1 run) | 1 |
| MobileNetV3 | small | 0.1184 (1 run) | 1,528,106 | 17,507,328 | 64 (1 run) | 389.6 (1 run) | 1 |

- Data: CIFAR-10-JPEG: lossy copies (quality 75) of CIFAR-10; compare runs on them with each other only. All families
  train on the same `images` of the 50,000, stratified by class, and are tested on all 10,000. The machine did other
  work during the recorded runs: their seconds and images/s are orders of magnitude, not measurements
- Command: zoo run cifar10_families --images 5000 --folder CIFAR-10-JPEG --record
- Arguments: data=CIFAR-10-JPEG, epochs=5, images=5000
- Hardware: AMD EPYC, 1 threads
- Versions: lightning 2.6.6, python 3.11.7, timm 1.0.31, torch 2.15.0; lightning 2.6.6, python 3.11.7, timm 1.0.31,
  torch 2.14.1
- Commit: b17d4e3+; 62c6237; 4d4532f; 8389b56
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import lightning as L
import torch

import zoo
from callbacks import CosineDecay, NoBiasDecay
from recipes import Recipe
from recipes.frame.cifar import FAST, TRAINING_IMAGES, Cifar
from recipes.frame.compare import compare_recipes
from zoo.tools.complexity import total_macs

COLUMNS = {"parameters": 0, "MACs": 0, "images/s": 0}  # further columns of the table: digits after the point
# Sorted by multiply-adds for one image of 32 pixels, the cheapest first.
VARIANTS = {
    "ShuffleNetV2": "0.5x",
    "ShuffleNetV1": "0.5x-g3",
    "MobileNetV1": "0.25",
    "MobileNetV2": "0.35",
    "MobileNetV3": "small",
    "WideResNet": "16-1",
    "ResNet": "20",
    "NIN": "thin",
    "RegNet": "X-200MF",
    "VGG": "11-BN",
    "AlexNet": "owt",
    "DenseNet": "40-12",
    "ZFNet": "base",
    "GoogLeNet": "BN",
    "RepVGG": "A0",
    "SENet": "18",
    "CBAMResNet": "18",
    "PreActResNet": "18",
    "BNInception": "BN",
    "InceptionV3": "v3",
    "ResNeXt": "50-32x4d",
    "Xception": "ImageNet",
    "SKNet": "50",
    "ConvNeXt": "T",
    "InceptionV4": "v4",
    "InceptionResNetV2": "v2",
}
Family = Literal[*VARIANTS]  # type: ignore[valid-type]  # read at run time, by the command line


@dataclass(repr=False)
class Counted(Recipe):
    """A recipe whose metrics have the parameters and the multiply-adds of the published network too."""

    def run(self, *given: Any, **options: Any) -> dict[str, float]:
        """Train and test. Arguments and errors are those of `Recipe.run`."""
        return super().run(*given, **options) | self.count()

    def record(self, metrics: dict[str, float]) -> None:
        """Add a run to results/."""
        super().record(metrics | self.count())

    def count(self) -> dict[str, int]:
        """Count parameters, and multiply-adds for an image of 32 pixels."""
        with torch.device("meta"):
            network = type(self.model)(self.arguments["variant"], num_classes=10, image_size=32)
        return {"parameters": sum(p.numel() for p in network.parameters()), "MACs": total_macs(network, 32)}


def recipe(
    family: Family = "ResNet",
    images: int = TRAINING_IMAGES,
    epochs: int = 5,
    source: Cifar = FAST,
    seed: int = 0,
) -> Recipe:
    """Train and test the smallest published variant of one family.

    Args:
        family: a class of `zoo`.
        images: number of training images, at most 50,000, stratified by class.
        epochs: passes over them.
        source: where the images are, see `Cifar`.
        seed: of the weights, the order of the images and every random draw.
    """
    L.seed_everything(seed, workers=True, verbose=False)
    training = {"optimizer": "adamw", "lr": 1e-3, "weight_decay": 0.05, "channels_last": True}
    return Counted(
        name="cifar10_families",
        model=getattr(zoo, family)(VARIANTS[family], num_classes=10, image_size=32, **training),
        data=source.load(64, images),
        callbacks=[CosineDecay(warmup_epochs=1), NoBiasDecay()],
        trainer={"max_epochs": epochs, "limit_val_batches": 0, "precision": source.precision},
        seed=seed,
        arguments={
            "family": family,
            "variant": VARIANTS[family],
            "images": images,
            "epochs": epochs,
            "data": source.name,
        },
    )


def main(
    families: list[Family] | None = None,
    images: int = TRAINING_IMAGES,
    epochs: int = 5,
    source: Cifar = FAST,
    seeds: int = 1,
    workers: int = 1,
    record: bool = False,
) -> None:
    """Compare families with the first of them. The same command again goes on where it stopped.

    Args:
        families: which families to train; None: all, the cheapest first.
        images, epochs, source: as in `recipe`.
        seeds: number of runs of each family, with the seeds 0, 1, ...
        workers: runs at a time; 0: one after the other in this process.
        record: add each run to results/, from which the tables are made.
    """
    train = partial(recipe, images=images, epochs=epochs, source=source)
    compare_recipes({family: partial(train, family) for family in families or VARIANTS}, seeds, workers, record)
