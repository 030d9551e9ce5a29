"""FCOS on synthetic shapes with half of its channels: which ones should stay?

Paper:    Localization-aware Channel Pruning for Object Detection (Xie et al.; 2019)
          https://arxiv.org/abs/1911.02237, which prunes SSD on VOC and COCO
          Pruning Filters for Efficient ConvNets (Li et al.; ICLR 2017) https://arxiv.org/abs/1608.08710
          Network Slimming (Liu et al.; ICCV 2017) https://arxiv.org/abs/1708.06519
Command:  zoo run pruned_shapes_detector --record
Data:     `ShapeBoxes`, as in `shapes_detector`: 400 images of 32 px to train, 200 to test
Settings: the detector of `shapes_detector`, from scratch with GIoU, and `Slimming(1e-4)`, is trained once for each seed.
          Half of the channels that can leave do: by "l1" and "lcp" of each layer, by "gamma" over all layers with a
          norm, so that the pyramid keeps 16 more. "lcp" is `zoo.prune_detector` on 64 training images, "reconstruction"
          the same with alpha = 0, without the look at objects. Then 3 epochs of AdamW at 1e-3, with the same tricks but
          Slimming; "whole" has them too. The step of "lcp" and the rate of its heads were chosen by its losses on the
          64 images, seed 0. "pruned/map" is measured before the 3 epochs; the seconds are theirs alone, on a machine
          that was busy with other work
Result:
| arm | pruned/map | test/map | test/map_50 | parameters | seconds | seeds |
| --- | --- | --- | --- | --- | --- | --- |
| whole | 0.1966 ± 0.0121 | 0.2306 ± 0.0320 | 0.3974 ± 0.0535 | 375,704 | 19.2 ± 1.7 | 3 |
| gamma | 0.1568 ± 0.0230 | 0.2206 ± 0.0317 | 0.3823 ± 0.0516 | 212,792 ± 864 | 19.4 ± 1.7 | 3 |
| reconstruction | 0.1509 ± 0.0129 | 0.2147 ± 0.0289 | 0.3783 ± 0.0362 | 236,088 | 14.5 ± 4.5 | 3 |
| l1 | 0.0974 ± 0.0214 | 0.2143 ± 0.0291 | 0.3708 ± 0.0417 | 236,088 | 16.4 ± 2.5 | 3 |
| lcp | 0.1705 ± 0.0066 | 0.2088 ± 0.0242 | 0.3698 ± 0.0377 | 236,088 | 14.5 ± 5.4 | 3 |

- Data: `ShapeBoxes`, as in `shapes_detector`: 400 images of 32 px to train, 200 to test
- Command: zoo run pruned_shapes_detector --record
- Arguments: epochs=12, fraction=0.5, images=400, tuning=3
- Hardware: AMD EPYC, 1 threads
- Versions: lightning 2.6.6, python 3.11.7, timm 1.0.31, torch 2.14.1
- Commit: 72fc8b3+
"""

import copy
from dataclasses import dataclass
from functools import cache, partial
from itertools import islice
from typing import Any, Literal, cast, get_args

import lightning as L

import zoo
from callbacks import BoxFlip, BoxLoss, CosineDecay, GradientClipping, Slimming
from datamodules import ShapeBoxes
from recipes import Recipe
from recipes.frame.compare import compare_recipes
from recipes.frame.teachers import train_teacher
from zoo import Detector, ResNet

COLUMNS = {"pruned/map": 4, "test/map": 4, "test/map_50": 4, "parameters": 0}  # of the table: digits after the point
SIDE, SEED = 32, 1  # of the images in pixels; of the shapes
BATCHES, IMAGES = 2, 32  # that channels are chosen with; in each
Arm = Literal["whole", "l1", "gamma", "reconstruction", "lcp"]


