"""Square root scaling: a batch k times as large takes a learning rate sqrt(k) times as large.

Paper:    Train longer, generalize better (Hoffer, Hubara, Soudry; NeurIPS 2017) https://arxiv.org/abs/1705.08741;
          before in One weird trick (Krizhevsky; 2014) https://arxiv.org/abs/1404.5997
Code:     timm's `train.py --lr-base-scale sqrt`, its choice for Adam and similar ones
Equation: eta' = eta sqrt(b / 256),   b = images per optimizer step, over all processes and accumulated batches; so the
          covariance of a step, proportional to eta^2 / b, is that of the base batch
Shapes:   none
Defaults: base = 256, as `LinearScaling`
Differs:  the paper also trains large batches for more epochs, and with ghost batch norm
"""

import math

from callbacks.frame.scaling import Scaling


class SquareRootScaling(Scaling):
    """Scale the learning rate of every parameter group once, before training. Works on any LightningModule.

    This is the rule for adaptive optimizers; `LinearScaling` is the one for SGD with warm-up.

    Args:
        base: batch size, in images, for which the model's `lr` is meant, > 0.

    Raises:
        ValueError: if base <= 0, the batch size cannot be read, the model has a scheduler of its own, or a second
            scaling rule is listed.
    """

    examples = ({"base": 128},)

    def factor(self, k: float) -> float:
        return math.sqrt(k)
