"""Lists of tricks by paper, for `Trainer(callbacks=...)`: `presets.convnext()`, `presets.bag_of_tricks()` and so on.

A preset holds what is a trick. Its docstring shows the rest of the paper's run: the model with its optimizer, the
images with their transform, and the Trainer. Each call returns new tricks in a plain list: add to it, or take from it.

>>> from callbacks import presets
>>> Trainer(max_epochs=300, callbacks=[*presets.convnext(), GradientFlow()])
"""

from dataclasses import dataclass

from callbacks.data.cutout import Cutout
from callbacks.data.mixup import MixUp
from callbacks.data.mixup_or_cutmix import MixUpOrCutMix
from callbacks.dropout.stochastic_depth import StochasticDepth
from callbacks.frame.schedule import Time
from callbacks.frame.trick import Trick
from callbacks.loss.binary_cross_entropy import BinaryCrossEntropy
from callbacks.loss.label_smoothing import LabelSmoothing
from callbacks.network.zero_gamma import ZeroGamma
from callbacks.optimization.cosine_decay import CosineDecay
from callbacks.optimization.ema import EMA
from callbacks.optimization.linear_scaling import LinearScaling
from callbacks.optimization.no_bias_decay import NoBiasDecay
from callbacks.optimization.step_decay import StepDecay
from zoo.frame.checks import validate_choice


def bag_of_tricks(warmup_epochs: Time = 5, base: int = 256) -> list[Trick]:
    """Return the tricks of Bag of Tricks for CNNs (He et al. 2018), https://arxiv.org/abs/1812.01187.

    Section 3.1 and table 4: linear scaling from 256 images, 5 epochs of warm-up, zero gamma, no bias decay. Section 5
    and table 6: cosine, smoothing .1, mixup .2. The last row of table 6 also has a teacher: add
    `KnowledgeDistillation(teacher, T=20)`.

    The rest of the run, on 8 devices (batches of 1024 images; 120 epochs without mixup):

    >>> model = ResNet("50-D", lr=0.1, weight_decay=1e-4)
    >>> data = ImageNet("imagenet", batch_size=128, transform="bag-of-tricks")
    >>> Trainer(max_epochs=200, devices=8, precision="16-mixed", callbacks=presets.bag_of_tricks())

    Args:
        warmup_epochs: length of the warm-up, in epochs or as "0.1dur"; 5 of the paper's 120.
        base: images a step for which the model's `lr` is meant.
    """
    return [
        CosineDecay(warmup_epochs),
        LinearScaling(base),
        ZeroGamma(),
        NoBiasDecay(),
        LabelSmoothing(0.1),
        MixUp(0.2),
    ]


def convnext(warmup_epochs: Time = 20) -> list[Trick]:
    """Return the tricks of ConvNeXt (Liu et al. 2022), https://arxiv.org/abs/2201.03545, table 5, ImageNet-1K.

    20 epochs of warm-up, cosine to 1e-6, no decay of biases, norms and layer scale, mixup .8 or CutMix 1.0 on every
    batch, smoothing .1, average of decay .9999. 1e-6 is `--min_lr` of the authors' main.py. Stochastic depth is the
    model's `drop_path`, by default the paper's.

    The rest of the run, on 8 devices (steps of 4096 images); RandAugment and random erasing are in the transform. The
    model's defaults are AdamW with weight decay .05 and a rate of 2.5e-4 for 256 images: 4e-3 for 4096.

    >>> model = ConvNeXt("T")
    >>> data = ImageNet("imagenet", batch_size=128, transform="convnext")
    >>> Trainer(max_epochs=300, devices=8, accumulate_grad_batches=4, callbacks=presets.convnext())

    Args:
        warmup_epochs: length of the warm-up, in epochs or as "0.1dur"; 20 of the paper's 300.
    """
    return [
        CosineDecay(warmup_epochs, end=1e-6 / 4e-3),
        LinearScaling(256),
        NoBiasDecay(),
        MixUpOrCutMix(0.8, 1.0, switch=0.5),
        LabelSmoothing(0.1),
        EMA(0.9999),
    ]


