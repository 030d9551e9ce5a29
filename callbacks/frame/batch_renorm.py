"""Batch renormalisation: a batch norm whose outputs in training are close to those in evaluation.

    y = (x - mean_B) / sigma_B * r + d,  r = clip(sigma_B / sigma, 1 / r_max, r_max),
    d = clip((mean_B - mean) / sigma, -d_max, d_max);  no gradient through r and d

Paper: https://arxiv.org/abs/1702.03275, Algorithm 1 and section 4: r_max 1 and d_max 0, which is batch norm, for 5000
steps; then r_max rises linearly to 3 at step 40,000, d_max to 5 at step 25,000; the averages move by 0.01 a step.
"""

import torch
from torch import Tensor, nn

R_MAX, R_END = 3.0, 8.0  # the largest r_max, and when: after 8 warm-ups (of 5000 steps: at 40,000)
D_MAX, D_END = 5.0, 5.0


class BatchRenorm2d(nn.BatchNorm2d):
    """Normalise maps (N, C, H, W) -> same. Evaluation and state-dict keys are those of a batch norm.

    Args:
        num_features: C.
        eps: as in a batch norm.
        momentum: fraction of the batch in the averages at each step.
        affine: whether gamma and beta are learned.
        warmup: training passes with r = 1 and d = 0, as in a plain batch norm.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor
    momentum: float

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float = 0.01, affine: bool = True, warmup: int = 5000
    ):
        super().__init__(num_features, eps, momentum, affine)
        self.warmup = warmup

    def limits(self) -> tuple[Tensor, Tensor]:
        """Return r_max and d_max as tensors: converting them to numbers would wait for the device."""
        after = self.num_batches_tracked.float() / self.warmup - 1  # in warm-ups
        r_max = 1 + (R_MAX - 1) * (after / (R_END - 1)).clamp(0, 1)
        return r_max, D_MAX * (after / (D_END - 1)).clamp(0, 1)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        numbers = x.float() if x.dtype.itemsize < 4 else x  # compute statistics of 16-bit numbers in float32
        var, mean = torch.var_mean(numbers, (0, 2, 3), correction=0)
        sigma, sigma_all = (var + self.eps).sqrt(), (self.running_var + self.eps).sqrt()
        r_max, d_max = self.limits()
        with torch.no_grad():
            r = (sigma / sigma_all).clamp(1 / r_max, r_max)
            d = ((mean - self.running_mean) / sigma_all).clamp(-d_max, d_max)
            for kept, seen in ((self.running_mean, mean), (self.running_var, var)):  # m <- m + momentum (m_B - m)
                kept.copy_(kept.to(seen.dtype).lerp(seen, self.momentum))
            self.num_batches_tracked += 1
        gain, shift = r / sigma, d - mean * r / sigma
        if self.affine:
            gain, shift = gain * self.weight, shift * self.weight + self.bias
        return (numbers * gain[:, None, None] + shift[:, None, None]).to(x.dtype)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, warmup={self.warmup}"
