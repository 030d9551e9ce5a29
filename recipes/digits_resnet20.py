"""ResNet-20 for CIFAR on handwritten digits: seven tricks, real data, no download. Run this recipe first.

Paper:    Deep Residual Learning for Image Recognition (He, Zhang, Ren, Sun; CVPR 2016) https://arxiv.org/abs/1512.03385
Command:  zoo run digits_resnet20 --seeds 3 --record
Data:     scikit-learn's 1,797 digits of 8 x 8 pixels: 1,293 to train, 144 to validate, 360 to test
Settings: epochs, rate and mixing were chosen on the validation images. The tricks are those of Bag of Tricks, scaled
          down
Result:
| test/acc | test/acc_ema0.98 | seconds | seeds |
| --- | --- | --- | --- |
| 0.9935 ± 0.0042 | 0.9926 ± 0.0032 | 11.6 ± 0.7 | 3 |

- Data: scikit-learn's 1,797 digits of 8 x 8 pixels: 1,293 to train, 144 to validate, 360 to test
- Command: zoo run digits_resnet20 --seeds 3 --record
- Arguments: batch_size=64, epochs=30, lr=0.4
- Hardware: AMD EPYC, 2 threads
- Versions: lightning 2.6.6, python 3.11.7, timm 1.0.31, torch 2.15.0
- Commit: 0582c0e+
"""

import lightning as L

from callbacks import EMA, presets
from datamodules import Digits
from recipes import Recipe
from zoo import ResNet


def recipe(epochs: int = 30, batch_size: int = 64, lr: float = 0.4, seed: int = 0) -> Recipe:
    """Train and test.

    Args:
        epochs: passes over the 1,293 training images.
        batch_size: images per optimizer step.
        lr: peak learning rate per 256 images; scaled to the batch.
        seed: of the weights, the order of the images and every random draw.
    """
    L.seed_everything(seed, workers=True, verbose=False)
    return Recipe(
        name="digits_resnet20",
        model=ResNet("20", num_classes=10, image_size=8, lr=lr, weight_decay=1e-4),
        data=Digits(batch_size),
        callbacks=[*presets.bag_of_tricks(warmup_epochs=2), EMA(0.98)],  # averages over about fifty steps: two epochs
        trainer={"max_epochs": epochs, "log_every_n_steps": 10},
        seed=seed,
        arguments={"epochs": epochs, "batch_size": batch_size, "lr": lr},
    )
