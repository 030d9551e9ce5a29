"""Neuron-specific dropout: of each class, units go that answer more to images trained on than to images held out.

Paper:    Neuron-Specific Dropout: A Deterministic Regularization Technique to Prevent Neural Networks from Overfitting
          & Reduce Dependence on Large Training Samples (Shunk; 2022) https://arxiv.org/abs/2201.06938
Code:     https://github.com/JoshuaShunk/NSDropout at 4c66d5a (the author's notebooks)
Equation: d_c = mean of x over the batch's images of class c - mean over the held-out images of class c;
          the round(p D) units of largest d_c go for images of class c, the others times 1 / (1 - p)
Shapes:   vectors (N, D), or channels of tokens (N, L, D) and maps (N, C, H, W) by their mean -> same
Defaults: p = .2, signed d (the author's code); a fifth of the training images held out, which the paper finds best;
          before the classifier: ours (the code has it in every hidden layer)
Differs:  the figure of the paper, its text and its code disagree on the sign of d: the code is followed, `absolute` is
          ours. Evaluation has no mask: the code keeps one there and picks it by the true label, also of test images, to
          which its published errors of near 0 % are owed. Held-out means are taken once an epoch, in evaluation mode,
          where the code takes them at every step. A class without held-out images keeps all its units.
"""

from collections.abc import Callable
from itertools import islice

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_info
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor, nn

from callbacks.frame.feature_dropout import (
    ANY,
    FeatureDropout,
    Where,
    draws,
    per_channel,
    ranks,
    round_half_even,
    scale_by_rate,
)
from callbacks.frame.schedule import Rate
from zoo.frame.checks import classes_of
from zoo.frame.evaluating import evaluating


