"""NaN guard: stops before a loss that is no number ruins the weights, keeps the batch, and names the layer.

Paper:    none. The notes' causes of Inf and NaN: values or initial weights too large, the rate too high, division by
          0; in fp16 also values beyond 65,504: Mixed Precision Training (Micikevicius et al.; ICLR 2018)
          https://arxiv.org/abs/1710.03740
Code:     torch.autograd.detect_anomaly names the operation of a NaN gradient, at several times the price of a step
Equation: none
Shapes:   none
Defaults: the batch goes to `nan_batch.pt` in the trainer's `default_root_dir`
Differs:  nothing to differ from
"""

from pathlib import Path

import lightning as L
import torch
from torch import Tensor, nn

from callbacks.frame.diagnostic import Look

FILE = "nan_batch.pt"


def first_not_finite(network: nn.Module, images: Tensor) -> str | None:
    """Name of the innermost module that is the first to put out a NaN or Inf for these images; None: all are finite."""
    found: list[str] = []

    def look(name: str):
        def hook(module: nn.Module, inputs: tuple, output) -> None:
            if not found and isinstance(output, Tensor) and not output.isfinite().all():
                found.append(name)

        return hook

    hooks = [m.register_forward_hook(look(name)) for name, m in network.named_modules() if name]
    try:
        with torch.no_grad():
            network(images)
    finally:
        for hook in hooks:
            hook.remove()
    return found[0] if found else None


class NaNGuard(Look):
    """Raises at the first loss that is NaN or Inf, before the optimizer takes its step; so the weights are still whole.

    It has to know the loss before the step, so on a GPU each step waits for it: a guard for a run that breaks, not for
    every run. The error says which layer was the first to put out a value that is not finite. The saved batch is
    `torch.load(file)`: images and targets, as the network saw them.

    Raises:
        FloatingPointError: in training, at such a loss.
    """

    def on_train_batch_start(self, trainer: L.Trainer, model: L.LightningModule, batch: list, batch_idx: int) -> None:
        self._batch, self._at = batch, f"epoch {trainer.current_epoch}, batch {batch_idx}"

    def on_before_backward(self, trainer: L.Trainer, model: L.LightningModule, loss: Tensor) -> None:
        if not torch.isfinite(loss).all():
            raise FloatingPointError(self._explain(trainer, model, loss.item()))

    def _explain(self, trainer: L.Trainer, model: L.LightningModule, loss: float) -> str:
        file = Path(trainer.default_root_dir) / FILE
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.save([x.cpu() for x in self._batch], file)
        text = f"NaNGuard: the loss is {loss} in {self._at}; the batch is kept in {file}. "
        if not self._batch[0].isfinite().all():
            return text + "Its images are not finite: look at the files and the transforms"
        broken = [name for name, p in model.named_parameters() if not p.isfinite().all()]
        if broken:
            return text + f"The weights of {broken[0]} are not finite: an earlier step was too long; lower the rate"
        with trainer.precision_plugin.forward_context():
            layer = first_not_finite(model, self._batch[0])
        if layer is None:
            return text + "All layers put out finite values: look at the loss, and at the tricks that change it"
        return text + f"The first layer whose output is not finite is {layer}: lower the rate, or bf16 for fp16"

    def on_train_end(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self.say(True, "every loss was a finite number")
