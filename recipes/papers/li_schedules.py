"""Li, Zhuang, Orabona 2021: cosine and exponential decay against a constant rate on Fashion-MNIST

Paper:    A Second Look at Exponential and Cosine Step Sizes: Simplicity, Convergence, and Performance (Li, Zhuang,
          Orabona; ICML 2021) https://arxiv.org/abs/2002.05273
Source:   github zhenxun-zhuang/SGD-Exponential-Stepsize at 68f6c309, image classification/README.md (the authors')
Settings: Fashion-MNIST, mean .286, std .353; conv 5x5 to 32, pool, conv 5x5 to 64, pool, 1024, dropout .5, 10, ReLU;
          50 epochs, batch 128, weight decay 1e-4; SGD with Nesterov momentum .9 at .007 (constant) and .05, Adam at
          .0009 with the decay in its gradient; step t of T, from 1: cosine (1 + cos(pi t / T)) / 2, exponential
          .999902^t, 1/t 1 / (1 + .000384 t)
Trap:     Each rate is the best of a grid, which the table does not show. The claim is that no schedule differs from a
          constant rate here.
Rule:     mean of 5 runs, last epoch; the source's +- is a 95 % interval of the mean, so sd = +- sqrt(5) / 2.776
"""

import math
from typing import Any

from recipes.papers.frame.data import digits
from recipes.papers.frame.optimization import Rate, adam, sgd
from recipes.papers.frame.row import Effect, Fit, Published, Row
from zoo import ConvNet

LINE = "32@5+2 max2 64@5+2 max2 1024 drop0.5"
CURVES = {
    "cosine": lambda t, T: (1 + math.cos(math.pi * (t + 1) / T)) / 2,
    "exponential": lambda t, T: 0.999902 ** (t + 1),
    "1/t": lambda t, T: 1 / (1 + 0.000384 * (t + 1)),
}


def arm(training: dict[str, Any], curve: str = "") -> Fit:
    """Return an arm with an optimizer, and perhaps a curve of its rate."""
    return Fit(
        network=lambda run: ConvNet(LINE, 10, in_chans=1, **training),
        tricks=lambda run: [Rate(curve, CURVES[curve])] if curve else [],
        epochs=50,
    )


def nesterov(lr: float) -> dict[str, Any]:
    """Return the source's SGD."""
    return sgd(lr, momentum=0.9, weight_decay=1e-4, nesterov=True)


def deviation(interval: float) -> float:
    """Return the standard deviation of 5 runs from the 95 % interval of their mean."""
    return interval * math.sqrt(5) / 2.776


ROW = Row(
    name="li_schedules",
    data=lambda root: digits(root, "FashionMNIST", mean=0.286, std=0.353),
    arms={
        "constant": arm(nesterov(0.007)),
        "cosine": arm(nesterov(0.05), "cosine"),
        "exponential": arm(nesterov(0.05), "exponential"),
        "1/t": arm(nesterov(0.05), "1/t"),
        "Adam": arm(adam(9e-4) | {"weight_decay": 1e-4}),
    },
    claims=(
        Published("constant", (92.97,), deviation(0.33), k=5),
        Published("cosine", (92.85,), deviation(0.19), k=5),
        Published("exponential", (92.90,), deviation(0.09), k=5),
        Published("1/t", (92.97,), deviation(0.21), k=5),
        Published("Adam", (91.68,), deviation(0.23), k=5),
        Effect("cosine", "constant", (-0.12,)),
        Effect("exponential", "constant", (-0.07,)),
        Effect("Adam", "constant", (-1.29,)),
    ),
    seeds=3,
    minutes=250,
    gpu=True,
)
