"""MoE-ViT: every second MLP of a ViT becomes several, and each token goes through one of them, which a gate chooses.

Paper:    Gating Dropout: Communication-efficient Regularization for Sparsely Activated Transformers (Liu, Kim, Muzio,
          Awadalla; ICML 2022) https://arxiv.org/abs/2205.14336, section 3; its layer: Switch Transformers (Fedus, Zoph,
          Shazeer; JMLR 2022) https://arxiv.org/abs/2101.03961, equations 1 to 6
Code:     none by the authors; written after the equations. Keys are ViT's, and `mlp.gate`, `mlp.w1` ... in such a block
Block:    z' = z + MSA(LN(z)),  z = z' + g_e E_e(LN(z')),   g = softmax(W_g x),  e = argmax g,  E_1 ... E_E MLPs.
          An expert takes the first ceil(c L / E) of an image's tokens that choose it; the others skip it (z = z')
Shapes:   (N, 3, S, S) -> (N, 1 + L, D) -blocks-> same -class token-> (N, K); in training `extras["balance"]`, for each
          layer that routes E sum_e f_e P_e: f_e the fraction of tokens that choose e, P_e its mean probability
Defaults: c = 1.25, experts in every second block (Switch Transformers); E = 8 ours; drop_path .1. AdamW,
          lr 2.5e-4 for 256 images, weight decay .05 (all DeiT's recipe)
Differs:  both papers are about text. Capacity is counted in each image, in training and evaluation alike, not over the
          tokens of a machine: so the logits of an image do not depend on its batch. The gate has no noise. All experts
          live on one machine: nothing is communicated. 96, for small images, is ours.
"""

from itertools import pairwise
from math import ceil
from typing import Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.frame.arguments import Training
from zoo.frame.outputs import Outputs
from zoo.layers.drop_path import linear_rates
from zoo.layers.token_classifier import DEIT, SMALL, TokenClassifier
from zoo.layers.transformer import Block

VARIANTS = {**DEIT, "96": SMALL}


def queue_slots(choice: Tensor, experts: int, capacity: int) -> Tensor:
    """Return each token's slot in the queue of the expert that it chose, first come, first served.

    Args:
        choice: e (N, L), whole numbers in [0, E).
        experts: E.
        capacity: number of tokens of an image that an expert takes.

    Returns:
        (N, L): e * capacity + the position in the queue; E * capacity, one past the end, where the queue is full.
    """
    chosen = F.one_hot(choice, experts)
    queue = (chosen.cumsum(1) * chosen).sum(-1) - 1
    return torch.where(queue < capacity, choice * capacity + queue, experts * capacity)


def balance(gates: Tensor, choice: Tensor) -> Tensor:
    """Compute E sum_e f_e P_e over all tokens: 1 if experts are used evenly, E if all tokens go to one of them.

    Args:
        gates: g (N, L, E), rows of sum 1; P is their mean.
        choice: e (N, L); f is the fraction of tokens that choose e.
    """
    f = F.one_hot(choice, gates.shape[-1]).to(gates).mean((0, 1))
    P = gates.mean((0, 1))
    return gates.shape[-1] * (f * P).sum()


