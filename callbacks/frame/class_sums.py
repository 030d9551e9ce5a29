"""Sums of features by class over held-out images, and the batches of these images."""

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from zoo.frame.evaluation import evaluating

Sums = tuple[Tensor, Tensor]


def class_sums(x: Tensor, y: Tensor, classes: int) -> Sums:
    """Sum features over the images of each class.

    Args:
        x: units (N, D).
        y: classes (N,).
        classes: K.

    Returns:
        Sums (K, D), and the number of images of each class (K, 1).
    """
    sums = x.new_zeros(classes, x.shape[1]).index_add(0, y, x)
    return sums, x.new_zeros(classes, 1).index_add(0, y, torch.ones_like(x[:, :1]))


def units(x: Tensor) -> Tensor:
    """Return features as one number for each example and unit, (N, D), float32: means of tokens and of maps."""
    x = x.float()
    return x.mean(1) if x.ndim == 3 else x.flatten(2).mean(2) if x.ndim == 4 else x


def sums_at(
    trainer: L.Trainer,
    model: L.LightningModule,
    modules: list[tuple[str, nn.Module]],
    batches: Iterable[list[Tensor]],
    classes: int,
    inputs: bool = False,
) -> dict[str, Sums]:
    """Return `class_sums` of modules' outputs for labelled images, by module name. Runs in evaluation mode.

    Args:
        trainer: moves the batches to the device.
        model: not changed.
        modules: names and modules.
        batches: [images, targets (N,)].
        classes: K.
        inputs: take the modules' inputs instead of their outputs.
    """
    sums: dict[str, Sums] = {}
    labels: list[Tensor] = []

    def add(name: str, x: Tensor) -> None:
        total, count = class_sums(units(x), labels[-1], classes)
        before = sums.get(name)
        sums[name] = (total, count) if before is None else (before[0] + total, before[1] + count)

    def register(name: str, module: nn.Module) -> Any:
        if inputs:
            return module.register_forward_pre_hook(lambda _, given: add(name, given[0]))
        return module.register_forward_hook(lambda _, given, x: add(name, x))

    hooks = [register(name, module) for name, module in modules]
    try:
        with evaluating(model):
            for batch in batches:
                batch = trainer.precision_plugin.convert_input(batch)
                images, targets = trainer.strategy.batch_to_device(batch, dataloader_idx=0)
                labels.append(targets)
                model(images)
    finally:
        for hook in hooks:
            hook.remove()
    return sums


def validation_batches(trainer: L.Trainer) -> Callable[[], Iterable[Any]] | None:
    """Return a function that gives the batches of a fit's first validation loader; None without validation."""
    if not trainer.enable_validation:
        return None
    if trainer.val_dataloaders is None:  # Lightning waits for the first epoch that validates
        trainer.validating = True
        trainer.fit_loop.epoch_loop.val_loop.setup_data()
        trainer.training = True
    loaders, limits = trainer.val_dataloaders, trainer.num_val_batches
    if not loaders or not limits or limits[0] == 0:  # no validation images
        return None
    loader = loaders[0] if isinstance(loaders, list | tuple) else loaders
    return lambda: islice(loader, None if limits[0] == float("inf") else int(limits[0]))
