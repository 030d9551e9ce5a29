"""DenseNet: counts and logits of torchvision, and the paper's equation read a second time for the CIFAR rows."""

import re
from functools import partial

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from tests.zoo.checks import assert_he_weights, counts_are, stages_halve
from zoo import DenseNet
from zoo.densenet import CIFAR, VARIANTS, DenseBlock

# At 1000 classes and 224 px: parameters, and 1e9 multiply-adds. Counted on torchvision 0.29, 264 on a network written
# apart from this one; the authors' README prints 8.0, 28.7, 14.1 and 20.0 million parameters.
COUNTS = {
    "121": (7_978_856, 2.8342),
    "161": (28_681_000, 7.7279),
    "169": (14_149_480, 3.3598),
    "201": (20_013_928, 4.2914),
    "264": (33_337_704, 5.7517),
}
# At 10 classes and 32 px, on a network written apart from this one; the paper prints 1.0, 7.0, 27.2, .8, 15.3 and 25.6
# million parameters (Table 2).
CIFAR_COUNTS = {
    "40-12": (1_019_722, 0.2648),
    "100-12": (6_979_642, 1.7695),
    "100-24": (27_249_082, 6.8893),
    "BC-100-12": (769_162, 0.2879),
    "BC-250-24": (15_324_406, 5.4188),
    "BC-190-40": (25_624_430, 9.3019),
}


def test_every_row_is_counted():
    assert {*COUNTS, *CIFAR_COUNTS} == {*VARIANTS}


test_counts = counts_are(DenseNet, COUNTS)


test_cifar_counts = counts_are(DenseNet, CIFAR_COUNTS, num_classes=10)


@pytest.mark.parametrize(
    "variant", [pytest.param(v, marks=pytest.mark.slow if v != "121" else ()) for v in DenseNet.torchvision_names]
)
@pytest.mark.one_in(3)
def test_same_logits_as_torchvision(variant, randomise, agree, images):
    torch.manual_seed(0)
    ours = randomise(DenseNet(variant, num_classes=10))
    theirs = getattr(torchvision.models, DenseNet.torchvision_names[variant])(num_classes=10).eval()
    theirs.load_state_dict(ours.state_dict())
    ours.load_state_dict(theirs.state_dict())
    agree(ours, theirs, images(72))  # odd maps before the last two transitions


def test_takes_the_files_that_torchvision_publishes(tmp_path):
    """Their keys are older than its code: `denselayer1.norm.1.weight`."""
    ours = DenseNet("BC-100-12", num_classes=10)
    old = {re.sub(r"(norm|conv)([12])\.", r"\1.\2.", key): value for key, value in ours.state_dict().items()}
    assert "features.denseblock1.denselayer1.norm.1.weight" in old and "features.norm5.weight" in old
    torch.save(old, tmp_path / "published.pth")
    again = DenseNet("BC-100-12", num_classes=10, weights=tmp_path / "published.pth").state_dict()
    assert all(torch.equal(value, again[key]) for key, value in ours.state_dict().items())


# ---- the paper read a second time, on a dictionary of weights


def norm_relu(w: dict, key: str, x: torch.Tensor) -> torch.Tensor:
    mean, var, gamma, beta = (w[f"{key}.{n}"][:, None, None] for n in ("running_mean", "running_var", "weight", "bias"))
    return (gamma * (x - mean) / (var + 1e-5).sqrt() + beta).relu()


