"""Channel pruning: make a network smaller by removing whole channels of its convolutions.

    "l1":    s_j = sum |F_j|, of the filters that make channel j; remove the smallest fraction in each layer
             Pruning Filters for Efficient ConvNets (Li et al.; ICLR 2017) https://arxiv.org/abs/1608.08710, section 3.1
    "gamma": s_j = |gamma_j|, of the batch norm after them; remove the smallest fraction over all layers
             Network Slimming (Liu et al.; ICCV 2017) https://arxiv.org/abs/1708.06519, section 3

If layers are tied (by a residual sum, a depthwise convolution, a gate), a channel is removed from all of them, by the
sum (l1) or mean (gamma) of its scores. Channels that cannot be separated are kept: see `zoo.tools.channels`.
"""

import copy
from collections import defaultdict
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from zoo.frame.checks import validate_choice
from zoo.frame.surgery import operate, operation
from zoo.tools.channels import Channels

SCORES = ("l1", "gamma")


def prune_channels(model: nn.Module, fraction: float = 0.5, by: str = "l1", image_size: int | None = None) -> nn.Module:
    """Return a copy of the model with fewer channels, which can be fine-tuned, saved and exported as any other.

    Its checkpoints record the removed channels: `zoo.load` returns the smaller network. Parameters and multiply-adds
    fall by about 1 - (1 - fraction)^2 if all layers can lose channels. Each layer keeps at least one.

    Args:
        model: any network of images with convolutions, such as `ResNet`, `VGG`, `MobileNetV2`; unchanged. Of a
            `Detector`, backbone and pyramid lose channels; the maps that the head reads keep theirs.
        fraction: how much of the prunable channels to remove, in (0, 1). Li et al. take .1 to .7 by layer, Liu et al.
            .4 to .7.
        by: score: "l1", or "gamma" after training with `callbacks.Slimming`.
        image_size: side of the images in pixels, if the model does not know it.

    Raises:
        TypeError: the network has no prunable channel for that score, or has layers that only training runs.
        ValueError: fraction is out of range, or the score or the image size is not known.
    """
    validate_choice(by, SCORES, "prune_channels")
    if not 0 < fraction < 1:
        raise ValueError(f"prune_channels: fraction must be in (0, 1), not {fraction}")
    if (size := image_size or getattr(model, "image_size", None)) is None:
        raise ValueError("how large are the images? zoo.prune_channels(model, image_size=...)")
    channels = Channels(model, size)
    removed = choose(model, channels, fraction, by)
    smaller = copy.deepcopy(model)
    count = sum(p.numel() for p in model.parameters())
    operate(smaller, "prune_channels", removed=removed, image_size=size, parameters=count)
    return smaller


@torch.no_grad()
def choose(model: nn.Module, channels: Channels, fraction: float, by: str) -> dict[str, list[int]]:
    """Choose the channels to remove: path of a layer that makes them -> their indices among its outputs."""
    weights = dict(model.named_parameters())
    groups = channels.groups(model)
    scores = [_l1(group, weights) if by == "l1" else _gamma(group, weights, channels) for group in groups]
    pairs = [(group, score) for group, score in zip(groups, scores, strict=True) if score is not None]
    if not pairs:
        raise TypeError(
            f"{type(model).__name__} has no channels that prune_channels(by={by!r}) can take out: they must be made by "
            f"plain convolutions{', each with a batch norm behind it,' if by == 'gamma' else ''} and read by layers of "
            "torch that it knows"
        )
    if by == "l1":
        chosen = [_lowest(score, int(fraction * len(score))) for _, score in pairs]
    else:
        together = torch.cat([score for _, score in pairs])
        out = torch.zeros_like(together, dtype=torch.bool)
        out[together.argsort(stable=True)[: int(fraction * len(together))]] = True
        counts = [int(part.sum()) for part in out.split([len(score) for _, score in pairs])]
        chosen = [_lowest(score, count) for (_, score), count in zip(pairs, counts, strict=True)]
    removed: dict[str, list[int]] = defaultdict(list)
    for (group, _), places in zip(pairs, chosen, strict=True):
        made = list(group.values())
        for place in places:
            name, i = made[place][0]
            removed[name.removesuffix(".weight")].append(i)
    return {path: sorted(places) for path, places in removed.items()}


def _lowest(score: Tensor, count: int) -> list[int]:
    """Return the indices of the smallest scores; at least one channel stays."""
    return score.argsort(stable=True)[: min(count, len(score) - 1)].tolist()


def _l1(group: dict[int, list[tuple[str, int]]], weights: Mapping[str, Tensor]) -> Tensor:
    """Return the sum of the filters' absolute values for each channel of a group."""
    names = {name for where in group.values() for name, _ in where}
    norms = {name: weights[name].flatten(1).abs().sum(1).tolist() for name in names}
    return torch.tensor([sum(norms[name][i] for name, i in where) for where in group.values()])


def _gamma(group: dict[int, list[tuple[str, int]]], weights: Mapping[str, Tensor], channels: Channels) -> Tensor | None:
    """Return the mean |gamma| for each channel of a group; None if a layer of the group has no norm after it."""
    names = {name for where in group.values() for name, _ in where}
    if not names <= channels.norm_of.keys():
        return None
    gammas = {name: weights[channels.norm_of[name]].abs().tolist() for name in names}
    return torch.tensor([sum(gammas[name][i] for name, i in where) / len(where) for where in group.values()])


@operation("prune_channels")
@torch.no_grad()
def take_out(network: nn.Module, removed: dict[str, list[int]], image_size: int, parameters: int) -> None:
    """Remove channels from all layers that have them, in place.

    Raises:
        ValueError: the network is not the one that they were chosen for.
    """
    channels = Channels(network, image_size)
    count = sum(p.numel() for p in network.parameters())
    made = {path: channels.places.get((f"{path}.weight", 0), []) for path in removed}
    if count != parameters or any(not numbers or max(removed[path]) >= len(numbers) for path, numbers in made.items()):
        raise ValueError(
            f"channels were taken out of a {type(network).__name__} with {parameters:,} parameters, this one has "
            f"{count:,}: give it the same arguments"
        )
    gone = {channels.find(made[path][i]) for path, places in removed.items() for i in places}
    if 0 in gone:
        raise ValueError(f"the removed channels do not fit this {type(network).__name__}: give it the same arguments")
    for (name, dim), numbers in channels.places.items():
        keep = [i for i, number in enumerate(numbers) if channels.find(number) not in gone]
        if len(keep) < len(numbers):
            _shorten(network, name, dim, keep)


def _shorten(network: nn.Module, name: str, dim: int, keep: list[int]) -> None:
    """Return a weight without some of its rows (dim 0) or columns, and set its module's sizes."""
    path, _, attribute = name.rpartition(".")
    module = network.get_submodule(path)
    old = getattr(module, attribute)
    new = old.index_select(dim, torch.tensor(keep, device=old.device))
    if isinstance(old, nn.Parameter):
        new = nn.Parameter(new, requires_grad=old.requires_grad)
    setattr(module, attribute, new)
    if attribute != "weight":
        return
    if isinstance(module, nn.Conv2d):
        depthwise = module.groups > 1
        module.out_channels = new.shape[0]
        module.groups = new.shape[0] if depthwise else 1
        module.in_channels = new.shape[0] if depthwise else new.shape[1]
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = new.shape
    else:
        module.num_features = new.shape[0]
