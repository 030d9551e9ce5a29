"""Cosine decay of the learning rate, after a warm-up.

Paper:    Bag of Tricks for Image Classification with CNNs (He et al.; CVPR 2019) https://arxiv.org/abs/1812.01187, 3.1
          and 5.1; from SGDR (Loshchilov, Hutter; ICLR 2017) https://arxiv.org/abs/1608.03983, eq. 5
Code:     GluonCV `LRScheduler`; torch.optim.lr_scheduler.CosineAnnealingLR
Equation: batch i = 1 .. m of the warm-up:  eta_i = i eta / m
          then, t = 0 .. T - 1:             eta_t = ((1 - e) (1 + cos(pi t / T)) / 2 + e) eta,  T without the warm-up
Shapes:   none
Defaults: warmup_epochs = 0 and end = 0 (e), a plain cosine: ours. The paper has 5 epochs of warm-up in 120 and e = 0,
          ConvNeXt e = 1e-6 / 4e-3
Differs:  nothing. The rate changes with every optimizer step.
"""

from callbacks.frame.decay import Decay, cosine
from callbacks.frame.needs import Range
from callbacks.frame.schedule import Time


class CosineDecay(Decay):
    """Set the learning rate of any LightningModule without a scheduler of its own.

    Args:
        warmup_epochs: length of the warm-up: epochs, >= 0, or "0.1dur", "500st".
        warmup_kind: "linear", "multiplier" or "constant", see `WarmUp`.
        end: e, the last rate divided by the initial rate, in [0, 1].

    Raises:
        ValueError: for an argument out of its range, a warm-up that leaves nothing of the training, or if something
            else sets the rate too.
    """

    needs = (Range("end", 0, 1),)
    examples = ({"warmup_epochs": 0.5, "end": 0.01},)

    def __init__(self, warmup_epochs: Time = 0, warmup_kind: str = "linear", end: float = 0):
        super().__init__(warmup_epochs, warmup_kind)
        self.end = end

    def factor(self, step: int) -> float:
        return (1 - self.end) * cosine(step - self.warmup, self.total - self.warmup) + self.end
