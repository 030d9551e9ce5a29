"""Targets as probabilities: the one form that every label-changing trick reads and writes."""

import torch.nn.functional as F
from torch import Tensor


def probabilities(targets: Tensor, num_classes: int) -> Tensor:
    """Convert class indices (N,) or probabilities to probabilities (N, K), float32; masks (N, H, W) to (N, K, H, W)."""
    return targets if targets.is_floating_point() else F.one_hot(targets, num_classes).movedim(-1, 1).float()
