"""ImageNet recipes of published length: location of the data, composition of a step, and the recipe."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L

from datamodules import ImageData, ImageFolder, ImageNet
from datamodules.transforms import Center
from recipes.frame.recipe import Recipe
from zoo import Classifier


@dataclass(frozen=True)
class Steps:
    """Location of ImageNet, and composition of a step and a run.

    Args:
        epochs: passes over the training images.
        root: folder of ImageNet: its archives, or `train/<wnid>` and `val/<wnid>`.
        folder: other images instead: `train/<class>/*` and `test/<class>/*`.
        batch_size: images a batch and device.
        accumulate: batches accumulated for one optimizer step; fewer on more devices.
        devices: number of devices.
        image_size: side in pixels.
        warmup_epochs: length of the warm-up.
        precision: of `Trainer`; "bf16-mixed" is faster on processors that have it.
    """

    epochs: int = 300
    root: Path = Path("data")
    folder: Path | None = None
    batch_size: int = 128
    accumulate: int = 1
    devices: int = 1
    image_size: int = 224
    warmup_epochs: float = 5
    precision: str = "32-true"

    def load(self, transform: str, **options: Any) -> ImageData:
        """Return the images. All training images train; tests use the central crop."""
        evaluation = Center(self.image_size, interpolation="bicubic")
        options |= {"image_size": self.image_size, "transform": transform, "evaluation": evaluation, "val_split": 0}
        kind, where = (ImageNet, self.root) if self.folder is None else (ImageFolder, self.folder)
        images: ImageData = kind(where, self.batch_size, **options)
        images.prepare_data()
        return images

    @property
    def trainer(self) -> dict[str, Any]:
        """Arguments of `Trainer`."""
        return {
            "max_epochs": self.epochs,
            "accumulate_grad_batches": self.accumulate,
            "devices": self.devices,
            "limit_val_batches": 0,  # all images train
            "precision": self.precision,
        }

    @property
    def record(self) -> dict[str, Any]:
        """Describe the images and steps for a record."""
        return {
            "epochs": self.epochs,
            "images": "ImageNet" if self.folder is None else self.folder.name,
            "images a step": self.batch_size * self.devices * self.accumulate,
            "image_size": self.image_size,
            "warmup_epochs": self.warmup_epochs,
            "precision": self.precision,
        }


def imagenet_recipe(
    name: str,
    network: Callable[..., Classifier],
    variant: str,
    tricks: Sequence[L.Callback],
    steps: Steps,
    seed: int,
    **data: Any,
) -> Recipe:
    """Build the recipe of one network.

    Args:
        name: name of the recipe.
        network: variant, classes and image size -> network.
        variant: variant of the network.
        tricks: the tricks, in the order in which they act.
        steps: images and steps.
        seed: of the weights, the order of the images and every random draw.
        data: options of the images, `transform` among them.
    """
    L.seed_everything(seed, workers=True, verbose=False)
    images = steps.load(**data)
    return Recipe(
        name=name,
        model=network(variant, images.num_classes, steps.image_size),
        data=images,
        callbacks=[*tricks],
        trainer=steps.trainer,
        seed=seed,
        arguments={"variant": variant, **steps.record},
    )
