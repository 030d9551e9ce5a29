"""Polynomial decay: lower the learning rate to zero as a power of what is left of the run.

Paper:    DeepLab: Semantic Image Segmentation with Deep Convolutional Nets (Chen et al.; TPAMI 2018)
          https://arxiv.org/abs/1606.00915, section 4.1, "poly"
Code:     torch.optim.lr_scheduler.PolynomialLR; timm `PolyLRScheduler`
Equation: eta_t = eta (1 - t / T)^power,   t = 0 .. T - 1 without the warm-up
Shapes:   none
Defaults: power = .9, DeepLab's; power 1 is the linear decay of Swin's segmentation runs. warmup_epochs = 0
Differs:  nothing
"""

from callbacks.frame.decay import Decay
from callbacks.frame.needs import Range
from callbacks.frame.schedule import Time


def polynomial(t: float, T: float, power: float) -> float:
    """Return (1 - t / T)^power: 1 at t = 0, 0 at t = T."""
    return (1 - t / T) ** power


class PolynomialDecay(Decay):
    """Set the learning rate of any LightningModule without a scheduler of its own.

    Args:
        power: > 0; below 1 the rate stays high and falls late, above 1 it falls early.
        warmup_epochs: length of the warm-up: epochs, >= 0, or "0.1dur", "500st".
        warmup_kind: "linear", "multiplier" or "constant", see `WarmUp`.

    Raises:
        ValueError: unless power > 0, if the warm-up leaves nothing, or something else sets the rate too.
    """

    needs = (Range("power", 0, open_low=True),)
    examples = ({"power": 2, "warmup_epochs": 0.5},)

    def __init__(self, power: float = 0.9, warmup_epochs: Time = 0, warmup_kind: str = "linear"):
        super().__init__(warmup_epochs, warmup_kind)
        self.power = power

    def factor(self, step: int) -> float:
        return polynomial(step - self.warmup, self.total - self.warmup, self.power)
