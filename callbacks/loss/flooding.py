"""Flooding: the training loss floats around a level above zero instead of sinking to it.

Paper:    Do We Need Zero Training Loss After Achieving Zero Training Error? (Ishida, Yamane, Sakai, Niu, Sugiyama;
          ICML 2020) https://arxiv.org/abs/2002.08709, equation 3
Code:     https://github.com/takashiishida/flooding at b65dc56 (the authors')
Equation: L' = |L - b| + b
Shapes:   the loss of a mini-batch, a scalar -> scalar >= b
Defaults: b = .05; the paper has none: it takes the best of a grid from 0 to .2 on validation data (from memory)
Differs:  nothing. The level is under what tricks before it have made of the loss; each mini-batch has its own, also
          where gradients accumulate, and on each of several devices.
"""

import lightning as L
from torch import Tensor

from callbacks.frame.needs import Range
from callbacks.frame.trick import Trick
from zoo import Step


def flood(loss: Tensor, b: float) -> Tensor:
    """L' of the equation above. Below the level its slope is that of -L: ascent."""
    return (loss - b).abs() + b


class Flooding(Trick):
    """Turns the training loss around below a level. Put it after the tricks whose loss it shall hold up: last.

    Args:
        b: the level, > 0. Try .01 to .2 by the validation loss; above what training reaches without it, it does harm.

    Raises:
        ValueError: for a level out of its range.
        TypeError: for a LightningModule that does not call `on_loss`; says what to add.
    """

    needs = (Range("b", 0, open_low=True),)

    def __init__(self, b: float = 0.05):
        self.b = b

    def on_loss(self, model: L.LightningModule, step: Step) -> None:
        step.loss = flood(step.loss, self.b)
