"""PatchDropout: train a transformer on a random part of each image's patches.

Paper:    PatchDropout: Economizing Vision Transformers Using Patch Dropout (Liu, Matsoukas, Strand, Azizpour, Smith;
          WACV 2023) https://arxiv.org/abs/2208.07220
Code:     https://github.com/yueliukth/PatchDropout at 3fef419 (the authors'); timm 1.0 `PatchDropout`
Equation: after the positions are added, floor(keep L) of an image's L patches stay, drawn without replacement; in order
Shapes:   tokens (N, P + L, D) -> (N, P + floor(keep L), D), P the class and teacher's tokens
Defaults: keep = .5: ours, half of the patches for less than half of the work; (.5, 1) is the paper's regulariser, a
          fraction drawn uniformly for each batch
Differs:  the authors' code draws 1 - randint(0, 10) / 20 in half of the batches and keeps all in the others, a mean of
          .875; the paper's draw is uniform, mean .75. A teacher's token stays too, and at least one patch. Plain
          transformers only: the authors' variant for Swin is left out.
"""

import lightning as L
import torch
from torch import Tensor, nn

from callbacks.frame.masks import draws
from callbacks.frame.needs import Range
from callbacks.frame.schedule import Rate, rate_now, rate_values
from callbacks.frame.tokens import SHORTENED, prefix_of, vit_to_shorten
from callbacks.frame.trick import Trick
from zoo.layers.patch_embed import take_patches

Fraction = Rate | tuple[float, float]


def drop_patches(tokens: Tensor, noise: Tensor, keep: float, prefix: int) -> Tensor:
    """Keep the patches with the least noise, in order, as in the equation.

    Args:
        tokens: (N, prefix + L, D).
        noise: (N, L), one draw for each patch.
        keep: fraction that stays, in (0, 1].
        prefix: tokens before the patches, which stay.

    Returns:
        (N, prefix + max(1, floor(keep L)), D).
    """
    count = max(1, int(noise.shape[1] * keep))
    return take_patches(tokens, noise.topk(count, largest=False).indices.sort(1).values, prefix)


def fraction_values(fraction: Fraction) -> list[float]:
    """Return the values between which a fraction moves, of a number, a schedule or an interval."""
    return list(fraction) if isinstance(fraction, tuple) else rate_values(fraction)


def fraction_now(fraction: Fraction, trainer: L.Trainer) -> float:
    """Return the fraction for the next batch: a number, a schedule's value, or a draw from an interval."""
    if not isinstance(fraction, tuple):
        return rate_now(fraction, trainer)
    low, high = fraction
    return low + (high - low) * torch.rand(()).item()


class PatchDropout(Trick):
    """Drop patches of each training image before the first block. In evaluation all stay.

    Works on ViT, DeiT and models built on them, and on timm's plain transformers. Training takes the time of the kept
    patches alone.

    Args:
        keep: fraction of the patches that stays, in (0, 1], or a `Schedule`; a pair: uniform between them, drawn for
            each batch.

    Raises:
        ValueError: for a fraction out of its range.
        TypeError: for a network whose maps or windows are of a fixed size, or that is slim.
    """

    drops_patches = True

    picture = "patches"
    needs = (Range("keep", 0, 1, open_low=True), SHORTENED)
    examples = ({"keep": (0.5, 1.0)},)

    def __init__(self, keep: Fraction = 0.5):
        self.keep = keep

    def prepare(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        vit_to_shorten(self, model)

    def on_fit_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        vit = vit_to_shorten(self, model)
        prefix = prefix_of(vit) or 0

        def drop(layer: nn.Module, inputs: tuple, tokens: Tensor) -> Tensor:
            if not layer.training or self._now == 1:
                return tokens
            noise = draws(tokens, tokens.shape[0], tokens.shape[1] - prefix)
            return drop_patches(tokens, noise, self._now, prefix)

        self.keep_hooks(vit.get_submodule("patch_drop").register_forward_hook(drop))

    def on_train_batch_start(self, trainer: L.Trainer, model: L.LightningModule, batch: list, batch_idx: int) -> None:
        self._now = fraction_now(self.keep, trainer)
