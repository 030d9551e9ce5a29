"""Token labeling: train every patch with a label of its own, from the score maps of a teacher.

Paper:    All Tokens Matter: Token Labeling for Training Better Vision Transformers (Jiang et al.; NeurIPS 2021)
          https://arxiv.org/abs/2104.10858, section 3; the maps and their crops: Re-labeling ImageNet (Yun et al.;
          CVPR 2021) https://arxiv.org/abs/2101.05022
Code:     https://github.com/zihangJiang/TokenLabeling at 9dbfd59 (the authors'; `cross_entropy.py`, `mixup.py`)
Equation: L = H(x_cls, y_cls) + beta 1/L sum_i H(x_i, y_i),   H soft cross-entropy, y_i = softmax(RoIAlign(S, crop)_i)
          MixToken (M: 1 for patches that stay): y_i <- M_i y_i + (1 - M_i) y'_i,   y_cls likewise with mean(M)
Shapes:   token logits (N, L, K), class logits (N, K), maps S (N, K, h, w), crop (N, 4) -> scalar
Defaults: weight = .5 (beta), the paper's; the code's default is 1; mix_token = True; formulation = "paper": y_cls is
          the label of the data, where "code" has the mean label of the crop
Differs:  the authors' code passes the crop (top, left, height, width) to a function that expects (x, y, x, y), so that
          their crop is wrong; ours is the crop of the image. A teacher can also make the maps during training, of the
          augmented images themselves. Files keep the 5 best scores per position; the others count as 0, as in the
          authors' code, so that classes without a score get some probability too. Labels are neither blended with the
          true ones nor smoothed by .1; the authors' smoothed labels have the sum 1 + .1 / K.
"""

from pathlib import Path
from typing import Literal, Protocol, get_args, runtime_checkable

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from callbacks.frame.model_needs import HasModule
from callbacks.frame.needs import Choice, Range
from callbacks.frame.pair_needs import Claims, EveryPatch, NothingAddedBefore, OneImageSize
from callbacks.frame.schedule import Linear, Rate, rate_now
from callbacks.frame.score_maps import expand, relabel, score_maps
from callbacks.frame.targets import probabilities
from callbacks.frame.teacher import Normalization, Teacher
from callbacks.frame.trick import Trick
from zoo import Step
from zoo.frame.checks import classes_of

Formulation = Literal["paper", "code"]


def token_loss(x_cls: Tensor, x_tok: Tensor, y_cls: Tensor, y_tok: Tensor, beta: float) -> Tensor:
    """Return L of the equation above, a scalar.

    Args:
        x_cls, x_tok: logits (N, K) and (N, L, K).
        y_cls, y_tok: labels, probabilities of the same shapes.
        beta: weight of the tokens.
    """
    return F.cross_entropy(x_cls, y_cls) + beta * F.cross_entropy(x_tok.flatten(0, 1), y_tok.flatten(0, 1))


def mix_labels(y_cls: Tensor, y_tok: Tensor, mixed: Tensor) -> tuple[Tensor, Tensor]:
    """Mix the labels of images i and N - 1 - i, as MixToken mixes their patches.

    y_cls <- mean(M) y_cls + (1 - mean(M)) y'_cls;   y_i <- y_i where M_i = 1, else y'_i.

    Args:
        y_cls: (N, K).
        y_tok: (N, L, K).
        mixed: 1 - M, True for patches of the other image: bool, L of them.
    """
    fraction = mixed.float().mean()
    return y_cls.lerp(y_cls.flip(0), fraction), torch.where(mixed.view(-1, 1), y_tok.flip(0), y_tok)


@runtime_checkable
class PredictsTokens(Protocol):
    """A network that predicts a label for each token."""

    mix_token: bool  # whether training mixes tokens
    grid: int  # patches a side


