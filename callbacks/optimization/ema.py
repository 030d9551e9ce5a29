"""EMA: keep an exponential moving average of the weights, and evaluate it beside them.

Paper:    Acceleration of Stochastic Approximation by Averaging (Polyak, Juditsky; SIAM J. Control Optim. 1992)
          https://doi.org/10.1137/0330046; in this form in Rethinking the Inception Architecture (Szegedy et al.; CVPR
          2016) https://arxiv.org/abs/1512.00567, section 8
Code:     timm `ModelEmaV3`; torch.optim.swa_utils.get_ema_multi_avg_fn
Equation: theta' <- d theta' + (1 - d) theta, after every optimizer step; theta' starts as theta
Shapes:   every entry of the state dict: parameters and batch-norm statistics averaged, integer counters copied
Defaults: decay = .999 (d): ours, for runs of some thousand steps; ImageNet recipes have .9999 (ConvNeXt) to .99996
          (DeiT)
Differs:  nothing
"""

import lightning as L
import torch
from torch import Tensor

from callbacks.frame.average import Average
from callbacks.frame.needs import Range
from callbacks.frame.schedule import Rate, rate_now


def ema_update(average: list[Tensor], weights: list[Tensor], decay: float) -> None:
    """Move the average toward the weights, in place: theta' <- d theta' + (1 - d) theta.

    Args:
        average: theta', floating-point tensors of any shapes.
        weights: theta, one tensor of the same shape for each of `average`.
        decay: d, in [0, 1].
    """
    torch._foreach_lerp_(average, weights, 1 - decay)


class EMA(Average):
    """Keep a second set of weights. Raw and averaged weights are both evaluated, and both are in every checkpoint.

    Evaluation logs `val/acc_ema0.999` and so on beside `val/acc`. The model itself always holds the raw weights:
    `ema.copy_to(model)` puts the average in their place, and `zoo.load(file, average="EMA(0.999)")` reads it from a
    checkpoint, also from one made with `save_weights_only=True`. Weights-only files of a foreign LightningModule lack
    the average. For several decays, list several. The average leaves out the teachers of other tricks.

    Args:
        decay: d, fraction of the old average kept at each optimizer step, in (0, 1), or a `Schedule`.

    Raises:
        ValueError: for a decay out of its range.
    """

    needs = (Range("decay", 0, 1, open_high=True, off_at_low=True),)
    examples = ({"decay": 0.5},)

    def __init__(self, decay: Rate = 0.999):
        self.decay = decay

    @property
    def state_key(self) -> str:
        return f"EMA({self.decay})"

    @property
    def label(self) -> str:
        return f"ema{self.decay}"

    def on_fit_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        """Start the average from the weights, or from the checkpoint that a resume has restored by now."""
        self.begin(model, self.average)

    def follow(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        ema_update(self._averages, self.weights(), rate_now(self.decay, trainer))
        self.copy_counts()
