"""Keras's example of mixup

Paper:    mixup (Zhang, Cisse, Dauphin, Lopez-Paz; ICLR 2018) https://arxiv.org/abs/1710.09412
Source:   github keras-team/keras-io at 1f7ae633, examples/vision/md/mixup.md (outputs)
Settings: Fashion-MNIST / 255, without the first 2,000 images; conv 5x5 to 16, pool, conv 5x5 to 32, pool, dropout .2,
          global mean, 128, 10, ReLU, Glorot-uniform; Adam .001, batch 64, 10 epochs; lambda ~ Beta(.2, .2) for every
          image, whose partner is from a second, independently shuffled batch
Trap:     The effect is .35 points from one run each, no larger than that of the seed alone.
Rule:     one run, last epoch; expected before running: undecided
Differs:  The partner is another image of the same batch, where Keras takes one of an independent batch.
"""

import torch
from torch.distributions import Beta

from callbacks import Xavier
from callbacks.frame.trick import Trick
from recipes.papers.frame.data import digits
from recipes.papers.frame.optimization import adam
from recipes.papers.frame.row import Effect, Fit, Published, Row
from zoo import ConvNet


class MixUpEach(Trick):
    """Mix every image with a lambda of its own.

    Args:
        alpha: parameter of the Beta distribution, > 0.
    """

    def __init__(self, alpha: float):
        self.alpha = alpha

    def on_train_batch_start(self, trainer, model, batch: list, batch_idx: int) -> None:
        """Refill the batch: x' = lam x + (1 - lam) x[perm], and the labels likewise."""
        x, y = batch[0], torch.nn.functional.one_hot(batch[1], 10).float()
        lam = Beta(self.alpha, self.alpha).sample((len(x),)).to(x.device)
        perm = torch.randperm(len(x), device=x.device)
        batch[:] = [torch.lerp(v[perm], v, lam.view(-1, *[1] * (v.ndim - 1))) for v in (x, y)]


def network(run) -> ConvNet:
    """Return the network."""
    return ConvNet("16@5 max2 32@5 max2 drop0.2 gap 128", 10, in_chans=1, **adam(eps=1e-7))


ROW = Row(
    name="keras_mixup",
    data=lambda root: digits(root, "FashionMNIST", train=slice(2000, None)),
    arms={
        "none": Fit(network, lambda run: [Xavier()], epochs=10, batch=64),
        "mixup": Fit(network, lambda run: [Xavier(), MixUpEach(0.2)], epochs=10, batch=64),
    },
    claims=(Published("none", (86.45,)), Published("mixup", (86.80,)), Effect("mixup", "none", (0.35,))),
    seeds=10,
    minutes=3,
)
