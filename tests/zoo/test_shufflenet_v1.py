"""ShuffleNetV1: counts of every group and width, the authors' network read a second time, the shuffle by hand."""

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.zoo.checks import counts_are, stages_halve
from zoo import ShuffleNetV1
from zoo.layers.channel_shuffle import channel_shuffle
from zoo.shufflenet_v1 import VARIANTS, Unit

# At 1000 classes: parameters, and 1e9 multiply-adds of convolutions and linear layers at 224 px, counted on a network
# written apart from this one; the authors' code prints 5.4, 6.5, 3.4, 4.3, 1.9, 2.4, .7 and 1.0 million, 524, 522, 292,
# 290, 138, 138, 38 and 40 million for 2.0x, 1.5x, 1.0x and .5x (g3, g8); the paper 143, 140 and 133 for g1, g2 and g4.
COUNTS = {
    "1.0x-g1": (1_531_936, 0.1431),
    "1.0x-g2": (1_733_848, 0.1408),
    "1.0x-g3": (1_865_728, 0.1375),
    "1.0x-g4": (1_968_344, 0.1343),
    "1.0x-g8": (2_434_768, 0.1384),
    "0.5x-g3": (718_324, 0.0376),
    "0.5x-g8": (1_011_448, 0.0405),
    "1.5x-g3": (3_442_168, 0.2924),
    "1.5x-g8": (4_269_952, 0.2902),
    "2.0x-g3": (5_450_776, 0.5240),
    "2.0x-g8": (6_522_232, 0.5219),
}


def test_every_row_is_counted():
    assert {*COUNTS} == {*VARIANTS}


test_counts = counts_are(ShuffleNetV1, COUNTS)


# ---- the authors' network read a second time, literally, on a dictionary of weights under their keys


def conv(w: dict, key: str, x: torch.Tensor, stride: int = 1) -> torch.Tensor:
    weight = w[f"{key}.weight"]
    return F.conv2d(x, weight, None, stride, weight.shape[-1] // 2, groups=x.shape[1] // weight.shape[1])


def norm(w: dict, key: str, x: torch.Tensor) -> torch.Tensor:
    mean, var, gamma, beta = (w[f"{key}.{n}"][:, None, None] for n in ("running_mean", "running_var", "weight", "bias"))
    return gamma * (x - mean) / (var + 1e-5).sqrt() + beta


def unit(w: dict, key: str, x: torch.Tensor, stride: int, groups: int) -> torch.Tensor:
    y = norm(w, f"{key}.branch_main_1.1", conv(w, f"{key}.branch_main_1.0", x)).relu()
    y = norm(w, f"{key}.branch_main_1.4", conv(w, f"{key}.branch_main_1.3", y, stride))
    order = [i for k in range(groups) for i in range(y.shape[1]) if i % groups == k]
    y = norm(w, f"{key}.branch_main_2.1", conv(w, f"{key}.branch_main_2.0", y[:, order]))
    if stride == 1:
        return (x + y).relu()
    return torch.cat([F.avg_pool2d(x, 3, 2, 1), y.relu()], 1)


def by_the_authors(w: dict, x: torch.Tensor, groups: int) -> torch.Tensor:
    x = norm(w, "first_conv.1", conv(w, "first_conv.0", x, 2)).relu()
    x = F.max_pool2d(x, 3, 2, 1)
    for i in range(16):
        x = unit(w, f"features.{i}", x, 2 if i in (0, 4, 12) else 1, groups)
    return x.mean((2, 3)) @ w["classifier.0.weight"].T + w["classifier.0.bias"]


@pytest.mark.parametrize("variant", COUNTS)
def test_is_the_authors_network(variant, randomise, images, agree):
    torch.manual_seed(0)
    ours = ShuffleNetV1(variant, num_classes=10)
    nn.init.normal_(ours.classifier[0].weight, std=0.1)
    nn.init.normal_(ours.classifier[0].bias)
    ours = randomise(ours)
    agree(ours, partial(by_the_authors, ours.state_dict(), groups=VARIANTS[variant].groups), images(72))


# ---- by hand


def test_shuffle_by_hand():
    """Six channels of three groups (0 1, 2 3, 4 5): every third one goes into the same group."""
    x = torch.arange(6.0).reshape(1, 6, 1, 1)
    assert channel_shuffle(x, 6 // 3).flatten().tolist() == [0, 3, 1, 4, 2, 5]
    assert channel_shuffle(channel_shuffle(x, 6 // 3), 3).flatten().tolist() == [0, 1, 2, 3, 4, 5]


def test_each_output_hears_of_every_group():
    """The reason for the shuffle: without it, a group would only ever see its own input channels."""
    torch.manual_seed(0)
    layer, x = Unit(36, 36, 1, groups=3, first=False).eval(), torch.randn(1, 36, 5, 5, requires_grad=True)
    nn.init.constant_(layer.branch_main_1[1].bias, 10.0)  # no ReLU in the way
    nn.init.constant_(layer.branch_main_2[1].bias, 100.0)
    layer(x)[:, 0].sum().backward()
    heard = x.grad.abs().sum((0, 2, 3)).unflatten(0, (3, 12)).sum(1)
    assert (heard > 0).all()


def test_shrinking_unit_keeps_its_input_averaged():
    layer, x = Unit(8, 24, 2, groups=2, first=False).eval(), torch.rand(2, 8, 6, 6)
    assert torch.equal(layer(x)[:, :8], F.avg_pool2d(x, 3, 2, 1)) and layer(x).shape == (2, 24, 3, 3)


@pytest.mark.parametrize("variant", COUNTS)
def test_only_the_first_convolution_is_not_grouped(variant):
    with torch.device("meta"):
        model = ShuffleNetV1(variant)
    groups = [m.groups for m in model.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (1, 1)]
    assert groups == [1] + 31 * [VARIANTS[variant].groups]


test_map_sizes = stages_halve(ShuffleNetV1, (24, 240, 480, 960), "1.0x-g3")


def test_starts_with_the_authors_weights():
    torch.manual_seed(0)
    model = ShuffleNetV1(num_classes=100)
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            std = 0.01 if name in ("first_conv.0", "classifier.0") else 1 / (layer.in_channels // layer.groups)
            assert layer.weight.std().item() == pytest.approx(std, rel=5 / math.sqrt(2 * layer.weight.numel()))
        elif isinstance(layer, nn.BatchNorm2d):
            assert (layer.bias == 1e-4).all()


def test_bad_arguments_say_what_to_do():
    with pytest.raises(ValueError, match="ShuffleNetV1 has no '1.0x-g5'; did you mean '1.0x-g8'"):
        ShuffleNetV1("1.0x-g5")
