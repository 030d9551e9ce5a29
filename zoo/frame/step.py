"""One training step, as loss tricks see and change it: `Step`, and the hook `on_loss` of a `LossTrick`."""

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
        logits: (N, K). For a `Segmenter` (N, K, H, W), with targets (N, H, W) or (N, K, H, W).
        loss: scalar that is differentiated. It starts as the cross-entropy; tricks replace it (`over_heads`) or add
            to it.
        extras: outputs of the network in training only, by name: keep decisions, a distillation token's logits, ...
            `"aux"`: the auxiliary heads, a list of (weight, logits (N, K)), which are part of the loss.
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
    """A callback with a hook that Lightning lacks: `on_loss`. All tricks of `callbacks` derive from it.

    `on_loss` is called only if a class overrides it.
    """

    def on_loss(self, model: L.LightningModule, step: Step) -> None:
        """Change `step.loss`: replace it, or add a term.

        Called in each training step after the forward pass, in the order of `Trainer(callbacks=...)`.

        Args:
            model: the module that trains.
            step: images, targets, logits, the loss so far and the network's extras.
        """


def changes_loss(kind: type[L.Callback]) -> bool:
    """Return whether a class of callbacks overrides `on_loss`."""
    return issubclass(kind, LossTrick) and kind.on_loss is not LossTrick.on_loss
