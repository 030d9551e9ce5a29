"""The random fraction with which two images are mixed."""

import torch


def draw_beta(alpha: float) -> float:
    """Draw lam ~ Beta(alpha, alpha), in [0, 1]: one of two Gamma(alpha) draws over their sum.

    In logarithms, Gamma(alpha) = Gamma(alpha + 1) U^(1 / alpha): below alpha = .03 the draws underflow in float32, and
    torch.distributions.Beta then gives 1 / 2 where 0 or 1 is due.
    """
    gammas = torch.full((2,), alpha + 1.0)
    logs = torch._standard_gamma(gammas).log() + torch.rand(2).log() / alpha
    return (logs[0] - logs[1]).sigmoid().item()
