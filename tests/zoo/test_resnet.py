"""ResNet: counts and outputs of the references, by hand what no library has, and where each tweak puts its stride."""

from functools import partial

import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from tests.zoo.checks import assert_he_weights, counts_are
from zoo import ResNet
from zoo.resnet import CIFAR, VARIANTS, PadShortcut, make_shortcut

# At 1000 classes: parameters, and 1e9 multiply-adds of convolutions and linear layers at 224 px. Counted on torchvision
# 0.29 (18 to 152), timm 1.0 (-C, -D) and on a network written apart from this one (v1). The papers print 1.8, 3.6,
# 3.8, 7.6 and 11.3 for v1, and 3.8, 4.1, 4.3, 4.3 for 50-v1, 50, -C, -D (Bag of Tricks).
COUNTS = {
    "18": (11_689_512, 1.8141),
    "34": (21_797_672, 3.6638),
    "50": (25_557_032, 4.0892),
    "101": (44_549_160, 7.8014),
    "152": (60_192_808, 11.5136),
    "50-v1": (25_557_032, 3.8580),
    "101-v1": (44_549_160, 7.5702),
    "152-v1": (60_192_808, 11.2824),
    "50-C": (25_576_264, 4.3288),
    "101-C": (44_568_392, 8.0410),
    "152-C": (60_212_040, 11.7533),
    "18-D": (11_708_744, 2.0537),
    "34-D": (21_816_904, 3.9034),
    "50-D": (25_576_264, 4.3288),
    "101-D": (44_568_392, 8.0410),
    "152-D": (60_212_040, 11.7533),
}
# At 10 classes and 32 px: parameters, and 1e6 multiply-adds. Counted on a network written apart from this one; the
# paper prints .27, .46, .66, .85, 1.7 and 19.4 million (Table 6), pycls 855,770 and 1,730,714 for its
# (option B).
CIFAR_COUNTS = {
    "20": (269_722, 40.55),
    "32": (464_154, 68.86),
    "44": (658_586, 97.17),
    "56": (853_018, 125.5),
    "110": (1_727_962, 252.9),
    "1202": (19_421_274, 2829.2),
    "20-B": (272_474, 40.81),
    "32-B": (466_906, 69.12),
    "44-B": (661_338, 97.44),
    "56-B": (855_770, 125.7),
    "110-B": (1_730_714, 253.1),
    "1202-B": (19_424_026, 2829.5),
}
DEEP = ("101", "152", "1202")


def slow_if_deep(variants):
    return [pytest.param(v, marks=pytest.mark.slow if v.startswith(DEEP) else ()) for v in variants]


def test_every_row_is_counted():
    assert {*COUNTS, *CIFAR_COUNTS} == {*VARIANTS}


test_counts = counts_are(ResNet, COUNTS)


@pytest.mark.parametrize("variant", slow_if_deep(CIFAR_COUNTS))
@pytest.mark.one_in(2)
def test_cifar_counts(variant, count):
    parameters, multiply_adds = count(partial(ResNet, variant, num_classes=10))
    assert parameters == CIFAR_COUNTS[variant][0]
    assert multiply_adds / 1e6 == pytest.approx(CIFAR_COUNTS[variant][1], rel=5e-4)


# ---- the same function as the libraries, under the same keys


@pytest.mark.parametrize("variant", slow_if_deep(ResNet.torchvision_names))
@pytest.mark.one_in(2)
def test_same_logits_as_torchvision(variant, randomise, agree, images):
    torch.manual_seed(0)
    ours = randomise(ResNet(variant))
    theirs = getattr(torchvision.models, ResNet.torchvision_names[variant])().eval()
    theirs.load_state_dict(ours.state_dict())
    agree(ours, theirs, images(40))  # odd maps in stages 2 to 4


@pytest.mark.parametrize("variant", slow_if_deep(ResNet.timm_names))
@pytest.mark.one_in(3)
def test_same_logits_as_timm(variant, randomise, agree, images):
    torch.manual_seed(0)
    ours = randomise(ResNet(variant, num_classes=10))
    theirs = timm.create_model(ResNet.timm_names[variant], num_classes=10).eval()
    theirs.load_state_dict(ours.state_dict())
    agree(ours, theirs, images(40))


# ---- the paper read a second time, on a dictionary of weights: for what neither library has


