"""FCOS on synthetic shapes: five losses of boxes, and backbones from scratch, from digits and from shapes.

Paper:    FCOS: Fully Convolutional One-Stage Object Detection (Tian, Shen, Chen, He; ICCV 2019)
          https://arxiv.org/abs/1904.01355; the losses have their papers in callbacks/loss/boxes.py
          Bag of Tricks for Image Classification with CNNs (He et al.; CVPR 2019) https://arxiv.org/abs/1812.01187,
          section 6: does a backbone that was trained with tricks detect better?
Command:  zoo run shapes_detector --record
Data:     `ShapeBoxes`, circles, squares and triangles drawn by us: 400 images of 32 px to train, 200 to test. Backbones
          "shapes" and "shapes, tricks" learn to classify other images of the kind first, of one shape each
Settings: ResNet-20 under FCOS with 32 channels, AdamW at 2e-3 in batches of 16, 5 % of the run is warm-up, cosine,
          flips, gradients clipped at a norm of 10: the first choice, kept because GIoU from scratch had a mAP of .32 on
          validation images of another seed, after 20 epochs without flips. Here are 12 epochs. Losses of boxes have
          weight 1. Backbone "digits" has the weights that come with the package; images keep their own mean and
          deviation. "shapes" has 6 epochs of SGD at .1 on about 1,000 images of one shape, "shapes, tricks" also mixup
          of .2, smoothing of .1 and no decay of biases. The seconds leave that out, and are those of a machine that was
          busy with other work. The losses are compared from scratch, the backbones with GIoU, which is FCOS's loss in
          torchvision
Published: the rows of section 6 could not be read at their source. Its authors' toolkit (dmlc/gluon-cv, model zoo) has
          Faster R-CNN over ResNet-50-v1b with a mAP of 78.3 on VOC 2007, and FCN with 79.0 % of the pixels and an IoU
          of 39.5 on ADE20K. Here the first would be Detector(ResNet("50", weights="torchvision:IMAGENET1K_V1"),
          "faster-rcnn", 20) on VOC("data", years="07+12"), whose map_50 counts in COCO's way, not in VOC's; the second
          StageSegmenter(ResNet("50", ...), "fcn", 150) on your copy of ADE20K. Neither was run
Result:
| backbone | loss | test/map | test/map_50 | test/map_75 | seconds | seeds |
| --- | --- | --- | --- | --- | --- | --- |
| digits | giou | 0.2223 ± 0.0071 | 0.3899 ± 0.0174 | 0.2396 ± 0.0100 | 258.4 ± 6.7 | 3 |
| from scratch | diou | 0.1932 ± 0.0044 | 0.3350 ± 0.0098 | 0.2034 ± 0.0071 | 202.1 ± 0.8 | 3 |
| from scratch | ciou | 0.1906 ± 0.0074 | 0.3305 ± 0.0126 | 0.1991 ± 0.0063 | 203.5 ± 1.0 | 3 |
| shapes | giou | 0.1873 ± 0.0128 | 0.3283 ± 0.0187 | 0.1966 ± 0.0117 | 171.3 ± 0.9 | 3 |
| from scratch | giou | 0.1870 ± 0.0015 | 0.3331 ± 0.0105 | 0.1869 ± 0.0119 | 241.8 ± 5.6 | 3 |
| from scratch | smooth-l1 | 0.1828 ± 0.0039 | 0.3239 ± 0.0147 | 0.1856 ± 0.0035 | 191.9 ± 0.2 | 3 |
| shapes, tricks | giou | 0.1820 ± 0.0086 | 0.3232 ± 0.0106 | 0.1918 ± 0.0129 | 121.7 ± 3.6 | 3 |
| from scratch | cdiou | 0.1797 ± 0.0032 | 0.3167 ± 0.0014 | 0.1817 ± 0.0043 | 225.2 ± 8.7 | 3 |

- Published: the rows of section 6 could not be read at their source. Its authors' toolkit (dmlc/gluon-cv, model zoo)
  has Faster R-CNN over ResNet-50-v1b with a mAP of 78.3 on VOC 2007, and FCN with 79.0 % of the pixels and an IoU of
  39.5 on ADE20K. Here the first would be Detector(ResNet("50", weights="torchvision:IMAGENET1K_V1"), "faster-rcnn",
  20) on VOC("data", years="07+12"), whose map_50 counts in COCO's way, not in VOC's; the second
  StageSegmenter(ResNet("50", ...), "fcn", 150) on your copy of ADE20K. Neither was run
- Data: `ShapeBoxes`, circles, squares and triangles drawn by us: 400 images of 32 px to train, 200 to test. Backbones
  "shapes" and "shapes, tricks" learn to classify other images of the kind first, of one shape each
- Command: zoo run shapes_detector --record
- Arguments: epochs=12, images=400
- Hardware: AMD EPYC, 1 threads
- Versions: lightning 2.6.6, python 3.11.7, timm 1.0.31, torch 2.14.1
- Commit: ecc08c4
"""

