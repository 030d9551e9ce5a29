"""Hierarchical mixture: a tree whose inner nodes decide softly between two children, with an expert at each leaf.

Paper:    Dropout Regularization in Hierarchical Mixture of Experts (Irsoy, Alpaydin; Neurocomputing 2021)
          https://arxiv.org/abs/1812.10158, its soft tree; the model: Hierarchical Mixtures of Experts and the EM
          Algorithm (Jordan, Jacobs; Neural Computation 1994) https://doi.org/10.1162/neco.1994.6.2.181
Code:     none by the authors was found; written after the equation. Keys of the trunk are torchvision's, those of the
          tree `fc.gates` (level by level from the root), `fc.experts` (leaf by leaf) and `fc.gate_scale.scale`
Block:    y_m(x) = g_m(x) y_left(x) + (1 - g_m(x)) y_right(x),  g_m = sigmoid(w_m x + b_m) at the 2^h - 1 inner nodes,
          y_l = V_l x + c_l at the 2^h leaves;  so y = sum_l pi_l(x) y_l(x),  pi_l the product of gates on the way to l
Shapes:   (N, 3, H, W) -ResNet-> x (N, C) -> gates (N, 2^h - 1) -> pi (N, 2^h);  experts (N, 2^h, K) -> (N, K)
Defaults: ResNet-18 and h = 4 levels: ours. Gates and experts start as torch has linear layers
Differs:  written after the abstract and a port's equations, without the paper's full text. That the tree
          reads a ResNet's mean features is ours. Experts are linear (constants are the other kind) and give logits:
          softmax comes after the mixture. g is multiplied by a constant, at first 1, that `SubtreeDropout` sets.
"""

from dataclasses import dataclass
from typing import Unpack

import torch
from torch import Tensor, nn

from zoo import resnet
from zoo.frame.arguments import Training
from zoo.resnet import ResNet


@dataclass(frozen=True)
class Row(resnet.Row):
    """The ResNet that the tree reads, and the tree."""

    levels: int = 4  # of gates, h: 2^h experts


def tree(trunk: str, levels: int) -> Row:
    """Return the row of a tree of so many levels over a ResNet."""
    return Row(**vars(resnet.VARIANTS[trunk]), levels=levels)


VARIANTS = {
    "20-2": tree("20", 2),
    "20-4": tree("20", 4),
    "20-6": tree("20", 6),
    "18-4": tree("18", 4),
    "18-6": tree("18", 6),
    "50-4": tree("50", 4),
}


def leaf_weights(gates: Tensor) -> Tensor:
    """How much each leaf counts: the product of what lies on its way from the root.

    Args:
        gates: g (N, 2^h - 1), in [0, 1]: the root's, then level by level, from left to right.

    Returns:
        pi (N, 2^h), each of sum 1, from left to right.
    """
    weights, first = torch.ones_like(gates[:, :1]), 0
    while first < gates.shape[1]:
        left = gates[:, first : 2 * first + 1]  # this level's
        weights = torch.stack([weights * left, weights * (1 - left)], 2).flatten(1)
        first = 2 * first + 1
    return weights


class GateScale(nn.Module):
    """Multiplies gates by a number that is no parameter; `SubtreeDropout` sets it. Shapes: (...) -> (...)."""

    scale: Tensor

    def __init__(self):
        super().__init__()
        self.register_buffer("scale", torch.ones(()))

    def forward(self, gates: Tensor) -> Tensor:
        return gates * self.scale


class SoftTree(nn.Module):
    """Gates and experts on the same features. Shapes: (N, C) -> (N, K)."""

    def __init__(self, width: int, num_classes: int, levels: int):
        super().__init__()
        self.leaves = 2**levels
        self.drawn_as = f"{self.leaves} × linear {width} → {num_classes}\nweighed by a tree of gates"
        self.gates = nn.Linear(width, self.leaves - 1)
        self.gate_scale = GateScale()
        self.experts = nn.Linear(width, self.leaves * num_classes)

    def forward(self, x: Tensor) -> Tensor:
        weights = leaf_weights(self.gate_scale(self.gates(x).float().sigmoid()))
        said = self.experts(x).unflatten(1, (self.leaves, -1))
        return (said * weights[..., None].to(said.dtype)).sum(1)


class HierarchicalMixture(ResNet):
    """`HierarchicalMixture("18-4")` for ImageNet, `HierarchicalMixture("20-4", num_classes=10)` for CIFAR-10.

    The stages are those of the ResNet. Train with `SubtreeDropout`.
    """

    aliases = {}
    timm_names = {}
    torchvision_names = {}
    variants = VARIANTS
    block_path = ""
    small_only = ("20-2", "20-4", "20-6")

    def __init__(
        self,
        variant: str | int = "18-4",
        num_classes: int = 1000,
        image_size: int | None = None,
        weights: str | None = None,
        **training: Unpack[Training],
    ):
        super().__init__(variant, num_classes, image_size, weights, **training)
        self.add_module("fc", SoftTree(self.fc.in_features, num_classes, VARIANTS[self.variant].levels))
