"""Squeeze-and-excitation: weigh each channel by what the whole image shows.

Paper:    Squeeze-and-Excitation Networks (Hu, Shen, Albanie, Sun, Wu; CVPR 2018) https://arxiv.org/abs/1709.01507,
          section 3
"""

from torch import Tensor, nn

from zoo.layers.layout import global_average


class SqueezeExcite(nn.Module):
    """y = s * x,  s = gate(W2 ReLU(W1 mean(x) + b1) + b2), one number a channel. Shapes: (N, C, H, W) -> (N, C, H, W).

    Args:
        c: C.
        squeezed: channels between W1 and W2.
        gate: maps to [0, 1]. None: the sigmoid of the paper.
    """

    def __init__(self, c: int, squeezed: int, gate: nn.Module | None = None):
        super().__init__()
        self.fc1 = nn.Conv2d(c, squeezed, kernel_size=1)
        self.relu = nn.ReLU(inplace=True)
        self.fc2 = nn.Conv2d(squeezed, c, kernel_size=1)
        self.gate = nn.Sigmoid() if gate is None else gate

    def forward(self, x: Tensor) -> Tensor:
        s = global_average(x)[:, :, None, None]  # (N, C, 1, 1)
        return x * self.gate(self.fc2(self.relu(self.fc1(s))))
