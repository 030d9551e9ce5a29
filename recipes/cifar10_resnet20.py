"""ResNet-20 on CIFAR-10 as published in 2015: no tricks, the baseline of everything else.

Paper:    Deep Residual Learning for Image Recognition (He, Zhang, Ren, Sun; CVPR 2016) https://arxiv.org/abs/1512.03385,
          section 4.2
Command:  zoo run cifar10_resnet20 --budget 0.1 --precision bf16-mixed --folder CIFAR-10-JPEG --record
Data:     CIFAR-10: 50,000 images of 32 x 32 pixels to train, 10,000 to test. CIFAR-10-JPEG are lossy copies (quality
          75): compare runs on them with each other only. Without the three options the command is the published run
Settings: those of the paper: momentum .9 without Nesterov, weight decay 1e-4 on all parameters, batch 128, rate .1
          divided by 10 at 32k and 48k of 64k iterations, crop from 4 pixels of padding, flip, shortcuts of option A.
          The paper counts iterations: 64k of them, 390 an epoch, are 164 epochs of all 50,000 images. (Its schedule was
          chosen on 45,000 images, where they would be 182 epochs; we train on all images.) `--budget` shortens the run
          and its schedule together
Differs:  pixels are normalised by mean and deviation of each channel, where the paper subtracts the mean image
Published: test accuracy 0.9125, table 6 (one run)
Result:
| test/acc | seconds | seeds |
| --- | --- | --- |
| 0.8308 (1 run) | 939.9 (1 run) | 1 |

- Published: test accuracy 0.9125, table 6 (one run)
- Data: CIFAR-10: 50,000 images of 32 x 32 pixels to train, 10,000 to test. CIFAR-10-JPEG are lossy copies (quality
  75): compare runs on them with each other only. Without the three options the command is the published run
- Command: zoo run cifar10_resnet20 --budget 0.1 --precision bf16-mixed --folder CIFAR-10-JPEG --record
- Arguments: budget=0.1, images=CIFAR-10-JPEG, precision=bf16-mixed
- Hardware: AMD EPYC, 2 threads
- Versions: lightning 2.6.6, python 3.11.7, timm 1.0.31, torch 2.15.0
- Commit: 142541d+
"""

import lightning as L

from callbacks import StepDecay
from recipes import Recipe
from recipes.frame.cifar import PLAIN, Cifar
from zoo import ResNet

ITERATIONS = 64_000


def recipe(budget: float = 1.0, source: Cifar = PLAIN, seed: int = 0) -> Recipe:
    """Train and test.

    Args:
        budget: fraction of the published 64,000 iterations, in (0, 1].
        source: where the images are, see `Cifar`.
        seed: of the weights, the order of the images and every random draw.

    Raises:
        ValueError: the budget is outside (0, 1].
    """
    if not 0 < budget <= 1:
        raise ValueError(f"budget is a fraction of the published run, in (0, 1], got {budget}")
    L.seed_everything(seed, workers=True, verbose=False)
    return Recipe(
        name="cifar10_resnet20",
        model=ResNet("20", num_classes=10, image_size=32, optimizer="momentum", lr=0.1, weight_decay=1e-4),
        data=source.load(batch_size=128),
        callbacks=[StepDecay(("0.5dur", "0.75dur"), gamma=0.1)],
        trainer={
            "max_steps": max(1, round(budget * ITERATIONS)),
            "limit_val_batches": 0,  # all images train
            "precision": source.precision,
        },
        seed=seed,
        arguments={"budget": budget, "images": source.name, "precision": source.precision},
    )
