"""Linear scaling: a batch k times as large takes a learning rate k times as large.

Paper:    Accurate, Large Minibatch SGD (Goyal et al.; 2017) https://arxiv.org/abs/1706.02677, section 2.1
          Bag of Tricks for Image Classification with CNNs (He et al.; CVPR 2019) https://arxiv.org/abs/1812.01187, 3.1
Code:     GluonCV's training script
Equation: eta' = eta b / 256,   b = images per optimizer step, over all processes and accumulated batches
Shapes:   none
Defaults: base 256, the batch for which He et al. 2015 chose eta = .1
Differs:  nothing
"""

import lightning as L
from torch.utils.data import DataLoader

from callbacks._schedule import total_steps
from callbacks._trick import Trick, needs_range, refuse_second


def images_per_step(trainer: L.Trainer) -> int:
    """Images per optimizer step. Raises ValueError where the loader does not say how large its batches are."""
    total_steps(trainer)  # sets up the loaders
    loader = trainer.train_dataloader
    size = getattr(loader, "batch_size", None) if isinstance(loader, DataLoader) else None
    size = size or getattr(getattr(loader, "batch_sampler", None), "batch_size", None)
    if not size:
        raise ValueError("LinearScaling cannot read the batch size: the training loader needs a `batch_size`")
    return size * trainer.world_size * trainer.accumulate_grad_batches


class LinearScaling(Trick):
    """Scales the learning rate of every parameter group once, before training. Works on any LightningModule.

    Args:
        base: batch size, in images, for which the model's `lr` is meant, > 0.

    Raises:
        ValueError: if base <= 0, the batch size cannot be read, the model has a scheduler of its own, or a second
            LinearScaling is listed.
    """

    claims = "scale the learning rate"

    def __init__(self, base: int = 256):
        needs_range(self, "base", base, 0, float("inf"), open_low=True)
        self.base = base

    def on_fit_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        refuse_second(self, trainer.callbacks)
        if trainer.lr_scheduler_configs:
            raise ValueError("LinearScaling cannot reach the base rates of the model's own scheduler: scale lr there")
        k = images_per_step(trainer) / self.base
        for optimizer in trainer.optimizers:
            for group in optimizer.param_groups:
                group["initial_lr"] = group.get("initial_lr", group["lr"]) * k
                group["lr"] = group["lr"] * k
