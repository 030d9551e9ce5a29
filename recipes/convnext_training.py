"""ConvNeXt on ImageNet from scratch, as published: the settings of the paper's appendix as one list of tricks.

Paper:    A ConvNet for the 2020s (Liu, Mao, Wu, Feichtenhofer, Darrell, Xie; CVPR 2022)
          https://arxiv.org/abs/2201.03545, table 5, ImageNet-1K
Code:     https://github.com/facebookresearch/ConvNeXt at 048efce: TRAINING.md and the defaults of main.py
Command:  zoo run convnext_training --root imagenet --devices 8 --accumulate 4 --record
Data:     ImageNet: all 1,281,167 images to train, the 50,000 official validation images to test
Settings: 300 epochs of 4096 images a step (batch_size x devices x accumulate; another number scales the rate). AdamW
          (.9, .999, 1e-8), rate 4e-3, 20 epochs of linear warm-up, cosine to 1e-6. Weight decay .05, none on biases,
          norms and layer scale. Crops of 8 to 100 % resized bicubically, flip, RandAugment m9-mstd0.5-inc1, random
          erasing .25. On every batch mixup .8 or CutMix 1.0, with equal probability. Label smoothing .1. Stochastic
          depth .1 T, .4 S, .5 B and L. Layer scale from 1e-6. The weights are averaged with decay .9999, and the
          published accuracy is that of the average: `test/acc_ema0.9999`. The published runs are in float32
Differs:  mixing partners are a random permutation, where timm reverses the batch. Geometric operations of RandAugment
          are bilinear, where timm has bicubic. The authors' rate begins at 0, ours at one step of the warm-up. The last
          of an epoch's 313 steps has only the batches that are left; the authors leave it out
Published: top-1 0.821 T, 0.831 S, 0.838 B, 0.843 L at 224 px, of the average: the authors' README
Result:
not measured yet

- Published: top-1 0.821 T, 0.831 S, 0.838 B, 0.843 L at 224 px, of the average: the authors' README
- Data: ImageNet: all 1,281,167 images to train, the 50,000 official validation images to test
- Command: zoo run convnext_training --root imagenet --devices 8 --accumulate 4 --record
"""

from callbacks import presets
from recipes import Recipe
from recipes.frame.imagenet import Steps, imagenet_recipe
from zoo import ConvNeXt

STEPS = Steps(batch_size=128, accumulate=32, warmup_epochs=20)  # 8 devices take accumulate=4, 32 take 1


def recipe(variant: str = "T", steps: Steps = STEPS, seed: int = 0) -> Recipe:
    """Train and test.

    Args:
        variant: variant of `zoo.ConvNeXt`; "T", "S", "B", "L" are published.
        steps: images and steps, see `Steps`.
        seed: of the weights, the order of the images and every random draw.
    """
    tricks = presets.convnext(steps.warmup_epochs)
    return imagenet_recipe("convnext_training", ConvNeXt, variant, tricks, steps, seed, transform="convnext")
