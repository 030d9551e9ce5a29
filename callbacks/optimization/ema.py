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
import torch
from torch import Tensor
from torch.func import functional_call

from callbacks._schedule import Rate, Schedule, rate_now, rate_values
from callbacks._trick import Trick, needs_range
from zoo._base import over_views
from zoo._checks import classes_of
from zoo._scores import Scores


class EMA(Trick):
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

    average: dict[str, Tensor] | None = None

    def __init__(self, decay: Rate = 0.999):
        for value in rate_values(decay):
            needs_range(self, "decay", value, 0, 1, open_low=not isinstance(decay, Schedule))
            if value == 1:
                raise ValueError("EMA: a decay of 1 never moves; it must be below 1, such as 0.999")
        self.decay = decay

    @property
    def state_key(self) -> str:
        return f"EMA({self.decay})"

    # ---- the average

    def setup(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        if stage == "fit":
            self.average = None

    def on_fit_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        """After a resume has restored both sets of weights."""
        live = model.state_dict()
        self.average = {k: (self.average or live)[k].to(v.device, copy=True) for k, v in live.items()}
        floats = [k for k, v in live.items() if v.is_floating_point()]
        self._averages, self._weights = [self.average[k] for k in floats], [live[k] for k in floats]
        self._counts = [(self.average[k], v) for k, v in live.items() if not v.is_floating_point()]

    def on_train_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._step = trainer.global_step

    @torch.no_grad()
    def on_train_batch_end(self, trainer: L.Trainer, model: L.LightningModule, *_) -> None:
        if trainer.global_step == self._step:  # gradients are accumulating: no step was taken
            return
        self._step = trainer.global_step
        torch._foreach_lerp_(self._averages, self._weights, 1 - rate_now(self.decay, trainer))
        for average, count in self._counts:
            average.copy_(count)

    def on_train_end(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._agree(trainer)

    def _agree(self, trainer: L.Trainer) -> None:
        """Parameters are equal on all ranks, batch-norm statistics are each rank's own: all take rank 0's."""
        if trainer.world_size > 1:
            for tensor in self.average.values():
                torch.distributed.broadcast(tensor, src=0)

    def copy_to(self, model: L.LightningModule) -> None:
        """Replaces the model's weights by the average."""
        model.load_state_dict(self.average)

    # ---- its evaluation

    def _start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        if self.average is not None:
            self.average = {k: v.to(model.device) for k, v in self.average.items()}  # new if read from a file only
            self._agree(trainer)
            self._scores = Scores(classes_of(model), model.device)

    @torch.no_grad()
    def _score(self, trainer: L.Trainer, model: L.LightningModule, batch: list) -> None:
        if self.average is not None:
            images, targets = batch
            with trainer.precision_plugin.forward_context():  # autocast does not reach callbacks by itself
                logits = over_views(lambda x: functional_call(model, self.average, (x,)), images)
                self._scores.update(logits, targets)

    def _log(self, model: L.LightningModule, stage: str) -> None:
        if self.average is not None:
            scores = self._scores.compute()
            model.log_dict({f"{stage}/{name}_ema{self.decay}": value for name, value in scores.items()})

    def on_validation_epoch_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._start(trainer, model)

    def on_test_epoch_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._start(trainer, model)

    def on_validation_batch_end(self, trainer, model, outputs, batch, batch_idx, dataloader_idx=0) -> None:
        self._score(trainer, model, batch)

    def on_test_batch_end(self, trainer, model, outputs, batch, batch_idx, dataloader_idx=0) -> None:
        self._score(trainer, model, batch)

    def on_validation_epoch_end(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._log(model, "val")

    def on_test_epoch_end(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._log(model, "test")

    # ---- its place in checkpoints

    def on_save_checkpoint(self, trainer: L.Trainer, model: L.LightningModule, checkpoint: dict) -> None:
        """A `Classifier` has written the average already, also into weights-only files, which never come here."""
        if self.average is not None:
            checkpoint.setdefault("averages", {})[self.state_key] = self.average

    def on_load_checkpoint(self, trainer: L.Trainer, model: L.LightningModule, checkpoint: dict) -> None:
        self.average = checkpoint.get("averages", {}).get(self.state_key)
