"""R-Drop: run every image twice with different dropout masks, and penalise different predictions.

Paper:    R-Drop: Regularized Dropout for Neural Networks (Liang, Wu, Li, Wang, Meng, Qin, Chen, Zhang, Liu; NeurIPS
          2021) https://arxiv.org/abs/2106.14448, equations 2 to 4
Code:     https://github.com/dropreg/R-Drop at 9dcc830 (the authors')
Equation: L' = mean of L over both passes + alpha / 2 mean_n (KL(p1 || p2) + KL(p2 || p1)),   p = softmax(z)
Shapes:   logits of both passes (2N, K), the first half and the second of the same images -> scalar
Defaults: weight = .3 (alpha), the authors' training script for ViT
Differs:  the mean of the two losses; equation 4 has their sum, which is the same with half the learning rate and half
          alpha. The KL is a mean over images; the authors' code sums over the batch. Both passes are one pass of the
          doubled batch. So batch norm has the statistics of the batch (its running variance differs by the factor
          (2M - 2) / (2M - 1), M values), and updates once a step. All random masks per image are drawn twice: dropout,
          stochastic depth, dropped patches. Without any, the term is 0.
"""

import lightning as L
import torch
from torch import Tensor

from callbacks.frame.loss import Adding
from callbacks.frame.pair_needs import Claims, NoBatchChangedAfter
from callbacks.frame.schedule import Linear, Rate, rate_values
from zoo import Step
from zoo.frame.figures import Picture


def disagreement(z: Tensor) -> Tensor:
    """Return mean_n (KL(p1 || p2) + KL(p2 || p1)) / 2, a scalar, from the stacked logits (2N, K) of both passes."""
    log_p1, log_p2 = z.float().log_softmax(1).chunk(2)
    # KL(p || q) + KL(q || p) = sum_k (p_k - q_k) (log p_k - log q_k)
    return ((log_p1.exp() - log_p2.exp()) * (log_p1 - log_p2)).sum(1).mean() / 2


class RDrop(Adding):
    """Double the batch, and add the distance between the two predictions for each image to the loss.

    A step takes twice the time and memory. List it after tricks that change images or targets, so that both copies of
    an image are the same.

    Args:
        weight: alpha, > 0, or a `Schedule`.

    Raises:
        ValueError: if the weight is out of its range, or before a trick that changes batches.
        TypeError: if the LightningModule does not call `on_loss`; the message says what to add.
    """

    needs = (Claims("enlarge the batch"), NoBatchChangedAfter())
    one_label = True
    examples = ({"weight": Linear(0, 1)},)

    def __init__(self, weight: Rate = 0.3):
        self.weight = weight

    def on_train_batch_start(self, trainer: L.Trainer, model: L.LightningModule, batch: list, batch_idx: int) -> None:
        batch[:] = [torch.cat([part, part]) for part in batch]

    def term(self, model: L.LightningModule, step: Step) -> Tensor:
        return disagreement(step.logits)

    def draw(self) -> Picture:
        """Draw the term over the logit of one pass, where the other pass gives 0 or 2."""
        from callbacks.frame.pictures.curves import panels

        logits, factor = torch.linspace(-6, 6, 61), max(rate_values(self.weight))
        lines = {}
        for other in (0.0, 2.0):
            pairs = [torch.tensor([[z, 0.0, 0.0], [other, 0.0, 0.0]]) for z in logits.tolist()]
            lines[f"other pass: {other:g}"] = (logits.tolist(), [factor * disagreement(p).item() for p in pairs])
        caption = f"What {self!r} adds to the loss, over the logit of one of three classes in one of two passes."
        return panels({"term of the loss": lines}, "logit of a class in one pass", caption)
