"""Token labeling: every patch learns a label of its own, read off a teacher's dense score maps.

Paper:    All Tokens Matter: Token Labeling for Training Better Vision Transformers (Jiang et al.; NeurIPS 2021)
          https://arxiv.org/abs/2104.10858, section 3; the maps and their crops: Re-labeling ImageNet (Yun et al.;
          CVPR 2021) https://arxiv.org/abs/2101.05022
Code:     https://github.com/zihangJiang/TokenLabeling at 9dbfd59 (the authors'; `cross_entropy.py`, `mixup.py`)
Equation: L = H(x_cls, y_cls) + beta 1/L sum_i H(x_i, y_i),   H soft cross-entropy, y_i = softmax(RoIAlign(S, crop)_i)
          MixToken (M: which patches stay): y_i <- M_i y_i + (1 - M_i) y'_i,   y_cls likewise with mean(M)
Shapes:   token logits (N, L, K), class logits (N, K), maps S (N, K, h, w), crop (N, 4) -> scalar
Defaults: beta = .5 (the paper's; the code's default is 1); y_cls is the data's label ("paper") or the mean score of the
          crop ("code"); MixToken on
Differs:  the crop is taken as it was made: the authors' code hands (top, left, height, width) to a function that wants
          (x, y, x, y), so theirs is transposed. A teacher's maps can be made on the fly, on the augmented images
          themselves: nothing is left to crop or flip. Files keep the 5 best scores a cell and the others count as 0,
          as in the authors' code, so that some probability goes to classes of no score. No ground-truth blending, and
          no smoothing of these labels by .1, after which theirs have a sum of 1 + .1 / K.
"""

from pathlib import Path
from typing import Literal, get_args

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import roi_align

from callbacks.frame.needs import Claims, EveryPatch, NothingAddedBefore, OneImageSize, Range
from callbacks.frame.schedule import Rate, rate_now
from callbacks.frame.targets import probabilities
from callbacks.frame.teacher import Taught, Teacher
from zoo import Step
from zoo.frame.checks import classes_of, validate_choice

Reading = Literal["paper", "code"]


def token_loss(x_cls: Tensor, x_tok: Tensor, y_cls: Tensor, y_tok: Tensor, beta: float) -> Tensor:
    """The equation above: logits (N, K), (N, L, K) and labels of the same shapes -> scalar."""
    return F.cross_entropy(x_cls, y_cls) + beta * F.cross_entropy(x_tok.flatten(0, 1), y_tok.flatten(0, 1))


def mixed_labels(y_cls: Tensor, y_tok: Tensor, mixed: Tensor) -> tuple[Tensor, Tensor]:
    """Labels of images whose patches were mixed with those of the mirrored batch.

    Args:
        y_cls: (N, K).
        y_tok: (N, L, K).
        mixed: 1 - M, the patches that came from the other image: bool, L of them.
    """
    share = mixed.float().mean()
    return y_cls.lerp(y_cls.flip(0), share), torch.where(mixed.view(-1, 1), y_tok.flip(0), y_tok)


def relabel(scores: Tensor, crop: Tensor | None, grid: int) -> Tensor:
    """Labels of a crop's cells, row by row: RoIAlign, then softmax.

    Args:
        scores: S, maps of the whole images (N, K, h, w).
        crop: (N, 4): top, left, height and width as shares of the image, in [0, 1]; None: the whole of it.
        grid: cells a side.

    Returns:
        (N, grid^2, K), each of sum 1.
    """
    n, _, h, w = scores.shape
    top, left, height, width = scores.new_tensor([0, 0, 1, 1]).expand(n, 4).T if crop is None else crop.to(scores).T
    corners = torch.stack([left * w, top * h, (left + width) * w, (top + height) * h], 1)
    boxes = torch.cat([torch.arange(n, device=scores.device).to(scores)[:, None], corners], 1)
    return roi_align(scores.float(), boxes.float(), grid, aligned=True).flatten(2).transpose(1, 2).softmax(-1)


def best(scores: Tensor, k: int = 5) -> Tensor:
    """What the authors' files keep: scores (..., K, h, w) -> (..., 2, k, h, w), values and classes, float16.

    Raises:
        ValueError: for more classes than float16 can count, 2048.
    """
    if scores.shape[-3] > 2048:
        raise ValueError(f"float16 counts to 2048, and there are {scores.shape[-3]} classes: keep the maps themselves")
    values, classes = scores.topk(k, dim=-3)
    return torch.stack([values, classes.to(values)], -4).half()


def dense(kept: Tensor, num_classes: int) -> Tensor:
    """The inverse of `best`, with 0 for what was not kept: (N, 2, k, h, w) -> (N, K, h, w), float32."""
    values, classes = kept.float().unbind(1)
    maps = values.new_zeros(len(kept), num_classes, *kept.shape[-2:])
    return maps.scatter_(1, classes.long(), values)


