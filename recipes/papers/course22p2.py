"""fast.ai's course, lessons 11 and 12: initial weights, norms and schedules in three epochs

Paper:    Kaiming https://arxiv.org/abs/1502.01852, layer norm https://arxiv.org/abs/1607.06450, batch norm
          https://arxiv.org/abs/1502.03167, one cycle https://arxiv.org/abs/1803.09820; the numbers are the course's
Source:   github fastai/course22p2 at df932323, nbs/11_initializing.ipynb and nbs/12_accel_sgd.ipynb (outputs)
Settings: Fashion-MNIST, mean .28, std .35 of a batch. Convolutions 3x3 of stride 2 to 8, 16, 32, 64, 10. Most arms have
          leaky ReLU (.1) minus .4 and He-normal weights. SGD .2 with momentum .85, batch 1024, 3 epochs. Schedules:
          AdamW .02, and one cycle with 5 epochs to .06
Trap:     After 3 epochs, the seed changes the numbers by more than most of their differences.
Rule:     one run, last epoch
Differs:  Layer norm has a gain and a shift for each channel, where the course has one of each. LSUV is left out: we
          have no such trick.
"""

import math

import torch.nn.functional as F
from torch import Tensor, nn

from callbacks import CosineDecay, Norm, OneCycle
from recipes.papers.frame.data import digits
from recipes.papers.frame.initial import HeWeights
from recipes.papers.frame.optimization import Rate, adamw, sgd
from recipes.papers.frame.row import Effect, Fit, Published, Row
from zoo import ConvNet
from zoo.frame.surgery import replace
from zoo.layers.norm_order import Norm as Place

SGD = sgd(0.2, momentum=0.85)


class Shifted(nn.Module):
    """Leaky ReLU (.1) minus .4."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply it to each feature."""
        return F.leaky_relu(x, 0.1) - 0.4


def network(training, norm: Place | None, shifted: bool) -> ConvNet:
    """Return the network."""
    model = ConvNet("stride2", 10, in_chans=1, norm=norm, **training)
    if shifted:
        for path in [path for path, module in model.named_modules() if isinstance(module, nn.ReLU)]:
            replace(model, path, Shifted())
    return model


def raw(run):
    """Return the images with pixels in [0, 1]."""
    undo = lambda x: x * 0.35 + 0.28  # noqa: E731
    return type(run.data)(undo(run.data.x), run.data.y, undo(run.data.held_x), run.data.held_y)


def arm(*make, training=SGD, norm=None, shifted=True, batch=1024, epochs=3, data=None) -> Fit:
    """Return an arm with the tricks that `make` makes."""
    leak = 0.1 if shifted else 0.0
    return Fit(
        lambda run: network(training, norm, shifted),
        lambda run: [HeWeights(leak, zero_bias=False), *(one() for one in make)],
        epochs,
        batch,
        data=data,
    )


def by_epoch(t: int, total: float) -> float:
    """Return a cosine over three epochs that changes once an epoch."""
    return (1 + math.cos(math.pi * (3 * t // total) / 3)) / 2


ROW = Row(
    name="course22p2",
    data=lambda root: digits(root, "FashionMNIST", mean=0.28, std=0.35),
    arms={
        "Kaiming, raw input": arm(shifted=False, data=raw),
        "Kaiming": arm(shifted=False),
        "leaky": arm(),
        "LayerNorm": arm(lambda: Norm("layer"), norm="before"),
        "BN": arm(training=sgd(0.4, momentum=0.85), norm="before"),
        "BN, batch 256": arm(norm="before", batch=256),
        "cosine by batch": arm(CosineDecay, training=adamw(0.02), norm="before"),
        "cosine by epoch": arm(lambda: Rate("by epoch", by_epoch), training=adamw(0.02), norm="before"),
        "1cycle": arm(OneCycle, training=adamw(0.06), norm="before", epochs=5),
    },
    claims=(
        Published("Kaiming, raw input", (10.0,)),
        Published("Kaiming", (85.3,)),
        Published("leaky", (87.2,)),
        Effect("leaky", "Kaiming", (1.9,)),
        Published("LayerNorm", (87.4,)),
        Effect("LayerNorm", "leaky", (0.2,)),
        Published("BN", (84.9,)),
        Published("BN, batch 256", (87.6,)),
        Published("cosine by batch", (88.3,)),
        Published("cosine by epoch", (88.7,)),
        Effect("cosine by epoch", "cosine by batch", (0.4,)),
        Published("1cycle", (90.6,)),
    ),
    seeds=10,
    minutes=2.5,
)
