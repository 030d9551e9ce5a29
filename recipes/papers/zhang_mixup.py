"""Zhang et al. 2018: mixup on CIFAR-10, with PreAct ResNet-18

Paper:    mixup: Beyond Empirical Risk Minimization (Zhang, Cisse, Dauphin, Lopez-Paz; ICLR 2018)
          https://arxiv.org/abs/1710.09412, figure 3
Source:   the paper; settings of github facebookresearch/mixup-cifar10 at 180fae7a
Settings: CIFAR-10, 50,000 images; SGD .1, momentum .9, weight decay 1e-4, batch 128, 200 epochs, the rate times .1 at 100
          and 150; crop from 4 pixels of padding, flip; mixup with alpha = 1
Trap:     The published errors, 5.6 and 4.2 %, have one digit after the point.
Rule:     one run, median of the last ten epochs, as in the paper
"""

from statistics import median

from callbacks import MixUp, StepDecay
from recipes.papers.frame.data import Moves, cifar
from recipes.papers.frame.optimization import sgd
from recipes.papers.frame.row import Effect, Fit, Published, Row, Run, Trained
from zoo import PreActResNet


def network(run: Run) -> PreActResNet:
    """Return the network."""
    return PreActResNet("18", num_classes=10, image_size=32, **sgd(0.1, momentum=0.9, weight_decay=1e-4))


def arm(run: Run, *tricks: MixUp) -> Trained:
    """Train with these tricks; add the median of the last ten epochs."""
    falling = StepDecay(("0.5dur", "0.75dur"), gamma=0.1)
    done = Fit(network, lambda run: [falling, *tricks], epochs=200, moves=Moves(4, flip=True))(run)
    done.metrics["late"] = median(done.curve[-10:])
    return done


ROW = Row(
    name="zhang_mixup",
    data=cifar,
    arms={"none": arm, "mixup": lambda run: arm(run, MixUp(1.0))},
    claims=(
        Published("none", (94.4,), metric="late"),
        Published("mixup", (95.8,), metric="late"),
        Effect("mixup", "none", (1.4,), metric="late"),
    ),
    seeds=3,
    minutes=10_000,
    gpu=True,
    network=network,
)