class TokenLabeling(Trick):
    """Replace the loss of an `LVViT` by the one above. Metrics and evaluation keep the true labels.

    With a teacher, the maps are computed for each batch. Without one, a batch is `[images, targets, maps, crops]`, as
    `datamodules.score_maps` reads it: maps (N, 2, 5, h, w) as `compress` makes them, flipped like the image, and crops
    (N, 4) as in `relabel`. List it before tricks that mix images or add to the loss, and after those that change
    targets. A batch with maps of its own cannot be mixed; use a teacher for that.

    Args:
        teacher: a trained `Classifier` that ends in a mean over its last stage or in a head for tokens, or the path of
            a zoo model's checkpoint. Kept out of checkpoints. None: the maps are in the batch.
        weight: beta, > 0, or a `Schedule`.
        formulation: "paper" or "code", see the defaults above.
        mix_token: mix tokens in training.
        normalization: (mean, std) of the teacher's training data, if different.

    Raises:
        ValueError: if an argument is out of its range, the teacher has other classes, a batch has no maps, or after a
            trick that adds to the loss.
        TypeError: if the network has no head for tokens, or the LightningModule does not call `on_loss`.
    """

    picture, meets = "diagram", (("stage 3", "logits of a token", "cross-entropy", "scores at its place"),)
    needs = (
        Claims("replace the cross-entropy"),
        NothingAddedBefore(),
        EveryPatch(),
        OneImageSize(),
        Range("weight", 0, off_at_low=True),
        HasModule(
            lambda module: isinstance(module, PredictsTokens),
            "labels tokens with a head for them",
            "take LVViT, or give `mix_token`, `grid` and extras['class'], ['token_logits'], ['mixed'] as LVViT does",
        ),
        Choice("formulation", get_args(Formulation)),
    )
    one_label = True
    examples = ({"weight": Linear(1, 0), "formulation": "code", "mix_token": False},)

    def __init__(
        self,
        teacher: nn.Module | str | Path | None = None,
        weight: Rate = 0.5,
        formulation: Formulation = "paper",
        mix_token: bool = True,
        normalization: Normalization | None = None,
    ):
        self.formulation = formulation
        self.teacher, self.weight, self.mix_token, self.normalization = teacher, weight, mix_token, normalization
        self._teacher = None if teacher is None else Teacher(teacher, normalization)
        self._maps_and_crops: list[Tensor] = []
        self._network: PredictsTokens | None = None

    def prepare(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        self._network = next(module for module in model.modules() if isinstance(module, PredictsTokens))

    def on_fit_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        assert self._network is not None, "found by `prepare`"
        self._network.mix_token = self.mix_token
        if self._teacher is not None:
            self._teacher.join(trainer, model, classes_of(model))

    def on_train_batch_start(self, trainer: L.Trainer, model: L.LightningModule, batch: list, batch_idx: int) -> None:
        if self._teacher is None:
            if len(batch) != 4 or batch[1].is_floating_point():
                raise ValueError(
                    "TokenLabeling without a teacher needs batches [images, targets, maps, crops] that are not mixed: "
                    "give it a teacher, or take out the tricks that mix images"
                )
            batch[:], self._maps_and_crops = batch[:2], batch[2:]

    def on_loss(self, model: L.LightningModule, step: Step) -> None:
        assert self._network is not None, "found by `prepare`"
        grid = self._network.grid
        tokens, mixed, k = step.extras["token_logits"], step.extras["mixed"], step.logits.shape[1]
        if tokens.shape[1] != grid**2:
            raise ValueError("TokenLabeling needs every patch, and some were dropped: take out what drops them")
        scores, crops = self._scores(step, k)
        y_tok = relabel(scores, crops, grid)
        y_cls = probabilities(step.targets, k) if self.formulation == "paper" else relabel(scores, crops, 1)[:, 0]
        if mixed is not None:
            y_cls, y_tok = mix_labels(y_cls, y_tok, mixed)
        step.targets = y_cls
        step.loss = token_loss(step.extras["class"], tokens, y_cls, y_tok, rate_now(self.weight, model.trainer))

    def _scores(self, step: Step, num_classes: int) -> tuple[Tensor, Tensor | None]:
        """Return maps (N, K, h, w), and the crop of each image in its map; None if maps are of the crops already."""
        if self._teacher is None:
            maps, crops = self._maps_and_crops
            return expand(maps, num_classes), crops
        return score_maps(self._teacher.network, self._teacher.see(step.images)), None

    def leave(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._maps_and_crops = []
        if self._teacher is not None:
            self._teacher.leave()
        if self._network is not None:
            self._network.mix_token = False
        self._network = None
