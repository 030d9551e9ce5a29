"""Circle loss as metric learning: learn seven classes of Fashion-MNIST, then search among images of three others.

Paper:    Circle Loss: A Unified Perspective of Pair Similarity Optimization (Sun et al.; CVPR 2020)
          https://arxiv.org/abs/2002.10857. The paper has no Fashion-MNIST
Command:  zoo run circle_fashion --seeds 3 --record
Data:     Fashion-MNIST: the first 200 training images of each of the first seven classes to train; the 3,000 test
          images of the others (sneakers, bags, ankle boots) as queries and references. As for CUB in the literature,
          the first classes are learned and the last ones searched
Settings: ResNet-20, whose 64 features before the head are the embedding. SGD with Nesterov's momentum .9, rate .1,
          decay 5e-4, 8 epochs, one of them warm-up, cosine, batches of 56, crop from 2 pixels of padding, flip. The
          cross-entropy trains all arms. Circle loss is added with m = .4 and gamma = 80, the paper's for retrieval, and
          1 / gamma as weight. Nothing was chosen on any image. "random batches" has the usual order; all others have
          batches of 8 images of each class. The seconds are those of a machine that was busy with other work
Result:
| arm | test/map_at_r | test/r_precision | test/r1 | seconds | seeds |
| --- | --- | --- | --- | --- | --- |
| circle, pairs | 0.5699 ± 0.0455 | 0.6752 ± 0.0312 | 0.9414 ± 0.0057 | 26.2 ± 3.0 | 3 |
| circle, classes | 0.5636 ± 0.0348 | 0.6618 ± 0.0235 | 0.9466 ± 0.0076 | 25.7 ± 1.1 | 3 |
| softmax, random batches | 0.5175 ± 0.0520 | 0.6156 ± 0.0462 | 0.9353 ± 0.0122 | 23.4 ± 2.7 | 3 |
| softmax | 0.5163 ± 0.0354 | 0.6218 ± 0.0260 | 0.9386 ± 0.0114 | 22.4 ± 1.0 | 3 |

- Data: Fashion-MNIST: the first 200 training images of each of the first seven classes to train; the 3,000 test
  images of the others (sneakers, bags, ankle boots) as queries and references. As for CUB in the literature, the
  first classes are learned and the last ones searched
- Command: zoo run circle_fashion --seeds 3 --record
- Arguments: epochs=8, images=200
- Hardware: AMD EPYC, 1 threads
- Versions: lightning 2.6.6, python 3.11.7, timm 1.0.31, torch 2.14.1
- Commit: 8e4d9a5
"""

from functools import partial
from pathlib import Path
from typing import Literal, get_args

import lightning as L

from callbacks import CircleLoss, CosineDecay, Retrieval
from datamodules import Arrays, FashionMNIST
from recipes import Recipe
from recipes.frame.compare import compare_recipes
from zoo import ResNet

COLUMNS = {"test/map_at_r": 4, "test/r_precision": 4, "test/r1": 4}  # of the table: digits after the point
SEEN, K = 7, 8  # classes to train on; images of each in a batch
Arm = Literal["softmax, random batches", "softmax", "circle, classes", "circle, pairs"]
FORMS = {"circle, classes": "class", "circle, pairs": "pair"}


def recipe(
    arm: Arm = "circle, pairs", images: int = 200, epochs: int = 8, root: Path = Path("data"), seed: int = 0
) -> Recipe:
    """Train on seven classes, search among the others.

    Args:
        arm: the loss, and what is in a batch.
        images: training images of each class, at least 8 and at most 6,000.
        epochs: passes over them.
        root: where Fashion-MNIST is: downloaded into it if absent (31 MB); or Debian's package, unpacked.
        seed: of the weights, the order of the images and every random draw.
    """
    L.seed_everything(seed, workers=True, verbose=False)
    form = FORMS.get(arm)
    circle = [CircleLoss(1 / 80, m=0.4, gamma=80.0, form=form)] if form else []
    return Recipe(
        name="circle_fashion",
        model=ResNet("20", num_classes=10, image_size=28, lr=0.1, weight_decay=5e-4),
        data=read(root, images, None if arm == "softmax, random batches" else K),
        callbacks=[CosineDecay(warmup_epochs=epochs / 8), *circle, Retrieval()],
        trainer={"max_epochs": epochs, "limit_val_batches": 0},
        seed=seed,
        arguments={"arm": arm, "images": images, "epochs": epochs},
        goal="test/map_at_r",
    )


def read(root: Path, images: int, k: int | None) -> Arrays:
    """Return the data: classes below `SEEN` to train on, the others to test."""
    whole = FashionMNIST(root)
    whole.prepare_data()
    train, test = whole.read("train"), whole.read("test")
    assert train is not None and test is not None, "FashionMNIST has both"
    chosen = [i for cls in range(SEEN) for i in (train[1] == cls).nonzero().flatten()[:images].tolist()]
    unseen = test[1] >= SEEN
    return Arrays(
        train[0][chosen],
        train[1][chosen],
        SEEN * K,
        test=(test[0][unseen.numpy()], test[1][unseen]),
        classes=whole.classes,
        padding=2,
        flip=True,
        channels=3,
        mean=whole.mean,
        std=whole.std,
        val_split=0,
        per_class=k,
    )


def main(
    seeds: int = 3,
    images: int = 200,
    epochs: int = 8,
    root: Path = Path("data"),
    workers: int = 1,
    record: bool = False,
) -> None:
    """Compare all arms with the first, by their MAP@R. The same command again goes on where it stopped.

    Args:
        seeds: number of runs of each arm, with the seeds 0, 1, ...
        images, epochs, root: as in `recipe`.
        workers: runs at a time; 0: one after the other in this process.
        record: add each run to results/, from which the tables are made.
    """
    train = partial(recipe, images=images, epochs=epochs, root=root.absolute())
    compare_recipes({arm: partial(train, arm) for arm in get_args(Arm)}, seeds, workers, record)
