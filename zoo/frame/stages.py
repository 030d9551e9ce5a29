"""Stages of a network: the modules whose outputs are feature maps or tokens, by name, in order."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from torch import nn

Paths = Sequence[str] | Mapping[str, str]  # of modules; names are given, or stage1, stage2, ... in order


class Stages(nn.Module, Mapping[str, nn.Module]):
    """A mapping `{"stage1": module, ...}` whose state-dict keys are those of timm: `stages.0`, `stages.1`, ...

    Args:
        stages: the modules, in order.
    """

    __hash__ = nn.Module.__hash__
    __eq__ = nn.Module.__eq__

    def __init__(self, stages: Iterable[nn.Module]):
        super().__init__()
        for i, stage in enumerate(stages):
            self.add_module(str(i), stage)

    def __getitem__(self, name: str) -> nn.Module:
        for i, known in enumerate(self):
            if name == known:
                return self.get_submodule(str(i))
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return (f"stage{int(i) + 1}" for i in self._modules)

    def __len__(self) -> int:
        return len(self._modules)


def stages_of(network: nn.Module, paths: Paths) -> dict[str, nn.Module]:
    """Return the modules at these paths by stage name; leave out those that are None, as in shorter variants."""
    named = paths if isinstance(paths, Mapping) else {f"stage{i}": path for i, path in enumerate(paths, 1)}
    modules = {name: find(network, path) for name, path in named.items()}
    return {name: module for name, module in modules.items() if module is not None}


def find(network: nn.Module, path: str) -> nn.Module | None:
    """Return the module at a path; None if it was set to None."""
    parent, _, name = path.rpartition(".")
    return getattr(network.get_submodule(parent), name)  # type: ignore[no-any-return]  # a module, or None


def timm_stages(network: nn.Module) -> dict[str, str]:
    """Return the paths in timm's list of feature modules, without the stem's activation.

    Returns:
        Name -> path; empty if the list names something that is no module.
    """
    infos: Any = getattr(network, "feature_info", [])
    paths = [info["module"] for info in infos]
    modules = dict(network.named_modules())
    if not all(path in modules for path in paths):
        return {}
    if paths and not any(True for _ in modules[paths[0]].parameters()):
        paths = paths[1:]
    return {f"stage{i}": path for i, path in enumerate(paths, 1)}
