"""Multi-scale training: resize the images to another size every few batches.

Paper:    YOLO9000: Better, Faster, Stronger (Redmon, Farhadi; CVPR 2017) https://arxiv.org/abs/1612.08242, section 2,
          "multi-scale training"
Code:     torchvision v2.RandomResize draws a size for each image, before images are collected to a batch
Equation: side' = multiple of m nearest to u side,   u ~ U(low, high), drawn for every `every` batches of an epoch
Shapes:   images (N, C, H, W) -> (N, C, H', W');  targets unchanged
Defaults: every = 10 batches, multiple = 32 (the paper's); scale = (.75, 1.25), ours: the paper's 320 to 608 px are .77
          to 1.46 of its 416 px
Differs:  the paper draws all multiples with the same probability; we round a uniform number, so that the first and
          the last multiple are less probable. We resize the batch, not the image files.
"""

import lightning as L

from callbacks.frame.needs import Range
from callbacks.frame.resizing import Resizing
from zoo.frame.seeds import global_seed, mix


def draw_scale(seed: int, epoch: int, block: int, low: float, high: float) -> float:
    """Return u, uniform in [low, high), for the batches of one block: the same on all ranks and after a resume.

    Args:
        seed: of the run.
        epoch: number of the epoch.
        block: number of the block of batches within the epoch.
        low, high: range of u.
    """
    return low + (high - low) * mix(seed, epoch, block) / 2**64


class MultiScale(Resizing):
    """Resize training batches. Needs a network that takes images of any size, as convolutional networks do.

    Networks with fixed positions raise an error at the first step with another size. A note in the error names it.

    Args:
        scale: low and high of u, > 0.
        every: number of batches with the same size, >= 1. Each epoch starts with a new size.
        multiple: m in pixels, >= 1. 32 suits images of 224 px; images of 32 px need a smaller one, or hardly change.

    Raises:
        ValueError: if an argument is out of its range.
    """

    changes_batch = True
    needs = (Range("scale", 0, open_low=True), Range("every", 1), Range("multiple", 1))
    examples = ({"scale": (0.5, 1.5), "every": 1, "multiple": 2},)

    def __init__(self, scale: tuple[float, float] = (0.75, 1.25), every: int = 10, multiple: int = 32):
        if scale[0] > scale[1]:
            raise ValueError(f"MultiScale: scale must be (low, high) with low <= high, not {scale}")
        self.scale, self.every, self.multiple = tuple(scale), every, multiple
        self._seed = global_seed()

    def prepare(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        self._seed = global_seed()

    def on_train_batch_start(self, trainer: L.Trainer, model: L.LightningModule, batch: list, batch_idx: int) -> None:
        u = draw_scale(self._seed, trainer.current_epoch, batch_idx // self.every, *self.scale)
        self.resize(batch, u)

    def state_dict(self) -> dict[str, int]:
        return {"seed": self._seed}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self._seed = state["seed"]
