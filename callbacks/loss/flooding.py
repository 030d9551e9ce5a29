"""Flooding: keep the training loss near a level above zero.

Paper:    Do We Need Zero Training Loss After Achieving Zero Training Error? (Ishida, Yamane, Sakai, Niu, Sugiyama;
          ICML 2020) https://arxiv.org/abs/2002.08709, equation 3
Code:     https://github.com/takashiishida/flooding at b65dc56 (the authors')
Equation: L' = |L - b| + b
Shapes:   the loss of a mini-batch, a scalar -> scalar >= b
Defaults: b = .05, ours; the paper chooses b by validation
Differs:  nothing. Applies to the loss after the tricks before it, separately to every mini-batch: also with gradient
          accumulation, and on every device.
"""

import lightning as L
from torch import Tensor

from callbacks.frame.needs import Range
from callbacks.frame.trick import Trick
from zoo import Step


def flood(loss: Tensor, b: float) -> Tensor:
    """Return |L - b| + b. Below b, its gradient is that of -L: training goes uphill."""
    return (loss - b).abs() + b


class Flooding(Trick):
    """Reverse the gradient where the training loss is below b. List it after all other tricks that change the loss.

    Args:
        b: level, > 0. Choose it by the validation loss, for example among .01 to .2. It must be below the training loss
            that the run would reach without it.

    Raises:
        ValueError: if the level is out of its range.
        TypeError: if the LightningModule does not call `on_loss`; the message says what to add.
    """

    takes_boxes = True
    needs = (Range("b", 0, open_low=True),)
    examples = ({"b": 0.5},)

    def __init__(self, b: float = 0.05):
        self.b = b

    def on_loss(self, model: L.LightningModule, step: Step) -> None:
        step.loss = flood(step.loss, self.b)
