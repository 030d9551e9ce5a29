"""ResNet-20 on CIFAR-10 in fifteen epochs: the network that `weights="zoo"` opens at 32 pixels.

Paper:    Deep Residual Learning for Image Recognition (He, Zhang, Ren, Sun; CVPR 2016) https://arxiv.org/abs/1512.03385,
          section 4.2; its schedule of 164 epochs is in `cifar10_resnet20`
Command:  zoo run cifar10_weights --folder CIFAR-10-JPEG --record
Data:     CIFAR-10: 50,000 images of 32 x 32 pixels to train, 10,000 to test. `--folder` names CIFAR-10-JPEG, lossy
          copies (quality 75): compare runs on them with each other only
Settings: batches of 128, SGD with Nesterov's momentum .9, rate .2, decay 5e-4, none of it on biases and norms, one epoch
          of warm-up, cosine, crop from 4 pixels of padding, flip, bf16. Usual values: nothing was chosen on any image
Result:
| test/acc | seconds | seeds |
| --- | --- | --- |
| 0.8525 (1 run) | 1,602.4 (1 run) | 1 |

- Data: CIFAR-10: 50,000 images of 32 x 32 pixels to train, 10,000 to test. `--folder` names CIFAR-10-JPEG, lossy
  copies (quality 75): compare runs on them with each other only
- Command: zoo run cifar10_weights --folder CIFAR-10-JPEG --record
- Arguments: data=CIFAR-10-JPEG, epochs=15, precision=bf16-mixed
- Hardware: AMD EPYC, 1 threads
- Versions: lightning 2.6.6, python 3.11.7, timm 1.0.31, torch 2.14.1
- Commit: e0b7463
"""

import lightning as L

from callbacks import CosineDecay, NoBiasDecay
from recipes import Recipe
from recipes.frame.cifar import FAST, Cifar
from zoo import ResNet


def recipe(epochs: int = 15, source: Cifar = FAST, seed: int = 0) -> Recipe:
    """Train and test.

    Args:
        epochs: passes over the 50,000 training images.
        source: where the images are, see `Cifar`.
        seed: of the weights, the order of the images and every random draw.
    """
    L.seed_everything(seed, workers=True, verbose=False)
    return Recipe(
        name="cifar10_weights",
        model=ResNet("20", num_classes=10, image_size=32, lr=0.2, weight_decay=5e-4),
        data=source.load(128),
        callbacks=[CosineDecay(warmup_epochs=1), NoBiasDecay()],
        trainer={"max_epochs": epochs, "limit_val_batches": 0, "precision": source.precision},
        seed=seed,
        arguments={"epochs": epochs, **source.record},
    )
