"""Cosine decay of the learning rate, after a linear warm-up.

Paper:    Bag of Tricks for Image Classification with CNNs (He et al.; CVPR 2019) https://arxiv.org/abs/1812.01187, 3.1
          and 5.1; from SGDR (Loshchilov, Hutter; ICLR 2017) https://arxiv.org/abs/1608.03983, eq. 5
Code:     GluonCV `LRScheduler`; torch.optim.lr_scheduler.CosineAnnealingLR
Equation: batch i = 1 .. m of the warm-up:  eta_i = i eta / m
          then, t = 0 .. T - 1:             eta_t = (1 + cos(pi t / T)) eta / 2,   T without the warm-up
Shapes:   none
Defaults: no warm-up; the paper has 5 epochs of 120
Differs:  nothing. The rate changes with every optimizer step.
"""

import math

from callbacks.optimization._decay import Decay


def cosine(t: float, T: float) -> float:
    """(1 + cos(pi t / T)) / 2: from 1 at t = 0 to 0 at t = T."""
    return (1 + math.cos(math.pi * t / T)) / 2


class CosineDecay(Decay):
    """Sets the learning rate of any LightningModule without a scheduler of its own.

    Args:
        warmup_epochs: length of the linear warm-up, in epochs, >= 0; a fraction is fine.

    Raises:
        ValueError: if the warm-up leaves nothing of the training, or something else sets the rate too.
    """

    def __init__(self, warmup_epochs: float = 0):
        self.warmup_epochs = warmup_epochs

    def factor(self, step: int) -> float:
        return cosine(step - self.warmup, self.total - self.warmup)
