"""What a trick does with a student that nobody else should notice: passes without hooks, parameters outside files."""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def unheard(network: nn.Module, training: bool | None = None) -> Iterator[None]:
    """For one more pass within a step: no forward hook hears it, so that taps keep what the first pass gave.

    Args:
        network: keeps its hooks and modes after the pass.
        training: mode of all modules during the pass; None: as they are.
    """
    modules = list(network.modules())
    hooks, modes = [(m, m._forward_hooks) for m in modules if m._forward_hooks], [m.training for m in modules]
    try:
        for module, _ in hooks:
            module._forward_hooks = OrderedDict()
        _set(modules, modes if training is None else [training] * len(modes))
        yield
    finally:
        for module, kept in hooks:
            module._forward_hooks = kept
        _set(modules, modes)


def _set(modules: list[nn.Module], modes: list[bool]) -> None:
    for module, mode in zip(modules, modes, strict=True):
        vars(module)["training"] = mode  # `nn.Module.__setattr__` takes ten times as long


class Apart(nn.Module):
    """Parameters that are trained with a model, and of which its files and averages know nothing.

    Args:
        parts: modules by name.
        name: the attribute under which the model will have this one.
    """

    def __init__(self, parts: dict[str, nn.Module], name: str):
        super().__init__()
        self.parts = nn.ModuleDict(parts)

        def forget(module: nn.Module, incompatible) -> None:
            missing = incompatible.missing_keys
            missing[:] = [key for key in missing if not key.startswith(f"{name}.")]

        self.register_load_state_dict_post_hook(forget)

    def state_dict(self, *args, destination=None, prefix: str = "", keep_vars: bool = False) -> dict:
        """Nothing: the trick keeps that of `parts` in its own state."""
        return OrderedDict() if destination is None else destination
