"""Pylearn2's recipe of dropout: 1.05 % of errors on MNIST without knowledge of the images' geometry

Paper:    Improving Neural Networks by Preventing Co-Adaptation of Feature Detectors (Hinton et al.; 2012)
          https://arxiv.org/abs/1207.0580; the numbers are of a random search for Goodfellow et al. 2013
Source:   github lisa-lab/pylearn2 at b073264e, pylearn2/scripts/papers/dropout/mnist.yaml
Settings: MNIST, 60,000 images, pixels in [0, 1]; 784-898-1532-10 ReLU; SGD .097259, batch 100, 440 epochs; the rate
          falls linearly, to .022292 of itself at epoch 560; the momentum rises linearly, from .5 to .699217 at epoch
          698; dropout .2 of the pixels and .5 of the units; weights uniform up to .00891 and .0575, those of the last
          layer 0; norms of the weights into a unit of at most 4.378, 2.970 and 4.627
Trap:     The number of epochs is that of the lowest error on 10,000 training images, with the other 50,000 trained; the
          rates were found by a random search of unknown size. So was which published run is shown.
Rule:     one run, last epoch
Differs:  The velocity is multiplied by the rate of its step, where the source adds steps that are.
"""

import lightning as L
import torch
from torch import nn

from callbacks import Dropout
from recipes.papers.frame.data import digits
from recipes.papers.frame.max_norm import MaxNorm
from recipes.papers.frame.optimization import Momentum, Rate, ramp, sgd
from recipes.papers.frame.row import Fit, Published, Row, Run
from zoo import MLP

EPOCHS = 440
RANGES, NORMS = (0.00891030471479, 0.0575059125935, 0.0), (4.378017, 2.970242, 4.626974)


def tricks(run: Run) -> list[L.Callback]:
    """Return what the network trains with."""
    rate = Rate("falls to .022 at epoch 560", lambda t, T: 1 - 0.977708 * ramp(EPOCHS * t // T, 560))
    dropout = [Dropout(0.2, "input"), Dropout(0.5, ("hidden1", "hidden2"))]
    return [rate, Momentum(0.699217, 698), *dropout, MaxNorm(*NORMS)]


@torch.no_grad()
def network(run: Run) -> MLP:
    """Return the network with the source's first weights."""
    made = MLP("898-1532", 10, in_chans=1, **sgd(0.097259, momentum=0.5))
    layers = [layer for layer in made.modules() if isinstance(layer, nn.Linear)]
    for layer, limit in zip(layers, RANGES, strict=True):
        layer.weight.uniform_(-limit, limit)
        layer.bias.zero_()
    return made


ROW = Row(
    name="pylearn2_dropout",
    data=digits,
    arms={
        "dropout": Fit(
            network,
            tricks,
            epochs=EPOCHS,
            batch=100,
            every=10,
        ),
    },
    claims=(Published("dropout", (98.95,)),),
    seeds=3,
    minutes=30,
)
