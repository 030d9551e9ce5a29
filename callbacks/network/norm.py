"""Norm: replace batch norm by layer, instance, group norm or batch renormalisation, or one of these by batch norm.

Paper:    group: Group Normalization (Wu, He; ECCV 2018) https://arxiv.org/abs/1803.08494;
          batch: https://arxiv.org/abs/1502.03167; layer: https://arxiv.org/abs/1607.06450;
          instance: https://arxiv.org/abs/1607.08022; batch_renorm: https://arxiv.org/abs/1702.03275
Code:     torch.nn; callbacks/frame/batch_renorm.py; group, layer: callbacks/frame/group_norm.py
Equation: y = gamma (x - mean) / sqrt(var + eps) + beta, gamma and beta of each channel; mean and var over
          batch (N, H, W);  layer (C, H, W);  instance (H, W);  group (C / G, H, W);  batch_renorm (N, H, W), moved
          towards the averages over all batches
Shapes:   (N, C, H, W), unchanged
Defaults: kind = "group" with G = 32, as in the paper (channels = None; the paper also tries 16 channels a group); eps
          1e-5; batch_renorm: the paper's limits, averages, 5000 steps
Differs:  If 32 does not divide C, or leaves one channel per group, G is the largest divisor of C up to 32 that leaves
          two (C = 16: 8). channels = 16 asks for C / 16 groups: if 16 does not divide C, a group has the largest
          divisor of C below it. "layer" is that of the Group Normalization paper, over whole maps. ConvNeXt's layer
          norm is another, over the channels of each pixel: such networks are refused. Batch renorm averages the
          variance, not sigma, so that its keys and its evaluation are those of a batch norm; its steps are training
          passes.
"""

from collections.abc import Callable

import lightning as L
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from callbacks.frame.batch_renorm import BatchRenorm2d
from callbacks.frame.group_norm import GroupNorm
from callbacks.frame.needs import Choice, Range
from callbacks.frame.pair_needs import Claims
from callbacks.frame.trick import Trick
from zoo.frame.surgery import operate, operation, replace

GROUPS = 32
NORMS: dict[str, Callable[..., nn.BatchNorm2d | nn.GroupNorm | nn.InstanceNorm2d]] = {
    "batch": lambda c, **options: nn.BatchNorm2d(c, **options),
    "layer": lambda c, **options: GroupNorm(1, c, **options),
    "instance": lambda c, **options: nn.InstanceNorm2d(c, **options),
    "group": lambda c, channels=None, **options: GroupNorm(groups_of(c, channels), c, **options),
    "batch_renorm": lambda c, **options: BatchRenorm2d(c, **options),
}
CHANGED = (nn.BatchNorm2d, nn.GroupNorm, GroupNorm, nn.InstanceNorm2d, BatchRenorm2d)


def groups_of(c: int, channels: int | None = None) -> int:
    """Return the largest number of groups, up to 32, that divides C and leaves two channels or more in each.

    Args:
        c: C.
        channels: of a group, at most; then the groups are as few as they can be.
    """
    if channels is not None:
        return c // max(n for n in range(1, channels + 1) if c % n == 0)
    return max(g for g in range(1, max(min(GROUPS, c // 2), 1) + 1) if c % g == 0)


@operation("Norm")
def swap_norms(network: nn.Module, kind: str, **options: int) -> None:
    """Replace every norm by one of this kind, in place, with its gamma and beta. Raises TypeError if it cannot.

    Args:
        network: any.
        kind: a name of `NORMS`.
        options: channels, as in `Norm`.
    """
    found = [
        (path, m)
        for path, m in network.named_modules(remove_duplicate=False)
        if isinstance(m, CHANGED) and type(m) in CHANGED
    ]
    others = {type(m).__name__ for m in network.modules() if isinstance(m, _BatchNorm) and type(m) not in CHANGED}
    if not found or others:
        have = f"norms of another kind ({', '.join(sorted(others))})" if others else "no batch, group or instance norms"
        raise TypeError(f"{type(network).__name__} has {have}: take Norm out")
    new = {id(old): make_norm_like(old, kind, **options) for _, old in found}
    for path, old in found:
        replace(network, path, new[id(old)])


@torch.no_grad()
def make_norm_like(old: nn.BatchNorm2d | nn.GroupNorm | nn.InstanceNorm2d, kind: str, **options: int) -> nn.Module:
    """Return a norm of this kind with the channels, eps, gamma and beta of another, on its device."""
    gamma: Tensor | None = old.weight
    width = old.num_channels if isinstance(old, nn.GroupNorm) else old.num_features
    new = NORMS[kind](width, eps=old.eps, affine=gamma is not None, **options).train(old.training)
    if gamma is None:
        return new
    new = new.to(gamma)
    new.weight.copy_(gamma)
    new.bias.copy_(old.bias)
    return new


class Norm(Trick):
    """Swap the norms before training. Checkpoints remember it: `zoo.load` gives the changed network.

    Args:
        kind: "batch" "layer" "instance" "group" "batch_renorm".
        channels: of a group, for "group", at least 1; None: as many groups as possible, up to 32.

    Raises:
        TypeError: for a network without norms over maps, or with norms that do more (timm's with an activation inside).
        ValueError: for another kind, channels of another kind than "group", or a second Norm.
    """

    picture = "modules"
    needs = (Claims("choose the norms"), Choice("kind", tuple(NORMS)), Range("channels", 1))
    examples = ({"kind": "batch_renorm"}, {"channels": 4})

    def __init__(self, kind: str = "group", channels: int | None = None):
        self.kind, self.channels = kind, channels
        if channels is not None and kind != "group":
            raise ValueError(f'Norm: channels belongs to "group", not to {kind!r}: take it out')

    def prepare(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        if stage == "fit":
            options = {} if self.channels is None else {"channels": self.channels}
            operate(model, "Norm", kind=self.kind, **options)
