"""A course's learning rate schedules: cosine, linear and exponential decay, and momentum

Paper:    SGDR (Loshchilov, Hutter; ICLR 2017) https://arxiv.org/abs/1608.03983 for the cosine; the numbers are a
          course's
Source:   github ufal/npfl138 at 959373df, tasks/mnist_training.md (expected outputs)
Settings: MNIST, the first 55,000 images / 255, accuracy on the last 5,000; one hidden layer of 100 ReLUs,
          Glorot-uniform, biases 0; batch 50, 10 epochs; Adam .01, which falls at each step to 1e-4 (linear, cosine) or
          1e-3 (exponential)
Trap:     none found. One standard error of 5,000 images at 98 % is .2 points; all arms share the images
Rule:     one run, last epoch
"""

from callbacks import CosineDecay, Xavier
from recipes.papers.frame.data import digits
from recipes.papers.frame.optimization import Rate, adam, sgd
from recipes.papers.frame.row import Effect, Fit, Published, Row
from zoo import MLP


def arm(training, *make) -> Fit:
    """Return an arm with an optimizer and the tricks that `make` makes."""
    return Fit(
        lambda run: MLP("100", 10, in_chans=1, **training),
        lambda run: [Xavier(), *(one() for one in make)],
        epochs=10,
        batch=50,
    )


ROW = Row(
    name="npfl138_decay",
    data=lambda root: digits(root, train=slice(55000), held_out=slice(55000, None)),
    arms={
        "Adam .01": arm(adam(0.01)),
        "linear": arm(adam(0.01), lambda: Rate("linear", lambda t, T: 1 - 0.99 * t / T)),
        "exponential": arm(adam(0.01), lambda: Rate("exponential", lambda t, T: 0.1 ** (t / T))),
        "cosine": arm(adam(0.01), lambda: CosineDecay(end=0.01)),
        "Adam .001": arm(adam(0.001)),
        "SGD .01": arm(sgd(0.01)),
        "SGD .01, momentum": arm(sgd(0.01, momentum=0.9)),
        "SGD .1": arm(sgd(0.1)),
    },
    claims=(
        Published("Adam .01", (97.10,)),
        Published("linear", (98.12,)),
        Effect("linear", "Adam .01", (1.02,)),
        Published("exponential", (98.32,)),
        Effect("exponential", "Adam .01", (1.22,)),
        Published("cosine", (97.92,)),
        Effect("cosine", "Adam .01", (0.82,)),
        Published("Adam .001", (97.80,)),
        Published("SGD .01", (95.46,)),
        Published("SGD .01, momentum", (97.88,)),
        Effect("SGD .01, momentum", "SGD .01", (2.42,)),
        Published("SGD .1", (98.06,)),
    ),
    seeds=10,
    minutes=3.5,
)
