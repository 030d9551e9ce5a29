"""ZFNet: the paper's map sizes, counts of a network written apart, and figure 3 read a second time."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F

from zoo import ZFNet
from zoo.layers.alexnet_parts import pooled_side
from zoo.zfnet import VARIANTS

# At 1000 classes and 224 px: parameters, and 1e9 multiply-adds of convolutions and linear layers, counted on a network
# written apart from this one. The paper prints neither.
COUNTS = {"base": (62_357_608, 1.1680), "wide": (107_627_624, 2.4767)}


@pytest.mark.parametrize("variant", VARIANTS)
def test_counts(variant, count):
    parameters, multiply_adds = count(partial(ZFNet, variant))
    assert (parameters, round(multiply_adds / 1e9, 4)) == COUNTS[variant]


def normalised(a: torch.Tensor) -> torch.Tensor:
    sums = [(a[:, max(0, i - 2) : i + 3] ** 2).sum(1) for i in range(a.shape[1])]
    return a / (2 + 1e-4 * torch.stack(sums, 1)) ** 0.75


def pooled(x: torch.Tensor) -> torch.Tensor:
    return F.max_pool2d(F.pad(x, (1, 1, 1, 1)), 3, 2)  # zeros will do: nothing after a ReLU is below them


def by_the_paper(w: dict, x: torch.Tensor) -> torch.Tensor:
    def layer(x: torch.Tensor, key: str, **how) -> torch.Tensor:
        return F.conv2d(x, w[f"features.{key}.weight"], w[f"features.{key}.bias"], **how).relu()

    x = layer(x, "0", stride=2, padding=1)
    assert x.shape[2] == 110
    x = normalised(pooled(x))
    assert x.shape[2] == 55
    x = layer(x, "3", stride=2)
    assert x.shape[2] == 26
    x = normalised(pooled(x))
    assert x.shape[2] == 13
    for key in ("6", "8", "10"):
        x = layer(x, key, padding=1)
    x = F.max_pool2d(x, 3, 2)
    assert x.shape[2] == 6
    x = x.flatten(1)
    for key in ("1", "4"):
        x = (x @ w[f"classifier.{key}.weight"].T + w[f"classifier.{key}.bias"]).relu()
    return x @ w["classifier.6.weight"].T + w["classifier.6.bias"]


@pytest.mark.parametrize("variant", ["base", pytest.param("wide", marks=pytest.mark.slow)])
def test_is_figure_3(variant, agree, images, he_weights):
    torch.manual_seed(0)
    ours = he_weights(ZFNet(variant, num_classes=10))
    agree(ours, partial(by_the_paper, ours.state_dict()), 30 * images(224))  # large, so that the norm matters


@pytest.mark.parametrize(
    ("pixels", "sizes"), [(224, (110, 26, 13, 13, 13)), (64, (64, 32, 16, 16, 16)), (32, (32, 16, 8, 8, 8))]
)
def test_map_sizes(pixels, sizes, map_sizes):
    for variant, row in VARIANTS.items():
        found = map_sizes(partial(ZFNet, variant, image_size=pixels), pixels)
        assert found == list(zip(row.channels, sizes, strict=True))


def test_initial_weights_of_the_paper():
    torch.manual_seed(0)
    for name, w in ZFNet(num_classes=10, image_size=32).named_parameters():
        if name.endswith("bias"):
            assert not w.any()
        else:
            assert w.std().item() == pytest.approx(0.01, rel=0.05)


def test_refuses_images_that_shrink_to_nothing():
    assert [pooled_side(pixels, (1, 1, 0)) for pixels in (9, 16, 32, 64)] == [1, 1, 3, 6]
    with pytest.raises(ValueError, match="at least 9 px"):
        ZFNet(image_size=8)
