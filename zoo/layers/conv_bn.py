"""A convolution, a batch norm and an activation, as most convolutional networks have them."""

from collections import OrderedDict

from torch import Tensor, nn


class ConvBNReLU(nn.Module):
    """Convolution, batch norm (or a bias), ReLU. Shapes: (N, C_in, H, W) -> (N, C_out, H/s, W/s).

    Args:
        c_in: C_in.
        c_out: C_out.
        size: side of the kernel, or its height and width.
        stride: s.
        padding: zeros on each side. None: half the kernel, so that stride 1 keeps the size.
        batch_norm: False: a bias in its place.
        eps: of the batch norm.
    """

    def __init__(
        self,
        c_in: int,
        c_out: int,
        size: int | tuple[int, int],
        stride: int = 1,
        padding: int | None = None,
        batch_norm: bool = True,
        eps: float = 1e-3,
    ):
        super().__init__()
        height, width = (size, size) if isinstance(size, int) else size
        around = (height // 2, width // 2) if padding is None else (padding, padding)
        self.conv = nn.Conv2d(c_in, c_out, (height, width), stride, around, bias=not batch_norm)
        self.bn = nn.BatchNorm2d(c_out, eps=eps) if batch_norm else nn.Identity()
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.bn(self.conv(x)))


def conv_bn(c_in: int, c_out: int, size: int = 1, stride: int = 1, groups: int = 1, relu: bool = True) -> nn.Sequential:
    """Return `conv`, `bn` and, with `relu`, `act`. Shapes: (N, C_in, H, W) -> (N, C_out, H/s, W/s)."""
    conv = nn.Conv2d(c_in, c_out, size, stride, padding=size // 2, groups=groups, bias=False)
    layers: OrderedDict[str, nn.Module] = OrderedDict(conv=conv, bn=nn.BatchNorm2d(c_out))
    if relu:
        layers["act"] = nn.ReLU(inplace=True)
    return nn.Sequential(layers)


def conv_bn_act(
    c_in: int,
    c_out: int,
    size: int = 1,
    stride: int = 1,
    groups: int = 1,
    act: type[nn.Module] | None = nn.ReLU,
    eps: float = 1e-5,
    momentum: float = 0.1,
) -> nn.Sequential:
    """Return convolution, batch norm and activation under torchvision's keys, `0`, `1`, `2`.

    Shapes: (N, C_in, H, W) -> (N, C_out, H/s, W/s).

    Args:
        c_in: C_in.
        c_out: C_out.
        size: side of the kernel; half of it is padded.
        stride: s.
        groups: of the convolution; C_in: depthwise.
        act: None: no activation.
        eps, momentum: of the batch norm.
    """
    conv = nn.Conv2d(c_in, c_out, size, stride, padding=size // 2, groups=groups, bias=False)
    norm = nn.BatchNorm2d(c_out, eps=eps, momentum=momentum)
    return nn.Sequential(conv, norm) if act is None else nn.Sequential(conv, norm, act(inplace=True))
