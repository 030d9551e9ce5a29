"""Dead units: rectifiers that put out nothing for any image of a batch, and so will not learn again.

Paper:    Rectifier Nonlinearities Improve Neural Network Acoustic Models (Maas, Hannun, Ng; ICML workshop 2013)
          https://ai.stanford.edu/~amaas/papers/relu_hybrid_icml2013_final.pdf, section 2.1; Dying ReLU and
          Initialization (Lu, Shin, Su, Karniadakis; 2019) https://arxiv.org/abs/1903.06733
Code:     none
Equation: dead share of a layer = mean over its channels of [max over images and places of a = 0]
Shapes:   activations a (N, C, H, W) or (N, ..., C): one number a layer
Defaults: share .4, ours; in the first batch of each epoch
Differs:  nothing to differ from
"""

import lightning as L
import torch
from torch import Tensor, nn

from callbacks.diagnostics.gradient_flow import listed
from callbacks.frame.diagnostic import Look
from callbacks.frame.trick import needs_range


def dead_share(a: Tensor) -> Tensor:
    """Share of channels that are 0 for all images and places: maps (N, C, H, W), or channels last, -> ()."""
    a = a.detach().movedim(1, -1) if a.ndim == 4 else a.detach()
    return (a.flatten(0, -2).amax(0) <= 0).float().mean()


class DeadUnits(Look):
    """Names the ReLUs of which too many channels are dead. Modules are seen, functions are not.

    Args:
        share: of a layer's channels, in (0, 1], that may be dead.

    Raises:
        ValueError: for a share out of its range.
    """

    def __init__(self, share: float = 0.4):
        needs_range(self, "share", share, 0, 1, open_low=True)
        self.share = share

    def on_train_batch_start(self, trainer: L.Trainer, model: L.LightningModule, batch: list, batch_idx: int) -> None:
        if batch_idx == 0:
            self._seen: dict[str, Tensor] = {}
            rectifiers = [(name, m) for name, m in model.named_modules() if isinstance(m, (nn.ReLU, nn.ReLU6))]
            self._hooks = [m.register_forward_hook(self._see(name)) for name, m in rectifiers]

    def _see(self, name: str):
        def hook(module: nn.Module, inputs: tuple, output: Tensor) -> None:
            self._seen[name] = dead_share(output)

        return hook

    def on_train_batch_end(self, trainer: L.Trainer, model: L.LightningModule, *_) -> None:
        if self._remove() and self._seen:
            shares = dict(zip(self._seen, torch.stack(list(self._seen.values())).tolist(), strict=True))
            self._judge({name: s for name, s in shares.items() if s > self.share}, len(shares), trainer.current_epoch)

    def _judge(self, dead: dict[str, float], count: int, epoch: int) -> None:
        if dead:
            names = listed([f"{name} ({share:.0%})" for name, share in dead.items()])
            self.say(False, f"in epoch {epoch} channels are dead in {names}: lower the rate or try Activation('leaky')")
        else:
            self.say(True, f"in epoch {epoch} none of {count} rectifiers has more than {self.share:.0%} dead channels")

    def _remove(self) -> bool:
        hooks, self._hooks = getattr(self, "_hooks", []), []
        for hook in hooks:
            hook.remove()
        return bool(hooks)

    def on_exception(self, trainer: L.Trainer, model: L.LightningModule, exception: BaseException) -> None:
        self._remove()
