"""Measure co-adaptation: how much accuracy depends on channels being present together.

Heuristic Dropout (Shi, Liu, Tao, Yuan; ICASSP 2022; https://doi.org/10.1109/ICASSP43922.2022.9747409) masks a growing
fraction of the feature maps before the output layer of a trained network: the less its features depend on each other,
the less accuracy falls.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from zoo.frame.evaluation import evaluating

FRACTIONS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def channel_masks(u: Tensor, fractions: Sequence[float]) -> Tensor:
    """Mask channels: 0 for the round(fraction C) channels of the least u, 1 for the others.

    Args:
        u: (N, C), uniform draws: an image's channels go in their order, so that a larger fraction masks the same
            channels and more.
        fractions: S numbers in [0, 1].

    Returns:
        (S, N, C).
    """
    place = u.argsort(1).argsort(1)
    gone = torch.tensor([round(fraction * u.shape[1]) for fraction in fractions], device=u.device)
    return (place >= gone[:, None, None]).float()


@torch.inference_mode()
def co_adaptation(
    model: nn.Module,
    batches: Iterable[list[Tensor]],
    where: str | None = None,
    fractions: Sequence[float] = FRACTIONS,
    seed: int = 0,
) -> list[float]:
    """Measure the accuracy with growing fractions of channels set to zero; the others keep their scale.

    Each image has its own masks, the same at each call, so that networks are compared under the same masks. The network
    runs up to `where` once. The layers after it run for all fractions in one batch, so they must not mix images.

    Args:
        model: returns logits (N, K); on the device of the batches. Its mode is restored afterwards.
        batches: images, normalised, and targets (N,).
        where: the stage, or path of the module, whose maps (N, C, H, W) are masked; None: the last stage.
        fractions: of the channels, each in [0, 1].
        seed: of the masks.

    Raises:
        ValueError: a fraction is out of range, or there are no batches.
    """
    if not all(0 <= fraction <= 1 for fraction in fractions):
        raise ValueError(f"fractions must be in [0, 1], not {', '.join(map(str, fractions))}")
    generator = torch.Generator().manual_seed(seed)

    def mask(module: nn.Module, inputs: tuple[Tensor, ...], x: Tensor) -> Tensor:
        u = torch.rand(x.shape[:2], generator=generator).to(x.device)
        masks = channel_masks(u, fractions).to(x.dtype)
        return (x * masks[..., None, None]).flatten(0, 1)  # all fractions as one batch

    hits, count = torch.zeros(len(fractions)), 0
    hook = find_module(model, where).register_forward_hook(mask)
    try:
        with evaluating(model):
            for images, targets in batches:
                answers = model(images).argmax(1).view(len(fractions), len(images))
                hits, count = hits + (answers == targets).sum(1).cpu(), count + len(images)
    finally:
        hook.remove()
    if not count:
        raise ValueError("no batches: there is nothing to measure accuracy on")
    return [float(hit) / count for hit in hits]


def find_module(model: nn.Module, where: str | None) -> nn.Module:
    """Return a stage by its name, None for the last, or a module by its path."""
    stages = dict(getattr(model, "stages", {}).items())
    return [*stages.values()][-1] if where is None else stages.get(where) or model.get_submodule(where)
