"""PCA lighting noise: moves all pixels of an image along the principal directions of ImageNet's colours.

Paper:    ImageNet Classification with Deep Convolutional Neural Networks (Krizhevsky, Sutskever, Hinton; NIPS 2012),
          section 4.1  https://proceedings.neurips.cc/paper/2012/hash/c399862d3b9d6b76c8436e924a68c45b-Abstract.html
Code:     fb.resnet.torch (https://github.com/facebookarchive/fb.resnet.torch), whose eigenvalues everybody uses
Equation: [R, G, B] += 255 [p1 p2 p3] [a1 l1, a2 l2, a3 l3]^T,  a_i ~ N(0, std), one draw an image
Shapes:   uint8 (3, H, W) -> same
Defaults: std .1, the paper's; l and P of ImageNet's pixels in [0, 1]
Differs:  the result is rounded and clipped to bytes.
"""

import torch
from torch import Tensor
from torchvision.transforms import v2

EIGENVALUES = torch.tensor([0.2175, 0.0188, 0.0045])
EIGENVECTORS = torch.tensor([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])


def lighting(image: Tensor, alpha: Tensor) -> Tensor:
    """Add 255 P (alpha * l) to each pixel of uint8 (3, H, W): draws alpha (3,), eigenvalues l, eigenvectors P."""
    shift = (255 * EIGENVECTORS @ (alpha * EIGENVALUES)).round().short()  # bytes: rounding the shift rounds the sum
    return (image.short() + shift[:, None, None]).clamp_(0, 255).byte()


class Lighting(v2.Transform):
    """Move all pixels along the principal directions of ImageNet's colours: PCA noise.

    Args:
        std: of the three draws, >= 0.
    """

    def __init__(self, std: float = 0.1):
        super().__init__()
        if std < 0:
            raise ValueError(f"std must be >= 0, got {std}")
        self.std = std

    def make_params(self, flat_inputs: list[Tensor]) -> dict[str, Tensor]:
        return {"alpha": torch.randn(3) * self.std}

    def transform(self, image: Tensor, params: dict[str, Tensor]) -> Tensor:
        return lighting(image, params["alpha"])
