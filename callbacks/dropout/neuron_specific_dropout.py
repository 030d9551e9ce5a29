"""Neuron-specific dropout: for each class, drop units that respond more to training images than to held-out images.

Paper:    Neuron-Specific Dropout: A Deterministic Regularization Technique to Prevent Neural Networks from Overfitting
          & Reduce Dependence on Large Training Samples (Shunk; 2022) https://arxiv.org/abs/2201.06938
Code:     https://github.com/JoshuaShunk/NSDropout at 4c66d5a (the author's notebooks)
Equation: d_c = mean of x over the batch's images of class c - mean over the held-out images of class c;
          the round(p D) units of largest d_c are dropped for images of class c, the others times 1 / (1 - p)
Shapes:   vectors (N, D), or channels of tokens (N, L, D) and maps (N, C, H, W) by their mean -> same
Defaults: p = .2, absolute = False, signed d (the author's code); held = .2 of the training images, which the paper
          finds best; where = "classifier": ours (the code has it in every hidden layer)
Differs:  the figure of the paper, its text and its code disagree on the sign of d: we follow the code; `absolute` is
          ours. Evaluation has no mask. The code keeps one there and picks it by the true label, also for test images,
          which explains its published errors of near 0 %. Held-out means are taken once an epoch, in evaluation mode;
          the code takes them at every step. A class without held-out images keeps all its units.
"""

from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_info
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor

from callbacks.frame.class_sums import class_sums, sums_at, units, validation_batches
from callbacks.frame.feature_dropout import ANY, FeatureDropout
from callbacks.frame.masks import draws, per_channel, ranks, round_half_even, scale_by_rate
from callbacks.frame.needs import Range
from callbacks.frame.schedule import Rate
from callbacks.frame.where import Where
from zoo.frame.checks import classes_of


def class_masks(difference: Tensor, p: float, absolute: bool = False) -> Tensor:
    """Return 0 for the round(p D) units of largest d in each class, at most all but one, and 1 for the others.

    Args:
        difference: d, (K, D).
        p: fraction of the units to be dropped.
        absolute: take |d| instead of d.

    Returns:
        (K, D).
    """
    width, rank = difference.shape[1], ranks(difference.abs() if absolute else difference)
    return ((rank >= round_half_even(p * width, rank)) | (rank == width - 1)).float()


class NeuronSpecificDropout(FeatureDropout):
    """Drop units by class before the classifier, or in the modules of `where`.

    The held-out images are taken out of training during the fit, by `ImageData.hold_out`: validation images stay
    unseen. With other data, or `held=None`, the run's validation images are used. Their labels then decide what is
    dropped in training, so validation no longer measures the network: judge it on test images. Without either, units
    are dropped at random. Mixed targets count as their largest class.

    Args:
        p: fraction of the units, in (0, 1), or a `Schedule`.
        absolute: drop units whose two means differ most, in either direction.
        held: fraction of the training images that is held out, in (0, 1); None: the run's validation.
        where: see `FeatureDropout`; not the input.
        participation: fraction of the steps at which it acts, see `FeatureDropout`.

    Raises:
        ValueError, TypeError: as `FeatureDropout`; at the first step, for targets that are not one label an image.
    """

    needs = (Range("held", 0, 1, open_low=True, open_high=True),)
    reads_weights = True
    acts_on = ANY
    needs_labels = True
    examples = ({"p": 0.4, "absolute": True, "held": None, "where": ("stage2",), "participation": 0.5},)
    _batch: list | None = None
    _data: Any = None  # an `ImageData`, from whose images some are held out

    def __init__(
        self,
        p: Rate = 0.2,
        absolute: bool = False,
        held: float | None = 0.2,
        where: Where = "classifier",
        participation: Rate = 1.0,
    ):
        super().__init__(p, where, participation)
        if where == "input":
            raise ValueError("NeuronSpecificDropout: images have no units: name modules, or leave the classifier")
        self.absolute, self.held = absolute, held
        self._held: dict[str, Tensor] = {}  # by module: means over held-out images (K, D), NaN where there are none

    def multiplier(self, x: Tensor, p: float) -> Tensor:
        held = self._held.get(self._place)
        if held is None:
            return scale_by_rate(draws(x, *per_channel(x)) >= p, p)
        held, y = held.to(x.device), self._labels(len(x))
        sums, counts = class_sums(units(x), y, len(held))
        kept = class_masks((sums / counts.clamp_min(1) - held).nan_to_num(), p, self.absolute)
        scale = torch.where(held.isnan(), 1.0, scale_by_rate(kept, p))[y]
        return scale.view(per_channel(x))

    def _labels(self, count: int) -> Tensor:
        assert self._batch is not None, "kept at the start of each batch"
        y = self._batch[1]  # as tricks that mix images have left it
        y = y.argmax(1) if y.is_floating_point() and y.ndim == 2 else y
        if y.shape != (count,):
            raise ValueError(
                f"NeuronSpecificDropout needs a label of each of {count} examples, and targets are {tuple(y.shape)}: "
                "choose modules with where= that have one feature vector an image"
            )
        return y

    # ---- the images held out

    def prepare(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        super().prepare(trainer, model, stage)
        if stage == "fit":
            self._held, self._data = {}, None
            data = getattr(trainer, "datamodule", None)
            if self.held is not None and hasattr(data, "hold_out"):
                self._data = data
                self._data.hold_out(self.held)

    def on_train_batch_start(self, trainer: L.Trainer, model: L.LightningModule, batch: list, batch_idx: int) -> None:
        self._batch = batch
        super().on_train_batch_start(trainer, model, batch, batch_idx)

    def on_train_epoch_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        batches = self._data.held_dataloader if self._data is not None else validation_batches(trainer)
        if not batches:
            rank_zero_info("NeuronSpecificDropout: no images to compare with, so units are dropped at random")
            return
        classes = getattr(model, "num_classes", None) or classes_of(model)
        with isolate_rng(), torch.no_grad(), trainer.precision_plugin.forward_context():
            inputs = self.where == "classifier"
            sums = sums_at(trainer, model, self.named_modules(model), batches(), classes, inputs)
        for name, (total, count) in sums.items():
            total, count = (trainer.strategy.reduce(value, reduce_op="sum") for value in (total, count))
            self._held[name] = total / count  # 0 / 0 is NaN

    def leave(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        super().leave(trainer, model)
        if self._data is not None:
            self._data.hold_out(0)
        self._batch = self._data = None

    def state_dict(self) -> dict:
        return super().state_dict() | {"held": {name: means.cpu() for name, means in self._held.items()}}

    def load_state_dict(self, state: dict) -> None:
        super().load_state_dict(state)
        self._held = dict(state["held"])
