"""Require unscaled gradients, for tricks that compare gradients with other quantities."""

import lightning as L
from lightning.fabric.plugins.precision.amp import _optimizer_handles_unscaling


def is_scaled(trainer: L.Trainer) -> bool:
    """Return whether the loss is scaled, as in 16-bit training."""
    return getattr(trainer.precision_plugin, "scaler", None) is not None


def needs_unscaled(trick: L.Callback, trainer: L.Trainer) -> None:
    """Refuse an optimizer that removes the loss scale of 16-bit training in its own step, after all hooks."""
    if is_scaled(trainer) and any(_optimizer_handles_unscaling(optimizer) for optimizer in trainer.optimizers):
        raise TypeError(
            f"{type(trick).__name__} needs gradients without the scale of 16-bit training, which a fused optimizer "
            "removes in its own step: set fused=False in its options, or precision='bf16-mixed'"
        )
