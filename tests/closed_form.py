"""Numbers in closed form, the same on every machine: what the fixtures of `tests/data/` were computed from."""

import math

import torch
from torch import Tensor, nn


def fill(*shape: int, s: float = 0.0, a: float = 0.5) -> Tensor:
    """a sin(w k (1 + .013 (k mod 7)) + s) for k = 0, 1, 2 ..., float64."""
    k = torch.arange(math.prod(shape), dtype=torch.float64)
    return (a * torch.sin(0.7390851332151607 * k * (1 + 0.013 * (k % 7)) + s)).reshape(shape)


@torch.no_grad()
def filled(network: nn.Module) -> nn.Module:
    """In eval mode, with weights and statistics by name in order, one more radian each; gains and variances about 1."""
    for i, (name, x) in enumerate(sorted(network.state_dict().items())):
        if name.endswith("num_batches_tracked"):
            continue
        a = 0.2 if x.ndim == 1 or len(x) == 1 else 1.5 / math.sqrt(x[0].numel())
        about = float(x.ndim == 1 and name.endswith(("weight", "running_var")))
        x.copy_(fill(*x.shape, s=i, a=a) + about)
    return network.eval()


def images(n: int = 2, pixels: int = 224) -> Tensor:
    """(n, 3, pixels, pixels), of falling contrast."""
    return fill(n, 3, pixels, pixels, s=0.2, a=1.5).float() * torch.linspace(1, 0.4, n)[:, None, None, None]


def gumbel(like: Tensor, s: float) -> Tensor:
    """Noise for draws: -log(-log u) of u between .01 and .99."""
    return -(-(0.5 + 0.49 * fill(*like.shape, s=s, a=1.0)).log()).log().to(like)
