"""R-Drop: every image goes through twice, under two draws of dropout, and the two answers shall agree.

Paper:    R-Drop: Regularized Dropout for Neural Networks (Liang, Wu, Li, Wang, Meng, Qin, Chen, Zhang, Liu; NeurIPS
          2021) https://arxiv.org/abs/2106.14448, equations 2 to 4
Code:     https://github.com/dropreg/R-Drop at 9dcc830 (the authors')
Equation: L' = mean of L over both passes + alpha / 2 mean_n (KL(p1 || p2) + KL(p2 || p1)),   p = softmax(z)
Shapes:   logits of both passes (2N, K), the first half and the second of the same images -> scalar
Defaults: alpha = .3 (the authors' training script for ViT; the README: choose with care)
Differs:  the mean of the two losses, where equation 4 has their sum, so that a learning rate keeps its meaning:
          equation 4 with a learning rate of half and its alpha halved. The mean over images, where the authors' code
          sums over the batch. The two passes are one, of the doubled batch: batch norm sees each image twice, has the
          statistics of the batch (but for the running variance's factor, (2M - 2) / (2M - 1) of M values), and moves
          once a step. Whatever draws per image draws twice: dropout, stochastic depth, patches. A network that draws
          nothing has KL 0.
"""

import lightning as L
import torch
from torch import Tensor

from callbacks.frame.loss import Adding
from callbacks.frame.needs import Claims, NoBatchChangedAfter
from callbacks.frame.schedule import Rate
from zoo import Step


def disagreement(z: Tensor) -> Tensor:
    """Half of both KLs, the mean over images: logits (2N, K) of two passes, one after the other -> scalar."""
    log_p1, log_p2 = z.float().log_softmax(1).chunk(2)
    return ((log_p1.exp() - log_p2.exp()) * (log_p1 - log_p2)).sum(1).mean() / 2


class RDrop(Adding):
    """Doubles the batch, and adds to the loss how far the two answers for each image are apart.

    It costs twice the time and memory. List it after the tricks that change images or targets, so that both copies of
    an image are changed alike.

    Args:
        weight: alpha, > 0, or a `Schedule`.

    Raises:
        ValueError: for a weight out of its range, or a trick after it that changes batches.
        TypeError: for a LightningModule that does not call `on_loss`; says what to add.
    """

    needs = (Claims("double the batch"), NoBatchChangedAfter())

    def __init__(self, weight: Rate = 0.3):
        self.weight = weight

    def on_train_batch_start(self, trainer: L.Trainer, model: L.LightningModule, batch: list, batch_idx: int) -> None:
        batch[:] = [torch.cat([part, part]) for part in batch]

    def term(self, model: L.LightningModule, step: Step) -> Tensor:
        return disagreement(step.logits)
