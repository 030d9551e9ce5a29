"""MLP: pixels in a row, hidden layers of units that see all of the layer below, classes.

Paper:    Learning Representations by Back-Propagating Errors (Rumelhart, Hinton, Williams; Nature 1986)
          https://doi.org/10.1038/323533a0; "300-100" is LeNet-300-100 of Gradient-Based Learning Applied to Document
          Recognition (LeCun et al. 1998) https://doi.org/10.1109/5.726791, "800-800" and "1200-1200" are student and
          teacher of https://arxiv.org/abs/1503.02531, "1024-1024" is the network of https://arxiv.org/abs/1701.06548
Code:     none: the equation is its own reference
Block:    h = relu(W x + b), the batch norm, where there is one, before or behind the ReLU; z = W h + b
Shapes:   (N, C, H, W) -rows-> (N, C H W) -hidden1-> (N, D_1) -hidden2-> ... -head-> (N, K)
Defaults: training arguments of `Classifier`; no batch norm; weights and biases as torch draws them
Differs:  sigmoid, tanh and other units: `callbacks.Activation`; other initial weights: `Kaiming`, `Xavier`, `LeCun`.
          The stages are vectors: tricks that act on maps or tokens refuse them. Keys are our own.
"""

from collections import OrderedDict
from typing import Literal

from torch import Tensor, nn

from zoo.frame.classifier import Classifier

#        units of the hidden layers
VARIANTS = {
    "100": (100,),
    "128-128-128": (128, 128, 128),
    "256-256": (256, 256),
    "300-100": (300, 100),
    "800-800": (800, 800),
    "1024-1024": (1024, 1024),
    "1200-1200": (1200, 1200),
    "2048-2048": (2048, 2048),
}

Norm = Literal["before", "after"]


class MLP(Classifier):
    """`MLP("300-100", num_classes=10, image_size=28, channels=1)`. Any widths will do: `MLP("75-45")`.

    Args:
        variant: units of the hidden layers, with hyphens between them; `VARIANTS` has those of known papers.
        num_classes: K.
        image_size: side of the square images, in pixels. None: 28.
        weights: see `Classifier.load_weights`; None: random.
        channels: C.
        norm: a batch norm in each hidden layer, "before" or "after" the activation; None: none.
        training: training arguments of `Classifier`.

    Raises:
        ValueError: for a variant that is no list of widths, or another place of the norm.
    """

    def __init__(
        self,
        variant: str = "1024-1024",
        num_classes: int = 1000,
        image_size: int | None = None,
        weights: str | None = None,
        *,
        channels: int = 3,
        norm: Norm | None = None,
        **training,
    ):
        widths = VARIANTS.get(variant) or parse_widths(variant)
        if norm not in (None, "before", "after"):
            raise ValueError(f"MLP: norm must be 'before', 'after' or None, got {norm!r}")
        image_size = image_size or 28
        super().__init__(num_classes=num_classes, image_size=image_size, **training)

        inputs = channels * image_size**2
        for i, (c_in, c_out) in enumerate(zip((inputs, *widths), widths, strict=False), 1):
            setattr(self, f"hidden{i}", hidden_layer(c_in, c_out, norm))
        self.stage_paths = tuple(f"hidden{i}" for i in range(1, len(widths) + 1))
        self.head = nn.Linear(widths[-1], num_classes)
        if weights is not None:
            self.load_weights(weights)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        for layer in self.stages.values():
            x = layer(x)
        return self.head(x)


def hidden_layer(c_in: int, c_out: int, norm: str | None) -> nn.Sequential:
    """Build linear, batch norm before or after ("before", "after", None: none), ReLU: (N, c_in) -> (N, c_out)."""
    layers: OrderedDict[str, nn.Module] = OrderedDict(linear=nn.Linear(c_in, c_out))
    if norm == "before":
        layers["bn"] = nn.BatchNorm1d(c_out)
    layers["act"] = nn.ReLU()
    if norm == "after":
        layers["bn"] = nn.BatchNorm1d(c_out)
    return nn.Sequential(layers)


def parse_widths(variant: str) -> tuple[int, ...]:
    """Read "75-45" as (75, 45). Raises ValueError for anything else."""
    words = variant.split("-")
    if not all(word.isdecimal() and int(word) > 0 for word in words):
        raise ValueError(f"MLP has no {variant!r}: give the units of its hidden layers, such as '300-100'")
    return tuple(map(int, words))