class MoE(nn.Module):
    """E MLPs, one of which each token takes. Shapes: (N, L, D) -> (N, L, D).

    Attributes:
        drop: None: route tokens. Two other values count in training, for `GatingDropout`. "gate": image b of B goes to
            expert floor(b E / B), as if each expert had a machine and each machine a part of the batch.
            "gate-expert": the layer returns 0.
        balance: `balance` of the last forward pass in training that routed; None once it was taken.
    """

    def __init__(self, width: int, hidden: int, experts: int, capacity: float):
        super().__init__()
        self.drawn_as = f"{experts} MLPs {width} → {hidden} → {width}\na gate picks one a token"
        self.experts, self.capacity = experts, capacity
        self.gate = nn.Linear(width, experts, bias=False)
        self.act = nn.GELU()
        self.w1 = nn.Parameter(nn.init.normal_(torch.empty(experts, width, hidden), std=0.02))
        self.b1 = nn.Parameter(torch.zeros(experts, 1, hidden))
        self.w2 = nn.Parameter(nn.init.normal_(torch.empty(experts, hidden, width), std=0.02))
        self.b2 = nn.Parameter(torch.zeros(experts, 1, width))
        self.drop: str | None = None
        self.balance: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.training and self.drop == "gate-expert":
            return torch.zeros_like(x) + 0 * sum(p.sum() for p in self.parameters())  # DDP wants their gradients
        gates = self.gate(x).float().softmax(-1)
        if self.training and self.drop == "gate":
            return self.route_at_home(x, gates)
        top, choice = gates.max(-1)
        if self.training:
            self.balance = balance(gates, choice)
        return self.route(x, top, choice)

    def route(self, x: Tensor, top: Tensor, choice: Tensor) -> Tensor:
        """Return g_e E_e(x), or 0 for tokens whose queue was full. No shape depends on the data: no sync is needed."""
        n, length, width = x.shape
        capacity = ceil(self.capacity * length / self.experts)
        slot = queue_slots(choice, self.experts, capacity)[..., None].expand(-1, -1, width)
        queues = x.new_zeros(n, self.experts * capacity + 1, width).scatter(1, slot, x)
        queues = queues[:, :-1].reshape(n, self.experts, capacity, width).transpose(0, 1)  # (E, N, capacity, D)
        y = self.mlps(queues.reshape(self.experts, -1, width), slice(None))
        y = y.view(self.experts, n, capacity, width).transpose(0, 1).reshape(n, -1, width)
        y = F.pad(y, (0, 0, 0, 1)).gather(1, slot)
        return (y * top[..., None]).to(x.dtype)

    def route_at_home(self, x: Tensor, gates: Tensor) -> Tensor:
        """Send each image through the expert of its machine, times that expert's gate, so that the gate learns too."""
        bounds = [ceil(e * len(x) / self.experts) for e in range(self.experts + 1)]
        parts = []
        for e, (a, b) in enumerate(pairwise(bounds)):
            y = self.mlps(x[None, a:b].flatten(1, 2), slice(e, e + 1)).view(b - a, *x.shape[1:])
            parts.append(y * gates[a:b, :, e : e + 1])
        return torch.cat(parts).to(x.dtype)

    def mlps(self, x: Tensor, which: slice) -> Tensor:
        """Send the tokens x[e] of x (E, T, D) through expert e, for the experts in `which`."""
        hidden = self.act(x @ self.w1[which] + self.b1[which])
        return hidden @ self.w2[which] + self.b2[which]

    def take_balance(self) -> Tensor | None:
        """Return the balance of the last forward pass, and forget it, so that no graph outlives the step."""
        term, self.balance = self.balance, None
        return term


class MoEViT(TokenClassifier):
    """`MoEViT("S")` for ImageNet, `MoEViT("Ti", num_classes=10, image_size=32)` for CIFAR-10.

    Train it with `ExpertBalance`. The stages are the four quarters of the blocks; their features are tokens
    (N, 1 + L, D), the class token first.

    Args:
        drop_path: probability that an example skips the last block, in [0, 1), rising linearly from 0 at the first.
        experts: E, at least 2.
        capacity: c, > 0: an expert takes at most c times its even share of an image's tokens.

    Raises:
        ValueError: an image size that is no multiple of the patch, or a number out of its range.
    """

    variants = VARIANTS
    block_path = "blocks.1"

    def __init__(
        self,
        variant: str | int = "S",
        num_classes: int = 1000,
        image_size: int | None = None,
        weights: str | None = None,
        drop_path: float = 0.1,
        experts: int = 8,
        capacity: float = 1.25,
        **training: Unpack[Training],
    ):
        super().__init__(variant, num_classes, image_size, weights, **training)
        if experts < 2 or capacity <= 0:
            raise ValueError(f"MoEViT needs 2 experts or more and a capacity > 0, got {experts} and {capacity}")
        row = VARIANTS[self.variant]
        blocks = [Block(row.width, row.heads, rate) for rate in linear_rates(drop_path, (row.depth,))[0]]
        for block in blocks[1::2]:
            block.mlp = MoE(row.width, 4 * row.width, experts, capacity)
        self.add_layers(blocks, row.width)
        self.initialise()

    def forward(self, x: Tensor) -> Outputs:
        x = self.blocks(self.embed(x))
        logits = self.head(self.norm(x)[:, 0])
        if not self.training:
            return logits
        terms = [layer.take_balance() for layer in self.modules() if isinstance(layer, MoE)]
        return logits, {"balance": [term for term in terms if term is not None]}