def deit(warmup_epochs: Time = 5) -> list[Trick]:
    """Return the tricks of DeiT (Touvron et al. 2021), https://arxiv.org/abs/2012.12877, table 9, column DeiT-B.

    Linear scaling, 5 epochs of warm-up, cosine, no decay of biases and norms, mixup .8 or CutMix 1.0 on every
    batch, smoothing .1. The last rate, 1e-5 of 1e-3, and the average of decay .99996 are defaults of the authors'
    main.py. Stochastic depth .1 is the model's `drop_path`. To distil, take `zoo.DeiT` and add
    `KnowledgeDistillation(teacher, weight=0.5, kind="hard")`.

    The rest of the run, on 4 devices (steps of 1024 images); RandAugment and random erasing are in the transform. The
    rate of 2.5e-4 for 256 images is 5e-4 for 512; `zoo.DeiT` has it by default.

    >>> model = ViT("B/16", drop_path=0.1, lr=2.5e-4, weight_decay=0.05)
    >>> data = ImageNet("imagenet", batch_size=256, transform="deit", repeats=3)
    >>> Trainer(max_epochs=300, devices=4, callbacks=presets.deit())

    Args:
        warmup_epochs: length of the warm-up, in epochs or as "0.1dur"; 5 of the paper's 300.
    """
    return [
        CosineDecay(warmup_epochs, end=1e-5 / 1e-3),
        LinearScaling(256),
        NoBiasDecay(),
        MixUpOrCutMix(0.8, 1.0, switch=0.5),
        LabelSmoothing(0.1),
        EMA(0.99996),
    ]


@dataclass(frozen=True)
class Procedure:
    """A column of table 2 of ResNet Strikes Back, as far as it is tricks."""

    lr: float  # of 2048 images
    mixup: float  # alpha
    smoothing: float  # eps
    depth: float  # probability that an image skips the last block


PROCEDURES = {
    "A1": Procedure(5e-3, 0.2, 0.1, 0.05),
    "A2": Procedure(5e-3, 0.1, 0.0, 0.05),
    "A3": Procedure(8e-3, 0.1, 0.0, 0.0),
}


def resnet_strikes_back(procedure: str = "A3", warmup_epochs: Time = 5) -> list[Trick]:
    """Return the tricks of ResNet Strikes Back (Wightman et al. 2021), https://arxiv.org/abs/2110.00476, table 2.

    5 epochs of warm-up, cosine, binary cross-entropy, mixup (.2 in A1, .1 in A2 and A3) or CutMix 1.0. A1 smooths by
    .1; A1 and A2 skip blocks with .05. The last rate, 1e-6, and no decay of biases and norms are those of
    mmpretrain's `resnet50_8xb256-rsb-*` configurations. The first block is skipped too, with .05 divided by the number
    of blocks; timm's is not. timm's networks start with `ZeroGamma`, which table 2 does not list.

    The rest of the run, on 8 devices (steps of 2048 images: the rate is meant for these). RandAugment, of magnitude 7
    in A1 and A2 and 6 in A3, is in the transform:

    >>> model = ResNet("50", image_size=160, optimizer="lamb", lr=8e-3, weight_decay=0.02)
    >>> data = ImageNet("imagenet", batch_size=256, image_size=160, transform="resnet-strikes-back-a3")
    >>> Trainer(max_epochs=100, devices=8, callbacks=presets.resnet_strikes_back("A3"))

    A1 takes 600 epochs of 224 px with lr=5e-3, weight_decay=0.01, repeats=3 and transform="resnet-strikes-back"; A2
    takes 300 epochs of the same with weight_decay=0.02. All are tested on ImageNet(image_size=224,
    evaluation=Center(224, 236, "bicubic")).

    Args:
        procedure: "A1", "A2" or "A3".
        warmup_epochs: length of the warm-up, in epochs or as "0.1dur".

    Raises:
        ValueError: for another procedure.
    """
    row = PROCEDURES[validate_choice(procedure, PROCEDURES, "resnet_strikes_back")]
    return [
        CosineDecay(warmup_epochs, end=1e-6 / row.lr),
        NoBiasDecay(),
        *([StochasticDepth(row.depth)] if row.depth else []),
        MixUpOrCutMix(row.mixup, 1.0, switch=0.5),
        BinaryCrossEntropy(smoothing=row.smoothing),
    ]


SIDES = {10: 16, 100: 8}  # classes of CIFAR -> side of Cutout's square, in pixels


def cifar(num_classes: int = 10) -> list[Trick]:
    """Return the tricks of Cutout (DeVries, Taylor 2017), https://arxiv.org/abs/1708.04552, section 4.1 and table 1.

    The rate is multiplied by .2 at 60, 120 and 160 of 200 epochs, and each image has a square erased: 16 px for
    CIFAR-10, 8 px for CIFAR-100. The same numbers are in the authors' train.py (github.com/uoguelph-mlrg/Cutout at
    02f333a).

    The rest of the run; crop and flip are the data module's defaults:

    >>> model = ResNet("18", num_classes=10, image_size=32, lr=0.1, weight_decay=5e-4)
    >>> data = CIFAR10("data", batch_size=128, val_split=0)
    >>> Trainer(max_epochs=200, callbacks=presets.cifar())

    Args:
        num_classes: 10 or 100.

    Raises:
        ValueError: for another number of classes.
    """
    if num_classes not in SIDES:
        raise ValueError(f"presets.cifar is for 10 or 100 classes, got {num_classes}: take Cutout(side) of your own")
    return [StepDecay(("0.3dur", "0.6dur", "0.8dur"), gamma=0.2), Cutout(SIDES[num_classes])]