@torch.no_grad()
def dense_scores(network: nn.Module, images: Tensor) -> Tensor:
    """What a network says of each cell of its last stage: images -> (N, K, h, w).

    Every cell goes through what comes after the last stage as if it were an image of its own. Where that is a mean
    and a linear layer, it is the linear layer as a 1x1 convolution. With tokens, a cell stands in for the class token.

    Args:
        network: a `Classifier` in eval mode, with stages; an LV-ViT says it by its own token head.
        images: (N, C, H, W).
    """
    if hasattr(network, "aux_head"):
        tokens = network.aux_head(network.norm(network.blocks(network.embed(images)))[:, network.prefix :])
        return as_map(tokens)
    sides, prefix = [], getattr(network, "prefix", 0)

    def apart(module: nn.Module, inputs: tuple, out: Tensor) -> Tensor:
        out = as_map(out[:, prefix:]) if out.ndim == 3 else out
        sides[:] = out.shape[-2:]
        cells = out.permute(0, 2, 3, 1).flatten(0, 2)
        return cells[:, None].expand(-1, prefix, -1) if prefix else cells[:, :, None, None]

    hook = list(network.stages.values())[-1].register_forward_hook(apart)
    try:
        scores = network(images)
    finally:
        hook.remove()
    return scores.view(len(images), *sides, -1).permute(0, 3, 1, 2)


def as_map(tokens: Tensor) -> Tensor:
    """Tokens of a square grid (N, L, D) -> (N, D, sqrt(L), sqrt(L))."""
    side = round(tokens.shape[1] ** 0.5)
    return tokens.transpose(1, 2).unflatten(2, (side, side))


def mixing(model: nn.Module) -> nn.Module | None:
    """The network in a model that gives logits of its tokens, if there is one."""
    return next((module for module in model.modules() if hasattr(module, "mix_token")), None)


class TokenLabeling(Taught):
    """Replaces the loss of an `LVViT` by the one above. Metrics and evaluation keep the true labels.

    With a teacher its maps are made for each batch. Without one they come with the batch, which is then
    `[images, targets, maps, crops]`: maps (N, 2, 5, h, w) as `best` makes them and the authors' files hold them,
    flipped as the image is, and crops (N, 4) as for `relabel`; `datamodules.score_maps` reads such files. List it
    before tricks that mix images: a batch that brings its maps cannot be mixed, one with a teacher can. Put it before
    tricks that add to the loss, and after those that change targets.

    Args:
        teacher: a trained `Classifier` that ends in a mean over its last stage or in a head on its tokens, or the path
            of a zoo model's checkpoint. Stays out of checkpoints. None: maps come with the batch.
        weight: beta, > 0, or a `Schedule`.
        reading: "paper" or "code", see the defaults above.
        mix_token: whether to mix tokens.
        normalization: (mean, std) that the teacher was trained with, if the data has others.

    Raises:
        ValueError: for an argument out of its range, a teacher of other classes, a batch without maps, or a trick
            before it that adds to the loss.
        TypeError: for a network that gives no tokens, or a LightningModule that does not call `on_loss`.
    """

    needs = (
        Claims("replace the cross-entropy"),
        NothingAddedBefore(),
        EveryPatch(),
        OneImageSize(),
        Range("weight", 0, off_at_low=True),
    )

    def __init__(
        self,
        teacher: nn.Module | str | Path | None = None,
        weight: Rate = 0.5,
        reading: Reading = "paper",
        mix_token: bool = True,
        normalization: tuple | None = None,
    ):
        self.reading = validate_choice(reading, get_args(Reading), "TokenLabeling")
        self.teacher, self.weight, self.mix_token, self.normalization = teacher, weight, mix_token, normalization
        self._teacher = None if teacher is None else Teacher(teacher, normalization)
        self._brought: list[Tensor] = []
        self._network: nn.Module | None = None

    def prepare(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        self._network = mixing(model)
        if self._network is None:
            raise TypeError(
                f"TokenLabeling labels tokens, and {type(model).__name__} has no head for them: take LVViT, or give "
                "`mix_token`, `grid` and, in training, extras['class'], ['token_logits'] and ['mixed'] as LVViT does"
            )

    def on_fit_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._network.mix_token = self.mix_token
        if self._teacher is not None:
            self._teacher.join(trainer, model, classes_of(model))

    def on_train_batch_start(self, trainer: L.Trainer, model: L.LightningModule, batch: list, batch_idx: int) -> None:
        if self._teacher is None:
            if len(batch) != 4 or batch[1].is_floating_point():
                raise ValueError(
                    "TokenLabeling without a teacher needs batches [images, targets, maps, crops] that are not mixed: "
                    "give it a teacher, or list it before the tricks that mix images and leave those out"
                )
            self._brought = batch[2:]
            batch[:] = batch[:2]

    def on_loss(self, model: L.LightningModule, step: Step) -> None:
        grid = self._network.grid
        tokens, mixed, k = step.extras["token_logits"], step.extras["mixed"], step.logits.shape[1]
        if tokens.shape[1] != grid**2:
            raise ValueError("TokenLabeling labels every patch, and some were dropped: take out what drops them")
        scores, crops = self._scores(step, k)
        y_tok = relabel(scores, crops, grid)
        y_cls = probabilities(step.targets, k) if self.reading == "paper" else relabel(scores, crops, 1)[:, 0]
        if mixed is not None:
            y_cls, y_tok = mixed_labels(y_cls, y_tok, mixed)
        step.targets = y_cls
        step.loss = token_loss(step.extras["class"], tokens, y_cls, y_tok, rate_now(self.weight, model.trainer))

    def _scores(self, step: Step, num_classes: int) -> tuple[Tensor, Tensor | None]:
        """Maps (N, K, h, w) and the crops that the images are of them."""
        if self._teacher is None:
            maps, crops = self._brought
            return dense(maps, num_classes), crops
        return dense_scores(self._teacher.network, self._teacher.see(step.images)), None

    def leave(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        super().leave(trainer, model)
        self._brought = []
        if self._network is not None:
            self._network.mix_token = False
        self._network = None
