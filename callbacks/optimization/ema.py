"""EMA: an exponential moving average of the weights, evaluated beside them.

Paper:    Acceleration of Stochastic Approximation by Averaging (Polyak, Juditsky; SIAM J. Control Optim. 1992)
          https://doi.org/10.1137/0330046; in this form in Rethinking the Inception Architecture (Szegedy et al.; CVPR
          2016) https://arxiv.org/abs/1512.00567, section 8
Code:     timm `ModelEmaV3`; torch.optim.swa_utils.get_ema_multi_avg_fn
Equation: theta' <- d theta' + (1 - d) theta, after every optimizer step; theta' starts as theta
Shapes:   every entry of the state dict: parameters and batch-norm statistics averaged, integer counters copied
Defaults: decay d = .999, for runs of some thousand steps; ImageNet recipes have .9999 (ConvNeXt) to .99996 (DeiT)
Differs:  nothing
"""

import lightning as L

from callbacks.frame.average import Average
from callbacks.frame.schedule import Rate, Schedule, rate_now, rate_values
from callbacks.frame.trick import needs_range


class EMA(Average):
    """Keeps a second set of weights; raw and averaged ones are both evaluated and both in every checkpoint.

    Evaluation logs `val/acc_ema0.999` and so on beside `val/acc`. The model itself always holds the raw weights;
    `ema.copy_to(model)` takes the average over, and `zoo.load(file, average="EMA(0.999)")` reads it from a checkpoint,
    one with `save_weights_only=True` too. On a foreign LightningModule weights-only files lack the average.
    Several decays at once are several `EMA`s. A teacher of another trick is never averaged.

    Args:
        decay: d, share of the old average kept at each optimizer step, in (0, 1), or a `Schedule`.

    Raises:
        ValueError: for a decay out of its range.
    """

    def __init__(self, decay: Rate = 0.999):
        for value in rate_values(decay):
            needs_range(self, "decay", value, 0, 1, open_low=not isinstance(decay, Schedule))
            if value == 1:
                raise ValueError("EMA: a decay of 1 never moves; it must be below 1, such as 0.999")
        self.decay = decay

    @property
    def state_key(self) -> str:
        return f"EMA({self.decay})"

    @property
    def label(self) -> str:
        return f"ema{self.decay}"

    def on_fit_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        """After a resume has restored both sets of weights."""
        self.begin(model, self.average)

    def follow(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self.move(1 - rate_now(self.decay, trainer))
