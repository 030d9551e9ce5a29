"""PreActResNet: counts and outputs of the references, and a second reading of what timm does not have."""

import math
from functools import partial

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

from tests.zoo.checks import counts_are, stages_halve
from zoo import PreActResNet
from zoo.preact_resnet import VARIANTS, PreActBasic, PreActBottleneck, Row

# At 1000 classes: parameters, and 1e9 multiply-adds of convolutions and linear layers at 224 px. Counted on timm 1.0,
# for 200 on a network written apart from this one.
COUNTS = {
    "18": (11_687_720, 1.8141),
    "34": (21_795_880, 3.6638),
    "50": (25_549_352, 4.0892),
    "101": (44_541_480, 7.8014),
    "152": (60_185_128, 11.5136),
    "200": (64_666_152, 15.0075),
}
# At 10 classes and 32 px: parameters, and 1e6 multiply-adds. Counted on a network written apart from this one (164,
# 1001) and on hysts/pytorch_image_classification at 993089a (20, 110); the paper prints 1.7, 1.7 and 10.2 million
# (Table 4).
CIFAR_COUNTS = {
    "20": (272_282, 40.8),
    "110": (1_730_522, 253.1),
    "164": (1_703_258, 244.5),
    "1001": (10_327_706, 1487.8),
}


def slow_if_deep(variants):
    return [pytest.param(v, marks=pytest.mark.slow if v in ("101", "152", "1001") else ()) for v in variants]


def test_every_row_is_counted():
    assert {*COUNTS, *CIFAR_COUNTS} == {*VARIANTS}


test_counts = counts_are(PreActResNet, COUNTS)


@pytest.mark.parametrize("variant", slow_if_deep(CIFAR_COUNTS))
def test_cifar_counts(variant, count):
    parameters, multiply_adds = count(partial(PreActResNet, variant, num_classes=10))
    assert parameters == CIFAR_COUNTS[variant][0]
    assert multiply_adds / 1e6 == pytest.approx(CIFAR_COUNTS[variant][1], rel=5e-4)


@pytest.mark.parametrize("variant", slow_if_deep(PreActResNet.timm_names))
def test_same_logits_as_timm(variant, randomise, agree, images):
    torch.manual_seed(0)
    ours = randomise(PreActResNet(variant, num_classes=10))
    theirs = timm.create_model(PreActResNet.timm_names[variant], num_classes=10).eval()
    theirs.load_state_dict(ours.state_dict())
    agree(ours, theirs, images(40))  # odd maps in stages 2 to 4


# ---- the paper and the authors' code read a second time, on a dictionary of weights


def conv(w: dict, key: str, x: torch.Tensor, stride: int = 1) -> torch.Tensor:
    return F.conv2d(x, w[f"{key}.weight"], w.get(f"{key}.bias"), stride, padding=w[f"{key}.weight"].shape[-1] // 2)


def norm_relu(w: dict, key: str, x: torch.Tensor) -> torch.Tensor:
    mean, var, gamma, beta = (w[f"{key}.{n}"][:, None, None] for n in ("running_mean", "running_var", "weight", "bias"))
    return (gamma * (x - mean) / (var + 1e-5).sqrt() + beta).relu()


def residual(w: dict, key: str, x: torch.Tensor, stride: int, first: bool = False) -> torch.Tensor:
    """The first block of all is activated before its paths part (the paper's appendix)."""
    y = pre = norm_relu(w, f"{key}.norm1", x)
    y = conv(w, f"{key}.conv1", y, stride)
    for i in (i for i in (2, 3) if f"{key}.conv{i}.weight" in w):
        y = conv(w, f"{key}.conv{i}", norm_relu(w, f"{key}.norm{i}", y))
    return y + (
        conv(w, f"{key}.downsample.conv", pre, stride) if f"{key}.downsample.conv.weight" in w else pre if first else x
    )


def by_the_paper(w: dict, x: torch.Tensor, depth: int) -> torch.Tensor:
    x = conv(w, "stem.conv", x)
    for i in range(3):
        for j in range(depth):
            x = residual(w, f"stages.{i}.blocks.{j}", x, 2 if i > 0 and j == 0 else 1, first=i == j == 0)
    return conv(w, "head.fc", norm_relu(w, "norm", x).mean((2, 3), keepdim=True)).flatten(1)


@pytest.mark.parametrize("block", [PreActBasic, PreActBottleneck])
def test_cifar_rows_are_the_paper(block, monkeypatch, randomise, agree, images):
    row = "20" if block is PreActBasic else "short"
    monkeypatch.setitem(VARIANTS, "short", Row(block, (3, 3, 3), 16, stride_in_1x1=True))
    torch.manual_seed(0)
    ours = randomise(PreActResNet(row, num_classes=10, image_size=32))
    agree(ours, partial(by_the_paper, ours.state_dict(), depth=3), images(18))


@pytest.mark.parametrize(("variant", "layers"), [("20", 2), ("110", 2), ("164", 3), ("1001", 3)])
def test_depth_is_in_the_name(variant, layers):
    assert int(variant) == 2 + 3 * VARIANTS[variant].depths[0] * layers


# ---- by hand


def test_shortcuts_are_pure_identities():
    """With silent convolutions a block without change of shape gives what it got, negative values too."""
    block = PreActResNet("18", num_classes=10).stages["stage1"].blocks[1].eval()
    nn.init.zeros_(block.conv2.weight)
    x = torch.randn(2, 64, 4, 4)
    assert torch.equal(block(x), x)


test_map_sizes = stages_halve(PreActResNet, (256, 512, 1024, 2048), "50")


@pytest.mark.parametrize("pixels", [32, 64])
def test_cifar_map_sizes(pixels, map_sizes):
    make = partial(PreActResNet, "164", image_size=pixels)
    assert map_sizes(make, pixels) == [(64, pixels), (128, pixels // 2), (256, pixels // 4)]


def test_starts_with_he_weights():
    torch.manual_seed(0)
    model = PreActResNet("18", num_classes=10, image_size=32)
    for layer in (m for m in [*model.stem.modules(), *model.stages.modules()] if isinstance(m, nn.Conv2d)):
        std = math.sqrt(2 / (layer.kernel_size[0] ** 2 * layer.out_channels))
        assert layer.weight.std().item() == pytest.approx(std, rel=5 / math.sqrt(2 * layer.weight.numel()))


def test_stages_answer_by_name():
    stages = PreActResNet("18", num_classes=10).stages
    modules = [*stages.values()]
    assert list(stages) == list(stages.keys()) == ["stage1", "stage2", "stage3", "stage4"]
    assert stages["stage3"] is modules[2] and "stage4" in stages and "stage5" not in stages
    assert [*stages.items()][0] == ("stage1", modules[0])


def test_bad_arguments_say_what_to_do():
    with pytest.raises(ValueError, match="PreActResNet has no '110-B'; did you mean '110'"):
        PreActResNet("110-B")
    with pytest.raises(ValueError, match="PreActResNet-164 is for images of up to 64 px, got image_size=224"):
        PreActResNet("164", image_size=224)
