"""What a network's stages put out, caught by forward hooks while a trick needs it."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn


class Taps:
    """Features of the last forward pass, by stage: maps (N, C, H, W) or tokens (N, L, D).

    Args:
        stages: name -> module, as `Classifier.stages`.
        names: the stages to catch.
    """

    def __init__(self, stages: Mapping[str, nn.Module], names: Sequence[str]):
        self.features: dict[str, Tensor] = {}
        self._hooks = [stages[name].register_forward_hook(self._catch(name)) for name in names]

    def _catch(self, name: str):
        def hook(module: nn.Module, inputs: tuple, output: Tensor) -> None:
            self.features[name] = output

        return hook

    def take(self) -> dict[str, Tensor]:
        """The features, once: nothing is kept alive beyond the step."""
        features, kept = dict(self.features), self.features
        kept.clear()
        return features

    def remove(self) -> None:
        """Leaves the network as it was."""
        for hook in self._hooks:
            hook.remove()
        self.features.clear()
