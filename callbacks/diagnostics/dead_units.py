"""Dead units: find ReLU channels that are zero for all images of a batch, and so get no gradient.

Paper:    Rectifier Nonlinearities Improve Neural Network Acoustic Models (Maas, Hannun, Ng; ICML workshop 2013)
          https://ai.stanford.edu/~amaas/papers/relu_hybrid_icml2013_final.pdf, section 2.1; Dying ReLU and
          Initialization (Lu, Shin, Su, Karniadakis; 2019) https://arxiv.org/abs/1903.06733
Code:     none
Equation: dead fraction of a layer = mean over its channels of [max over images and positions of a = 0]
Shapes:   activations a (N, C, H, W) or (N, ..., C) -> one number per layer
Defaults: fraction = .4, ours; measured in the first batch of each epoch
Differs:  no reference
"""

import lightning as L
import torch
from torch import Tensor, nn

from callbacks.diagnostics.gradient_flow import join_names
from callbacks.frame.diagnostic import Diagnostic
from callbacks.frame.needs import Range
from zoo.frame.figures import Picture


def dead_fraction(a: Tensor) -> Tensor:
    """Return the fraction of channels that are 0 everywhere, in [0, 1].

    Args:
        a: activations after a ReLU: maps (N, C, H, W), or (N, ..., C) with channels last.

    Returns:
        A scalar.
    """
    a = a.detach().movedim(1, -1) if a.ndim == 4 else a.detach()
    return (a.flatten(0, -2).amax(0) <= 0).float().mean()


class DeadUnits(Diagnostic):
    """Name the ReLU modules in which too many channels are dead. Calls of `F.relu` are not seen.

    Args:
        fraction: of a layer's channels that may be dead, in (0, 1].

    Raises:
        ValueError: if the fraction is out of its range.
    """

    needs = (Range("fraction", 0, 1, open_low=True),)
    examples = ({"fraction": 0.9},)

    def __init__(self, fraction: float = 0.4):
        self.fraction = fraction
        self._seen: dict[str, Tensor] = {}

    def on_train_batch_start(self, trainer: L.Trainer, model: L.LightningModule, batch: list, batch_idx: int) -> None:
        if batch_idx == 0:
            self._seen = {}
            rectifiers = [(name, m) for name, m in model.named_modules() if isinstance(m, (nn.ReLU, nn.ReLU6))]
            self.keep_hooks(*(m.register_forward_hook(self._see(name)) for name, m in rectifiers))

    def _see(self, name: str):
        def hook(module: nn.Module, inputs: tuple, output: Tensor) -> None:
            self._seen[name] = dead_fraction(output)

        return hook

    def on_train_batch_end(self, trainer: L.Trainer, model: L.LightningModule, *_) -> None:
        self.remove_hooks()
        if self._seen:
            dead = dict(zip(self._seen, torch.stack(list(self._seen.values())).tolist(), strict=True))
            self._seen = {}
            self.measured = "dead fraction", dead
            self._judge({name: d for name, d in dead.items() if d > self.fraction}, len(dead), trainer.current_epoch)

    def _judge(self, dead: dict[str, float], count: int, epoch: int) -> None:
        if dead:
            names = join_names([f"{name} ({fraction:.0%})" for name, fraction in dead.items()])
            cure = "lower the learning rate or try Activation('leaky')"
            self.say(False, f"in epoch {epoch} channels are dead in {names}: {cure}")
        else:
            self.say(True, f"in epoch {epoch} none of {count} ReLUs has more than {self.fraction:.0%} dead channels")

    def draw(self) -> Picture:
        """Draw the dead fractions after a small run whose learning rate is far too high."""
        from callbacks.frame.pictures.findings import draw

        return draw(self, lr=3.0)
