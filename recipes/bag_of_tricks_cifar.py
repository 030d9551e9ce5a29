"""The ladder of the Bag of Tricks paper on CIFAR-10: each rung adds one trick to ResNet-20, the last a teacher.

Paper:    Bag of Tricks for Image Classification with CNNs (He et al.; CVPR 2019) https://arxiv.org/abs/1812.01187,
          tables 4 and 6
Command:  zoo run bag_of_tricks_cifar --images 5000 --epochs 8 --folder CIFAR-10-JPEG --teacher resnet56-4bfd9763.th
          --seeds 3 --record
Data:     CIFAR-10: 50,000 images of 32 x 32 pixels to train, 10,000 to test. `--images` takes a part of them,
          stratified by class. `--folder` names CIFAR-10-JPEG, lossy copies (quality 75): compare runs on them with each
          other only
Settings: those of the paper, scaled down. Batches of 128; the baseline's rate .1 is meant for 32 images, and is divided
          by 10 at 1/4, 1/2 and 3/4 of the run. 5 % of the run is warm-up. Mixup has alpha .2. Distillation has T = 20
          and hard : soft = .1 : .9 (ours; the paper adds the two as they are, its GluonCV script halves both). SGD with
          Nesterov's momentum .9, decay 1e-4, crop from 4 pixels of padding, flip, bf16. The teacher is a ResNet-56
          trained for twice as long on the rung below, with a seed that no student has. The seconds leave its training
          out. `--teacher` takes a ResNet-56 that others trained on all of CIFAR-10
          (github.com/akamaster/pytorch_resnet_cifar10, resnet56-4bfd9763.th). It knows more than a tenth of the images
          can teach a student
Differs:  the paper trains ResNet-50-D on ImageNet for 120 epochs, 200 with mixup, and its teacher with mixup too. A run
          of a twentieth of that has little to regularise
Published: top-1 of ResNet-50-D on ImageNet, table 6, where the released models confirm it
Result:
| published | rung | test/acc | seconds | seeds |
| --- | --- | --- | --- | --- |
|  | baseline | 0.4255 ± 0.0156 | 52.1 ± 0.5 | 3 |
|  | + warm-up and linear scaling | 0.3928 ± 0.0123 | 52.7 ± 2.5 | 3 |
|  | + zero gamma | 0.4270 ± 0.0055 | 52.1 ± 0.9 | 3 |
|  | + no bias decay | 0.4439 ± 0.0154 | 52.7 ± 0.7 | 3 |
|  | + cosine | 0.5844 ± 0.0075 | 52.7 ± 0.1 | 3 |
|  | + smoothing | 0.5749 ± 0.0051 | 53.7 ± 1.5 | 3 |
| 0.7915 | + mixup | 0.5622 ± 0.0141 | 53.0 ± 0.7 | 3 |
| 0.7929 | + distillation | 0.5321 ± 0.0153 | 90.3 ± 2.2 | 3 |

- Published: top-1 of ResNet-50-D on ImageNet, table 6, where the released models confirm it
- Data: CIFAR-10: 50,000 images of 32 x 32 pixels to train, 10,000 to test. `--images` takes a part of them,
  stratified by class. `--folder` names CIFAR-10-JPEG, lossy copies (quality 75): compare runs on them with each other
  only
- Command: zoo run bag_of_tricks_cifar --images 5000 --epochs 8 --folder CIFAR-10-JPEG --teacher resnet56-4bfd9763.th
  --seeds 3 --record
- Arguments: data=CIFAR-10-JPEG, epochs=8, images=5000, teacher=resnet56-4bfd9763
- Hardware: AMD EPYC, 1 threads
- Versions: lightning 2.6.6, python 3.11.7, timm 1.0.31, torch 2.14.1
- Commit: d47aa2e
"""

from functools import partial
from pathlib import Path

import lightning as L

from callbacks import KnowledgeDistillation
from recipes import Recipe
from recipes.digits_ladder import RUNGS, Rung, tricks
from recipes.frame.cifar import FAST, IMAGENET, TRAINING_IMAGES, Cifar, published_resnet56
from recipes.frame.compare import compare_recipes
from recipes.frame.teachers import train_teacher
from zoo import ResNet

TEACHER_SEED = 1000
PAPER = {"+ mixup": "0.7915", "+ distillation": "0.7929"}


def distillation(weights: Path | None, *budget) -> KnowledgeDistillation:
    """Return the trick of the last rung, with published weights or a teacher that is trained first."""
    if weights is None:
        return KnowledgeDistillation(trained_teacher(*budget), T=20)
    return KnowledgeDistillation(published_resnet56(weights), T=20, normalization=IMAGENET)


def trained_teacher(images: int, epochs: int, source: Cifar) -> Path:
    """Return the checkpoint of a ResNet-56 that is trained with these arguments, once."""
    return train_teacher(recipe("+ mixup", images, 2 * epochs, source, depth="56", seed=TEACHER_SEED))


def recipe(
    rung: Rung = "+ mixup",
    images: int = TRAINING_IMAGES,
    epochs: int = 120,
    source: Cifar = FAST,
    depth: str = "20",
    teacher: Path | None = None,
    seed: int = 0,
) -> Recipe:
    """Train and test one rung.

    Args:
        rung: the last trick that is on. At "+ distillation" the teacher is trained first.
        images: number of training images, at most 50,000, stratified by class.
        epochs: passes over them; the schedule shrinks with them.
        source: where the images are, see `Cifar`.
        depth: depth of the ResNet.
        teacher: published weights of a ResNet-56, see `published_resnet56`; None: train one.
        seed: of the weights, the order of the images and every random draw.
    """
    on = tricks(rung, lambda: distillation(teacher, images, epochs, source), warmup_epochs=max(1, epochs // 20))
    L.seed_everything(seed, workers=True, verbose=False)
    return Recipe(
        name="bag_of_tricks_cifar",
        model=ResNet(depth, num_classes=10, image_size=32, lr=0.1, weight_decay=1e-4),
        data=source.load(128, images),
        callbacks=on,
        trainer={"max_epochs": epochs, "limit_val_batches": 0, "precision": source.precision},
        seed=seed,
        arguments={
            "rung": rung,
            "published": PAPER.get(rung, ""),
            "images": images,
            "epochs": epochs,
            "data": source.name,
            "teacher": teacher.stem if teacher else "",
        },
    )


def main(
    seeds: int = 1,
    images: int = TRAINING_IMAGES,
    epochs: int = 120,
    source: Cifar = FAST,
    teacher: Path | None = None,
    workers: int = 1,
    record: bool = False,
) -> None:
    """Compare all rungs with the baseline. The same command again goes on where it stopped.

    Args:
        seeds: number of runs of each rung, with the seeds 0, 1, ...
        images, epochs, source, teacher: as in `recipe`.
        workers: runs at a time; 0: one after the other in this process.
        record: add each run to results/, from which the tables are made.
    """
    climb = partial(recipe, images=images, epochs=epochs, source=source, teacher=teacher)
    compare_recipes({rung: partial(climb, rung) for rung in RUNGS}, seeds, workers, record)
