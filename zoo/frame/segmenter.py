"""Segmentation, a class for each pixel: `Segmenter` trains, scores and takes tricks as `Classifier` does.

Targets are masks (N, H, W) int64, or probabilities (N, K, H, W); logits are (N, K, H, W).
"""

from collections.abc import Iterable

import lightning as L

from zoo.frame.classifier import Classifier
from zoo.frame.run import callbacks_of


class Segmenter(Classifier):
    """A `Classifier` of pixels; with `network`, the same for any `nn.Module`, whose K is `num_classes`.

    The loss is the mean cross-entropy over pixels, `acc` the fraction of correct pixels. Evaluation also logs `dice`
    and `iou`: the Dice and Jaccard coefficients over all pixels of all images, averaged over the classes that occur,
    background included. Evaluation takes one view an image.

    Everything else is as in `Classifier`: `Step`, `on_loss`, stages, optimizers, files. Tricks that need one label an
    image (`needs_labels`), or resize images but not masks (`resizes`), are refused when the run begins.

    Args:
        network, num_classes, and all else: as in `Classifier`; the network gives logits (N, K, H, W).
    """

    task = "segmentation"
    masks = True

    def setup(self, stage: str) -> None:
        refuse(self, callbacks_of(self.trainer))
        super().setup(stage)


def refuse(model: Classifier, callbacks: Iterable[L.Callback]) -> None:
    """Refuse a trick that needs one label an image. Raises TypeError."""
    for trick in callbacks:
        name = type(trick).__name__
        needs_labels = getattr(trick, "needs_labels", False)
        if needs_labels or getattr(trick, "resizes", False):
            why = "needs one label an image" if needs_labels else "resizes images only"
            raise TypeError(f"{name} {why}, and the targets of {type(model).__name__} are masks: take {name} out")


def needs_multiple(sides: Iterable[int], of: int, model: str) -> None:
    """Refuse images whose encoder and decoder maps would differ in size. Raises ValueError."""
    height, width = sides
    if height % of or width % of:
        raise ValueError(
            f"{model} halves its maps several times: sides of images must be multiples of {of} px, "
            f"got {height} x {width}; crop or pad the images"
        )