@dataclass(repr=False)
class Tuning(Recipe):
    """A recipe that also measures its network before it is trained."""

    def run(self, *given: Any, **options: Any) -> dict[str, float]:
        """Train and test; add the "pruned/map" of before, and the number of "parameters"."""
        quiet: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_checkpointing": False}
        found = L.Trainer(devices=1, enable_model_summary=False, **quiet).test(self.model, self.data, verbose=False)
        count = sum(p.numel() for p in self.model.parameters())
        return super().run(*given, **options) | {"pruned/map": found[0]["test/map"], "parameters": count}


def recipe(
    arm: Arm = "lcp", fraction: float = 0.5, epochs: int = 12, tuning: int = 3, images: int = 400, seed: int = 0
) -> Recipe:
    """Prune a trained detector, fine-tune and test it. Train it first, if that was not done before.

    Args:
        arm: how channels are chosen; "whole": all stay.
        fraction: of the channels that leave, in (0, 1).
        epochs: passes over the training images of the whole detector.
        tuning: passes of the pruned one.
        images: number of training images.
        seed: of the weights, the order of the images and every random draw.
    """
    arguments = {"arm": arm, "fraction": fraction, "epochs": epochs, "tuning": tuning, "images": images}
    model = copy.deepcopy(prune(arm, fraction, epochs, images, seed))
    model.hparams["lr"] = 1e-3
    return Tuning(**parts(model, tuning, images, seed), arguments=arguments)


def parts(model: Detector, epochs: int, images: int, seed: int) -> dict[str, Any]:
    """Return what all trainings share, as arguments of `Recipe`."""
    return {
        "name": "pruned_shapes_detector",
        "model": model,
        "data": shapes(16, images),
        "callbacks": [CosineDecay("0.05dur"), BoxFlip(), BoxLoss("giou"), GradientClipping(10.0)],
        "trainer": {"max_epochs": epochs, "limit_val_batches": 0, "log_every_n_steps": 10},
        "seed": seed,
        "goal": "test/map",
    }


def shapes(batch: int, images: int) -> ShapeBoxes:
    """Return the data."""
    return ShapeBoxes(batch, images=images, image_size=SIDE, shapes_seed=SEED, val_split=0)


def whole(epochs: int, images: int, seed: int) -> Recipe:
    """Return the training of the whole detector."""
    L.seed_everything(seed, workers=True, verbose=False)
    body = ResNet("20", num_classes=3, image_size=SIDE)
    model = Detector(body, "fcos", 3, width=32, optimizer="adamw", lr=2e-3, weight_decay=0.05)
    one = parts(model, epochs, images, seed)
    one["callbacks"] += [Slimming(1e-4)]
    return Recipe(**one, arguments={"network": "whole", "epochs": epochs, "images": images})


@cache
def prune(arm: Arm, fraction: float, epochs: int, images: int, seed: int) -> Detector:
    """Return the pruned detector, not tuned; once in a process."""
    model = cast(Detector, zoo.load(train_teacher(whole(epochs, images, seed))))
    if arm == "whole":
        return model
    if arm in ("l1", "gamma"):
        return cast(Detector, zoo.prune_channels(model, fraction, arm))
    L.seed_everything(seed, workers=True, verbose=False)
    data = shapes(IMAGES, images)
    data.prepare_data()
    data.setup("fit")
    batches = [data.on_after_batch_transfer(batch, 0) for batch in islice(data.train_dataloader(), BATCHES)]
    return zoo.prune_detector(model, batches, fraction, alpha=float(arm == "lcp"))


def main(
    seeds: int = 3,
    fraction: float = 0.5,
    epochs: int = 12,
    tuning: int = 3,
    images: int = 400,
    workers: int = 0,
    record: bool = False,
) -> None:
    """Compare ways to choose channels with the whole detector, by their mAP.

    The same command again goes on where it stopped.

    Args:
        seeds: number of runs of each, with the seeds 0, 1, ...
        fraction, epochs, tuning, images: as in `recipe`.
        workers: runs at a time; 0: one after the other in this process, which chooses channels once for each seed.
        record: add each run to results/, from which the tables are made.
    """
    train = partial(recipe, fraction=fraction, epochs=epochs, tuning=tuning, images=images)
    compare_recipes({arm: partial(train, arm) for arm in get_args(Arm)}, seeds, workers, record)
