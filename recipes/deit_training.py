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

from functools import partial

from callbacks import EMA, CosineDecay, LabelSmoothing, LinearScaling, MixUpOrCutMix, NoBiasDecay
from recipes import Recipe
from recipes.frame.imagenet import OPTIMIZER, Steps, imagenet_recipe
from zoo import ViT

BASE, LR = 512, 5e-4  # the rate, and the images a step that it is meant for: table 9
END = 1e-5 / 1e-3  # `--min-lr` of main.py, by the rate of 1024 images a step
STEPS = Steps(batch_size=256, accumulate=4, warmup_epochs=5)  # 4 devices take accumulate=1


def recipe(variant: str = "S/16", steps: Steps = STEPS, seed: int = 0) -> Recipe:
    """Train and test.

    Args:
        variant: of `zoo.ViT`: "Ti/16", "S/16", "B/16" are published.
        steps: images and steps, see `Steps`.
        seed: of the weights, the order of the images and every random draw.
    """
    tricks = [
        CosineDecay(steps.warmup_epochs, end=END),
        LinearScaling(BASE),
        NoBiasDecay(),
        MixUpOrCutMix(0.8, 1.0, switch=0.5),
        LabelSmoothing(0.1),
        EMA(0.99996),
    ]
    network = partial(ViT, drop_path=0.1, lr=LR, **OPTIMIZER)
    return imagenet_recipe("deit_training", network, variant, tricks, steps, seed, transform="deit", repeats=3)
