"""The ladder of the Bag of Tricks paper, scaled down: eight rungs on handwritten digits, each adds one trick.

Paper:    Bag of Tricks for Image Classification with CNNs (He et al.; CVPR 2019) https://arxiv.org/abs/1812.01187,
          tables 4 and 6
Command:  zoo run digits_ladder --record
Data:     scikit-learn's 1,797 digits of 8 x 8 pixels: 1,293 to train, 144 to validate, 360 to test
Settings: ResNet-20, 15 epochs of 10 batches of 128. The baseline's rate .1 is meant for 32 images a batch, and is
          divided by 10 at 1/4, 1/2 and 3/4 as in the paper. Nothing was chosen on the test images. The teacher is a
          ResNet-56 trained for 30 epochs on the rung below; the seconds leave its training out. T = 4, hard : soft = .1
          : .9
Result:
| rung | test/acc | seconds | seeds |
| --- | --- | --- | --- |
| baseline | 0.9794 ± 0.0058 | 4.3 ± 0.2 | 5 |
| + warm-up and linear scaling | 0.8372 ± 0.1578 | 4.5 ± 0.3 | 5 |
| + zero gamma | 0.9594 ± 0.0075 | 4.6 ± 0.2 | 5 |
| + no bias decay | 0.9644 ± 0.0036 | 4.5 ± 0.2 | 5 |
| + cosine | 0.9856 ± 0.0036 | 4.5 ± 0.1 | 5 |
| + smoothing | 0.9872 ± 0.0015 | 4.5 ± 0.1 | 5 |
| + mixup | 0.9844 ± 0.0037 | 4.6 ± 0.1 | 5 |
| + distillation | 0.9850 ± 0.0025 | 7.8 ± 0.2 | 5 |

- Data: scikit-learn's 1,797 digits of 8 x 8 pixels: 1,293 to train, 144 to validate, 360 to test
- Command: zoo run digits_ladder --record
- Arguments: depth=20, epochs=15
- Hardware: AMD EPYC, 2 threads
- Versions: lightning 2.6.6, python 3.11.7, timm 1.0.31, torch 2.15.0
- Commit: 0582c0e+; 142541d+
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal, get_args

import lightning as L

from callbacks import KnowledgeDistillation, StepDecay, presets
from datamodules import Digits
from recipes import Recipe
from recipes.frame.compare import compare_recipes
from recipes.frame.teachers import train_teacher
from zoo import ResNet

Rung = Literal[
    "baseline",
    "+ warm-up and linear scaling",
    "+ zero gamma",
    "+ no bias decay",
    "+ cosine",
    "+ smoothing",
    "+ mixup",
    "+ distillation",
]
RUNGS: tuple[str, ...] = get_args(Rung)


def tricks(rung: Rung, distillation: Callable[[], L.Callback], warmup_epochs: int) -> list[L.Callback]:
    """Return the tricks of a rung: its own and those of the rungs below.

    Args:
        rung: one of `RUNGS`.
        distillation: makes the trick of the last rung. It is called only there, so other rungs train no teacher.
        warmup_epochs: length of the warm-up, from the second rung on.
    """
    height = RUNGS.index(rung)
    warmup = warmup_epochs if height >= 1 else 0
    falls = ("0.25dur", "0.5dur", "0.75dur")
    cosine, scaling, zero_gamma, no_decay, smoothing, mixing = presets.bag_of_tricks(warmup, base=32)
    schedule = cosine if height >= 4 else StepDecay(falls, warmup_epochs=warmup)
    added = {1: scaling, 2: zero_gamma, 3: no_decay, 5: smoothing, 6: mixing}
    on: list[L.Callback] = [schedule, *(trick for at, trick in added.items() if at <= height)]
    return [*on, distillation()] if height == 7 else on


def teacher() -> Path:
    """Return the checkpoint of a ResNet-56; it is trained once (about a minute)."""
    return train_teacher(recipe("+ mixup", epochs=30, depth="56", seed=1000))  # no student has this seed


def recipe(rung: Rung = "+ mixup", epochs: int = 15, depth: Literal["20", "56"] = "20", seed: int = 0) -> Recipe:
    """Train and test one rung.

    Args:
        rung: the last trick that is on. At "+ distillation" the teacher is trained first.
        epochs: passes over the 1,293 training images.
        depth: depth of the ResNet.
        seed: of the weights, the order of the images and every random draw.
    """
    on = tricks(rung, lambda: KnowledgeDistillation(teacher(), T=4), warmup_epochs=2)
    L.seed_everything(seed, workers=True, verbose=False)
    return Recipe(
        name="digits_ladder",
        model=ResNet(depth, num_classes=10, image_size=8, lr=0.1, weight_decay=1e-4),
        data=Digits(batch_size=128),
        callbacks=on,
        trainer={"max_epochs": epochs, "log_every_n_steps": 10},
        seed=seed,
        arguments={"rung": rung, "epochs": epochs, "depth": depth},
    )


def main(seeds: int = 5, epochs: int = 15, workers: int = 1, record: bool = False) -> None:
    """Compare all rungs with the baseline. The same command again goes on where it stopped.

    Args:
        seeds: number of runs of each rung, with the seeds 0, 1, ...
        epochs: passes over the 1,293 training images.
        workers: runs at a time; 0: one after the other in this process.
        record: add each run to results/, from which the tables are made.
    """
    compare_recipes({rung: partial(recipe, rung, epochs) for rung in get_args(Rung)}, seeds, workers, record)
