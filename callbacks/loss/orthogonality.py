"""Orthogonality: penalise filters of a layer that are not orthonormal.

Paper:    Can We Gain More from Orthogonality Regularizations in Training Deep CNNs? (Bansal, Chen, Wang; NeurIPS 2018)
          https://arxiv.org/abs/1810.09102, equations 3 (SO) and 7 (SRIP)
Code:     https://github.com/VITA-Group/Orthogonality-in-CNNs at 99897ee (the authors'; SRIP alone)
Equation: "so": L' = L + lambda sum_W ||W^T W - I||_F^2;   "srip": L' = L + lambda sum_W s(W^T W - I)
          s the spectral norm, by one step of power iteration from a random v: u = A v / |A v|, s = |A u|
Shapes:   W (outputs, inputs x h x w) of every trained linear layer and convolution -> scalar
Defaults: weight = 1e-4 (lambda) and kind = "so": ours. The authors' code lowers lambda in steps, from --ortho-decay to
          1e-3, 1e-4, 1e-6 and 0: Steps(0.1, {"0.1dur": 1e-3, ...})
Differs:  takes the smaller of W^T W and W W^T. For "so", both have the same gradient: the terms differ by a constant.
          For "srip", the larger has an eigenvalue of -1 that no step can change. The term is s, as in the paper; the
          authors' code has s^2. Kernels of grouped convolutions are matrices as they are stored.
"""

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from callbacks.frame.loss import Adding
from callbacks.frame.needs import Choice
from callbacks.frame.schedule import Rate, Steps, rate_values
from zoo import Step
from zoo.frame.figures import Picture
from zoo.frame.sharded import from_rank_0, whole

KINDS = ("so", "srip")


def kernels_of(model: nn.Module) -> list[Tensor]:
    """Return the trained weights of linear layers and convolutions, without tokens and position embeddings."""
    layers = [m for m in model.modules() if isinstance(m, nn.Linear | _ConvNd)]
    return [layer.weight for layer in layers if layer.weight.requires_grad]


def deviation(W: Tensor) -> Tensor:
    """Return the Gram matrix of the shorter side minus the identity: (..., a, b) -> (..., m, m), m = min(a, b)."""
    W = W if W.shape[-2] <= W.shape[-1] else W.mT
    return W @ W.mT - torch.eye(W.shape[-2], dtype=W.dtype, device=W.device)


def soft_orthogonality(W: Tensor) -> Tensor:
    """Sum ||W^T W - I||_F^2 over matrices: (n, a, b) -> scalar."""
    return deviation(W).square().sum()


def srip(W: Tensor, v: Tensor) -> Tensor:
    """Sum the estimated spectral norms of W^T W - I over matrices (n, a, b), from v (n, min(a, b), 1) -> scalar."""
    A = deviation(W)
    u = F.normalize(A @ v, dim=-2)
    return torch.linalg.vector_norm(A @ u, dim=-2).sum()


class Orthogonality(Adding):
    """Add the distance of the weights from orthonormal matrices to the loss.

    Args:
        weight: lambda, > 0, or a `Schedule`.
        kind: "so", soft orthogonality, or "srip", the spectral norm, which the paper finds best.

    Raises:
        ValueError: if an argument is out of its range.
        TypeError: if the LightningModule does not call `on_loss`; the message says what to add.
    """

    needs = (Choice("kind", KINDS),)
    reads_weights = True
    examples = ({"weight": Steps(1e-3, {"0.5dur": 0}), "kind": "srip"},)
    taxonomy = "penalty"

    def __init__(self, weight: Rate = 1e-4, kind: str = "so"):
        self.weight = weight
        self.kind = kind

    def on_fit_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._by_shape: dict[tuple[int, int], list[Tensor]] = {}  # matrices of one shape share one batched product
        for W in kernels_of(model):
            self._by_shape.setdefault((len(W), W.numel() // len(W)), []).append(W)

    def term(self, model: L.LightningModule, step: Step) -> Tensor:
        terms = []
        with torch.autocast(model.device.type, enabled=False):
            for matrices in self._by_shape.values():
                W = torch.stack([whole(W).flatten(1) for W in matrices])
                if self.kind == "so":
                    terms.append(soft_orthogonality(W))
                else:
                    v = torch.randn(len(W), min(W.shape[1:]), 1, device=W.device, dtype=W.dtype)
                    terms.append(srip(W, from_rank_0(v, matrices[0])))
        return torch.stack(terms).sum()

    def leave(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._by_shape = {}

    def draw(self) -> Picture:
        """Draw the term over the angle of two rows of length 1."""
        from callbacks.frame.pictures.curves import panels

        degrees, factor = range(0, 181, 3), max(rate_values(self.weight))
        angles = torch.tensor([*degrees]).deg2rad()
        pairs = torch.stack([torch.stack([a.cos(), a.sin()]) for a in (angles * 0, angles)]).movedim(2, 0)
        measure = soft_orthogonality if self.kind == "so" else lambda W: srip(W, torch.tensor([[[0.6], [0.8]]]))
        lines = {"": (degrees, [factor * measure(pair[None]).item() for pair in pairs])}
        caption = f"What {self!r} adds to the loss for a matrix of two rows of length 1, over the angle between them."
        return panels({"term of the loss": lines}, "angle in degrees", caption)
