"""One step of training, as loss tricks see and change it: `Step`, and the hook `on_loss` of a `LossTrick`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import lightning as L
from torch import Tensor


@dataclass
class Step:
    """One training step, as loss tricks see and change it.

    Attributes:
        images: (N, C, H, W), as the network saw them.
        targets: (N,) class indices or (N, K) probabilities, as the loss takes them.
        logits: (N, K). Of a `Segmenter` (N, K, H, W), and targets (N, H, W) or (N, K, H, W).
        loss: scalar, what will be differentiated. Starts as the cross-entropy; tricks replace it (`over_heads`) or add.
        extras: what the network gives in training only (keep decisions, a distillation token's logits, ...), by name.
            `"aux"`: the auxiliary heads, a list of (weight, logits (N, K)), which count in the loss.
    """

    images: Tensor
    targets: Tensor
    logits: Tensor
    loss: Tensor
    extras: dict[str, Any] = field(default_factory=dict)

    def over_heads(self, loss: Callable[[Tensor], Tensor]) -> Tensor:
        """`loss` of the logits, plus that of each auxiliary head times its weight."""
        return over_heads(loss, self.logits, self.extras)


def over_heads(loss: Callable[[Tensor], Tensor], logits: Tensor, extras: Mapping[str, Any]) -> Tensor:
    """Compute `loss` of the logits, plus that of each auxiliary head of `extras["aux"]` times its weight."""
    aux = (weight * loss(z) for weight, z in extras.get("aux", ()))
    return sum(aux, start=loss(logits))


class LossTrick(L.Callback):
    """A callback with the one hook that Lightning lacks: `on_loss`. Tricks of `callbacks` are, others may be.

    Override `on_loss`; one that does not is never called.
    """

    def on_loss(self, model: L.LightningModule, step: Step) -> None:
        """Change `step.loss`: put another loss in its place, or add a term.

        Called in each training step after the forward pass, in the order of `Trainer(callbacks=...)`.

        Args:
            model: the module that trains.
            step: images, targets, logits, the loss so far and what else the network gave.
        """


def changes_loss(kind: type[L.Callback]) -> bool:
    """Return whether a class of callbacks has an `on_loss` of its own."""
    return issubclass(kind, LossTrick) and kind.on_loss is not LossTrick.on_loss
