"""What AlexNet and ZFNet share: the norm, the sizes of the maps, the last layers.

Paper:    ImageNet Classification with Deep Convolutional Neural Networks (Krizhevsky, Sutskever, Hinton; NIPS 2012)
          https://doi.org/10.1145/3065386, sections 3.3 and 3.5
"""

from collections import OrderedDict

from torch import nn

from zoo.layers.local_response_norm import LocalResponseNorm


def local_norm() -> LocalResponseNorm:
    """Return the paper's norm: b_i = a_i / (2 + 1e-4 sum_{|j - i| <= 2} a_j^2)^0.75. torch divides alpha by 5."""
    return LocalResponseNorm(size=5, alpha=5e-4, beta=0.75, k=2.0)


def pooled_side(pixels: int, padding: tuple[int, int, int]) -> int:
    """Return the side of a small image's maps after three max pools of 3x3 and stride 2, at most 6.

    Args:
        pixels: side of the image.
        padding: of each pool.
    """
    for pad in padding:
        pixels = (pixels + 2 * pad - 3) // 2 + 1
    return min(pixels, 6)


def hidden_layers(features: int, num_classes: int, drop_inputs: bool) -> nn.Sequential:
    """Return two hidden layers of 4096 units and the layer of the classes: (N, features) -> (N, K).

    Args:
        features: C H W of the maps that are flattened.
        num_classes: K.
        drop_inputs: dropout on the inputs of the hidden layers (torchvision); else on their outputs (Caffe).
    """
    before, after = (nn.Dropout(0.5), nn.Identity()) if drop_inputs else (nn.Identity(), nn.Dropout(0.5))
    layers: dict[str, nn.Module] = {
        "0": before, "1": nn.Linear(features, 4096), "2": nn.ReLU(inplace=True),
        "3": nn.Dropout(0.5), "4": nn.Linear(4096, 4096), "5": nn.ReLU(inplace=True),
        "drop": after, "6": nn.Linear(4096, num_classes),
    }  # fmt: skip
    return nn.Sequential(OrderedDict(layers))
