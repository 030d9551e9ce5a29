"""The plain transformer inside a model: ours or timm's, whose sequence of patches may be cut short."""

import lightning as L
from torch import nn


def vit_in(trick: L.Callback, model: nn.Module, wants: str) -> nn.Module:
    """Return the first module with a `patch_drop` layer and prefix tokens; refuse a model without one."""
    for module in model.modules():
        if isinstance(getattr(module, "patch_drop", None), nn.Module) and prefix_of(module) is not None:
            return module
    network = getattr(model, "network", model)
    raise TypeError(
        f"{type(trick).__name__} {wants}, and {type(network).__name__} has none: its maps or windows are of a fixed "
        "size. It works on ViT and DeiT, and on timm's `vit_*` and `deit_*` in zoo.Classifier(...)"
    )


def shortened(trick: L.Callback, model: nn.Module) -> nn.Module:
    """`vit_in` for a trick that takes patches out. Refuses a slim network, whose blocks keep certain places."""
    vit = vit_in(trick, model, "shortens a sequence of patches")
    if any(getattr(block, "rows", None) is not None for block in vit.get_submodule("blocks").children()):
        raise TypeError(
            f"this {type(vit).__name__} is slim, and keeps certain places of all patches: take {type(trick).__name__} "
            "out, or use it before the model is slimmed"
        )
    return vit


def prefix_of(vit: nn.Module) -> int | None:
    """How many tokens stand before those of the patches (class, teacher), which are never dropped."""
    return getattr(vit, "prefix", getattr(vit, "num_prefix_tokens", None))
