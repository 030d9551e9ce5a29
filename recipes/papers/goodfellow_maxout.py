"""Goodfellow et al. 2013: maxout with dropout on MNIST, without knowledge of the images' geometry

Paper:    Maxout Networks (Goodfellow, Warde-Farley, Mirza, Courville, Bengio; ICML 2013)
          https://arxiv.org/abs/1302.4389, table 1
Source:   github lisa-lab/pylearn2 at af81e5c3, pylearn2/scripts/papers/maxout: README, mnist_pi.yaml,
          mnist_pi_continued.yaml (the authors')
Settings: MNIST, pixels in [0, 1]; 784, two layers of 240 maxout units of 5 pieces, 10; weights uniform up to .005,
          biases 0; SGD, batch 100; dropout .2 of the pixels, which are not scaled, and .5 of the units; norms of the
          weights into a piece or class of at most 1.9365.
          First 50,000 images at a rate of .1, divided by 1.000004 at each step, the momentum rising from .5 to .7 at
          epoch 250, until 100 epochs bring no lower error on the other 10,000. From the best epoch on, all 60,000 at
          .0615082606673 and momentum .694376766682, until the loss of those 10,000 is that of the 50,000 then
Trap:     The second part has the rate and the momentum of the source's best epoch, 243, whatever the best one is here.
Rule:     one run, last epoch
Differs:  The losses that end the second part are without dropout; the source's monitor draws masks. The velocity is
          multiplied by the rate of its step, where the source adds steps that are.
"""

import dataclasses
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from callbacks import Dropout, EarlyStopping
from callbacks.dropout.maxout import to_maxout
from callbacks.frame.trick import Trick
from recipes.papers.frame.data import Images, InOrder, digits
from recipes.papers.frame.max_norm import MaxNorm
from recipes.papers.frame.optimization import Momentum, Rate, sgd
from recipes.papers.frame.row import Fit, Published, Row, Run, Trained
from zoo import MLP

EPOCHS, PATIENCE = 1000, 100  # of each part, at most; epochs without a lower error


class DropPixels(Trick):
    """Set pixels to 0 with probability .2; the others stay as they are."""

    def on_train_batch_start(self, trainer: L.Trainer, model: L.LightningModule, batch: Any, batch_idx: int) -> None:
        """Change the images."""
        batch[0] = batch[0] * (torch.rand_like(batch[0]) < 0.8)


class StopAtLoss(L.Callback):
    """End the run when the loss of some images has come down to that of others.

    Args:
        most: the loss at which it ends.
        x: the images.
        y: their classes.
    """

    def __init__(self, most: float, x: Tensor, y: Tensor):
        self.most, self.x, self.y = most, x, y

    def on_train_epoch_end(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        """Look at the loss."""
        trainer.should_stop = trainer.should_stop or loss(model, self.x, self.y) <= self.most
        model.train()


@torch.no_grad()
def loss(network: nn.Module, x: Tensor, y: Tensor) -> float:
    """Return the mean cross-entropy over images, in evaluation mode."""
    network.eval()
    return sum(F.cross_entropy(network(a), b, reduction="sum").item() for a, b in InOrder(x, y, 1000)) / len(y)


@torch.no_grad()
def network(lr: float = 0.1, momentum: float = 0.5) -> MLP:
    """Return the network with the source's first weights."""
    made = MLP("240-240", 10, in_chans=1, **sgd(lr, momentum))
    to_maxout(made, 5, ["hidden1.linear", "hidden2.linear"])
    for layer in (module for module in made.modules() if isinstance(module, nn.Linear)):
        layer.weight.uniform_(-0.005, 0.005)
        layer.bias.zero_()
    return made


def tricks() -> list[L.Callback]:
    """Return what both parts train with."""
    rate = Rate("falls by 4e-6 a step", lambda t, T: 1.000004**-t)
    return [rate, DropPixels(), Dropout(0.5, ("hidden1", "hidden2")), MaxNorm(*3 * [1.9365])]


def part(run: Run) -> Images:
    """Return what trains first, and the other training images in the place of the test's."""
    x, y = run.data.x, run.data.y
    n = len(x) * 5 // 6
    return dataclasses.replace(run.data, x=x[:n], y=y[:n], held_x=x[n:], held_y=y[n:])


def arm(run: Run) -> Trained:
    """Train both parts."""
    stop = EarlyStopping("val/acc", "max", PATIENCE)
    first = Fit(lambda run: network(), lambda run: [*tricks(), Momentum(0.7, 250), stop], EPOCHS, 100, data=part)(
        run
    ).network
    images = part(run)
    until = StopAtLoss(loss(first, images.x, images.y), images.held_x, images.held_y)

    def begin(run: Run) -> MLP:
        made = network(0.0615082606673, 0.694376766682)
        made.load_state_dict(first.state_dict())
        return made

    return Fit(begin, lambda run: [*tricks(), until], EPOCHS, 100)(run)


ROW = Row(
    name="goodfellow_maxout",
    data=digits,
    arms={"maxout": arm},
    claims=(Published("maxout", (99.06,)),),
    seeds=3,
    minutes=60,
    network=lambda run: network(),
)
