"""Fashion-MNIST with planted noise: what bears wrong labels and foreign backgrounds, and what learns them by heart.

Paper:    Learning from Web Data with Self-Organizing Memory Module (Tu et al.; CVPR 2020)
          https://arxiv.org/abs/1906.12028; beside it plain ways, each with its paper in its file. Nobody published this
          comparison
Command:  zoo run noisy_labels_fashion --record
Data:     Fashion-MNIST: the first 50 training images of each class; all 10,000 test images, which are clean. `noise` of
          the training labels are wrong: any other class with equal probability, the same for all seeds. `background` of
          the training images are shrunk to .35 to .6 of their side, and pasted at a random place of a canvas of four
          images of other classes
Settings: ResNet-20, 100 epochs, SGD with Nesterov's momentum .9, rate .1, decay 5e-4, five epochs of warm-up, cosine,
          batches of 4 images of each labelled class, crop from 2 pixels of padding, flip. So long because in 20 epochs
          of 100 images of each class nothing was fitted that had to be borne: a trial of the cross-entropy fitted .04
          of the wrong labels then, and .95 now. Arguments of the arms are defaults or usual values; nothing was chosen
          on test images. A step of the memory takes six times as long. Measured after the last step, not at the best one: accuracy, and which share of the wrong labels is fitted
Result:
| noise | background | arm | test/acc | fitted | corrected | seeds |
| --- | --- | --- | --- | --- | --- | --- |
| 0.2 | 0.4 | cross-entropy | 0.6727 (1 run) | 1.0000 (1 run) | 0.0000 (1 run) | 1 |
| 0.2 | 0.4 | flooding | 0.6076 (1 run) | 0.9500 (1 run) | 0.0100 (1 run) | 1 |
| 0.2 | 0.4 | generalized cross-entropy | 0.7343 (1 run) | 0.4000 (1 run) | 0.3900 (1 run) | 1 |
| 0.2 | 0.4 | label smoothing | 0.6866 (1 run) | 1.0000 (1 run) | 0.0000 (1 run) | 1 |
| 0.2 | 0.4 | memory | 0.5471 (1 run) | 0.0900 (1 run) | 0.4000 (1 run) | 1 |
| 0.2 | 0.4 | mixup | 0.7166 (1 run) | 0.7700 (1 run) | 0.1600 (1 run) | 1 |
| 0.4 | 0.0 | cross-entropy | 0.5575 ± 0.0260 | 0.9633 ± 0.0176 | 0.0283 ± 0.0126 | 3 |
| 0.4 | 0.0 | flooding | 0.5439 ± 0.0298 | 0.9300 ± 0.0265 | 0.0400 ± 0.0173 | 3 |
| 0.4 | 0.0 | generalized cross-entropy | 0.7223 ± 0.0141 | 0.1900 ± 0.0100 | 0.6317 ± 0.0225 | 3 |
| 0.4 | 0.0 | label smoothing | 0.5613 ± 0.0125 | 0.9800 ± 0.0132 | 0.0150 ± 0.0132 | 3 |
| 0.4 | 0.0 | memory | 0.4731 ± 0.0410 | 0.1150 ± 0.0100 | 0.4350 ± 0.0650 | 3 |
| 0.4 | 0.0 | mixup | 0.6919 ± 0.0173 | 0.3667 ± 0.0333 | 0.4517 ± 0.0351 | 3 |

- Data: Fashion-MNIST: the first 50 training images of each class; all 10,000 test images, which are clean. `noise` of
  the training labels are wrong: any other class with equal probability, the same for all seeds. `background` of the
  training images are shrunk to .35 to .6 of their side, and pasted at a random place of a canvas of four images of
  other classes
- Command: zoo run noisy_labels_fashion --record
- Arguments: epochs=100, images=50
- Hardware: AMD EPYC, 1 threads
- Versions: lightning 2.6.6, python 3.11.7, timm 1.0.31, torch 2.14.1
- Commit: b50277c; 8e97647; af2eea0
"""

from collections.abc import Iterable
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Literal

import lightning as L
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from callbacks import (
    CosineDecay,
    Flooding,
    GeneralizedCrossEntropy,
    LabelSmoothing,
    MixUp,
    NoisyLabels,
    SelfOrganizingMemory,
)
from datamodules import FashionMNIST
from recipes import Recipe
from recipes.frame import records
from recipes.frame.compare import compare_recipes
from recipes.frame.web_noise import plant_background
from zoo import ResNet

