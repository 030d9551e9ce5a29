"""The SNN authors' tutorial: SELU, its initial weights and its dropout against ReLU, on an MLP

Paper:    Self-Normalizing Neural Networks (Klambauer, Unterthiner, Mayr, Hochreiter; NIPS 2017)
          https://arxiv.org/abs/1706.02515
Source:   github bioinf-jku/SNNs at bef60715, Pytorch/SelfNormalizingNetworks_MLP_MNIST.ipynb (outputs)
Settings: MNIST, 50,000 images as the notebook draws them, mean .1307, std .3081; 784-512-256-10; SGD .001 without
          momentum, batch 128, drop_last, 20 epochs; dropout .05 after each hidden layer. ReLU: torch's weights,
          dropout. SELU: N(0, 1/n), biases 0, alpha dropout
Trap:     Three things differ between the arms. At this rate, 20 epochs end long before either network is trained.
Rule:     one run, last epoch: the one that the notebook's early stopping on 10,000 images chose
"""

import numpy as np
import torch

from callbacks import Activation, Dropout, LeCun
from recipes.papers.frame.data import digits
from recipes.papers.frame.dropout import AlphaDropout
from recipes.papers.frame.optimization import sgd
from recipes.papers.frame.row import Effect, Fit, Published, Row
from zoo import MLP

HELD_OUT = np.random.default_rng(seed=42).choice(np.arange(60000), size=10000, replace=False)  # as the notebook draws
TRAIN = torch.from_numpy(np.delete(np.arange(60000), HELD_OUT))
LAYERS = ("hidden1", "hidden2")


def network(run) -> MLP:
    """Return the network with ReLUs."""
    return MLP("512-256", 10, in_chans=1, **sgd(1e-3))


ROW = Row(
    name="snn_mlp",
    data=lambda root: digits(root, train=TRAIN, mean=0.1307, std=0.3081),
    arms={
        "ReLU": Fit(network, lambda run: [Dropout(0.05, LAYERS)], epochs=20, drop_last=True),
        "SELU": Fit(
            network, lambda run: [Activation("selu"), LeCun(), AlphaDropout(0.05, LAYERS)], epochs=20, drop_last=True
        ),
    },
    claims=(Published("ReLU", (90.76,)), Published("SELU", (92.04,)), Effect("SELU", "ReLU", (1.28,))),
    seeds=10,
    minutes=2.6,
)
