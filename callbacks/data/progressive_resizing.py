"""Progressive resizing: train on small images first, on large ones at the end.

Paper:    none; a practice of fast.ai, first told with https://www.fast.ai/posts/2018-04-30-dawnbench-fastai.html.
          EfficientNetV2 (Tan, Le; ICML 2021) https://arxiv.org/abs/2104.00298, section 4, has it with regularisation
          that grows along
Code:     Composer's `ProgressiveResizing`
Equation: side' = multiple of m nearest to s(t) side,   s from a half to 1
Shapes:   images (N, C, H, W) -> (N, C, s H, s W);  targets as they are
Defaults: s from .5 at the start in a line to 1 at .8 of the run, in multiples of 4 px: Composer's, which waits for half
          of the run before it grows
Differs:  grows from the start on; `scale=Steps(0.5, {...})` gives fast.ai's two or three sizes
"""

import lightning as L

from callbacks.frame.resizing import Resizing
from callbacks.frame.schedule import Linear, Rate, rate_now, rate_values
from callbacks.frame.trick import needs_range

GROWING = Linear(0.5, 1.0, until="0.8dur")


class ProgressiveResizing(Resizing):
    """Makes training batches smaller, less so as the run goes on: a step takes about s squared of its time.

    For networks that take any size: convolutional ones, not those with fixed positions: these raise at the first step,
    and the error's notes name the size. List it before tricks that mix images: they then have less to do.

    Args:
        scale: s, in (0, 1], a `Schedule` or a number.
        multiple: m in pixels, >= 1.

    Raises:
        ValueError: for an argument out of its range.
    """

    def __init__(self, scale: Rate = GROWING, multiple: int = 4):
        for value in rate_values(scale):
            needs_range(self, "scale", value, 0, 1, open_low=True)
        needs_range(self, "multiple", multiple, 1, float("inf"))
        self.scale, self.multiple = scale, multiple

    def on_train_batch_start(self, trainer: L.Trainer, model: L.LightningModule, batch: list, batch_idx: int) -> None:
        s = rate_now(self.scale, trainer)
        if s < 1:
            self.resize(batch, s)
