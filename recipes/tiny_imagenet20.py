"""ResNet-20 on Tiny-ImageNet in two epochs: photographs of 64 x 64 pixels, in minutes on one core for 20 classes.

Paper:    Deep Residual Learning for Image Recognition (He, Zhang, Ren, Sun; CVPR 2016) https://arxiv.org/abs/1512.03385
Command:  zoo run tiny_imagenet20 --root tiny-imagenet-20.zip --precision bf16-mixed --record
Data:     Tiny-ImageNet-20: 20 of Tiny-ImageNet's 200 classes in its official layout; 9,000 images of 64 x 64 pixels to
          train, 1,000 to validate, the 1,000 official validation images to test. Chance is 0.05. Without `--root` the
          official data is downloaded. It has 200 classes and ten times as many images, so it is another task
Settings: the network of section 4.2, made for 32 pixels. Cosine, warm-up, zero gamma and no decay of biases as in Bag
          of Tricks. Small batches, because two epochs have few steps
Result:
| test/acc | seconds | seeds |
| --- | --- | --- |
| 0.2470 (1 run) | 197.9 (1 run) | 1 |

- Data: Tiny-ImageNet-20: 20 of Tiny-ImageNet's 200 classes in its official layout; 9,000 images of 64 x 64 pixels to
  train, 1,000 to validate, the 1,000 official validation images to test. Chance is 0.05. Without `--root` the
  official data is downloaded. It has 200 classes and ten times as many images, so it is another task
- Command: zoo run tiny_imagenet20 --root tiny-imagenet-20.zip --precision bf16-mixed --record
- Arguments: batch_size=64, budget=1.0, epochs=2, images=tiny-imagenet-20, lr=0.4, precision=bf16-mixed
- Validation accuracy on the way: 0.121, 0.147, 0.163, 0.203, 0.221, 0.230, 0.245, 0.251
- Hardware: AMD EPYC, 1 threads
- Versions: lightning 2.6.6, python 3.11.7, timm 1.0.31, torch 2.15.0
- Commit: 44b4aec+
"""

from pathlib import Path

import lightning as L

from callbacks import CosineDecay, LinearScaling, NoBiasDecay, ShuffledLabels, ZeroGamma
from datamodules import TinyImageNet
from recipes import Recipe
from zoo import ResNet

CURVE = 4  # validations in each epoch


def recipe(
    epochs: int = 2,
    budget: float = 1.0,
    root: Path = Path("data"),
    batch_size: int = 64,
    lr: float = 0.4,
    precision: str = "32-true",
    seed: int = 0,
) -> Recipe:
    """Train and test.

    Args:
        epochs: passes over the training images.
        budget: fraction of each epoch to train on, in (0, 1], for quick trials.
        root: where Tiny-ImageNet is: downloaded into it if absent (248 MB); or its folder, or a zip of its layout.
        batch_size: images per optimizer step.
        lr: peak learning rate per 256 images; scaled to the batch.
        precision: of `Trainer`; "bf16-mixed" is faster on processors that have it.
        seed: of the weights, the order of the images and every random draw.

    Raises:
        ValueError: the budget is outside (0, 1].
    """
    if not 0 < budget <= 1:
        raise ValueError(f"budget is a fraction of each epoch, in (0, 1], got {budget}")
    L.seed_everything(seed, workers=True, verbose=False)
    data = TinyImageNet(root, batch_size)
    data.prepare_data()
    model = ResNet("20", num_classes=data.num_classes, image_size=64, lr=lr, weight_decay=5e-4)
    return Recipe(
        name="tiny_imagenet20",
        model=model,
        data=data,
        callbacks=[CosineDecay(warmup_epochs=0.4), LinearScaling(), ZeroGamma(), NoBiasDecay(), ShuffledLabels()],
        trainer={
            "max_epochs": epochs,
            "limit_train_batches": budget,
            "val_check_interval": 1 / CURVE,
            "precision": precision,
            "log_every_n_steps": 10,
        },
        seed=seed,
        arguments={
            "epochs": epochs,
            "budget": budget,
            "images": root.stem,
            "batch_size": batch_size,
            "lr": lr,
            "precision": precision,
        },
    )
