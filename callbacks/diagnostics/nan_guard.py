"""NaN guard: stop at a loss of NaN or Inf before it reaches the weights, save the batch, and name the layer.

Paper:    none. Usual causes: images or initial weights too large, a learning rate too high, a division by 0; in fp16
          also values beyond 65,504: Mixed Precision Training (Micikevicius et al.; ICLR 2018)
          https://arxiv.org/abs/1710.03740
Code:     torch.autograd.detect_anomaly names the operation of a NaN gradient, and makes steps several times slower
Equation: none
Shapes:   none
Defaults: the batch is saved as `nan_batch.pt` in the trainer's `default_root_dir`
Differs:  no reference
"""

from pathlib import Path

import lightning as L
import torch
from torch import Tensor, nn

from callbacks.frame.diagnostic import Diagnostic
from zoo.frame.weight_files import save

FILE = "nan_batch.pt"


def first_not_finite(network: nn.Module, images: Tensor) -> str | None:
    """Return the name of the first innermost module whose output has a NaN or Inf; None if all are finite.

    Args:
        network: takes images (N, C, H, W); not changed.
        images: the batch to run through it, without gradients.
    """
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


class NaNGuard(Diagnostic):
    """Raise an error at the first loss that is NaN or Inf, before the optimizer step, so that the weights stay finite.

    On a GPU, every step waits for the loss: use it for a run that breaks, not for every run. The error names the first
    layer whose output is not finite. `torch.load` of the saved file gives images and targets as the network saw them.

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
        save([x.cpu() for x in self._batch], file)
        text = f"NaNGuard: the loss is {loss} in {self._at}; the batch is saved in {file}. "
        if not self._batch[0].isfinite().all():
            return text + "Its images are not finite: check the files and the transforms"
        broken = [name for name, p in model.named_parameters() if not p.isfinite().all()]
        if broken:
            return text + f"Parameter {broken[0]} is not finite: an earlier step was too large; lower the learning rate"
        with trainer.precision_plugin.forward_context():
            layer = first_not_finite(model, self._batch[0])
        if layer is None:
            return text + "The outputs of all layers are finite: check the loss and the tricks that change it"
        return text + f"The first layer whose output is not finite is {layer}: lower the rate, or use bf16 for fp16"

    def on_train_end(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self.say(True, "every loss was finite")
