"""Cross-GPU batch norm: batch norms take the statistics of the batches of all GPUs together.

Paper:    MegDet: A Large Mini-Batch Object Detector (Peng, Xiao, Li, Jiang, Zhang, Jia, Yu, Sun; CVPR 2018)
          https://arxiv.org/abs/1711.07240, section 3.3
Code:     torch.nn.SyncBatchNorm, used here
Equation: y = gamma (x - m) / sqrt(v + eps) + beta,   m and v over the images and pixels of all processes
Shapes:   every batch norm, (N, C, ...) -> same
Defaults: none to choose
Differs:  nothing. In one process it is batch norm. After the run the norms are what they were, with the same keys, so
          that the network can be fused, quantised and loaded where there is one device. `Trainer(sync_batchnorm=True)`
          keeps the changed norms.
"""

import lightning as L
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from callbacks.frame.pair_needs import Claims
from callbacks.frame.trick import Trick
from zoo.frame.figures import Picture

KINDS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class SyncBatchNorm(Trick):
    """Let the batch norms of all processes share their statistics, for the time of a fit.

    Raises:
        TypeError: for a network without batch norms, or with several processes on CPUs, for which torch has none.
        ValueError: with a trick that swaps the norms.
    """

    taxonomy = "optimisation"
    needs = (Claims("choose the norms"),)

    _norms: tuple[tuple[_BatchNorm, type[_BatchNorm]], ...] = ()

    def __init__(self):
        pass

    def prepare(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        if not any(type(module) in KINDS for module in model.modules()):
            raise TypeError(f"{type(model).__name__} has no batch norms: take SyncBatchNorm out")
        if trainer.world_size > 1 and trainer.strategy.root_device.type == "cpu":
            raise TypeError(
                "SyncBatchNorm needs GPUs: torch shares no statistics between processes on CPUs; take it out"
            )

    def on_fit_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        """Change the class of the norms: parameters, buffers and hooks stay where they are."""
        self._norms = tuple((m, type(m)) for m in model.modules() if isinstance(m, _BatchNorm) and type(m) in KINDS)
        for norm, _ in self._norms:
            vars(norm)["process_group"] = None  # the default one, of all processes
            norm.__class__ = nn.SyncBatchNorm

    def leave(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        for norm, kind in self._norms:
            norm.__class__ = kind
            del vars(norm)["process_group"]
        self._norms = ()

    def draw(self) -> Picture:
        """Draw the running mean of a batch norm over a run of 30 steps, in one process: nothing changes."""
        from callbacks.frame.pictures.steps import draw_steps

        norm = lambda model: next(m for m in model.modules() if isinstance(m, _BatchNorm))  # noqa: E731
        read = lambda model: norm(model).get_buffer("running_mean")[0].item()  # noqa: E731
        return draw_steps(self, "running mean of a channel", read, 30, small=False)
