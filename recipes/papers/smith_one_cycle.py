"""Smith 2018: one cycle on MNIST in 12 epochs against 85 epochs of Caffe's recipe

Paper:    A Disciplined Approach to Neural Network Hyper-Parameters (Smith; 2018) https://arxiv.org/abs/1803.09820
Source:   the paper's table of MNIST, seen in a copy of its text; github lnsmith54/hyperParam1 at c5dd3de5 (runs);
          BVLC/caffe at 9b891540 (the network)
Settings: MNIST, pixels / 256; Caffe's LeNet, Xavier weights; batch 512, weight decay 5e-4, twice the rate for biases.
          Base: rate .01 (1 + 1e-4 t)^-.75, momentum .9, 85 epochs. One cycle: the rate goes from .01 to .1 in 5 epochs,
          back in 5, and down to a hundredth of .01 in the last 2; momentum goes from .95 to .8 and back
Trap:     none found. How far the rate falls in the last 2 epochs is our choice
Rule:     mean and deviation of 4 runs
Differs:  Biases have the rate of the weights. Caffe decays them too, as here.
"""

from typing import Any

from callbacks import Xavier
from recipes.papers.frame.data import digits
from recipes.papers.frame.optimization import Rate, sgd
from recipes.papers.frame.row import Effect, Fit, Published, Row, Run
from zoo import ConvNet

EPOCHS, HALF = 12, 5


class Cycle(Rate):
    """Change rate and momentum linearly: up and back in 10 of 12 epochs, then down."""

    def __init__(self) -> None:
        super().__init__("one cycle", lambda t, T: cycle(EPOCHS * t / T))

    def on_train_batch_start(self, trainer: Any, model: Any, batch: list, batch_idx: int) -> None:
        """Set rate and momentum before a batch."""
        super().on_train_batch_start(trainer, model, batch, batch_idx)
        factor = min(max(self.factor(trainer.global_step), 0.1), 1.0)
        for group in trainer.optimizers[0].param_groups:
            group["momentum"] = 0.95 - 0.15 * (factor - 0.1) / 0.9


def cycle(epoch: float) -> float:
    """Return the rate after `epoch` epochs, divided by the highest rate."""
    if epoch < 2 * HALF:
        return 0.1 + 0.9 * (1 - abs(epoch - HALF) / HALF)
    return 0.1 - 0.099 * (epoch - 2 * HALF) / (EPOCHS - 2 * HALF)


def lenet(lr: float):
    """Return a function that builds Caffe's LeNet."""

    def make(run: Run) -> ConvNet:
        training = sgd(lr, momentum=0.9, weight_decay=5e-4)
        return ConvNet("LeNet", 10, in_chans=1, linear_convolutions=True, **training)

    return make


ROW = Row(
    name="smith_one_cycle",
    data=lambda root: digits(root, std=256 / 255),
    arms={
        "85 epochs": Fit(
            lenet(0.01),
            lambda run: [Xavier(), Rate("inv", lambda t, T: (1 + 1e-4 * t) ** -0.75)],
            epochs=85,
            batch=512,
        ),
        "1cycle, 12 epochs": Fit(lenet(0.1), lambda run: [Xavier(), Cycle()], epochs=EPOCHS, batch=512),
    },
    claims=(
        Published("85 epochs", (99.03,), std=0.04, k=4),
        Published("1cycle, 12 epochs", (99.25,), std=0.03, k=4),
        Effect("1cycle, 12 epochs", "85 epochs", (0.22,) * 4),
    ),
    seeds=4,
    minutes=28,
)
