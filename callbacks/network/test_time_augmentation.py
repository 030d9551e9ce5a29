"""Test-time augmentation: average the predictions for an image, its mirror image and its shifts.

Paper:    ImageNet Classification with Deep Convolutional Neural Networks (Krizhevsky, Sutskever, Hinton; NIPS 2012)
          https://doi.org/10.1145/3065386, section 4.1: the four corners, the centre, and their reflections
Code:     torchvision.transforms.v2.TenCrop, which crops images that are larger than the network's
Equation: p(x) = 1/V sum_v softmax(f(x_v));  x_v the crops, at shifts (0, 0), (-s, -s), (-s, s), (s, -s), (s, s), of
          the image with s reflected pixels around it; with `flip` each one's mirror image too
Shapes:   (N, C, H, W) -> (N, V, C, H, W) -> (N, K); V = 2, with shifts 10
Defaults: flip = True, shift = 0 (s): ours
Differs:  The paper crops 224 px from images of 256: data sets of files do that (`views=` of a data module). Images that
          come at the network's own size, as CIFAR's, have no pixels around them: reflected ones are used.
"""

from collections.abc import Sequence

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor

from callbacks.frame.trick import Trick
from zoo.frame.checks import classes_of
from zoo.frame.figures import Picture
from zoo.frame.log import log_shared
from zoo.frame.outputs import over_views
from zoo.frame.run import count_loaders
from zoo.frame.scores import Scores, with_suffix


def views_of(images: Tensor, flip: bool, shift: int) -> Tensor:
    """Return the views of each image, the image itself first: (N, C, H, W) -> (N, V, C, H, W)."""
    h, w = images.shape[-2:]
    padded = F.pad(images, (shift,) * 4, mode="reflect") if shift else images
    corners = [(0, 0), (0, 2 * shift), (2 * shift, 0), (2 * shift, 2 * shift)] if shift else []
    views = [images, *(padded[..., y : y + h, x : x + w] for y, x in corners)]
    views += [view.flip(-1) for view in views] if flip else []
    return torch.stack(views, 1)


class TestTimeAugmentation(Trick):
    """Log `test/acc_tta`, `test/loss_tta` beside `test/acc`, `test/loss`; `Trainer.predict` gives the views' mean.

    Names say what differs from the default: `test/acc_tta_shift1`, `test/acc_tta_shift1_unflipped`. One view is run
    at a time, so memory does not grow. Training and validation are untouched. `Trainer.predict` changes for
    a `Classifier` whose batches are lists. Two in one run give views of views.

    Args:
        flip: add the mirror images. Do not use it where left and right have a meaning, as in digits.
        shift: s in pixels, below the images' side; 0: none.

    Raises:
        ValueError: for neither flip nor shift, or a shift that is negative or as large as the images.
    """

    taxonomy = "data"
    needs_labels = True  # the mirror image of a mask is another mask
    examples = ({"shift": 1},)
    __test__ = False  # its name starts as pytest's test classes do

    def __init__(self, flip: bool = True, shift: int = 0):
        if shift < 0 or not (flip or shift):
            raise ValueError(f"TestTimeAugmentation needs flip or a shift of 1 pixel or more, got {flip} and {shift}")
        self.flip, self.shift = flip, shift

    @property
    def suffix(self) -> str:
        """Ending of its scores' names."""
        return "tta" + (f"_shift{self.shift}" if self.shift else "") + ("" if self.flip else "_unflipped")

    def _views(self, images: Tensor) -> Tensor:
        """Return the views: (N, C, H, W), or views from the data (N, V, C, H, W) -> (N, V', C, H, W)."""
        if self.shift >= min(images.shape[-2:]):
            raise ValueError(f"TestTimeAugmentation: a shift of {self.shift} px needs larger images")
        views = views_of(images.flatten(0, -4), self.flip, self.shift)
        return views.unflatten(0, (len(images), -1)).flatten(1, 2)

    # ---- test

    def on_test_epoch_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._scores = Scores(classes_of(model), model.device, loaders=count_loaders(trainer))

    @torch.no_grad()
    def on_test_batch_end(
        self,
        trainer: L.Trainer,
        model: L.LightningModule,
        outputs: object,
        batch: Sequence[Tensor],
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        with trainer.precision_plugin.forward_context():  # autocast does not reach callbacks by itself
            self._scores.update(self.mean_logits(model, batch[0]), batch[1], dataloader_idx)

    def mean_logits(self, model: L.LightningModule, images: Tensor) -> Tensor:
        """Return logits (N, K) of images (N, C, H, W), whose softmax is the mean over the views."""
        return over_views(model, self._views(images))

    def on_test_epoch_end(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        scores = self.__dict__.pop("_scores").compute()
        labelled = {with_suffix(f"test/{name}", self.suffix): value for name, value in scores.items()}
        log_shared(model, labelled, add_dataloader_idx=False)

    # ---- predict

    def on_predict_batch_start(
        self, trainer: L.Trainer, model: L.LightningModule, batch: object, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Put the views into the batch: a Classifier predicts the mean over the views in a batch."""
        if isinstance(batch, list) and getattr(model, "calls_on_loss", False):
            batch[0] = self._views(batch[0])

    def draw(self) -> Picture:
        """Draw the views of a photograph."""
        from callbacks.frame.pictures.views import draw_views

        return draw_views(self, self._views)
