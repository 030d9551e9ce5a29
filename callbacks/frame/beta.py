"""The random fraction with which two images are mixed."""

import torch


def draw_beta(alpha: float) -> float:
    """Draw lam ~ Beta(alpha, alpha), in [0, 1]: lam = g_1 / (g_1 + g_2) with g_1, g_2 ~ Gamma(alpha).

    The g are drawn as logarithms, by Gamma(alpha) = Gamma(alpha + 1) U^(1 / alpha). Below alpha = .03, they would
    underflow in float32: torch.distributions.Beta then returns 1 / 2 instead of 0 or 1.
    """
    gammas = torch.full((2,), alpha + 1.0)
    logs = torch._standard_gamma(gammas).log() + torch.rand(2).log() / alpha
    return (logs[0] - logs[1]).sigmoid().item()
