"""Progressive resizing: train on small images first, and on full-sized images at the end.

Paper:    none; a practice of fast.ai, published in https://www.fast.ai/posts/2018-04-30-dawnbench-fastai.html.
          EfficientNetV2 (Tan, Le; ICML 2021) https://arxiv.org/abs/2104.00298, section 4, increases regularisation
          together with the size
Code:     Composer's `ProgressiveResizing`
Equation: side' = multiple of m nearest to s(t) side,   s grows from 1/2 to 1
Shapes:   images (N, C, H, W) -> (N, C, s H, s W);  targets unchanged
Defaults: scale = Linear(.5, 1, "0.8dur") (s), multiple = 4 px: Composer's numbers
Differs:  Composer keeps s = .5 for the first half of the run; ours grows from the first step.
          `scale=Steps(0.5, {...})` gives fast.ai's two or three sizes.
"""

import lightning as L

from callbacks.frame.needs import Range
from callbacks.frame.resizing import Resizing
from callbacks.frame.schedule import Linear, Rate, rate_now

GROWING = Linear(0.5, 1.0, until="0.8dur")


class ProgressiveResizing(Resizing):
    """Shrink training batches, less and less during the run. A step takes about s^2 of its time.

    Needs a network that takes images of any size, as convolutional networks do. Networks with fixed positions raise an
    error at the first step; a note in the error names the size. List it before tricks that mix images, which then work
    on fewer pixels.

    Args:
        scale: s, in (0, 1], or a `Schedule`.
        multiple: m in pixels, >= 1.

    Raises:
        ValueError: if an argument is out of its range.
    """

    changes_batch = True
    needs = (Range("scale", 0, 1, open_low=True), Range("multiple", 1))
    examples = ({"scale": 0.5},)

    def __init__(self, scale: Rate = GROWING, multiple: int = 4):
        self.scale, self.multiple = scale, multiple

    def on_train_batch_start(self, trainer: L.Trainer, model: L.LightningModule, batch: list, batch_idx: int) -> None:
        s = rate_now(self.scale, trainer)
        if s < 1:
            self.resize(batch, s)
