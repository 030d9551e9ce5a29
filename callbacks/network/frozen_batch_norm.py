"""Frozen batch norm: fine-tune with the statistics of the earlier training.

Paper:    Deep Residual Learning for Image Recognition (He et al.; CVPR 2016) https://arxiv.org/abs/1512.03385,
          appendix A: statistics computed once on ImageNet and fixed while a detector is tuned with few images a batch
Code:     torchvision.ops.FrozenBatchNorm2d, a layer with buffers in the place of gamma and beta
Equation: y = gamma (x - m) / sqrt(v + eps) + beta with m, v the earlier averages: an affine map of each channel
Shapes:   every batch norm, (N, C, ...) -> (N, C, ...); m, v, gamma, beta (C,)
Defaults: affine = False, gamma and beta learn: ours; the paper and torchvision fix them too
Differs:  The batch norm is not replaced: it stays in eval mode while the rest trains. So its keys do not change,
          and it can train again after the run.
"""

import lightning as L
from lightning.pytorch.utilities import rank_zero_info
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from callbacks.frame.pair_needs import Claims
from callbacks.frame.trick import Trick
from zoo.frame.figures import Picture


def batch_norms(network: nn.Module) -> list[_BatchNorm]:
    """Return the batch norms that keep running averages."""
    return [m for m in network.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]


class FrozenBatchNorm(Trick):
    """Freeze the batch norms of a network that was trained before: `ResNet("50", weights=...)`.

    After the run they train again.

    Args:
        affine: freeze gamma and beta too.

    Raises:
        TypeError: for a network without batch norms.
        ValueError: with a trick that swaps the norms.
    """

    taxonomy = "optimisation"
    needs = (Claims("choose the norms"),)
    examples = ({"affine": True},)

    def __init__(self, affine: bool = False):
        self.affine = affine

    def prepare(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        if not (norms := batch_norms(model)):
            raise TypeError(f"{type(model).__name__} has no batch norms to freeze: take FrozenBatchNorm out")
        if stage != "fit":
            return
        if getattr(model, "untrained", False):
            rank_zero_info("FrozenBatchNorm: the network is new, its batch norms have seen nothing: mean 0, variance 1")
        learned = [p for norm in norms for p in norm.parameters(recurse=False) if p.requires_grad]
        self._frozen = learned if self.affine else []  # before the optimizer is made: it must not decay them
        for p in self._frozen:
            p.requires_grad_(False)

    def on_train_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._freeze(model)  # a run that is resumed within an epoch does not start that epoch

    def on_train_epoch_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._freeze(model)

    def on_train_batch_start(self, trainer: L.Trainer, model: L.LightningModule, batch: list, batch_idx: int) -> None:
        """Freeze again if something has set the whole network to training mode. Checks one norm per step."""
        if self._norms[0].training:
            self._freeze(model)

    def _freeze(self, model: L.LightningModule) -> None:
        self._norms = batch_norms(model)
        for norm in self._norms:
            norm.eval()

    def leave(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        for norm in self.__dict__.pop("_norms", []):
            norm.train(model.training)
        for p in self.__dict__.pop("_frozen", []):
            p.requires_grad_(True)

    def draw(self) -> Picture:
        """Draw the running mean of a batch norm over a run of 30 steps."""
        from callbacks.frame.pictures.steps import draw_steps

        read = lambda model: batch_norms(model)[0].get_buffer("running_mean")[0].item()  # noqa: E731
        return draw_steps(self, "running mean of a channel", read, 30, small=False)
