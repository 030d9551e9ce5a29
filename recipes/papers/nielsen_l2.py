"""Nielsen's book, chapter 3: L2 against overfitting 1,000 digits

Paper:    Neural Networks and Deep Learning (Nielsen; 2015), chapter 3
          http://neuralnetworksanddeeplearning.com/chap3.html
Source:   the chapter's text; github mnielsen/neural-networks-and-deep-learning at 72db53d7, fig/overfitting.py
Settings: MNIST, pixels in [0, 1]; 784-30-10, all units sigmoids, binary cross-entropy of the ten outputs summed;
          weights and biases from N(0, 1); SGD, eta .5, batch 10, 400 epochs of the first 1,000 images; penalty lambda /
          2n sum w^2 on weights alone, lambda .1, n 1,000
Trap:     The book quotes the best epoch on test images, and one run.
Rule:     one run, best epoch; the effect of two runs that share nothing but the settings
"""

from callbacks import Activation, BinaryCrossEntropy, NoBiasDecay
from recipes.papers.frame.data import digits
from recipes.papers.frame.initial import Normal
from recipes.papers.frame.optimization import sgd
from recipes.papers.frame.row import Effect, Fit, Published, Row
from zoo import MLP


def arm(decay: float, epochs: int) -> Fit:
    """Return an arm with the decay lambda / n."""
    return Fit(
        lambda run: MLP("30", 10, in_chans=1, **sgd(0.5, weight_decay=decay)),
        lambda run: [Activation("sigmoid"), Normal(1, bias=1), BinaryCrossEntropy(sum_classes=True), NoBiasDecay()],
        epochs=epochs,
        batch=10,
    )


ROW = Row(
    name="nielsen_l2",
    data=lambda root: digits(root, train=slice(1000)),
    arms={"none": arm(0.0, 400), "L2": arm(0.1 / 1000, 400)},
    claims=(
        Published("none", (82.27,), metric="best"),
        Published("L2", (87.1,), metric="best"),
        Effect("L2", "none", (4.83,), metric="best"),
    ),
    seeds=10,
    minutes=1.8,
)
