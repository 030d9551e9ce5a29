"""U-Net and attention U-Net on synthetic shapes, without and with HeuristicDropout as in its paper: Dice and IoU.

Paper:    Heuristic Dropout: An Efficient Regularization Method for Medical Image Segmentation Models (Shi, Liu, Tao,
          Yuan; ICASSP 2022) https://doi.org/10.1109/ICASSP43922.2022.9747409
          U-Net: Convolutional Networks for Biomedical Image Segmentation (Ronneberger, Fischer, Brox; MICCAI 2015)
          https://arxiv.org/abs/1505.04597
          Attention U-Net: Learning Where to Look for the Pancreas (Oktay et al.; MIDL 2018)
          https://arxiv.org/abs/1804.03999
Command:  zoo run shapes_unet --record
Data:     `Shapes`, circles, squares and triangles drawn by us: 900 images of 32 px to train, 100 to validate, 200 to
          test
Settings: 8 channels at the first level, AdamW at 2e-3 in batches of 4, cosine. Dropout has the paper's rate .1 and
          stands between the two convolutions of every stage. Batch, learning rate and length were chosen without
          dropout, for the U-Net, on shapes of another seed. Dice and IoU are means over the four classes, background
          included. Predicting background everywhere has an IoU of .19
Result:
| dropout | network | test/dice | test/iou | seconds | seeds |
| --- | --- | --- | --- | --- | --- |
| none | UNet | 0.6606 ± 0.0429 | 0.5389 ± 0.0454 | 52.7 ± 1.5 | 3 |
| none | AttentionUNet | 0.5929 ± 0.1118 | 0.4792 ± 0.0943 | 62.4 ± 3.5 | 3 |
| heuristic | AttentionUNet | 0.5170 ± 0.0554 | 0.4126 ± 0.0516 | 83.4 ± 1.8 | 3 |
| heuristic | UNet | 0.4834 ± 0.1684 | 0.4007 ± 0.1306 | 73.4 ± 4.0 | 3 |

- Data: `Shapes`, circles, squares and triangles drawn by us: 900 images of 32 px to train, 100 to validate, 200 to
  test
- Command: zoo run shapes_unet --record
- Arguments: epochs=20, images=1000, p=0.1
- Hardware: AMD EPYC, 1 threads
- Versions: lightning 2.6.6, python 3.11.7, timm 1.0.31, torch 2.14.1
- Commit: 9b1daf6
"""

from functools import partial
from itertools import product
from typing import Literal, get_args

import lightning as L

from callbacks import CosineDecay, HeuristicDropout
from datamodules import Shapes
from recipes import Recipe
from recipes.frame.compare import compare_recipes
from zoo import AttentionUNet, UNet
from zoo.frame.checks import validate_choice

COLUMNS = {"test/dice": 4, "test/iou": 4}  # further columns of the table: digits after the point
Dropout = Literal["none", "heuristic"]
Network = Literal["UNet", "AttentionUNet"]
NETWORKS = {"UNet": UNet, "AttentionUNet": AttentionUNet}


def recipe(
    dropout: Dropout = "heuristic",
    network: Network = "UNet",
    p: float = 0.1,
    epochs: int = 20,
    images: int = 1000,
    seed: int = 0,
) -> Recipe:
    """Train and test.

    Args:
        dropout: "heuristic", or "none".
        network: "UNet" or "AttentionUNet".
        p: its rate: the fraction of channels that are replaced by their edges.
        epochs: passes over the training images.
        images: number of training and validation images; a tenth is for validation.
        seed: of the weights, the order of the images and every random draw.
    """
    L.seed_everything(seed, workers=True, verbose=False)
    model = NETWORKS[validate_choice(network, NETWORKS, "shapes_unet")](
        "8", num_classes=4, image_size=32, optimizer="adamw", lr=2e-3
    )
    between = tuple(f"{stage}.relu1" for stage in model.stages)
    return Recipe(
        name="shapes_unet",
        model=model,
        data=Shapes(batch_size=4, images=images, image_size=32, shapes_seed=1),
        callbacks=[CosineDecay(warmup_epochs=1)] + [HeuristicDropout(p, where=between)] * (dropout == "heuristic"),
        trainer={"max_epochs": epochs, "log_every_n_steps": 10},
        seed=seed,
        arguments={"network": network, "dropout": dropout, "p": p, "epochs": epochs, "images": images},
        goal="test/dice",
    )


def main(
    seeds: int = 3, p: float = 0.1, epochs: int = 20, images: int = 1000, workers: int = 1, record: bool = False
) -> None:
    """Compare both networks, without and with dropout, by their Dice. The same command again goes on where it stopped.

    Args:
        seeds: number of runs of each, with the seeds 0, 1, ...
        p, epochs, images: as in `recipe`.
        workers: runs at a time; 0: one after the other in this process.
        record: add each run to results/, from which the tables are made.
    """
    train = partial(recipe, p=p, epochs=epochs, images=images)
    arms = product(get_args(Network), get_args(Dropout))
    compare_recipes({f"{network} {on}": partial(train, on, network) for network, on in arms}, seeds, workers, record)
