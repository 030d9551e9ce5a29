"""Fuse batch norms into the convolutions before them: fewer passes over memory, for inference.

    W' = W gamma / sqrt(var + eps),  b' = (b - mean) gamma / sqrt(var + eps) + beta

A norm is fused only if one pass of the network shows that nothing else reads the convolution's output. Names and
neighbours in a list of layers prove nothing.
"""

import copy
from collections import Counter
from collections.abc import Callable
from typing import Any

from timm.layers import BatchNormAct2d
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from zoo.frame.evaluation import meta_images, meta_state, run
from zoo.frame.surgery import replace
from zoo.layers.dilated_conv import DilatedConv2d

NORMS = (nn.BatchNorm2d, BatchNormAct2d)


class FusedNorm(nn.Identity):
    """Placeholder of a batch norm that was fused into the convolution before it."""

    def train(self, mode: bool = True) -> "FusedNorm":
        """Refuse training: the statistics are in the convolution and would not be updated. Raises RuntimeError."""
        if mode:
            raise RuntimeError(
                "this network is fused for inference: train the one that zoo.fuse was given, and fuse that again"
            )
        return super().train(mode)


def fuse(model: nn.Module, image_size: int | None = None) -> nn.Module:
    """Return a copy in eval mode whose convolutions include their batch norms; the logits stay the same.

    The copy is for inference only: its weights have no gradient, and it refuses training mode. Its keys differ from
    the model's, so save the model itself, load it, then fuse it.

    Args:
        model: any network of images, such as every `Classifier`; unchanged.
        image_size: side of the images in pixels, if the model does not know it.

    Raises:
        ValueError: the image size is not known, or no convolution is read by a batch norm alone.
    """
    size = image_size or getattr(model, "image_size", None)
    if size is None:
        raise ValueError("how large are the images? zoo.fuse(model, image_size=...)")
    fused = copy.deepcopy(model).eval()
    pairs = _pairs(fused, size)
    if not pairs:
        raise ValueError(f"{type(model).__name__} has no convolution whose output a batch norm alone reads")
    modules = dict(fused.named_modules())
    for conv, norm in pairs:
        replace(fused, conv, fuse_conv_bn_eval(modules[conv], modules[norm]))
        replace(fused, norm, _what_remains(modules[norm]))
    return fused.requires_grad_(False)


def _what_remains(norm: nn.Module) -> nn.Module:
    """Return the activation of timm's norm, else nothing."""
    rest = (norm.drop, norm.act) if isinstance(norm, BatchNormAct2d) else ()
    return nn.Sequential(FusedNorm(), *rest).eval() if rest else FusedNorm().eval()


def _pairs(network: nn.Module, image_size: int) -> list[tuple[str, str]]:
    """Return paths of the convolutions and norms to fuse, found in one pass on the meta device."""
    modules = {name: m for name, m in network.named_modules() if type(m) in (nn.Conv2d, DilatedConv2d, *NORMS)}
    calls: Counter[str] = Counter()
    made: dict[int, str] = {}  # a convolution's output -> its path
    read: dict[str, list[str]] = {}  # a norm's path -> the convolution that makes its input
    kept: list[Tensor] = []  # alive, so that no number of an object is used twice

    def after(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            calls[name] += 1
            kept.extend((inputs[0], output))
            if isinstance(module, nn.Conv2d):
                made[id(output)] = name
            elif id(inputs[0]) in made:
                read.setdefault(name, []).append(made[id(inputs[0])])

        return hook

    eligible = {name: m for name, m in modules.items() if _plain(m)}
    hooks = [module.register_forward_hook(after(name)) for name, module in eligible.items()]
    readers = _Readers(kept)
    state, images = meta_state(network), meta_images(network, image_size)
    try:
        with readers:
            out = run(network, state, images)
    finally:
        for hook in hooks:
            hook.remove()
    readers.counts.update(id(leaf) for leaf in tree_leaves(out) if isinstance(leaf, Tensor))
    uses = {name: readers.counts[number] for number, name in made.items()}
    apart = _alone(network)
    return [
        (convs[0], norm)
        for norm, convs in read.items()
        if calls[norm] == calls[convs[0]] == uses[convs[0]] == 1 and {norm, convs[0]} <= apart
    ]


def _plain(module: nn.Module) -> bool:
    """Return whether a module has no hooks and computes torch's own forward."""
    watched = module._forward_hooks or module._forward_pre_hooks or hasattr(module, "parametrizations")
    return not watched and getattr(module, "track_running_stats", True)


def _alone(network: nn.Module) -> set[str]:
    """Return modules that share no parameter, have one path, and are no stage."""
    owners = Counter(id(p) for m in network.modules() for p in m.parameters(recurse=False))
    paths = Counter(id(m) for _, m in network.named_modules(remove_duplicate=False))
    stages = {id(stage) for stage in dict(getattr(network, "stages", {})).values()}
    return {
        name
        for name, m in network.named_modules()
        if paths[id(m)] == 1 and id(m) not in stages and all(owners[id(p)] == 1 for p in m.parameters(recurse=False))
    }


class _Readers(TorchDispatchMode):
    """Count the operations that read each tensor."""

    def __init__(self, kept: list[Tensor]):
        super().__init__()
        self.kept = kept
        self.counts: Counter[int] = Counter()

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        tensors = [leaf for leaf in tree_leaves((args, kwargs or {})) if isinstance(leaf, Tensor)]
        self.counts.update({id(tensor) for tensor in tensors})
        out = func(*args, **(kwargs or {}))
        self.kept.extend(leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor))
        return out
