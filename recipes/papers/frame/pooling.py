"""The arms of MNIST-1D's benchmark of poolings: kinds of pooling by numbers of training signals."""

from collections.abc import Sequence
from functools import lru_cache

import torch

from callbacks import StochasticPooling
from datamodules.mnist1d import signals
from recipes.papers.frame.data import Images
from recipes.papers.frame.optimization import adam
from recipes.papers.frame.row import Effect, Fit, Published, Row
from zoo import ConvNet

STEPS, BATCH, TEST = 6000, 100, 1000
NETWORKS = {
    "none": "20@1x3+1 20@1x3+1",
    "stride": "20@1x3/2+1 20@1x3/2+1",
    "max": "20@1x3+1 max1x2 20@1x3+1 max1x2",
    "mean": "20@1x3+1 avg1x2 20@1x3+1 avg1x2",
    "L2": "20@1x3+1 lp1x2 20@1x3+1 lp1x2",
    "stochastic": "20@1x3+1 max1x2 20@1x3+1 max1x2",  # becomes stochastic by the trick
}


@lru_cache(maxsize=1)
def images(count: int) -> Images:
    """Draw `count` training signals and 1,000 of the test, normalised together, (N, 1, 1, 40)."""
    drawn, classes = signals(count + TEST)
    x, y = torch.from_numpy(drawn).float()[:, None, None], torch.from_numpy(classes)
    return Images(x[:count], y[:count], x[count:], y[count:])


def arm(kind: str, count: int) -> Fit:
    """Return an arm: a kind of pooling, and how many signals it trains on."""
    epochs = STEPS * BATCH // count
    return Fit(
        lambda run: ConvNet(NETWORKS[kind], 10, image_size=40, height=1, in_chans=1, **adam(0.01)),
        lambda run: [StochasticPooling()] if kind == "stochastic" else [],
        epochs=epochs,
        batch=BATCH,
        shuffle=False,
        every=max(1, epochs // 10),
        data=lambda run: images(count).to(run.data.x.device),
    )


def row(name: str, published: dict[int, Sequence[float]], seeds: int, minutes: float) -> Row:
    """Return a row of all kinds, for the numbers of signals given with accuracies without, stride, max, mean, L2."""
    claims: list[Published | Effect] = []
    for count, numbers in published.items():
        kinds = list(zip(NETWORKS, numbers, strict=False))
        claims += [Published(f"{kind}, {count}", (number,)) for kind, number in kinds]
        plain = kinds[0][1]
        claims += [
            Effect(f"{kind}, {count}", f"none, {count}", (round(number - plain, 1),)) for kind, number in kinds[1:]
        ]
    arms = {f"{kind}, {count}": arm(kind, count) for count in published for kind in NETWORKS}
    return Row(name, lambda root: images(min(published)), arms, tuple(claims), seeds, minutes)
