"""Polyak averaging: take the plain mean of the weights at all steps of a run's last part, and evaluate it beside them.

Paper:    Acceleration of Stochastic Approximation by Averaging (Polyak, Juditsky; SIAM J. Control Optim. 1992)
          https://doi.org/10.1137/0330046; of the tail only: Making Gradient Descent Optimal for Strongly Convex
          Stochastic Optimization (Rakhlin, Shamir, Sridharan; ICML 2012) https://arxiv.org/abs/1109.5647
Code:     torch.optim.swa_utils.AveragedModel, called at every step
Equation: theta' = 1 / (t - s + 1) sum_{i = s .. t} theta_i
Shapes:   every entry of the state dict: parameters and batch-norm statistics averaged, integer counters copied
Defaults: start = "0.5dur" (s), the second half of the run: ours
Differs:  nothing known. Batch-norm statistics are averaged too, as in EMA: the weights of neighbouring steps are close.
          For weights that are far apart, `SWA` recomputes the statistics.
"""

import lightning as L

from callbacks.frame.average import Mean
from callbacks.frame.schedule import Time, in_steps, load_data, parse_time


class PolyakAveraging(Mean):
    """Keep a second set of weights, as `EMA` does, and log `val/acc_polyak0.5dur` and so on beside `val/acc`.

    Before `start` there is no average, and no score of it.

    Args:
        start: s, when averaging begins: epochs, or "0.5dur", "500st". The weights after step s are the first.

    Raises:
        ValueError: if `start` is not a time.
    """

    examples = ({"start": "2st"},)

    def __init__(self, start: Time = "0.5dur"):
        parse_time(start)
        self.start = start

    @property
    def label(self) -> str:
        return f"polyak{self.start}"

    def on_train_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        super().on_train_start(trainer, model)
        load_data(trainer)
        self._first = in_steps(self.start, trainer)
        self.begin_at(self._first, trainer)

    def takes(self, step: int) -> bool:
        return step >= self._first
