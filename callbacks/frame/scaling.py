"""Frame of the scaling rules: multiply the model's learning rate once, by a factor of the batch size."""

from abc import abstractmethod

import lightning as L
from torch.utils.data import DataLoader

from callbacks.frame import schedule
from callbacks.frame.needs import Range
from callbacks.frame.pair_needs import Claims
from callbacks.frame.trick import Trick
from zoo.frame.figures import Picture


def images_per_step(trainer: L.Trainer, name: str = "scaling") -> int:
    """Return the number of images of the first optimizer step. Raises ValueError if the loader has no batch size."""
    schedule.load_data(trainer)
    loader = trainer.train_dataloader
    size: int | None = getattr(loader, "batch_size", None) if isinstance(loader, DataLoader) else None
    size = size or getattr(getattr(loader, "batch_sampler", None), "batch_size", None)
    if not size:
        raise ValueError(f"{name} cannot read the batch size: the training loader needs a `batch_size`")
    return size * trainer.world_size * schedule.batches_per_step(trainer, 0)


class Scaling(Trick):
    """Abstract. Scales the learning rate of every parameter group once, before training.

    Args:
        base: batch size, in images, for which the model's `lr` is meant, > 0.

    Raises:
        ValueError: if base <= 0, the batch size cannot be read, the model has a scheduler of its own, or a second
            scaling rule is listed.
    """

    needs = (Claims("scale the learning rate"), Range("base", 0, open_low=True))

    def __init__(self, base: int = 256):
        self.base = base

    @abstractmethod
    def factor(self, k: float) -> float:
        """Return the factor of the rate for a batch of k times the base."""

    def on_fit_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        name = type(self).__name__
        if trainer.lr_scheduler_configs:
            raise ValueError(f"{name} cannot reach the base rates of the model's own scheduler: scale lr there")
        factor = self.factor(images_per_step(trainer, name) / self.base)
        for optimizer in trainer.optimizers:
            for group in optimizer.param_groups:
                group["initial_lr"] = group.get("initial_lr", group["lr"]) * factor
                group["lr"] = group["lr"] * factor

    def draw(self) -> Picture:
        """Draw the factor of the learning rate over the batch size."""
        from callbacks.frame.pictures.curves import panels

        sizes = [self.base * 2 ** (i / 4) for i in range(-12, 21)]
        lines = {"without": (sizes, [1.0] * len(sizes))}
        lines[f"with {type(self).__name__}"] = (sizes, [self.factor(size / self.base) for size in sizes])
        caption = f"What {self!r} multiplies the learning rate by, over the images of an optimizer step."
        return panels({"factor of the rate": lines}, "batch size", caption, xscale="log", yscale="log")
