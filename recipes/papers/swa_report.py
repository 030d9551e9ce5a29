"""A course report on SWA that finds nothing to gain on MNIST

Paper:    Averaging Weights Leads to Wider Optima and Better Generalization (Izmailov et al.; UAI 2018)
          https://arxiv.org/abs/1803.05407; the numbers are the report's
Source:   github ThomasLEMERCIER/BayesianML-SWA at dd7ddb8e, runs/mnist.txt and scripts/mnist/cnn.py
Settings: MNIST, pixels in [0, 1]; convolutions 3x3 to 2, 4, pool, 8, 16, pool, 32, 64, pool, global max pooling, 32,
          10, ReLU; AdamW .01 to .001 by a cosine, weight decay 1e-4, batch 256, 5 epochs. Then SGD without momentum,
          weight decay 1e-4, a saw-tooth from .001 to .0001 every 3 epochs, four times; SWA and the ensemble of the four
          ends
Trap:     The tail's rates are so small that the four ends are almost one network.
Rule:     one run, last epoch; expected before running: no effect
"""

import copy

import torch
from torch.func import functional_call

from callbacks import SWA, CosineDecay, SnapshotEnsemble
from callbacks.optimization.snapshot_ensemble import mean_softmax
from recipes.papers.frame.data import digits
from recipes.papers.frame.optimization import adamw, sgd
from recipes.papers.frame.row import Effect, Fit, Published, Row, Run, Trained
from zoo import Classifier, ConvNet

NETWORK = "2@3+1 4@3+1 max2 8@3+1 16@3+1 max2 32@3+1 64@3+1 max2 gmp 32"


class SawTooth(SnapshotEnsemble):
    """Keep the weights at the end of each cycle, in which the rate falls linearly to a tenth."""

    def factor(self, step: int) -> float:
        """Return the factor at a step."""
        return 1 - 0.9 * (step % self.cycle) / self.cycle


def network_of_the_tail(run: Run) -> ConvNet:
    """Return the network after the first five epochs, with the optimizer of the tail."""
    network = ConvNet(NETWORK, 10, in_chans=1, **sgd(1e-3, weight_decay=1e-4))
    network.load_state_dict(copy.deepcopy(run["before"].network.state_dict()))
    return network


def tail(run: Run) -> Trained:
    """Train for four more cycles; add the accuracies of their averaged weights and of their ensemble."""
    teeth = SawTooth(cycles=4)
    done = Fit(
        network_of_the_tail, lambda run: [teeth, SWA("0.25dur", "0.25dur", lr_factor=None)], epochs=12, batch=256
    )(run)
    done.metrics["ensemble"] = vote(done.network, teeth.snapshots, run)
    return done


@torch.no_grad()
def vote(network: Classifier, snapshots: list, run: Run) -> float:
    """Return the accuracy of the mean of the networks' probabilities, in percent."""
    right = 0
    for x, y in run.data.hold_out():
        logits = [functional_call(network, weights, (x.cpu(),)) for weights in snapshots]
        right += int((mean_softmax(logits).argmax(1) == y.cpu()).sum())
    return 100 * right / len(run.data.held_y)


ROW = Row(
    name="swa_report",
    data=digits,
    arms={
        "before": Fit(
            lambda run: ConvNet(NETWORK, 10, in_chans=1, **adamw(0.01, 1e-4)),
            lambda run: [CosineDecay(end=0.1)],
            epochs=5,
            batch=256,
        ),
        "tail": tail,
    },
    claims=(
        Published("before", (98.49,)),
        Published("tail", (98.50,)),
        Published("tail", (98.51,), metric="swa"),
        Published("tail", (98.51,), metric="ensemble"),
        Effect("tail", "before", (0.02,), metric="swa", base_metric="last"),
    ),
    seeds=10,
    minutes=1.5,
    network=network_of_the_tail,
)
