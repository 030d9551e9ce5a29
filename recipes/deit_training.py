"""DeiT on ImageNet from scratch, as published: a plain ViT, made to work without more data by its training alone.

Paper:    Training data-efficient image transformers & distillation through attention (Touvron, Cord, Douze, Massa,
          Sablayrolles, Jegou; ICML 2021) https://arxiv.org/abs/2012.12877, table 9, column DeiT-B
Code:     https://github.com/facebookresearch/deit at 7e160fe: the defaults of main.py
Command:  zoo run deit_training --root imagenet --devices 4 --accumulate 1 --record
Data:     ImageNet: all 1,281,167 images to train, the 50,000 official validation images to test
Settings: 300 epochs of 1024 images a step (batch_size x devices x accumulate; another number scales the rate); AdamW
          (.9, .999, 1e-8), rate 5e-4 per 512 images, 5 epochs of linear warm-up, cosine to 1e-5, weight decay .05, none
          on biases and norms; crops of 8 to 100 % resized bicubically, flip, RandAugment m9-mstd0.5-inc1, random
          erasing .25; repeated augmentation, 3 times; mixup .8 or CutMix 1.0 by halves on every batch; label smoothing
          .1; stochastic depth .1; average of the weights with decay .99996, scored beside: the authors' code tests the
          raw weights
Differs:  class token and positions decay, where the authors leave them out; the authors' rate changes once an epoch and
          warms up from 1e-6, and their cosine counts the warm-up. Mixing partners are a random permutation, where timm
          reverses the batch; geometric operations of RandAugment are bilinear, where timm has bicubic. The distilled
          networks need the authors' RegNetY-16GF as a teacher, and are left out: with one, `zoo.DeiT` and
          `KnowledgeDistillation`
Published: top-1 0.722 Ti/16, 0.799 S/16, 0.818 B/16 at 224 px: the authors' README
Result:
not measured yet

- Published: top-1 0.722 Ti/16, 0.799 S/16, 0.818 B/16 at 224 px: the authors' README
- Data: ImageNet: all 1,281,167 images to train, the 50,000 official validation images to test
- Command: zoo run deit_training --root imagenet --devices 4 --accumulate 1 --record
"""

from pathlib import Path
from typing import Any

import lightning as L

from callbacks import EMA, CosineDecay, LabelSmoothing, LinearScaling, MixUpOrCutMix, NoBiasDecay
from datamodules import ImageFolder, ImageNet
from datamodules.transforms import Center
from recipes import Recipe
from zoo import ViT

BASE, LR = 512, 5e-4  # the rate, and the images a step that it is meant for: table 9
END = 1e-5 / 1e-3  # `--min-lr` of main.py, by the rate of 1024 images a step


def recipe(
    variant: str = "S/16",
    epochs: int = 300,
    root: Path = Path("data"),
    folder: Path | None = None,
    batch_size: int = 256,
    accumulate: int = 4,
    devices: int = 1,
    image_size: int = 224,
    warmup_epochs: float = 5,
    precision: str = "32-true",
    seed: int = 0,
) -> Recipe:
    """Train and test.

    Args:
        variant: of `zoo.ViT`: "Ti/16", "S/16", "B/16" are published.
        epochs: passes over as many images as there are to train on.
        root: where ImageNet is: its archives, or `train/<wnid>` and `val/<wnid>`.
        folder: other images instead: `train/<class>/*` and `test/<class>/*`.
        batch_size: images a batch and device.
        accumulate: batches accumulated for one optimizer step.
        devices: how many; 4 take accumulate=1.
        image_size: side in pixels.
        warmup_epochs: length of the warm-up.
        precision: of `Trainer`; "bf16-mixed" is faster on processors that have it.
        seed: of the weights, the order of the images and every random draw.
    """
    L.seed_everything(seed, workers=True, verbose=False)
    evaluation = Center(image_size, interpolation="bicubic")
    same: dict[str, Any] = {
        "image_size": image_size,
        "transform": "deit",
        "evaluation": evaluation,
        "val_split": 0,
        "repeats": 3,
    }
    images = ImageNet(root, batch_size, **same) if folder is None else ImageFolder(folder, batch_size, **same)
    images.prepare_data()
    optimizer: dict[str, Any] = {"optimizer": "adamw", "lr": LR, "weight_decay": 0.05}
    return Recipe(
        name="deit_training",
        model=ViT(variant, images.num_classes, image_size, drop_path=0.1, **optimizer),
        data=images,
        callbacks=[
            CosineDecay(warmup_epochs, end=END),
            LinearScaling(BASE),
            NoBiasDecay(),
            MixUpOrCutMix(0.8, 1.0, switch=0.5),
            LabelSmoothing(0.1),
            EMA(0.99996),
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
