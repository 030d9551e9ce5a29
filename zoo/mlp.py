"""MLP: all pixels in one vector, then linear layers, in which each unit sees all units of the layer before.

Paper:    Learning Representations by Back-Propagating Errors (Rumelhart, Hinton, Williams; Nature 1986)
          https://doi.org/10.1038/323533a0; "300-100" is LeNet-300-100 of Gradient-Based Learning Applied to Document
          Recognition (LeCun et al. 1998) https://doi.org/10.1109/5.726791, "800-800" and "1200-1200" are student and
          teacher of https://arxiv.org/abs/1503.02531, "1024-1024" is the network of https://arxiv.org/abs/1701.06548
Code:     none: the equation is its own reference
Block:    h = ReLU(W x + b), with `norm` a batch norm before or after the ReLU;  logits = W h + b
Shapes:   (N, C, H, W) -rows-> (N, C H W) -hidden1-> (N, D_1) -hidden2-> ... -head-> (N, K)
Defaults: training arguments of `Classifier`; no batch norm; weights and biases as torch draws them
Differs:  the units are ReLUs: `callbacks.Activation` makes them sigmoid or tanh, and `Kaiming`, `Xavier` or `LeCun`
          draw other weights. The stages are vectors: tricks that act on maps or tokens refuse them. Keys are our own.
"""

from dataclasses import dataclass
from typing import Unpack

from torch import Tensor, nn

from zoo.frame.arguments import Training
from zoo.frame.model import Model
from zoo.layers.norm_order import Norm, add_norm


@dataclass(frozen=True)
class Row:
    """A network of a paper."""

    widths: tuple[int, ...]  # units of the hidden layers


def parse_widths(variant: str) -> Row:
    """Return the row of "75-45": 75 and 45 hidden units. Raises ValueError for anything else."""
    words = variant.split("-")
    if not all(word.isdecimal() and int(word) > 0 for word in words):
        raise ValueError(f"MLP has no {variant!r}: give the units of its hidden layers, such as '300-100'")
    return Row(tuple(map(int, words)))


PAPERS = ("100", "128-128-128", "256-256", "300-100", "800-800", "1024-1024", "1200-1200", "2048-2048")
VARIANTS = {name: parse_widths(name) for name in PAPERS}


class MLP(Model):
    """`MLP("300-100", num_classes=10, image_size=28, in_chans=1)`. Any widths will do: `MLP("75-45")`.

    Args:
        variant: units of the hidden layers, with hyphens between them; `VARIANTS` has those of known papers.
        norm: place of a batch norm in each hidden layer, "before" or "after" the activation; None: no batch norm.

    Raises:
        ValueError: a variant that is no list of widths, or another place of the norm.
    """

    variants = VARIANTS
    default_size = 28
    own_channels = True

    def __init__(
        self,
        variant: str | int = "1024-1024",
        num_classes: int = 1000,
        image_size: int | None = None,
        weights: str | None = None,
        *,
        norm: Norm | None = None,
        **training: Unpack[Training],
    ):
        super().__init__(variant, num_classes, image_size, weights, **training)
        width = self.in_chans * self.image_size**2
        for i, units in enumerate(parse_widths(self.variant).widths, 1):
            layers = {"linear": nn.Linear(width, units), "act": nn.ReLU()}
            self.add_module(f"hidden{i}", add_norm(layers, nn.BatchNorm1d(units), norm))
            self.stage_paths = (*self.stage_paths, f"hidden{i}")
            width = units
        self.head = nn.Linear(width, num_classes)

    @classmethod
    def check_variant(cls, variant: str) -> None:
        """Raise ValueError for a variant that is no list of widths."""
        parse_widths(variant)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        for hidden in self.stages.values():
            x = hidden(x)
        return self.head(x)
