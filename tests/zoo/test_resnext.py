"""ResNeXt: counts and logits of the libraries, and the block's form (a), path by path, against its grouped form (c)."""

from functools import partial

import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision

from tests.zoo.checks import assert_he_weights, counts_are, stages_halve
from zoo import ResNeXt
from zoo.resnext import VARIANTS, GroupedBottleneck, Row

# At 1000 classes and 224 px: parameters, 1e9 multiply-adds. Counted on torchvision 0.29 and timm 1.0 (101-32x4d);
# printed are 25.0, 44.2, 83.5 million parameters and 4.2, 8.0, 15.6 (15.46 counted) for 50-32x4d, 101-32x4d, 101-64x4d.
COUNTS = {
    "50-32x4d": (25_028_904, 4.2305),
    "101-32x4d": (44_177_704, 7.9700),
    "101-32x8d": (88_791_336, 16.4140),
    "101-64x4d": (83_455_272, 15.4603),
}
# At 10 classes and 32 px, on a network written apart from this one; the paper prints 34.4 and 68.1 million.
CIFAR_COUNTS = {"29-8x64d": (34_426_698, 5.3873), "29-16x64d": (68_155_210, 10.6889)}


def test_every_row_is_counted():
    assert {*COUNTS, *CIFAR_COUNTS} == {*VARIANTS}


test_counts = counts_are(ResNeXt, COUNTS)


test_cifar_counts = counts_are(ResNeXt, CIFAR_COUNTS, num_classes=10)


def slow_if_deep(variants):
    return [pytest.param(v, marks=pytest.mark.slow if v.startswith("101") else ()) for v in variants]


def same_logits(variant, theirs, randomise, agree, images):
    torch.manual_seed(0)
    ours = randomise(ResNeXt(variant, num_classes=10))
    theirs.eval().load_state_dict(ours.state_dict())
    ours.load_state_dict(theirs.state_dict())
    agree(ours, theirs, images(72))  # odd maps in stages 2 to 4


@pytest.mark.parametrize("variant", slow_if_deep(ResNeXt.torchvision_names))
@pytest.mark.one_in(2)
def test_same_logits_as_torchvision(variant, randomise, agree, images):
    theirs = getattr(torchvision.models, ResNeXt.torchvision_names[variant])(num_classes=10)
    same_logits(variant, theirs, randomise, agree, images)


@pytest.mark.parametrize("variant", slow_if_deep(ResNeXt.timm_names))
@pytest.mark.one_in(3)
def test_same_logits_as_timm(variant, randomise, agree, images):
    theirs = timm.create_model(ResNeXt.timm_names[variant], num_classes=10)
    same_logits(variant, theirs, randomise, agree, images)


# ---- the paper read a second time: form (a), a sum over paths, each with its own three small convolutions


def norm(w: dict, key: str, x: torch.Tensor, part: slice = slice(None)) -> torch.Tensor:
    mean, var, gamma, beta = (w[f"{key}.{n}"][part] for n in ("running_mean", "running_var", "weight", "bias"))
    return F.batch_norm(x, mean, var, gamma, beta)


def path(w: dict, key: str, x: torch.Tensor, part: slice, stride: int) -> torch.Tensor:
    y = norm(w, f"{key}.bn1", F.conv2d(x, w[f"{key}.conv1.weight"][part]), part).relu()
    y = norm(w, f"{key}.bn2", F.conv2d(y, w[f"{key}.conv2.weight"][part], stride=stride, padding=1), part).relu()
    return F.conv2d(y, w[f"{key}.conv3.weight"][:, part])


def block(w: dict, key: str, x: torch.Tensor, cardinality: int, d: int, stride: int) -> torch.Tensor:
    paths = [path(w, key, x, slice(i * d, (i + 1) * d), stride) for i in range(cardinality)]
    y = norm(w, f"{key}.bn3", sum(paths))
    if f"{key}.downsample.0.weight" in w:
        x = norm(w, f"{key}.downsample.1", F.conv2d(x, w[f"{key}.downsample.0.weight"], stride=stride))
    return (x + y).relu()


def by_the_paper(w: dict, x: torch.Tensor, variant: str) -> torch.Tensor:
    cardinality, d = VARIANTS[variant].cardinality, VARIANTS[variant].path
    x = norm(w, "bn1", F.conv2d(x, w["conv1.weight"], padding=1)).relu()
    for i in range(3):
        for j in range(3):
            stride = 2 if i > 0 and j == 0 else 1
            x = block(w, f"layer{i + 1}.{j}", x, cardinality, d * 2**i, stride)
    return x.mean((2, 3)) @ w["fc.weight"].T + w["fc.bias"]


@pytest.mark.parametrize("variant", ["tiny", *(pytest.param(v, marks=pytest.mark.slow) for v in CIFAR_COUNTS)])
@pytest.mark.one_in(2)
def test_cifar_rows_are_sums_over_paths(variant, monkeypatch, randomise, agree, images):
    monkeypatch.setitem(VARIANTS, "tiny", Row((3, 3, 3), 4, 16))
    torch.manual_seed(0)
    ours = randomise(ResNeXt(variant, num_classes=10, image_size=32))
    agree(ours, partial(by_the_paper, ours.state_dict(), variant=variant), images(10))


# ---- by hand


def test_paths_do_not_see_each_other():
    """Of the 3x3's input, channel 0 reaches the 4 channels of its own path."""
    conv = GroupedBottleneck(256, 64, 1, cardinality=32, path=4).conv2
    x = torch.zeros(1, 128, 3, 3)
    x[0, 0] = 1
    assert conv(x)[0, :, 1, 1].nonzero().flatten().tolist() == [0, 1, 2, 3]


test_map_sizes = stages_halve(ResNeXt, (256, 512, 1024, 2048), "50-32x4d")


@pytest.mark.parametrize("pixels", [32, 64])
def test_cifar_map_sizes(pixels, map_sizes):
    make = partial(ResNeXt, "29-8x64d", image_size=pixels)
    assert map_sizes(make, pixels) == [(256, pixels), (512, pixels // 2), (1024, pixels // 4)]


def test_starts_with_he_weights():
    torch.manual_seed(0)
    model = ResNeXt("50-32x4d", num_classes=10, image_size=32)
    assert not model.fc.bias.any()
    assert_he_weights(model)


def test_bad_arguments_say_what_to_do():
    with pytest.raises(ValueError, match="ResNeXt has no '50'; .*there are: 50-32x4d, "):
        ResNeXt("50")
    with pytest.raises(ValueError, match="ResNeXt-29-8x64d is for images of up to 64 px, got image_size=224"):
        ResNeXt("29-8x64d", image_size=224)
