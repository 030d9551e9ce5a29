"""ConvNeXt on ImageNet from scratch, as published: the settings of the paper's appendix as one list of tricks.

Paper:    A ConvNet for the 2020s (Liu, Mao, Wu, Feichtenhofer, Darrell, Xie; CVPR 2022)
          https://arxiv.org/abs/2201.03545, table 5, ImageNet-1K
Code:     https://github.com/facebookresearch/ConvNeXt at 048efce: TRAINING.md and the defaults of main.py
Command:  zoo run convnext_training --root imagenet --devices 8 --accumulate 4 --record
Data:     ImageNet: all 1,281,167 images to train, the 50,000 official validation images to test
Settings: 300 epochs of 4096 images a step (batch_size x devices x accumulate; another number scales the rate); AdamW
          (.9, .999, 1e-8), rate 4e-3, 20 epochs of linear warm-up, cosine to 1e-6, weight decay .05, none on biases,
          norms and layer scale; crops of 8 to 100 % resized bicubically, flip, RandAugment m9-mstd0.5-inc1, random
          erasing .25; mixup .8 or CutMix 1.0 by halves on every batch; label smoothing .1; stochastic depth .1 T, .4 S,
          .5 B and L; layer scale from 1e-6; average of the weights with decay .9999, whose accuracy is the published
          one: `test/acc_ema0.9999`. The published runs are in float32
Differs:  mixing partners are a random permutation, where timm reverses the batch; geometric operations of RandAugment
          are bilinear, where timm has bicubic. The authors' rate begins at 0, ours at one step of the warm-up. Of an
          epoch's 313 steps the last has only the batches that are left; the authors leave it out
Published: top-1 0.821 T, 0.831 S, 0.838 B, 0.843 L at 224 px, of the average: the authors' README
Result:
not measured yet

- Published: top-1 0.821 T, 0.831 S, 0.838 B, 0.843 L at 224 px, of the average: the authors' README
- Data: ImageNet: all 1,281,167 images to train, the 50,000 official validation images to test
- Command: zoo run convnext_training --root imagenet --devices 8 --accumulate 4 --record
"""

from pathlib import Path
from typing import Any

import lightning as L

from callbacks import EMA, CosineDecay, LabelSmoothing, LinearScaling, MixUpOrCutMix, NoBiasDecay
from datamodules import ImageFolder, ImageNet
from datamodules.transforms import Center
from recipes import Recipe
from zoo import ConvNeXt

BATCH = 4096  # images a step, for which the rate is meant: table 5
LR, END = 4e-3, 1e-6  # table 5; `--min_lr` of main.py


def recipe(
    variant: str = "T",
    epochs: int = 300,
    root: Path = Path("data"),
    folder: Path | None = None,
    batch_size: int = 128,
    accumulate: int = 32,
    devices: int = 1,
    image_size: int = 224,
    warmup_epochs: float = 20,
    precision: str = "32-true",
    seed: int = 0,
) -> Recipe:
    """Train and test.

    Args:
        variant: of `zoo.ConvNeXt`: "T", "S", "B", "L" are published.
        epochs: passes over the training images.
        root: where ImageNet is: its archives, or `train/<wnid>` and `val/<wnid>`.
        folder: other images instead: `train/<class>/*` and `test/<class>/*`.
        batch_size: images a batch and device.
        accumulate: batches accumulated for one optimizer step.
        devices: how many; 8 take accumulate=4, 32 take 1.
        image_size: side in pixels.
        warmup_epochs: length of the warm-up.
        precision: of `Trainer`; "bf16-mixed" is faster on processors that have it.
        seed: of the weights, the order of the images and every random draw.
    """
    L.seed_everything(seed, workers=True, verbose=False)
    evaluation = Center(image_size, interpolation="bicubic")
    same: dict[str, Any] = {"image_size": image_size, "transform": "convnext", "evaluation": evaluation, "val_split": 0}
    images = ImageNet(root, batch_size, **same) if folder is None else ImageFolder(folder, batch_size, **same)
    images.prepare_data()
    optimizer: dict[str, Any] = {"optimizer": "adamw", "lr": LR, "weight_decay": 0.05}
    return Recipe(
        name="convnext_training",
        model=ConvNeXt(variant, images.num_classes, image_size, **optimizer),
        data=images,
        callbacks=[
            CosineDecay(warmup_epochs, end=END / LR),
            LinearScaling(BATCH),
            NoBiasDecay(),
            MixUpOrCutMix(0.8, 1.0, switch=0.5),
            LabelSmoothing(0.1),
            EMA(0.9999),
        ],
        trainer={
            "max_epochs": epochs,
            "accumulate_grad_batches": accumulate,
            "devices": devices,
            "limit_val_batches": 0,  # all images train
            "precision": precision,
        },
        seed=seed,
        arguments={
            "variant": variant,
            "epochs": epochs,
            "images": "ImageNet" if folder is None else folder.name,
            "images a step": batch_size * devices * accumulate,
            "image_size": image_size,
            "warmup_epochs": warmup_epochs,
            "precision": precision,
        },
    )
