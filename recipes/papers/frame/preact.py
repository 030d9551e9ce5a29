"""The arms of the rows of hysts' benchmark: a pre-activation ResNet-20 on images of 28 pixels."""

from collections.abc import Sequence

from torch import nn

from callbacks import CosineDecay
from callbacks.frame.trick import Trick
from recipes.papers.frame.data import Moves
from recipes.papers.frame.optimization import sgd
from recipes.papers.frame.row import Fit, Run
from zoo import PreActResNet
from zoo.layers.init import he_fan_out


def arm(*tricks: Trick, epochs: int, flip: bool = False) -> Fit:
    """Return an arm.

    Args:
        tricks: beside the cosine.
        epochs: length of the training.
        flip: mirror half of the images.
    """

    def all_tricks(run: Run) -> Sequence[Trick]:
        return [CosineDecay(end=0.001), *tricks]

    return Fit(network, all_tricks, epochs=epochs, drop_last=True, moves=Moves(4, flip=flip))


def network(run: Run) -> PreActResNet:
    """Return the network; its head, too, begins with He's weights by fan-out, and with biases of zero."""
    training = sgd(0.2, momentum=0.9, weight_decay=1e-4, nesterov=True)
    model = PreActResNet("20", num_classes=10, image_size=28, in_chans=1, **training)
    model.head.apply(he_fan_out)
    nn.init.zeros_(model.head.get_parameter("fc.bias"))
    return model