def conv(w: dict, key: str, x: torch.Tensor, stride: int = 1) -> torch.Tensor:
    return F.conv2d(x, w[f"{key}.weight"], None, stride, padding=w[f"{key}.weight"].shape[-1] // 2)


def norm(w: dict, key: str, x: torch.Tensor) -> torch.Tensor:
    mean, var, gamma, beta = (w[f"{key}.{n}"][:, None, None] for n in ("running_mean", "running_var", "weight", "bias"))
    return gamma * (x - mean) / (var + 1e-5).sqrt() + beta


def shortcut(w: dict, key: str, x: torch.Tensor, stride: int, channels: int) -> torch.Tensor:
    if f"{key}.0.weight" in w:  # option B
        return norm(w, f"{key}.1", conv(w, f"{key}.0", x, stride))
    if stride == 1:
        return x
    zeros = torch.zeros(len(x), (channels - x.shape[1]) // 2, *x[:, :, ::2, ::2].shape[2:])
    return torch.cat([zeros, x[:, :, ::2, ::2], zeros], 1)


def residual(w: dict, key: str, x: torch.Tensor, stride: int) -> torch.Tensor:
    y, layers = x, [i for i in (1, 2, 3) if f"{key}.conv{i}.weight" in w]
    for i in layers:  # v1: the stride is in the first convolution, 3x3 or 1x1
        y = norm(w, f"{key}.bn{i}", conv(w, f"{key}.conv{i}", y, stride if i == 1 else 1))
        y = y.relu() if i < layers[-1] else y
    return (y + shortcut(w, f"{key}.downsample", x, stride, y.shape[1])).relu()


def by_the_paper(w: dict, x: torch.Tensor, blocks: tuple[int, ...], small: bool) -> torch.Tensor:
    x = norm(w, "bn1", conv(w, "conv1", x, 1 if small else 2)).relu()
    x = x if small else F.max_pool2d(x, 3, 2, 1)
    for i, depth in enumerate(blocks, 1):
        for j in range(depth):
            x = residual(w, f"layer{i}.{j}", x, 2 if i > 1 and j == 0 else 1)
    return x.mean((2, 3)) @ w["fc.weight"].T + w["fc.bias"]


@pytest.mark.parametrize("variant", slow_if_deep([v for v in VARIANTS if v.endswith("-v1")]))
def test_v1_is_the_paper(variant, randomise, agree, images):
    torch.manual_seed(0)
    ours = randomise(ResNet(variant, num_classes=10))
    read = partial(by_the_paper, ours.state_dict(), blocks=VARIANTS[variant].depths, small=False)
    agree(ours, read, images(40))


@pytest.mark.parametrize("variant", slow_if_deep(CIFAR_COUNTS))
@pytest.mark.one_in(2)
def test_cifar_rows_are_the_paper(variant, randomise, agree, images):
    torch.manual_seed(0)
    ours = randomise(ResNet(variant, num_classes=10))
    n = CIFAR[variant.removesuffix("-B")]
    assert int(variant.removesuffix("-B")) == 6 * n + 2
    agree(ours, partial(by_the_paper, ours.state_dict(), blocks=(n, n, n), small=True), images(18))


def test_variants_with_the_same_keys_are_not_the_same_function(randomise, images):
    torch.manual_seed(0)
    v1, b = randomise(ResNet("50-v1", num_classes=10)), ResNet("50", num_classes=10).eval()
    b.load_state_dict(v1.state_dict())
    x = images(64)
    assert (v1(x) - b(x)).abs().max() > 0.1


# ---- by hand


def test_option_a_by_hand():
    x = torch.arange(1.0, 10).reshape(1, 1, 3, 3)
    corners = [[1.0, 3.0], [7.0, 9.0]]
    assert PadShortcut(extra=2, stride=2)(x)[0].tolist() == [[[0, 0], [0, 0]], corners, [[0, 0], [0, 0]]]


def test_average_shortcut_by_hand():
    """At the rim of an odd map, the mean is over the pixels that there are."""
    shortcut = make_shortcut(1, 1, stride=2, kind="D").eval()
    nn.init.ones_(shortcut[1].weight)
    x = torch.arange(1.0, 10).reshape(1, 1, 3, 3)
    torch.testing.assert_close(shortcut(x)[0, 0], torch.tensor([[3.0, 4.5], [7.5, 9.0]]), rtol=0, atol=1e-4)


@pytest.mark.parametrize(("variant", "seen"), [("50-v1", 1 / 4), ("50", 1), ("50-C", 1), ("50-D", 1)])
def test_share_of_its_input_that_a_shrinking_block_sees(variant, seen):
    """v1's strided 1x1 convolutions never look at three quarters of the pixels: the reason for tweak B."""
    block = ResNet(variant, num_classes=10).layer2[0].eval()
    x = torch.randn(1, 256, 8, 8, requires_grad=True)
    block(x).sum().backward()
    assert (x.grad.abs().sum(1) > 0).float().mean() == seen


@pytest.mark.parametrize(("variant", "seen"), [("50-v1", 1 / 4), ("50", 1 / 4), ("50-C", 1 / 4), ("50-D", 1)])
def test_share_of_its_input_that_a_shrinking_shortcut_sees(variant, seen):
    """Tweak D averages where the others take every second pixel."""
    x = torch.randn(1, 256, 8, 8, requires_grad=True)
    ResNet(variant, num_classes=10).layer2[0].downsample.eval()(x).sum().backward()
    assert (x.grad.abs().sum(1) > 0).float().mean() == seen


@pytest.mark.parametrize("tweak", ["", "-v1", "-C", "-D"])
def test_map_sizes(tweak, map_sizes):
    channels = (256, 512, 1024, 2048)
    for pixels, first in ((224, 56), (64, 64), (32, 32)):
        sizes = map_sizes(partial(ResNet, f"50{tweak}", image_size=pixels), pixels)
        assert sizes == [(c, first // 2**i) for i, c in enumerate(channels)]


@pytest.mark.parametrize("pixels", [32, 64])
def test_cifar_map_sizes(pixels, map_sizes):
    assert map_sizes(partial(ResNet, "20", image_size=pixels), pixels) == [
        (16, pixels), (32, pixels // 2), (64, pixels // 4),
    ]  # fmt: skip


@pytest.mark.parametrize("variant", ["18", "50-D", "20"])
def test_starts_with_he_weights(variant):
    torch.manual_seed(0)
    assert_he_weights(ResNet(variant, num_classes=10, image_size=32))


def test_bad_arguments_say_what_to_do():
    with pytest.raises(ValueError, match="did you mean '50-D'"):
        ResNet("50D")
    with pytest.raises(ValueError, match="ResNet has no '18-B'; .*there are: 18, 34, 50,"):
        ResNet("18-B")
    with pytest.raises(ValueError, match="ResNet-20 is for images of up to 64 px, got image_size=224"):
        ResNet("20", image_size=224)
    assert ResNet(20, num_classes=10).hparams.variant == "20"  # a number will do
