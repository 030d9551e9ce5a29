"""The arms of the rows of Random Erasing."""

from typing import Any

from callbacks import RandomErasing, StepDecay
from recipes.papers.frame.data import Moves
from recipes.papers.frame.optimization import sgd
from recipes.papers.frame.row import Fit
from zoo import ResNet


def arm(variant: str, erasing: bool = False, image_size: int = 32, **options: Any) -> Fit:
    """Return an arm.

    Args:
        variant: of the ResNet.
        erasing: erase rectangles.
        image_size: side in pixels.
        options: of the ResNet.
    """
    training = sgd(0.1, momentum=0.9, weight_decay=5e-4)
    falling = ("0.5dur", "0.75dur")
    return Fit(
        lambda run: ResNet(variant, num_classes=10, image_size=image_size, **options, **training),
        lambda run: [StepDecay(falling, gamma=0.1), *[RandomErasing(0.5)] * erasing],
        epochs=300,
        moves=Moves(4, flip=True),
    )
