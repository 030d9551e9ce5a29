"""Géron's book, chapter 11: SELU against ReLU in an MLP of 100 layers

Paper:    Self-Normalizing Neural Networks (Klambauer et al.; NIPS 2017) https://arxiv.org/abs/1706.02515; the numbers
          are those of Hands-On Machine Learning, 2nd edition (Géron; 2019)
Source:   github ageron/handson-ml2 at 1e211527, 11_training_deep_neural_networks.ipynb (outputs)
Settings: Fashion-MNIST, images 5,000 to 60,000, accuracy on the first 5,000; each pixel has mean 0 and deviation 1;
          784-300, 99 layers of 100, 10; ReLU with He's weights, SELU with LeCun's; SGD .001, batch 32, 5 epochs
Trap:     Without batch norm or residual branches, the seed decides how soon such a network begins to learn.
Rule:     one run, last epoch
"""

from pathlib import Path

from callbacks import Activation, Kaiming, LeCun
from recipes.papers.frame.data import Images, digits, files
from recipes.papers.frame.optimization import sgd
from recipes.papers.frame.row import Effect, Fit, Published, Row, Run
from zoo import MLP


def standardise(root: Path) -> Images:
    """Return the images with each pixel standardised."""
    pixels = files(root, "FashionMNIST")[0][5000:].float() / 255
    mean, std = pixels.mean(0), pixels.std(0, correction=0)
    return digits(root, "FashionMNIST", slice(5000, None), slice(5000), mean, std)


def network(run: Run) -> MLP:
    """Return the network with ReLUs."""
    return MLP("-".join(["300", *["100"] * 99]), 10, in_chans=1, **sgd(1e-3))


ROW = Row(
    name="geron_deep",
    data=standardise,
    arms={
        "ReLU": Fit(network, lambda run: [Kaiming()], epochs=5, batch=32),
        "SELU": Fit(network, lambda run: [Activation("selu"), LeCun()], epochs=5, batch=32),
    },
    claims=(Published("ReLU", (73.80,)), Published("SELU", (82.18,)), Effect("SELU", "ReLU", (8.38,))),
    seeds=5,
    minutes=8,
)