def conv(w: dict, key: str, x: torch.Tensor, stride: int = 1) -> torch.Tensor:
    return F.conv2d(x, w[f"{key}.weight"], stride=stride, padding=w[f"{key}.weight"].shape[-1] // 2)


def dense(w: dict, key: str, x: torch.Tensor, n: int) -> torch.Tensor:
    """Section 3: x_l = H([x_0, ..., x_{l-1}]), all of them kept in a list."""
    made = [x]
    for i in range(1, n + 1):
        y = torch.cat(made, 1)
        for j in (j for j in (1, 2) if f"{key}.denselayer{i}.conv{j}.weight" in w):
            y = conv(w, f"{key}.denselayer{i}.conv{j}", norm_relu(w, f"{key}.denselayer{i}.norm{j}", y))
        made.append(y)
    return torch.cat(made, 1)


def by_the_paper(w: dict, x: torch.Tensor, blocks: tuple[int, ...]) -> torch.Tensor:
    w = {key.removeprefix("features."): value for key, value in w.items()}
    imagenet = len(blocks) == 4
    x = conv(w, "conv0", x, 2 if imagenet else 1)
    x = F.max_pool2d(norm_relu(w, "norm0", x), 3, 2, 1) if imagenet else x
    for i, n in enumerate(blocks, 1):
        x = dense(w, f"denseblock{i}", x, n)
        if i < len(blocks):
            x = F.avg_pool2d(conv(w, f"transition{i}.conv", norm_relu(w, f"transition{i}.norm", x)), 2)
    return norm_relu(w, "norm5", x).mean((2, 3)) @ w["classifier.weight"].T + w["classifier.bias"]


QUICK = {"40-12", "BC-100-12"}


@pytest.mark.parametrize(
    "variant", [pytest.param(v, marks=() if v in QUICK else pytest.mark.slow) for v in (*CIFAR, "264")]
)
@pytest.mark.one_in(4)
def test_rows_that_no_library_has_are_the_paper(variant, randomise, agree, images):
    torch.manual_seed(0)
    ours = randomise(DenseNet(variant, num_classes=10))
    pixels = 72 if variant == "264" else 10
    agree(ours, partial(by_the_paper, ours.state_dict(), blocks=VARIANTS[variant].depths), images(pixels))


# ---- by hand


@pytest.mark.parametrize("variant", [*CIFAR, "121", "161", "169", "201"])  # the paper's 264 has 265
def test_depth_is_in_the_name(variant):
    """Layers with weights: the first, those of the blocks, the transitions and the head."""
    blocks = VARIANTS[variant].depths
    depth = 1 + sum(blocks) * (2 if VARIANTS[variant].bottleneck else 1) + (len(blocks) - 1) + 1
    assert str(depth) in variant.split("-")


def test_a_block_keeps_its_input_and_appends():
    block = DenseBlock(lambda c_in, k, dropout: nn.Conv2d(c_in, k, 1, bias=False), c_in=1, n=3, k=1, dropout=0)
    for layer in block.children():
        nn.init.ones_(layer.weight)  # each layer sums all that there is
    assert block(torch.full((1, 1, 1, 1), 5.0)).flatten().tolist() == [5, 5, 10, 20]


def test_dropout_follows_each_convolution_but_the_first():
    model = DenseNet("BC-100-12", num_classes=10, dropout=0.2)
    rates = {name: m.p for name, m in model.named_modules() if isinstance(m, nn.Dropout)}
    assert len(rates) == 3 * 16 + 2 and {*rates.values()} == {0.2}
    layer = model.features.denseblock1.denselayer1
    calls = []
    layer.dropout.register_forward_hook(lambda module, args, out: calls.append(args[0].shape[1]))
    layer(torch.randn(2, 24, 4, 4))
    assert calls == [48, 12]  # after the 1x1 (4k channels) and after the 3x3 (k)
    layer.dropout.p = 1.0
    assert not layer(torch.randn(2, 24, 4, 4)).any()
    assert layer.eval()(torch.randn(2, 24, 4, 4)).any()


test_map_sizes = stages_halve(DenseNet, (256, 512, 1024, 1024), "121")


@pytest.mark.parametrize("pixels", [32, 64])
def test_cifar_map_sizes(pixels, map_sizes):
    make = partial(DenseNet, "BC-100-12", image_size=pixels)
    assert map_sizes(make, pixels) == [(216, pixels), (300, pixels // 2), (342, pixels // 4)]


def test_starts_with_he_weights():
    torch.manual_seed(0)
    model = DenseNet("BC-100-12", num_classes=10)
    assert not model.classifier.bias.any()
    assert_he_weights(model)


def test_bad_arguments_say_what_to_do():
    with pytest.raises(ValueError, match="DenseNet has no 'BC-100-24'; did you mean"):
        DenseNet("BC-100-24")
    with pytest.raises(ValueError, match="DenseNet-40-12 is for images of up to 64 px, got image_size=224"):
        DenseNet("40-12", image_size=224)
    with pytest.raises(ValueError, match="DenseNet-121 needs images of at least 8 px, got image_size=4"):
        DenseNet("121", image_size=4)
    assert DenseNet(121, num_classes=10).hparams.variant == "121"  # a number will do