def class_sums(x: Tensor, y: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Units (N, D) of images of classes (N,) -> their sums (K, D) and how many images each class has (K, 1)."""
    sums = x.new_zeros(classes, x.shape[1]).index_add(0, y, x)
    return sums, x.new_zeros(classes, 1).index_add(0, y, torch.ones_like(x[:, :1]))


def class_masks(difference: Tensor, p: float, absolute: bool = False) -> Tensor:
    """d (K, D) -> 0 for the round(p D) largest of each class, at most all but one, 1 for the others."""
    width, place = difference.shape[1], ranks(difference.abs() if absolute else difference)
    return ((place >= round_half_even(p * width, place)) | (place == width - 1)).float()


def units(x: Tensor) -> Tensor:
    """Features as one number for each example and unit, (N, D), float32."""
    x = x.float()
    return x.mean(1) if x.ndim == 3 else x.flatten(2).mean(2) if x.ndim == 4 else x


class NeuronSpecificDropout(FeatureDropout):
    """Drops units by class before the classifier, or where you say.

    The images held out are taken out of training for the time of the fit, as `ImageData.hold_out` does it: validation
    stays what nobody has seen. With other data, or `held=None`, they are those of the run's validation; since their
    labels then choose what is dropped in training, it no longer tells how good the network is: judge on test images.
    With neither there is nothing to compare with, and it is a plain dropout of units. Mixed targets count as their
    largest class.

    Args:
        p: share of the units, in (0, 1), or a `Schedule`.
        absolute: units go whose means are far apart, whichever is the larger.
        held: share of the training images that is held out, in (0, 1); None: the run's validation.
        where: see `FeatureDropout`; not the input.
        participation: fraction of the steps at which it acts, see `FeatureDropout`.

    Raises:
        ValueError, TypeError: as `FeatureDropout`; at the first step, for targets that are no labels of images.
    """

    acts_on = ANY
    needs_labels = True

    _batch: list | None = None
    _data: L.LightningDataModule | None = None  # from whose images some are held out

    def __init__(
        self,
        p: Rate = 0.2,
        absolute: bool = False,
        held: float | None = 0.2,
        where: Where = "classifier",
        participation: Rate = 1.0,
    ):
        super().__init__(p, where, participation)
        if held is not None and not 0 < held < 1:
            raise ValueError(f"NeuronSpecificDropout: held must be in (0, 1), or None for validation, not {held}")
        if where == "input":
            raise ValueError("NeuronSpecificDropout: images have no units: name modules, or leave the classifier")
        self.absolute, self.held = absolute, held
        self._held: dict[str, Tensor] = {}  # means of held-out images at each place (K, D), NaN where there are none

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
        y = self._batch[1]  # as tricks that mix images have left it
        y = y.argmax(1) if y.is_floating_point() and y.ndim == 2 else y
        if y.shape != (count,):
            raise ValueError(
                f"NeuronSpecificDropout needs a label of each of {count} examples, and targets are {tuple(y.shape)}: "
                "choose places with where= that have one feature vector an image"
            )
        return y

    # ---- the images held out

    def setup(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        super().setup(trainer, model, stage)
        if stage == "fit":
            self._held, self._data = {}, None
            if self.held is not None and hasattr(trainer.datamodule, "hold_out"):
                self._data = trainer.datamodule
                self._data.hold_out(self.held)

    def on_train_batch_start(self, trainer: L.Trainer, model: L.LightningModule, batch: list, batch_idx: int) -> None:
        self._batch = batch
        super().on_train_batch_start(trainer, model, batch, batch_idx)

    def on_train_epoch_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        batches = self._data.held_dataloader if self._data is not None else validation(trainer)
        if not batches:
            rank_zero_info("NeuronSpecificDropout: without images to compare with it is a plain dropout of units")
            return
        classes = getattr(model, "num_classes", None) or classes_of(model)
        with isolate_rng(), torch.no_grad(), trainer.precision_plugin.forward_context():
            sums = self._sums(trainer, model, batches(), classes)
        for name, (total, count) in sums.items():
            total, count = (trainer.strategy.reduce(value, reduce_op="sum") for value in (total, count))
            self._held[name] = total / count  # 0 / 0 is NaN

    def _sums(self, trainer: L.Trainer, model: L.LightningModule, batches, classes: int) -> dict[str, list[Tensor]]:
        """`class_sums` of the held-out images at every place."""
        sums: dict[str, list[Tensor]] = {}
        labels: list[Tensor] = []

        def look(name: str) -> Callable:
            def hook(module: nn.Module, inputs: tuple, y: Tensor | None = None) -> None:
                new = class_sums(units(inputs[0] if y is None else y), labels[-1], classes)
                sums[name] = [a + b for a, b in zip(sums[name], new, strict=True)] if name in sums else [*new]

            return hook

        places = self.named_modules(model)
        before = self.where == "classifier"
        hooks = [(m.register_forward_pre_hook if before else m.register_forward_hook)(look(n)) for n, m in places]
        try:
            with evaluating(model):
                for batch in batches:
                    images, targets = trainer.strategy.batch_to_device(batch, dataloader_idx=0)
                    labels.append(targets)
                    model.forward(images)
        finally:
            for hook in hooks:
                hook.remove()
        return sums

    def teardown(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        super().teardown(trainer, model, stage)
        if self._data is not None:
            self._data.hold_out(0)
        self._batch = self._data = None

    def state_dict(self) -> dict:
        return super().state_dict() | {"held": {name: means.cpu() for name, means in self._held.items()}}

    def load_state_dict(self, state: dict) -> None:
        super().load_state_dict(state)
        self._held = dict(state["held"])


def validation(trainer: L.Trainer) -> Callable | None:
    """What gives the validation batches of a fit, as many as it takes; None if it has none. The first loader counts."""
    if not trainer.enable_validation:
        return None
    if trainer.val_dataloaders is None:  # Lightning waits for the first epoch that validates
        trainer.validating = True
        trainer.fit_loop.epoch_loop.val_loop.setup_data()
        trainer.training = True
    loaders, limits = trainer.val_dataloaders, trainer.num_val_batches
    if not loaders or not limits or limits[0] == 0:  # no validation images
        return None
    loader = loaders[0] if isinstance(loaders, list | tuple) else loaders
    return lambda: islice(loader, None if limits[0] == float("inf") else int(limits[0]))
