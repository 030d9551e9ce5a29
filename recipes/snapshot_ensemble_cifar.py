"""Snapshot ensemble on CIFAR-10: five networks from one training run, against one network trained for as long.

Paper:    Snapshot Ensembles: Train 1, Get M for Free (Huang et al.; ICLR 2017) https://arxiv.org/abs/1704.00109
Command:  zoo run snapshot_ensemble_cifar --images 5000 --epochs 20 --precision bf16-mixed --folder CIFAR-10-JPEG --record
Data:     CIFAR-10-JPEG: lossy copies (quality 75) of CIFAR-10; compare runs on them with each other only. All networks
          train on the same `images` of the 50,000, stratified by class, and are tested on all 10,000
Settings: those of the authors' example (200 epochs, 5 cycles, batch 64, rate .2, Nesterov momentum .9, weight decay
          1e-4) with a ResNet-20 instead of their ResNet-110, crop from 4 pixels of padding, flip. The single network is
          trained in one cycle: one cosine over the whole run. `test/acc` is the accuracy of the last weights alone
Published: test accuracy 0.966 of the ensemble, on all images (abstract; of DenseNets, not of this network)
Result:
| cycles | test/acc | test/acc_snapshots5 | seconds | seeds |
| --- | --- | --- | --- | --- |
| 1 | 0.5262 (1 run) |  | 152.5 (1 run) | 1 |
| 5 | 0.4429 (1 run) | 0.4161 (1 run) | 135.1 (1 run) | 1 |

- Published: test accuracy 0.966 of the ensemble, on all images (abstract; of DenseNets, not of this network)
- Data: CIFAR-10-JPEG: lossy copies (quality 75) of CIFAR-10; compare runs on them with each other only. All networks
  train on the same `images` of the 50,000, stratified by class, and are tested on all 10,000
- Command: zoo run snapshot_ensemble_cifar --images 5000 --epochs 20 --precision bf16-mixed --folder CIFAR-10-JPEG
  --record
- Arguments: data=CIFAR-10-JPEG, epochs=20, images=5000, precision=bf16-mixed
- Hardware: AMD EPYC, 1 threads
- Versions: lightning 2.6.6, python 3.11.7, timm 1.0.31, torch 2.14.1
- Commit: 0bb8ff7
"""

from functools import partial

import lightning as L

from callbacks import CosineDecay, SnapshotEnsemble
from recipes import Recipe
from recipes.frame.cifar import PLAIN, TRAINING_IMAGES, Cifar
from recipes.frame.compare import compare_recipes
from zoo import ResNet


def recipe(
    cycles: int = 5,
    images: int = TRAINING_IMAGES,
    epochs: int = 200,
    source: Cifar = PLAIN,
    seed: int = 0,
) -> Recipe:
    """Train in cycles, then test the last network and the ensemble.

    Args:
        cycles: M cycles of equal length; all M networks are in the ensemble. 1: a single network.
        images: number of training images, at most 50,000.
        epochs: passes over them, in all cycles together.
        source: where the images are, see `Cifar`.
        seed: of the weights, the order of the images and every random draw.
    """
    L.seed_everything(seed, workers=True, verbose=False)
    return Recipe(
        name="snapshot_ensemble_cifar",
        model=ResNet("20", num_classes=10, image_size=32, optimizer="sgd", lr=0.2, weight_decay=1e-4),
        data=source.load(64, images),
        callbacks=[CosineDecay() if cycles == 1 else SnapshotEnsemble(cycles, last=cycles)],
        trainer={"max_epochs": epochs, "limit_val_batches": 0, "precision": source.precision},
        seed=seed,
        arguments={"cycles": cycles, "images": images, "epochs": epochs, **source.record},
    )


def main(
    cycles: list[int] | None = None,
    images: int = TRAINING_IMAGES,
    epochs: int = 200,
    source: Cifar = PLAIN,
    seeds: int = 1,
    workers: int = 1,
    record: bool = False,
) -> None:
    """Compare ensembles with the single network. The same command again goes on where it stopped.

    Args:
        cycles: numbers of cycles, an arm each; None: 1 and 5.
        images, epochs, source: as in `recipe`.
        seeds: number of runs of each arm, with the seeds 0, 1, ...
        workers: runs at a time; 0: one after the other in this process.
        record: add each run to results/, from which the tables are made.
    """
    train = partial(recipe, images=images, epochs=epochs, source=source)
    compare_recipes({f"{m} cycles": partial(train, m) for m in cycles or (1, 5)}, seeds, workers, record)