from functools import partial
from typing import Any, Literal, get_args

import lightning as L
import torch

from callbacks import BoxFlip, BoxLoss, CosineDecay, GradientClipping, LabelSmoothing, MixUp, NoBiasDecay
from datamodules import Arrays, ShapeBoxes
from datamodules.shapes import key_of, scene
from recipes import Recipe
from recipes.frame.compare import compare_recipes
from zoo import Detector, ResNet
from zoo.frame.checks import validate_choice

COLUMNS = {"test/map": 4, "test/map_50": 4, "test/map_75": 4}  # of the table: digits after the point
SIDE = 32
SEED = 1  # of the shapes that are detected; of those that are classified, one more
Loss = Literal["smooth-l1", "giou", "diou", "ciou", "cdiou"]
Backbone = Literal["from scratch", "digits", "shapes", "shapes, tricks"]


def recipe(
    loss: Loss = "giou",
    backbone: Backbone = "from scratch",
    epochs: int = 12,
    images: int = 400,
    seed: int = 0,
) -> Recipe:
    """Train and test.

    Args:
        loss: of the boxes.
        backbone: how its weights were made.
        epochs: passes over the training images.
        images: number of training images.
        seed: of the weights, the order of the images and every random draw.
    """
    body = load_backbone(backbone, seed)
    L.seed_everything(seed, workers=True, verbose=False)  # the same head for every backbone
    return Recipe(
        name="shapes_detector",
        model=Detector(body, "fcos", 3, width=32, optimizer="adamw", lr=2e-3, weight_decay=0.05),
        data=ShapeBoxes(16, images=images, image_size=SIDE, shapes_seed=SEED, val_split=0),
        callbacks=[CosineDecay("0.05dur"), BoxFlip(), BoxLoss(loss), GradientClipping(10.0)],
        trainer={"max_epochs": epochs, "limit_val_batches": 0, "log_every_n_steps": 10},
        seed=seed,
        arguments={"loss": loss, "backbone": backbone, "epochs": epochs, "images": images},
        goal="test/map",
    )


def load_backbone(backbone: Backbone, seed: int, images: int = 3000, epochs: int = 6) -> ResNet:
    """Return a backbone with the weights of that name.

    Args:
        backbone: how its weights are made.
        seed: of them.
        images: drawn to find those with one shape, a third.
        epochs: passes over these.
    """
    validate_choice(backbone, get_args(Backbone), "shapes_detector")
    L.seed_everything(seed, workers=True, verbose=False)
    if backbone == "digits":
        return ResNet("20", num_classes=10, image_size=SIDE, weights="zoo:ResNet-20-8px")
    body = ResNet("20", num_classes=3, image_size=SIDE, lr=0.1, weight_decay=5e-4)
    if backbone != "from scratch":
        tricks = [MixUp(0.2), LabelSmoothing(0.1), NoBiasDecay()] if backbone == "shapes, tricks" else []
        trainer = {"max_epochs": epochs, "limit_val_batches": 0, "log_every_n_steps": 10}
        first = Recipe("shapes_detector", body, one_shape(images), [CosineDecay("0.1dur"), *tricks], trainer, seed)
        first.run(test=False, save=False)
    return body


def one_shape(images: int) -> Arrays:
    """Return those of so many images that have one shape, with its class."""
    drawn = scene(torch.arange(images), SIDE, key_of(SEED + 1, "train"))
    alone = drawn.number == 1
    pixels, kinds = drawn.images[alone.numpy()], drawn.kind[alone, 0] - 1
    options: dict[str, Any] = {"mean": ShapeBoxes.mean, "std": ShapeBoxes.std, "padding": 2, "flip": True}
    return Arrays(pixels, kinds, 64, classes=ShapeBoxes.classes, val_split=0, **options)


def main(seeds: int = 3, epochs: int = 12, images: int = 400, workers: int = 1, record: bool = False) -> None:
    """Compare losses of boxes and backbones with smooth L1 from scratch, by their mAP.

    The same command again goes on where it stopped.

    Args:
        seeds: number of runs of each, with the seeds 0, 1, ...
        epochs, images: as in `recipe`.
        workers: runs at a time; 0: one after the other in this process.
        record: add each run to results/, from which the tables are made.
    """
    train = partial(recipe, epochs=epochs, images=images)
    losses = {loss: partial(train, loss) for loss in get_args(Loss)}
    backbones = {backbone: partial(train, "giou", backbone) for backbone in get_args(Backbone)[1:]}
    compare_recipes(losses | backbones, seeds, workers, record)
