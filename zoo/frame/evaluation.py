"""Run a network in eval mode and restore it afterwards: `evaluating`, and `probe`, a pass without arithmetic."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Put every module in eval mode; restore each module's mode afterwards, even after an exception.

    Gradients stay on: add `torch.no_grad()` or `torch.inference_mode()` to turn them off.
    """
    modes = [(module, module.training) for module in network.modules()]
    for module, _ in modes:
        module.training = False  # not `eval()`, which a network may override
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def in_channels(network: nn.Module) -> int:
    """Return C of the images: the network's `in_chans`, or that of the first convolution; 3 where there is neither."""
    if isinstance(chans := getattr(network, "in_chans", None), int):
        return chans
    return next((m.in_channels for m in network.modules() if isinstance(m, nn.Conv2d)), 3)


def meta_images(network: nn.Module, image_size: int) -> Tensor:
    """Return one image (1, C, S, S) of the network's channels on the meta device; (1, C, H, S) if it has a height."""
    height = getattr(network, "height", None) or image_size
    return torch.empty(1, in_channels(network), height, image_size, device="meta")


def meta_state(network: nn.Module) -> dict[str, Tensor]:
    """Return copies of the parameters and buffers on the meta device, by name."""
    tensors = dict(network.named_parameters()) | dict(network.named_buffers())
    return {name: tensor.detach().to("meta") for name, tensor in tensors.items()}


@torch.no_grad()
def run(network: nn.Module, state: dict[str, Tensor], images: Tensor) -> Any:
    """Return the network's output in eval mode with these parameters and buffers instead of its own."""
    with evaluating(network):
        return functional_call(network, state, images, tie_weights=False)


def probe(network: nn.Module, image_size: int) -> Any:
    """Run one image through the network on torch's meta device: shapes are right and hooks fire, without arithmetic.

    Args:
        network: unchanged; its weights are not read.
        image_size: side of the image in pixels.
    """
    return run(network, meta_state(network), meta_images(network, image_size))
