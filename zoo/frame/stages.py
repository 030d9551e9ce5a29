"""A network's stages: the modules whose outputs are feature maps or tokens, by name."""

from collections.abc import Sequence

from torch import nn


class Stages(nn.Sequential):
    """Stages with the keys of timm (`stages.0`, ...) that also answer by name, as `Classifier.stages` does."""

    def keys(self) -> list[str]:
        return [f"stage{i}" for i in range(1, len(self) + 1)]

    def values(self) -> list[nn.Module]:
        return list(self)

    def items(self) -> list[tuple[str, nn.Module]]:
        return list(zip(self.keys(), self, strict=True))

    def __contains__(self, name: object) -> bool:
        return name in self.keys()

    def __getitem__(self, key):
        return super().__getitem__(self.keys().index(key) if isinstance(key, str) else key)


def timm_stages(network: nn.Module) -> dict[str, str]:
    """timm's own list of feature modules, without a stem's activation; nothing where it names modules that are not."""
    infos: Sequence[dict] = getattr(network, "feature_info", [])
    paths = [info["module"] for info in infos]
    modules = dict(network.named_modules())
    if not all(path in modules for path in paths):
        return {}
    if paths and not any(True for _ in modules[paths[0]].parameters()):
        paths = paths[1:]
    return {f"stage{i}": path for i, path in enumerate(paths, 1)}
