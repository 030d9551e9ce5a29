"""Local response normalisation, in float32 at any precision.

Paper:    ImageNet Classification with Deep Convolutional Neural Networks (Krizhevsky, Sutskever, Hinton; NIPS 2012)
          https://doi.org/10.1145/3065386, section 3.3
"""

from torch import Tensor, nn


class LocalResponseNorm(nn.LocalResponseNorm):
    """torch's layer, computed in float32: it sums squares, and on a CPU torch has no half-precision kernel.

    Shapes: (N, C, H, W) -> (N, C, H, W).
    """

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.float()).to(x.dtype)
