"""Mixup or CutMix, chosen at random for each batch: the mixing of DeiT, ConvNeXt and most later recipes.

Paper:    Training Data-Efficient Image Transformers & Distillation through Attention (Touvron et al.; ICML 2021)
          https://arxiv.org/abs/2012.12877, table 9 and section 6
Code:     timm/data/mixup.py, class Mixup, mode "batch" (which DeiT uses); `mixup.py` and `cutmix.py` here
Equation: with probability p, the batch is mixed: by CutMix(cutmix_alpha) with probability switch, else by
          MixUp(mixup_alpha)
Shapes:   images (N, C, H, W) -> same;  targets (N,) class indices or (N, K) probabilities -> (N, K)
Defaults: mixup_alpha = .8, cutmix_alpha = 1, switch = .5, p = 1 (DeiT and ConvNeXt)
Differs:  timm mixes image i with image N - 1 - i and smooths the labels itself; here the pairs are random, and
          `LabelSmoothing` is a trick of its own. timm stops mixing after `mixup_off_epoch`; here p takes a schedule,
          p=Steps(1, {"0.9dur": 0}).
"""

import lightning as L
import torch

from callbacks.data.cutmix import CutMix
from callbacks.data.mixup import MixUp
from callbacks.frame.needs import Range
from callbacks.frame.schedule import Linear, Rate, Steps, rate_now, rate_values
from callbacks.frame.trick import Trick


class MixUpOrCutMix(Trick):
    """Mix training batches by mixup or CutMix. Works on any LightningModule; evaluation is unchanged.

    Args:
        mixup_alpha: parameter of mixup's Beta distribution, > 0, or a `Schedule`.
        cutmix_alpha: parameter of CutMix's Beta distribution, > 0, or a `Schedule`.
        switch: probability of CutMix in a mixed batch, in (0, 1), or a `Schedule`.
        p: probability that a batch is mixed, in (0, 1], or a `Schedule`. Steps(1, {"0.9dur": 0}) leaves the last tenth
            of the run unmixed.

    Raises:
        ValueError: if an argument is out of its range.
    """

    changes_batch = True
    needs = (
        Range("mixup_alpha", 0, open_low=True),
        Range("cutmix_alpha", 0, open_low=True),
        Range("p", 0, 1, off_at_low=True),
    )
    examples = ({"mixup_alpha": 0.2, "switch": Linear(0, 1), "p": Steps(1, {"0.9dur": 0})},)
    needs_labels = True

    def __init__(self, mixup_alpha: Rate = 0.8, cutmix_alpha: Rate = 1.0, switch: Rate = 0.5, p: Rate = 1.0):
        if not all(0 <= value <= 1 for value in rate_values(switch)) or switch in (0, 1):
            raise ValueError(
                f"MixUpOrCutMix: switch must be in (0, 1), got {switch}; to use only one of them, take MixUp or CutMix"
            )
        self.mixup_alpha, self.cutmix_alpha, self.switch, self.p = mixup_alpha, cutmix_alpha, switch, p

    def on_train_batch_start(self, trainer: L.Trainer, model: L.LightningModule, batch: list, batch_idx: int) -> None:
        mixed, cut = torch.rand(2).tolist()
        if mixed >= rate_now(self.p, trainer):
            return
        trick = CutMix(self.cutmix_alpha) if cut < rate_now(self.switch, trainer) else MixUp(self.mixup_alpha)
        trick.on_train_batch_start(trainer, model, batch, batch_idx)
