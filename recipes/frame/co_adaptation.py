"""Co-adaptation: how much accuracy hangs on channels being there together.

Heuristic Dropout (Shi, Liu, Tao, Yuan; ICASSP 2022; https://doi.org/10.1109/ICASSP43922.2022.9747409) masks a growing
share of the feature maps before the output layer of a trained network: the less its features depend on each other, the
less accuracy falls.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def channel_masks(u: Tensor, shares: Sequence[float]) -> Tensor:
    """0 for the round(share C) channels of the least u, 1 for the others.

    Args:
        u: (N, C), uniform draws: an image's channels go in their order, so that a larger share masks the same and more.
        shares: S numbers in [0, 1].

    Returns:
        (S, N, C).
    """
    place = u.argsort(1).argsort(1)
    gone = torch.tensor([round(share * u.shape[1]) for share in shares], device=u.device)
    return (place >= gone[:, None, None]).float()


@torch.inference_mode()
def co_adaptation(
    model: nn.Module,
    batches: Iterable[list[Tensor]],
    where: str | None = None,
    shares: Sequence[float] = SHARES,
    seed: int = 0,
) -> list[float]:
    """Accuracy under ever more masked channels, which are zero; the others stay as they are.

    Every image has masks of its own, the same ones at each call: so networks are compared under the same. The network
    runs up to `where` once; what follows runs for all shares at once, and must treat images one by one.

    Args:
        model: gives logits (N, K); on the device of the batches. Its mode is as before afterwards.
        batches: images, normalised, and targets (N,).
        where: the stage, or path of the module, whose maps (N, C, H, W) are masked; None: the last stage.
        shares: of the channels, each in [0, 1].
        seed: of the masks.

    Raises:
        ValueError: for a share out of its range, or no batches.
    """
    if not all(0 <= share <= 1 for share in shares):
        raise ValueError(f"shares must be in [0, 1], not {', '.join(map(str, shares))}")
    generator = torch.Generator().manual_seed(seed)

    def mask(module: nn.Module, inputs: tuple, x: Tensor) -> Tensor:
        u = torch.rand(x.shape[:2], generator=generator).to(x.device)
        masks = channel_masks(u, shares).to(x.dtype)
        return (x * masks[..., None, None]).flatten(0, 1)  # all shares as one batch

    training, hits, count = model.training, 0, 0
    hook = place(model, where).register_forward_hook(mask)
    try:
        model.eval()
        for images, targets in batches:
            answers = model(images).argmax(1).view(len(shares), len(images))
            hits, count = hits + (answers == targets).sum(1), count + len(images)
    finally:
        hook.remove()
        model.train(training)
    if not count:
        raise ValueError("no batches: there is nothing to measure accuracy on")
    return (hits / count).tolist()


def place(model: nn.Module, where: str | None) -> nn.Module:
    """A stage by its name or None for the last, or a module by its path."""
    stages = dict(getattr(model, "stages", {}).items())
    return [*stages.values()][-1] if where is None else stages.get(where) or model.get_submodule(where)
