"""Recompute the statistics of batch norms over given images, for weights that no training pass has used."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from zoo.frame.evaluation import evaluating
from zoo.frame.sharded import forward_with


@torch.no_grad()
def renew_statistics(model: nn.Module, weights: dict[str, Tensor], batches: Iterable[Tensor]) -> None:
    """Compute mean and variance of each batch norm over these images, in place in `weights`.

    Batch norms in eval mode are frozen, and keep their statistics. Other layers run as in evaluation: no dropout.

    Args:
        model: the network, in training mode.
        weights: a state dict of the model; the images are passed through the network with these weights.
        batches: images (N, C, H, W).
    """
    norms = {
        name: m for name, m in model.named_modules() if m.training and getattr(m, "running_mean", None) is not None
    }
    if not norms:
        return
    kind = next(value.dtype for value in weights.values() if value.is_floating_point())
    for name in norms:
        weights[f"{name}.num_batches_tracked"].zero_()
    # a compiled network would be compiled again for each batch's momentum
    with _train_only(model, norms), torch.compiler.set_stance("force_eager"):
        for n, images in enumerate(batches, 1):
            for norm in norms.values():
                norm.momentum = 1 / n  # a plain mean of all batches
            forward_with(model, weights, images.to(kind))  # averages are float32, whatever the model's precision


@contextmanager
def _train_only(model: nn.Module, norms: Mapping[str, nn.Module]) -> Iterator[None]:
    """Put the model in eval mode and these batch norms in training mode; restore modes and momenta afterwards."""
    momenta = [norm.momentum for norm in norms.values()]
    try:
        with evaluating(model):
            for norm in norms.values():
                norm.train()
            yield
    finally:
        for norm, momentum in zip(norms.values(), momenta, strict=True):
            norm.momentum = momentum
