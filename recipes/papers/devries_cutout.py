"""DeVries, Taylor 2017: Cutout on CIFAR-10, with ResNet-18

Paper:    Improved Regularization of Convolutional Neural Networks with Cutout (DeVries, Taylor; 2017)
          https://arxiv.org/abs/1708.04552, table 1
Source:   github uoguelph-mlrg/Cutout at 18ef6088, README
Settings: CIFAR-10, 50,000 images; ResNet-18 with a stem for 32 pixels; SGD .1 with Nesterov's momentum .9, weight decay
          5e-4, batch 128, 200 epochs, the rate times .2 at 60, 120 and 160; crop from 4 pixels of padding, flip; a
          square of 16 pixels is erased from each image
Trap:     The published errors, 4.72 and 3.99 %, are means of 5 runs, whose deviations we have not seen at the source.
Rule:     a mean without a deviation, last epoch
"""

from callbacks import Cutout, StepDecay
from recipes.papers.frame.data import Moves, cifar
from recipes.papers.frame.optimization import sgd
from recipes.papers.frame.row import Effect, Fit, Published, Row
from zoo import ResNet


def arm(*, cutout: bool) -> Fit:
    """Return an arm."""
    training = sgd(0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
    return Fit(
        lambda run: ResNet("18", num_classes=10, image_size=32, **training),
        lambda run: [StepDecay(("0.3dur", "0.6dur", "0.8dur"), gamma=0.2), *[Cutout(16)] * cutout],
        epochs=200,
        moves=Moves(4, flip=True),
    )


ROW = Row(
    name="devries_cutout",
    data=cifar,
    arms={"none": arm(cutout=False), "Cutout": arm(cutout=True)},
    claims=(
        Published("none", (95.28,)),
        Published("Cutout", (96.01,)),
        Effect("Cutout", "none", (0.73,)),
    ),
    seeds=5,
    minutes=10_000,
    gpu=True,
)
