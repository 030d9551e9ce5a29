"""Extra passes without hooks, and trained parameters that are kept out of checkpoints."""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn


@contextmanager
def without_hooks(network: nn.Module, training: bool | None = None) -> Iterator[None]:
    """Disable all forward hooks for a second pass within a step, so that `FeatureHooks` keep the first pass's outputs.

    Hooks of torch that gather and free weights in parts stay.

    Args:
        network: its hooks and modes are restored afterwards, also after an exception.
        training: mode of all modules during the pass; None: as they are.
    """
    modules = list(network.modules())
    hooks, modes = [(m, m._forward_hooks) for m in modules if m._forward_hooks], [m.training for m in modules]
    try:
        for module, given in hooks:
            module._forward_hooks = OrderedDict((key, hook) for key, hook in given.items() if _shards(hook))
        _set_modes(modules, modes if training is None else [training] * len(modes))
        yield
    finally:
        for module, kept in hooks:
            module._forward_hooks = kept
        _set_modes(modules, modes)


def _shards(hook: Any) -> bool:
    return type(getattr(hook, "__self__", None)).__module__.startswith("torch.distributed.")


def _set_modes(modules: list[nn.Module], modes: list[bool]) -> None:
    for module, mode in zip(modules, modes, strict=True):
        vars(module)["training"] = mode  # `nn.Module.__setattr__` takes ten times as long


class UnsavedParameters(nn.Module):
    """Parameters that are trained with a model and kept out of its checkpoints and averages.

    Args:
        parts: modules by name.
        name: the attribute of the model that will hold this module.
    """

    def __init__(self, parts: dict[str, nn.Module], name: str):
        super().__init__()
        self.parts = nn.ModuleDict(parts)

        def forget(module: nn.Module, incompatible: Any) -> None:
            missing = incompatible.missing_keys
            missing[:] = [key for key in missing if not key.startswith(f"{name}.")]

        self.register_load_state_dict_post_hook(forget)

    def state_dict(  # type: ignore[override]  # torch's overloads spell out each way to call it
        self, *args: Any, destination: dict[str, Any] | None = None, prefix: str = "", keep_vars: bool = False
    ) -> dict[str, Any]:
        """Return an empty state dict: the trick saves `parts` in its own state."""
        return OrderedDict() if destination is None else destination
