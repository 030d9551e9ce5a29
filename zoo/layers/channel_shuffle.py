"""The channel shuffle of ShuffleNet.

Paper:    ShuffleNet (Zhang, Zhou, Lin, Sun; CVPR 2018) https://arxiv.org/abs/1707.01083, section 3.1
"""

from torch import Tensor

from zoo.layers.layout import is_channels_last


def channel_shuffle(x: Tensor, rows: int) -> Tensor:
    """Write the channels into a table row by row and read it column by column. Shapes: (N, C, H, W) -> (N, C, H, W)."""
    if is_channels_last(x):  # shuffles the last dimension: the layout stays
        return x.movedim(1, -1).unflatten(-1, (rows, -1)).transpose(-1, -2).flatten(-2).movedim(-1, 1)
    return x.unflatten(1, (rows, -1)).transpose(1, 2).flatten(1, 2)
