"""Orthogonality: the filters of a layer are kept at right angles and of length one.

Paper:    Can We Gain More from Orthogonality Regularizations in Training Deep CNNs? (Bansal, Chen, Wang; NeurIPS 2018)
          https://arxiv.org/abs/1810.09102, equations 3 (SO) and 7 (SRIP)
Code:     https://github.com/VITA-Group/Orthogonality-in-CNNs at 99897ee (the authors'; SRIP alone)
Equation: "so": L' = L + lambda sum_W ||W^T W - I||_F^2;   "srip": L' = L + lambda sum_W s(W^T W - I)
          s the spectral norm, by one step of power iteration: u = A v / |A v|, s = |A u|, v drawn
Shapes:   W (outputs, inputs x h x w) of every trained linear layer and convolution -> scalar
Defaults: lambda = 1e-4; the paper lets it fall in steps from .1 to 0, such as Steps(0.1, {"0.1dur": 1e-3, ...}) (from
          memory; the authors' code from --ortho-decay, by 1e-3, 1e-4, 1e-6 and 0)
Differs:  of W^T W and W W^T the smaller is taken. For "so" the two have the same slope (their terms differ by a
          constant); for "srip" the larger has an eigenvalue of -1 that nothing can move. The code has s^2, as the
          estimate of the paper's text is s. Grouped kernels are matrices as they are stored.
"""

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from callbacks.frame.loss import Adding
from callbacks.frame.schedule import Rate
from zoo import Step
from zoo.frame.checks import validate_choice

KINDS = ("so", "srip")


def kernels_of(model: nn.Module) -> list[Tensor]:
    """The trained weights of linear layers and convolutions; tokens and position embeddings are none."""
    layers = [m for m in model.modules() if isinstance(m, nn.Linear | _ConvNd)]
    return [layer.weight for layer in layers if layer.weight.requires_grad]


def deviation(W: Tensor) -> Tensor:
    """Gram matrix minus identity, of the shorter side: matrices (..., a, b) -> (..., min, min)."""
    W = W if W.shape[-2] <= W.shape[-1] else W.mT
    return W @ W.mT - torch.eye(W.shape[-2], dtype=W.dtype, device=W.device)


def soft_orthogonality(W: Tensor) -> Tensor:
    """||W^T W - I||_F^2, summed over matrices (n, a, b) -> scalar."""
    return deviation(W).square().sum()


def srip(W: Tensor, v: Tensor) -> Tensor:
    """The spectral norms' estimate from v (n, min(a, b), 1), summed over matrices (n, a, b) -> scalar."""
    A = deviation(W)
    u = F.normalize(A @ v, dim=-2)
    return torch.linalg.vector_norm(A @ u, dim=-2).sum()


class Orthogonality(Adding):
    """Adds to the loss how far the weights are from orthogonal.

    Args:
        weight: lambda, > 0, or a `Schedule`.
        kind: "so", soft orthogonality, or "srip", the spectral one: cheaper to satisfy, the paper's best.

    Raises:
        ValueError: for an argument out of its range.
        TypeError: for a LightningModule that does not call `on_loss`; says what to add.
    """

    taxonomy = "penalty"

    def __init__(self, weight: Rate = 1e-4, kind: str = "so"):
        self.weight = weight
        self.kind = validate_choice(kind, KINDS, "Orthogonality")

    def on_fit_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._alike: dict[tuple, list[Tensor]] = {}  # those of one shape go through one product
        for W in kernels_of(model):
            self._alike.setdefault((len(W), W.numel() // len(W)), []).append(W)

    def term(self, model: L.LightningModule, step: Step) -> Tensor:
        terms = []
        with torch.autocast(model.device.type, enabled=False):
            for alike in self._alike.values():
                W = torch.stack([W.flatten(1) for W in alike])
                if self.kind == "so":
                    terms.append(soft_orthogonality(W))
                else:
                    terms.append(srip(W, torch.randn(len(W), min(W.shape[1:]), 1, device=W.device, dtype=W.dtype)))
        return torch.stack(terms).sum()

    def leave(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._alike = {}
