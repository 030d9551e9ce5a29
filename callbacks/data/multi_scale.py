"""Multi-scale training: every few batches the images take another size.

Paper:    YOLO9000: Better, Faster, Stronger (Redmon, Farhadi; CVPR 2017) https://arxiv.org/abs/1612.08242, section 2,
          "multi-scale training"
Code:     torchvision v2.RandomResize draws for each image by itself, before batches are made
Equation: side' = multiple of m nearest to u side,   u ~ U(low, high), another after every `every` batches of an epoch
Shapes:   images (N, C, H, W) -> (N, C, H', W');  targets as they are
Defaults: every 10 batches, multiples of 32, as the paper; u from .75 to 1.25, ours: the paper's 320 to 608 px are
          .77 to 1.46 of its 416
Differs:  the paper draws one of the multiples with equal chance; here their share of the range decides. Images are made
          larger or smaller from the batch's size, not from the files
"""

import lightning as L

from callbacks.frame.resizing import Resizing
from callbacks.frame.trick import needs_range
from zoo.frame.exact_resume import global_seed, mix


def drawn(seed: int, epoch: int, block: int, low: float, high: float) -> float:
    """u of an epoch's block of batches with this number: the same on every rank, and after a resume."""
    return low + (high - low) * mix(seed, epoch, block) / 2**64


class MultiScale(Resizing):
    """Resizes training batches. For networks that take any size: convolutional ones, not those with fixed positions.

    These raise at the first step of another size, and the error's notes name it.

    Args:
        scale: the range of u, low and high, > 0.
        every: batches for which a size holds, >= 1; an epoch begins with another.
        multiple: m in pixels, >= 1: the whole stride of the network, or images of 32 px keep only one size.

    Raises:
        ValueError: for an argument out of its range.
    """

    def __init__(self, scale: tuple[float, float] = (0.75, 1.25), every: int = 10, multiple: int = 32):
        needs_range(self, "the lower scale", scale[0], 0, scale[1], open_low=True)
        needs_range(self, "every", every, 1, float("inf"))
        needs_range(self, "multiple", multiple, 1, float("inf"))
        self.scale, self.every, self.multiple = tuple(scale), every, multiple
        self._seed = global_seed()

    def setup(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        self._seed = global_seed()

    def on_train_batch_start(self, trainer: L.Trainer, model: L.LightningModule, batch: list, batch_idx: int) -> None:
        u = drawn(self._seed, trainer.current_epoch, batch_idx // self.every, *self.scale)
        self.resize(batch, u)

    def state_dict(self) -> dict[str, int]:
        return {"seed": self._seed}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self._seed = state["seed"]
