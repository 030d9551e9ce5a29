"""Frame of batch norms that use statistics of earlier passes: norms stay, their outputs in training are replaced."""

from functools import partial
from typing import ClassVar

import lightning as L
import torch
from torch import Tensor, nn

from callbacks.frame.needs import Need
from callbacks.frame.pair_needs import Claims
from callbacks.frame.trick import Trick
from zoo.frame.figures import Picture


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean of x and of x^2 of each channel: (N, C, H, W) -> (C,), (C,)."""
    return x.mean((0, 2, 3)), (x * x).mean((0, 2, 3))


def normalise(x: Tensor, mean: Tensor, square: Tensor, norm: nn.BatchNorm2d) -> Tensor:
    """Return gamma (x - mean) / sqrt(square - mean^2 + eps) + beta, with gamma, beta and eps of a norm.

    Args:
        x: (N, C, H, W).
        mean: of each channel, (C,).
        square: mean of the squares of each channel, (C,).
        norm: the batch norm.
    """
    gain = ((square - mean * mean).clamp(min=0) + norm.eps).rsqrt()
    gain = gain if norm.weight is None else gain * norm.weight
    shift = -mean * gain if norm.bias is None else norm.bias - mean * gain
    return x * gain[:, None, None] + shift[:, None, None]


class PastNorms(Trick):
    """Abstract. Hooks the network's batch norms during a fit. A subclass defines `statistics`, and may keep the past.

    Raises:
        TypeError: for a network without `nn.BatchNorm2d`.
        ValueError: with another trick that chooses the norms.
    """

    needs: ClassVar[tuple[Need, ...]] = (Claims("choose the norms"),)
    _acts = False  # within a training batch

    def statistics(self, name: str, norm: nn.BatchNorm2d, x: Tensor, wide: Tensor) -> tuple[Tensor, Tensor] | None:
        """Return mean and mean square of each channel, (C,), with gradients to x; None: leave the norm's own output.

        Args:
            name: the norm's path.
            norm: it has just seen x, and updated its averages.
            x: its input (N, C, H, W), as it was given.
            wide: the same in float32 or float64.
        """
        raise NotImplementedError

    def acts(self, trainer: L.Trainer) -> bool:
        """Return whether norms are changed in the training batch that begins."""
        return True

    def prepare(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        if not any(type(module) is nn.BatchNorm2d for module in model.modules()):
            name = type(self).__name__
            raise TypeError(f"{type(model).__name__} has no batch norms over maps: take {name} out")

    def on_fit_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self.remove_hooks()
        norms = [(name, module) for name, module in model.named_modules() if type(module) is nn.BatchNorm2d]
        self.keep_hooks(*(norm.register_forward_hook(partial(self._after, name)) for name, norm in norms))

    def _after(self, name: str, norm: nn.BatchNorm2d, inputs: tuple[Tensor], y: Tensor) -> Tensor | None:
        if not (self._acts and norm.training):
            return None
        x = inputs[0]
        with torch.autocast(x.device.type, enabled=False):
            wide = x if x.dtype.itemsize >= 4 else x.float()
            found = self.statistics(name, norm, x, wide)
            return None if found is None else normalise(wide, *found, norm).to(y.dtype)

    def on_train_batch_start(
        self, trainer: L.Trainer, model: L.LightningModule, batch: list[Tensor], batch_idx: int
    ) -> None:
        self._acts = self.acts(trainer)

    def on_train_batch_end(self, trainer: L.Trainer, model: L.LightningModule, *_: object) -> None:
        self._acts = False

    def leave(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._acts = False

    def draw(self) -> Picture:
        """Draw the running mean of a batch norm over a run of 30 steps."""
        from callbacks.frame.pictures.steps import draw_steps

        norm = lambda model: next(m for m in model.modules() if type(m) is nn.BatchNorm2d)  # noqa: E731
        read = lambda model: norm(model).get_buffer("running_mean")[0].item()  # noqa: E731
        return draw_steps(self, "running mean of a channel", read, 30, small=False)
