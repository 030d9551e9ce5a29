"""DeiT on ImageNet from scratch, as published: a plain ViT that learns without more data, through its training alone.

Paper:    Training data-efficient image transformers & distillation through attention (Touvron, Cord, Douze, Massa,
          Sablayrolles, Jegou; ICML 2021) https://arxiv.org/abs/2012.12877, table 9, column DeiT-B
Code:     https://github.com/facebookresearch/deit at 7e160fe: the defaults of main.py
Command:  zoo run deit_training --root imagenet --devices 4 --accumulate 1 --record
Data:     ImageNet: all 1,281,167 images to train, the 50,000 official validation images to test
Settings: 300 epochs of 1024 images a step (batch_size x devices x accumulate; another number scales the rate). AdamW
          (.9, .999, 1e-8), rate 5e-4 per 512 images, 5 epochs of linear warm-up, cosine to 1e-5. Weight decay .05, none
          on biases and norms. Crops of 8 to 100 % resized bicubically, flip, RandAugment m9-mstd0.5-inc1, random
          erasing .25. Repeated augmentation, 3 times. On every batch mixup .8 or CutMix 1.0, with equal probability.
          Label smoothing .1. Stochastic depth .1. The weights are averaged with decay .99996. The average is scored
          beside the raw weights, which the authors' code tests
Differs:  class token and positions decay, where the authors leave them out. The authors' rate changes once an epoch and
          warms up from 1e-6, and their cosine counts the warm-up. Mixing partners are a random permutation, where timm
          reverses the batch. Geometric operations of RandAugment are bilinear, where timm has bicubic. The distilled
          networks are left out, since they need the authors' RegNetY-16GF as a teacher. With one, use `zoo.DeiT` and
          `KnowledgeDistillation`
Published: top-1 0.722 Ti/16, 0.799 S/16, 0.818 B/16 at 224 px: the authors' README
Result:
not measured yet

- Published: top-1 0.722 Ti/16, 0.799 S/16, 0.818 B/16 at 224 px: the authors' README
- Data: ImageNet: all 1,281,167 images to train, the 50,000 official validation images to test
- Command: zoo run deit_training --root imagenet --devices 4 --accumulate 1 --record
"""

from functools import partial

from callbacks import presets
from recipes import Recipe
from recipes.frame.imagenet import Steps, imagenet_recipe
from zoo import ViT

LR = 2.5e-4  # for 256 images a step; table 9: 5e-4 for 512
STEPS = Steps(batch_size=256, accumulate=4, warmup_epochs=5)  # 4 devices take accumulate=1


def recipe(variant: str = "S/16", steps: Steps = STEPS, seed: int = 0) -> Recipe:
    """Train and test.

    Args:
        variant: variant of `zoo.ViT`; "Ti/16", "S/16", "B/16" are published.
        steps: images and steps, see `Steps`.
        seed: of the weights, the order of the images and every random draw.
    """
    tricks = presets.deit(steps.warmup_epochs)
    network = partial(ViT, drop_path=0.1, optimizer="adamw", lr=LR, weight_decay=0.05)
    return imagenet_recipe("deit_training", network, variant, tricks, steps, seed, transform="deit", repeats=3)
