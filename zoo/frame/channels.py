"""Adapt the first layers of an RGB network to another number of channels.

Pretrained weights are adapted as in timm. For one channel, the three are summed. For more, they are repeated and scaled
by 3 / C. An image with equal channels then gives the same output as before.
"""

import math
from collections.abc import Iterator

import torch
from timm.models import adapt_input_conv
from torch import Tensor, nn

from zoo.frame.evaluation import in_channels

COLOURS, MOST = 3, 16


def first_layers(network: nn.Module) -> Iterator[nn.Conv2d]:
    """Yield the convolutions that read RGB images."""
    return (m for m in network.modules() if isinstance(m, nn.Conv2d) and m.in_channels == COLOURS and m.groups == 1)


def channels_of(network: nn.Module | None, in_chans: int | None, made_for_it: bool = False) -> int:
    """Return C: the given number, else the network's, else 3.

    Args:
        network: an existing network; None: it is not built yet.
        in_chans: the given number.
        made_for_it: the network was made for `in_chans`, whatever its first layer looks like.

    Raises:
        ValueError: C is not in [1, 16], or differs from that of a user's network.
    """
    if network is None or (made_for_it and in_chans is not None):
        found = COLOURS if in_chans is None else in_chans
    else:
        found = in_channels(network)
        found = found if found <= MOST else COLOURS  # a first layer on blocks of pixels, as TResNet has
        if in_chans not in (None, found):
            raise ValueError(f"in_chans={in_chans}, but the network takes {found}: rebuild it, or leave in_chans out")
    if in_chans is not None and not 1 <= in_chans <= MOST:
        raise ValueError(f"in_chans must be from 1 to {MOST}, got {in_chans}")
    return found


@torch.no_grad()
def take_channels(network: nn.Module, channels: int, pretrained: bool) -> None:
    """Change the number of input channels of the first layers, in place.

    Args:
        network: for images of three colours.
        channels: C.
        pretrained: adapt the weights; if False, draw normal ones that keep the variance of the output.
    """
    if channels == COLOURS:
        return
    for layer in first_layers(network):
        layer.weight = nn.Parameter(adapt(layer.weight, channels) if pretrained else redraw(layer.weight, channels))
        layer.in_channels = channels


def adapt(weight: Tensor, channels: int) -> Tensor:
    """Adapt pretrained weights of a first layer to C channels: (O, 3, k, k) -> (O, C, k, k)."""
    found: Tensor = adapt_input_conv(channels, weight)
    return found


def redraw(weight: Tensor, channels: int) -> Tensor:
    """Replace random weights (O, 3, k, k) by new ones (O, C, k, k), with the same variance of each output."""
    size = (weight.shape[0], channels, *weight.shape[2:])
    drawn = torch.randn(size, device=weight.device, dtype=weight.dtype)
    return drawn * weight.std() * math.sqrt(COLOURS / channels)


def fits(theirs: Tensor, ours: Tensor) -> bool:
    """Return whether an RGB weight can be adapted to one of ours with another number of channels."""
    a, b = theirs.shape, ours.shape
    return len(a) == len(b) == 4 and a[1] == COLOURS != b[1] and (a[0], *a[2:]) == (b[0], *b[2:])
