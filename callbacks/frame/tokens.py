"""Find the plain transformer inside a model, ours or timm's, whose sequence of patches can be shortened."""

import lightning as L
from torch import nn

from callbacks.frame.model_needs import HasModule


def is_vit(module: nn.Module) -> bool:
    """Return whether a module has a `patch_drop` layer and says how many prefix tokens it has."""
    return isinstance(getattr(module, "patch_drop", None), nn.Module) and prefix_of(module) is not None


CURE = (
    "its maps or windows are of a fixed size. It works on ViT and DeiT, and on timm's `vit_*` and `deit_*` in "
    "zoo.Classifier(...)"
)
SHORTENED = HasModule(is_vit, "shortens a sequence of patches", CURE)
COMPARED = HasModule(is_vit, "compares a ViT's patches", CURE)


def vit_to_shorten(trick: L.Callback, model: nn.Module) -> nn.Module:
    """Return the ViT whose patches a trick drops. Refuses a slim one, whose blocks keep certain patches."""
    vit = SHORTENED.find(trick, model)
    if any(getattr(block, "rows", None) is not None for block in vit.get_submodule("blocks").children()):
        raise TypeError(
            f"this {type(vit).__name__} is slim, and its blocks keep certain patches: take {type(trick).__name__} "
            "out, or use it before the model is slimmed"
        )
    return vit


def prefix_of(vit: nn.Module) -> int | None:
    """Return the number of tokens before the patches (class, teacher), which are never dropped."""
    return getattr(vit, "prefix", getattr(vit, "num_prefix_tokens", None))
