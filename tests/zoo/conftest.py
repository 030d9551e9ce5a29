"""Weights that leave nothing at its neutral value, and how a network is counted and looked into."""

import functools
import sys
from unittest import mock

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


@pytest.fixture
def randomise(images):
    """`randomise(network, pixels=40, n=8)`: norms get gains, shifts and statistics of n images: no neutral value."""
    return lambda network, pixels=40, n=8: _randomise(network, images(pixels, n))


@torch.no_grad()
def _randomise(network: nn.Module, images: torch.Tensor) -> nn.Module:
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1  # statistics of the next batch: with invented ones, the signal would be lost in the shifts
        nn.init.uniform_(norm.weight, 0.6, 1.2)
        nn.init.normal_(norm.bias, std=0.2)
    network.train()(images)
    for norm in norms:
        norm.running_mean += 0.1 * torch.randn_like(norm.running_mean)
        norm.running_var *= torch.empty_like(norm.running_var).uniform_(0.8, 1.5)
    return network.eval()


@pytest.fixture
def he_weights():
    """`he_weights(network)`: they keep the signal's size; from N(0, .01^2), logits of two images hardly differ."""
    return _he_weights


@torch.no_grad()
def _he_weights(network: nn.Module) -> nn.Module:
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight)
            nn.init.normal_(module.bias, std=0.1)
    return network.eval()


@pytest.fixture
def agree():
    """`agree(ours, theirs, images)`: equal logits to 1e-4, or to 1e-4 of what lies between images if more."""
    return _agree


@torch.no_grad()
def _agree(ours, theirs, images: torch.Tensor) -> None:
    mine, other = ours(images), theirs(images)
    spread = other.std(0).mean().item()
    assert spread > 0.02  # a network that says the same of every image would agree with anything
    torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-4 * max(1, spread))


@pytest.fixture
def images():
    """`images(pixels)`: they differ in colour too, or a network that ends in a mean would hardly tell them apart."""
    return lambda pixels, n=3: torch.randn(n, 3, pixels, pixels) + torch.randn(n, 3, 1, 1)


@pytest.fixture
def count():
    """`count(make)` -> parameters and multiply-adds of one image; nothing is computed."""
    return _count


def same_shape(x: torch.Tensor, *arguments, **options) -> torch.Tensor:
    return x


# torch takes long to compute nothing of these on "meta", and they have no multiply-adds that papers count
without_norms = functools.partial(mock.patch.multiple, F, batch_norm=same_shape, layer_norm=same_shape, gelu=same_shape)


@torch.no_grad()
def _count(make) -> tuple[int, int]:
    with torch.device("meta"):
        network = make().eval()
        images = torch.empty(1, 3, network.image_size, network.image_size)
    with FlopCounterMode(display=False) as flops, without_norms():
        network(images)
    return sum(p.numel() for p in network.parameters()), flops.get_total_flops() // 2


@pytest.fixture
def map_sizes():
    """`map_sizes(make, pixels)` -> the (C, H) of each stage's output; nothing is computed."""
    return _map_sizes


@torch.no_grad()
def _map_sizes(make, pixels: int) -> list[tuple[int, int]]:
    with torch.device("meta"):
        network, images = make().eval(), torch.empty(1, 3, pixels, pixels)
    sizes = []
    for stage in network.stages.values():
        stage.register_forward_hook(lambda module, args, out: sizes.append((out.shape[1], out.shape[2])))
    with without_norms():
        network(images)
    return sizes


@pytest.fixture(autouse=True)
def forget_graphs(request):
    """Drop what torch keeps of compiled graphs: over hundreds of tests it is gigabytes."""
    yield
    if request.node.get_closest_marker("slow") and "torch._dynamo" in sys.modules:
        torch.compiler.reset()
