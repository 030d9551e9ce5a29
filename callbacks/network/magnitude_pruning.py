"""Magnitude pruning: during training, set a growing fraction of the smallest weights to 0, permanently.

Paper:    To Prune, or Not to Prune: Exploring the Efficacy of Pruning for Model Compression (Zhu, Gupta; 2017)
          https://arxiv.org/abs/1710.01878, section 3, eq. 1
Code:     tensorflow/model-optimization `PolynomialDecay(power=3)`; torch.nn.utils.prune.l1_unstructured (a layer, once)
Equation: s_t = s_f - s_f (1 - (t - t_0) / (t_1 - t_0))^3,  t_0 <= t <= t_1;  every `every` steps the round(s_t n)
          smallest |w| of the n weights of each layer become 0
Shapes:   every weight of a convolution or linear layer, (C_out, C_in, k, k) or (D_out, D_in)
Defaults: final = .9 (s_f), start = "0.1dur" (t_0), end = "0.7dur" (t_1), every = 100 steps: ours; after t_1 the network
          recovers
Differs:  Weights are set to 0 after each optimizer step, where the paper multiplies by a mask in the forward pass. So
          no masks remain in the network, and pruned weights stay 0. Depthwise convolutions stay whole: ours. Zeros save
          memory in compressed files only, and no time on common devices; `zoo.prune_channels` saves both. An average of
          the weights (EMA) forgets the pruned weights slowly.
"""

from collections.abc import Iterable

import lightning as L
import torch
from torch import Tensor, nn

from callbacks.frame.needs import Range
from callbacks.frame.schedule import Time, in_steps, parse_time
from callbacks.frame.trick import Trick
from zoo.frame.figures import Picture
from zoo.frame.log import log_shared
from zoo.frame.sharded import part_like, whole

LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


def sparsity_at(step: int, final: float, start: int, end: int) -> float:
    """Return s_t: 0 before `start`, the final sparsity from `end` on.

    Args:
        step: t, in optimizer steps.
        final: s_f, in [0, 1].
        start: t_0, in optimizer steps.
        end: t_1, likewise.
    """
    if step < start:
        return 0.0
    done = 1.0 if step >= end else (step - start) / (end - start)
    return final - final * (1 - done) ** 3


def magnitude_mask(weight: Tensor, sparsity: float) -> Tensor:
    """Return a mask of the weight's shape and type: 0 for the round(sparsity n) smallest |w|, else 1."""
    mask = weight.new_ones(weight.numel())
    mask[weight.abs().flatten().topk(round(sparsity * weight.numel()), largest=False).indices] = 0
    return mask.view(weight.shape)


def weights_to_prune(network: nn.Module) -> dict[str, Tensor]:
    """Return the weights of convolutions and linear layers, by name; those of depthwise convolutions are left out."""
    return {
        f"{path}.weight": layer.weight
        for path, layer in network.named_modules()
        if isinstance(layer, LAYERS) and not getattr(layer, "groups", 1) == layer.weight.shape[0] > 1
    }


def sparsity(weights: Iterable[Tensor]) -> float:
    """Return the fraction of zeros: `sparsity(model.parameters())`."""
    weights = list(weights)
    return sum((w == 0).sum().item() for w in weights) / sum(w.numel() for w in weights)


class MagnitudePruning(Trick):
    """Prune while training, and log `train/sparsity` once an epoch. Zeros from an earlier training stay zeros.

    Args:
        final: s_f, fraction of the weights of each layer that are 0 in the end, in (0, 1).
        start: t_0, a time such as "0.1dur", "5ep", "1000st".
        end: t_1, likewise.
        every: optimizer steps between two prunings.

    Raises:
        TypeError: for a network without convolutions and linear layers.
        ValueError: for a fraction or a number of steps out of its range, or an end before the start.
    """

    needs = (Range("final", 0, 1, open_low=True, open_high=True), Range("every", 1))
    examples = ({"final": 0.5, "start": "0st", "end": "3st", "every": 1},)

    def __init__(self, final: float = 0.9, start: Time = "0.1dur", end: Time = "0.7dur", every: int = 100):
        parse_time(start), parse_time(end)
        self.final, self.start, self.end, self.every = final, start, end, every

    def prepare(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        if stage == "fit" and not weights_to_prune(model):
            raise TypeError(f"{type(model).__name__} has no weights to prune: take MagnitudePruning out")
        if stage == "fit":
            self._saved = None

    def on_fit_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        """Make the masks, after a resume has restored the weights."""
        self._window = in_steps(self.start, trainer), in_steps(self.end, trainer)
        if self._window[0] > self._window[1]:
            raise ValueError(f"MagnitudePruning: end={self.end!r} is before start={self.start!r}: swap them")
        weights = weights_to_prune(model)
        self._weights = [weight.data for weight in weights.values()]
        untrained = getattr(model, "untrained", True)
        masks = [torch.ones_like(w) if untrained else (w != 0).to(w) for w in self._weights]
        self._masks = dict(zip(weights, masks, strict=True))

    def on_train_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        if self._saved is not None:
            self._masks = {k: part_like(self._saved[k].to(mask.dtype), mask) for k, mask in self._masks.items()}
            self._saved = None
        apply = self._apply  # right after each step, before any average of the weights is taken
        self.remove_hooks()  # the learning-rate finder starts twice in one fit
        self.keep_hooks(*(o.register_step_post_hook(lambda *_: apply()) for o in trainer.optimizers))

    @torch.no_grad()
    def _apply(self) -> None:
        torch._foreach_mul_(self._weights, [*self._masks.values()])

    @torch.no_grad()
    def on_train_batch_start(self, trainer: L.Trainer, model: L.LightningModule, batch: list, batch_idx: int) -> None:
        (start, end), step = self._window, trainer.global_step
        if not start <= step <= end or ((step - start) % self.every and step != end):
            return
        now = sparsity_at(step, self.final, start, end)
        for mask, weight in zip(self._masks.values(), self._weights, strict=True):
            mask.mul_(part_like(magnitude_mask(whole(weight), now), mask))
        self._apply()

    def on_train_epoch_end(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        kept = whole(torch.stack([mask.sum() for mask in self._masks.values()]).sum())
        size = sum(mask.numel() for mask in self._masks.values())
        log_shared(model, {"train/sparsity": 1 - kept.float() / size})

    def state_dict(self) -> dict:
        masks = self.__dict__.get("_masks", {})
        return {"masks": {name: mask.bool() for name, mask in masks.items()}}

    def load_state_dict(self, state: dict) -> None:
        self._saved = state["masks"] or None

    def leave(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        for name in ("_masks", "_weights", "_window", "_saved"):
            self.__dict__.pop(name, None)

    def draw(self) -> Picture:
        """Draw the fraction of the weights that are 0 over a run of 250 steps."""
        from callbacks.frame.pictures.steps import draw_steps

        return draw_steps(self, "fraction of the weights that are 0", zeros, 250)


def zeros(model: nn.Module) -> float:
    """Return the fraction of the weights that can be pruned and are 0."""
    weights = torch.cat([weight.flatten() for weight in weights_to_prune(model).values()])
    return (weights == 0).float().mean().item()
