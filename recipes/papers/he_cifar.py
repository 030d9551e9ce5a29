"""He et al. 2015, table 6: ResNet-20 and ResNet-56 on CIFAR-10

Paper:    Deep Residual Learning for Image Recognition (He, Zhang, Ren, Sun; CVPR 2016) https://arxiv.org/abs/1512.03385
Source:   the paper, table 6 and section 4.2
Settings: CIFAR-10, 50,000 images; shortcuts of option A, He-normal weights; SGD .1, momentum .9, weight decay 1e-4,
          batch 128, 64,000 iterations (164 epochs), the rate times .1 at half and at three quarters; crop from 4 pixels
          of padding, flip
Trap:     The schedule was chosen on 45,000 images and the other 5,000. Which of both trained the networks of the table
          is not quite said; ours train on all.
Rule:     one run, last epoch
Differs:  Pixels are normalised by mean and deviation of each channel, where the paper subtracts the mean image.
"""

from callbacks import StepDecay
from recipes.papers.frame.data import Moves, cifar
from recipes.papers.frame.optimization import sgd
from recipes.papers.frame.row import Effect, Fit, Published, Row
from zoo import ResNet


def arm(depth: str) -> Fit:
    """Return an arm with a depth."""
    training = sgd(0.1, momentum=0.9, weight_decay=1e-4)
    return Fit(
        lambda run: ResNet(depth, num_classes=10, image_size=32, **training),
        lambda run: [StepDecay(("0.5dur", "0.75dur"), gamma=0.1)],
        epochs=164,
        moves=Moves(4, flip=True),
    )


ROW = Row(
    name="he_cifar",
    data=cifar,
    arms={"ResNet-20": arm("20"), "ResNet-56": arm("56")},
    claims=(
        Published("ResNet-20", (91.25,)),
        Published("ResNet-56", (93.03,)),
        Effect("ResNet-56", "ResNet-20", (1.78,)),
    ),
    seeds=5,
    minutes=1100,
    gpu=True,
)
