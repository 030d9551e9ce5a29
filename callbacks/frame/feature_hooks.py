"""Outputs of a network's stages, kept by forward hooks while a trick needs them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn


class FeatureHooks:
    """Features of the last forward pass, by stage: maps (N, C, H, W) or tokens (N, L, D).

    Args:
        stages: name -> module, as `Classifier.stages`.
        names: the stages whose outputs to keep.
    """

    def __init__(self, stages: Mapping[str, nn.Module], names: Sequence[str]):
        self.features: dict[str, Tensor] = {}
        self._hooks = [stages[name].register_forward_hook(self._keep(name)) for name in names]

    def _keep(self, name: str) -> Callable[[nn.Module, tuple[Any, ...], Tensor], None]:
        def hook(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
            self.features[name] = output

        return hook

    def take(self) -> dict[str, Tensor]:
        """Return the features and clear them, so that they do not outlive the step."""
        features = dict(self.features)
        self.features.clear()
        return features

    def remove(self) -> None:
        """Remove the hooks and clear the features."""
        for hook in self._hooks:
            hook.remove()
        self.features.clear()
