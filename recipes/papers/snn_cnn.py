"""The SNN authors' tutorial: SELU, its initial weights and its dropout against ReLU, on a small CNN

Paper:    Self-Normalizing Neural Networks (Klambauer, Unterthiner, Mayr, Hochreiter; NIPS 2017)
          https://arxiv.org/abs/1706.02515
Source:   github bioinf-jku/SNNs at bef60715, Pytorch/SelfNormalizingNetworks_CNN_MNIST.ipynb (outputs)
Settings: as `snn_mlp`; conv 5x5 to 8, pool, conv 3x3 to 16, pool, 512, 10; dropout after the 512 (ours: we have not
          read where the notebook has it)
Trap:     Three things differ between the arms. At this rate, 20 epochs end long before either network is trained.
Rule:     one run. We assume that the notebook's early stopping on 10,000 images chose the last epoch
"""

from callbacks import Activation, Dropout, LeCun
from recipes.papers.frame.data import digits
from recipes.papers.frame.dropout import AlphaDropout
from recipes.papers.frame.optimization import sgd
from recipes.papers.frame.row import Effect, Fit, Published, Row
from recipes.papers.snn_mlp import TRAIN
from zoo import ConvNet


def network(run) -> ConvNet:
    """Return the network with ReLUs."""
    return ConvNet("8@5 max2 16@3 max2 512", 10, in_chans=1, **sgd(1e-3))


ROW = Row(
    name="snn_cnn",
    data=lambda root: digits(root, train=TRAIN, mean=0.1307, std=0.3081),
    arms={
        "ReLU": Fit(network, lambda run: [Dropout(0.05)], epochs=20, drop_last=True),
        "SELU": Fit(network, lambda run: [Activation("selu"), LeCun(), AlphaDropout(0.05)], epochs=20, drop_last=True),
    },
    claims=(Published("ReLU", (94.58,)), Published("SELU", (95.91,)), Effect("SELU", "ReLU", (1.33,))),
    seeds=5,
    minutes=2.7,
)
