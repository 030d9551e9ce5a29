"""WideResNet: counts, torchvision's logits, the authors' functional code read a second time, and where dropout acts."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from tests.zoo.checks import assert_he_weights, counts_are, stages_halve
from zoo import WideResNet
from zoo.wide_resnet import CIFAR, VARIANTS, WideBasic

# At 10 classes and 32 px: parameters, 1e9 multiply-adds. Counted on a network written apart from this one; the paper
# prints .6, 2.2, 8.9, 35.7 (40-k), 11.0, 17.1 (16-8, 16-10), 17.2, 26.8 (22-k), 36.5 and 52.5 million (28-k), Table 4.
CIFAR_COUNTS = {
    "16-1": (175_066, 0.0267),
    "16-2": (691_674, 0.1011),
    "16-4": (2_748_890, 0.3926),
    "16-8": (10_961_370, 1.5481),
    "16-10": (17_116_634, 2.4122),
    "22-8": (17_158_106, 2.4541),
    "22-10": (26_797_914, 3.8278),
    "28-2": (1_467_610, 0.2144),
    "28-10": (36_479_194, 5.2433),
    "28-12": (52_517_850, 7.5439),
    "40-1": (563_930, 0.0833),
    "40-2": (2_243_546, 0.3276),
    "40-4": (8_949_210, 1.2986),
    "40-8": (35_748_314, 5.1720),
    "40-10": (55_841_754, 8.0745),
}
# At 1000 classes and 224 px, counted on torchvision 0.29; the paper prints 68.9 million for 50-2 (Table 8).
COUNTS = {"50-2": (68_883_240, 11.3980), "101-2": (126_886_696, 22.7531)}


def test_every_row_is_counted():
    assert {*COUNTS, *CIFAR_COUNTS} == {*VARIANTS}


test_cifar_counts = counts_are(WideResNet, CIFAR_COUNTS, num_classes=10)


test_counts = counts_are(WideResNet, COUNTS)


@pytest.mark.parametrize("variant", ["50-2", pytest.param("101-2", marks=pytest.mark.slow)])
def test_same_logits_as_torchvision(variant, randomise, agree, images):
    torch.manual_seed(0)
    ours = randomise(WideResNet(variant, num_classes=10))
    theirs = getattr(torchvision.models, WideResNet.torchvision_names[variant])(num_classes=10).eval()
    theirs.load_state_dict(ours.state_dict())
    ours.load_state_dict(theirs.state_dict())
    agree(ours, theirs, images(72))  # odd maps in stages 2 to 4


# ---- the authors' functional code read a second time, on a dictionary of weights


def norm_relu(w: dict, key: str, x: torch.Tensor) -> torch.Tensor:
    mean, var, gamma, beta = (w[f"{key}.{n}"][:, None, None] for n in ("running_mean", "running_var", "weight", "bias"))
    return (gamma * (x - mean) / (var + 1e-5).sqrt() + beta).relu()


def block(w: dict, key: str, x: torch.Tensor, stride: int) -> torch.Tensor:
    o = norm_relu(w, f"{key}.bn0", x)
    y = F.conv2d(o, w[f"{key}.conv0.weight"], stride=stride, padding=1)
    y = F.conv2d(norm_relu(w, f"{key}.bn1", y), w[f"{key}.conv1.weight"], padding=1)
    widens = f"{key}.convdim.weight" in w
    return y + (F.conv2d(o, w[f"{key}.convdim.weight"], stride=stride) if widens else x)


def by_the_paper(w: dict, x: torch.Tensor, n: int) -> torch.Tensor:
    x = F.conv2d(x, w["conv0.weight"], padding=1)
    for i in range(3):
        for j in range(n):
            x = block(w, f"group{i}.block{j}", x, 2 if i > 0 and j == 0 else 1)
    return norm_relu(w, "bn", x).mean((2, 3)) @ w["fc.weight"].T + w["fc.bias"]


QUICK = {"16-1", "16-2", "28-2", "40-2"}


@pytest.mark.parametrize("variant", [pytest.param(v, marks=() if v in QUICK else pytest.mark.slow) for v in CIFAR])
@pytest.mark.one_in(3)
def test_cifar_rows_are_the_authors_code(variant, randomise, agree, images):
    torch.manual_seed(0)
    ours = randomise(WideResNet(variant, num_classes=10))
    nn.init.normal_(ours.fc.weight, std=0.1)  # at torch's, images look much alike to wide rows
    agree(ours, partial(by_the_paper, ours.state_dict(), n=(int(variant.split("-")[0]) - 4) // 6), images(18))


# ---- by hand


def test_with_width_one_the_first_group_keeps_its_identity():
    """16 channels in and out: the only row whose first block needs no 1x1 convolution."""
    thin, wide = (WideResNet(v, num_classes=10).group0.block0 for v in ("16-1", "16-2"))
    assert thin.convdim is None and wide.convdim.weight.shape == (32, 16, 1, 1)


def test_dropout_stands_between_the_convolutions():
    """Dropping everything silences the branch and leaves the shortcut; in eval mode nothing is dropped."""
    torch.manual_seed(0)
    model = WideResNet("16-2", num_classes=10, dropout=0.3)
    blocks = [m for m in model.modules() if isinstance(m, WideBasic)]
    assert [b.dropout.p for b in blocks] == [0.3] * 6
    x, last = torch.randn(4, 32, 8, 8), model.group0.block1
    last.dropout.p = 1.0
    assert torch.equal(last(x), x)
    assert (last.eval()(x) - x).abs().mean() > 0.1


test_map_sizes = stages_halve(WideResNet, (256, 512, 1024, 2048), "50-2")


@pytest.mark.parametrize("pixels", [32, 64])
def test_cifar_map_sizes(pixels, map_sizes):
    make = partial(WideResNet, "28-10", image_size=pixels)
    assert map_sizes(make, pixels) == [(160, pixels), (320, pixels // 2), (640, pixels // 4)]


@pytest.mark.parametrize(("variant", "fan"), [("16-4", "in_channels"), ("50-2", "out_channels")])
def test_starts_with_he_weights(variant, fan):
    torch.manual_seed(0)
    model = WideResNet(variant, num_classes=10, image_size=32)
    assert_he_weights(model, fan)


def test_bad_arguments_say_what_to_do():
    with pytest.raises(ValueError, match="WideResNet has no '28-11'; did you mean"):
        WideResNet("28-11")
    with pytest.raises(ValueError, match="WideResNet-28-10 is for images of up to 64 px, got image_size=224"):
        WideResNet("28-10", image_size=224)
    with pytest.raises(ValueError, match="WideResNet-50-2 has no place for dropout"):
        WideResNet("50-2", dropout=0.3)