K = 4  # images of each class in a batch
FITTED, CORRECTED = "test/wrong_fitted", "test/wrong_corrected"
ARMS: dict[str, list[L.Callback]] = {
    "cross-entropy": [],
    "label smoothing": [LabelSmoothing(0.1)],
    "mixup": [MixUp(1.0)],
    "flooding": [Flooding(0.2)],
    "generalized cross-entropy": [GeneralizedCrossEntropy()],
    "memory": [SelfOrganizingMemory()],
}
Arm = Literal[*ARMS]  # type: ignore[valid-type]  # read at run time, by the command line


class WebFashion(FashionMNIST):
    """Fashion-MNIST as the web would have it: few images of each class, and objects on foreign backgrounds.

    Args:
        root, batch_size: as in `FashionMNIST`.
        images: of each class, the first ones.
        background: share of the training images with a foreign background, in [0, 1].
        options: as in `FashionMNIST`.
    """

    def __init__(self, root: Path, batch_size: int, *, images: int, background: float, **options):
        super().__init__(root, batch_size, **options)
        self.images, self.background = images, background

    def read(self, part: str) -> tuple[NDArray[np.uint8], Tensor] | None:
        """Return images and classes of a part."""
        found = super().read(part)
        if found is None or part != "train":
            return found
        chosen = [i for k in range(10) for i in (found[1] == k).nonzero().flatten()[: self.images].tolist()]
        images, targets = found[0][chosen], found[1][chosen]
        return plant_background(images, targets, self.background, self.split_seed)[0], targets


def recipe(
    arm: Arm = "cross-entropy",
    noise: float = 0.4,
    background: float = 0.0,
    images: int = 50,
    epochs: int = 100,
    root: Path = Path("data"),
    seed: int = 0,
) -> Recipe:
    """Train and test one arm.

    Args:
        arm: what bears the noise; the cross-entropy alone does nothing against it.
        noise: share of wrong labels, in (0, 1).
        background: share of the training images with a foreign background, in [0, 1].
        images: training images of each class, at least 4 and at most 6,000.
        epochs: passes over them.
        root: where Fashion-MNIST is: downloaded into it if absent (31 MB); or Debian's package, unpacked.
        seed: of the weights, the order of the images and every random draw; not of the noise.
    """
    L.seed_everything(seed, workers=True, verbose=False)
    augmented = {"padding": 2, "flip": True, "val_split": 0, "per_class": K}
    return Recipe(
        name="noisy_labels_fashion",
        model=ResNet("20", num_classes=10, image_size=28, lr=0.1, weight_decay=5e-4),
        data=WebFashion(root, 10 * K, images=images, background=background, label_noise=noise, **augmented),
        callbacks=[CosineDecay(warmup_epochs=epochs / 20), NoisyLabels(), *deepcopy(ARMS[arm])],
        trainer={"max_epochs": epochs, "limit_val_batches": 0},
        seed=seed,
        arguments={"arm": arm, "noise": noise, "background": background, "images": images, "epochs": epochs},
    )


def main(
    noise: float = 0.4,
    background: float = 0.0,
    seeds: int = 3,
    images: int = 50,
    epochs: int = 100,
    root: Path = Path("data"),
    workers: int = 1,
    record: bool = False,
) -> None:
    """Compare all arms with the first; print which shares of wrong labels are fitted and corrected too.

    The same command again goes on where it stopped.

    Args:
        noise, background, images, epochs, root: as in `recipe`.
        seeds: number of runs of each arm, with the seeds 0, 1, ...
        workers: runs at a time; 0: one after the other in this process.
        record: add each run to results/, from which the tables are made.
    """
    train = partial(recipe, noise=noise, background=background, images=images, epochs=epochs, root=root.absolute())
    found = compare_recipes({arm: partial(train, arm) for arm in ARMS}, seeds, workers, record)
    for arm in found.arms:
        print(f"{arm.name:<27}fitted {arm.metrics[FITTED]:.4f}  corrected {arm.metrics[CORRECTED]:.4f}")


def table(runs: Iterable[records.Record]) -> tuple[list[str], list[list[str]]]:
    """Return heads and rows: accuracy, and wrong labels fitted and corrected, of each noise and arm."""
    found: dict[tuple[str, ...], list[records.Record]] = {}
    for run in runs:
        key = tuple(str(run["arguments"][name]) for name in ("noise", "background", "arm"))
        found.setdefault(key, []).append(run["metrics"])
    heads = ["noise", "background", "arm", "test/acc", "fitted", "corrected", "seeds"]
    names = ("test/acc", FITTED, CORRECTED)
    return heads, [
        [*key, *(records.words([one[name] for one in group]) for name in names), str(len(group))]
        for key, group in sorted(found.items())
    ]
