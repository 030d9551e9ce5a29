"""Stochastic pooling: draw one activation of each window, with probability proportional to its value.

Paper:    Stochastic Pooling for Regularization of Deep Convolutional Neural Networks (Zeiler, Fergus; ICLR 2013)
          https://arxiv.org/abs/1301.3557, eq. 4 to 6
Code:     none published
Equation: p_i = a_i / sum_k a_k;  training: s = a_l with l drawn from p;  evaluation: s = sum_i p_i a_i
Shapes:   (N, C, H, W) -> (N, C, H', W'), as the max pooling that it replaces
Defaults: none to choose
Differs:  Negative activations have probability 0 (the paper's follow a ReLU). A window without positive ones gives 0,
          and no gradient. Padding is 0, and so is never drawn.
"""

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from callbacks.frame.trick import Trick
from zoo.frame.surgery import operate, operation, replace
from zoo.layers.layout import match_layout


def draw(windows: Tensor, exponential: Tensor) -> Tensor:
    """Draw one activation of each window, with probability a / sum a.

    Args:
        windows: (..., k), >= 0.
        exponential: (..., k), draws of Exp(1): the largest a / e belongs to i with probability a_i / sum a.

    Returns:
        The drawn activations, (...).
    """
    chosen = (windows.float() / exponential).argmax(-1, keepdim=True)
    return windows.gather(-1, chosen).squeeze(-1)


class StochasticPool2d(nn.Module):
    """Pool as a max pooling with these arguments does, without dilation. Shapes: (N, C, H, W) -> (N, C, H', W')."""

    def __init__(
        self, kernel_size: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int], ceil_mode: bool
    ):
        super().__init__()
        self.kernel_size, self.stride, self.padding, self.ceil_mode = kernel_size, stride, padding, ceil_mode

    def forward(self, x: Tensor) -> Tensor:
        x = x.relu()
        if not self.training:
            pool = (self.kernel_size, self.stride, self.padding, self.ceil_mode)
            a = x.float()  # squares overflow in 16 bits
            sums, squares = F.avg_pool2d(a, *pool), F.avg_pool2d(a * a, *pool)
            return (squares / sums.clamp_min(torch.finfo(a.dtype).tiny)).to(x.dtype)
        windows = self.windows(x)
        exponential = torch.empty_like(windows, dtype=torch.float32).exponential_().clamp_min_(1e-30)
        return match_layout(draw(windows, exponential), x)

    def windows(self, x: Tensor) -> Tensor:
        """Return the activations of each window: (N, C, H, W) -> (N, C, H', W', k)."""
        (kh, kw), (sh, sw), (ph, pw) = self.kernel_size, self.stride, self.padding
        below, right = (self._overhang(n, *v) for n, *v in zip(x.shape[2:], (kh, kw), (sh, sw), (ph, pw), strict=True))
        x = F.pad(x, (pw, pw + right, ph, ph + below))
        return x.unfold(2, kh, sh).unfold(3, kw, sw).flatten(-2)

    def _overhang(self, n: int, kernel: int, stride: int, padding: int) -> int:
        """Return the rows of zeros that `ceil_mode` adds after the padding for the last window, which starts inside."""
        if not self.ceil_mode:
            return 0
        starts = -(-(n + 2 * padding - kernel) // stride)
        starts -= starts * stride >= n + padding
        return max(starts * stride + kernel - n - 2 * padding, 0)

    def extra_repr(self) -> str:
        return f"{self.kernel_size}, stride={self.stride}, padding={self.padding}, ceil_mode={self.ceil_mode}"


@operation("StochasticPooling")
def swap_max_pools(network: nn.Module) -> None:
    """Replace max pooling by stochastic pooling, in place. Raises TypeError for a network without any."""
    found = [(p, m) for p, m in network.named_modules(remove_duplicate=False) if isinstance(m, nn.MaxPool2d)]
    if not found:
        raise TypeError(f"{type(network).__name__} has no nn.MaxPool2d to change: take StochasticPooling out")
    if any(_pair(m.dilation) != (1, 1) for _, m in found):
        raise TypeError(f"{type(network).__name__} has a dilated max pooling, which StochasticPooling cannot change")
    for path, old in found:
        kernel, stride, padding = (_pair(v) for v in (old.kernel_size, old.stride, old.padding))
        replace(network, path, StochasticPool2d(kernel, stride, padding, old.ceil_mode).train(old.training))


def _pair(v: int | tuple[int, ...]) -> tuple[int, int]:
    return (v, v) if isinstance(v, int) else (v[0], v[1])


class StochasticPooling(Trick):
    """Swap the max poolings before training. Checkpoints remember it: `zoo.load` gives the changed network.

    Raises:
        TypeError: for a network without max poolings that are modules.
    """

    picture = "maps"

    def __init__(self):
        pass

    def prepare(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        if stage == "fit":
            operate(model, "StochasticPooling")
