"""Polyak averaging: the plain mean of the weights at all steps of the tail of a run, evaluated beside the raw ones.

Paper:    Acceleration of Stochastic Approximation by Averaging (Polyak, Juditsky; SIAM J. Control Optim. 1992)
          https://doi.org/10.1137/0330046; of the tail only: Making Gradient Descent Optimal for Strongly Convex
          Stochastic Optimization (Rakhlin, Shamir, Sridharan; ICML 2012) https://arxiv.org/abs/1109.5647
Code:     torch.optim.swa_utils.AveragedModel, called at every step
Equation: theta' = 1 / (t - s + 1) sum_{i = s .. t} theta_i
Shapes:   every entry of the state dict: parameters and batch-norm statistics averaged, integer counters copied
Defaults: the second half of the run
Differs:  nothing; not checked against the papers. Means of batch-norm statistics are those of steps close to each
          other, as in EMA; for weights that lie far apart, `SWA` computes them anew.
"""

import lightning as L

from callbacks.frame.average import Mean
from callbacks.frame.schedule import Time, in_steps, load_data, parse_time


class PolyakAveraging(Mean):
    """Keeps a second set of weights, as `EMA` does; `val/acc_polyak0.5dur` and so on stand beside `val/acc`.

    There is no average, and no score of it, before `start`.

    Args:
        start: s, when averaging begins: epochs, or "0.5dur", "500st". The weights after step s are the first.

    Raises:
        ValueError: if `start` is no time.
    """

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

    def takes(self, step: int) -> bool:
        return step >= self._first
