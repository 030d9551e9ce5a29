"""VGG: torchvision's counts and outputs, the paper's table, and the small head."""

from functools import partial

import pytest
import torch
import torchvision
from torch import nn

from zoo import VGG
from zoo.vgg import VARIANTS

# At 1000 classes and 224 px: parameters, and 1e9 multiply-adds of convolutions and linear layers, on torchvision
# 0.29. The paper prints 133, 133, 138 and 144 million parameters (table 2).
COUNTS = {
    "11": (132_863_336, 7.6091),
    "13": (133_047_848, 11.3085),
    "16": (138_357_544, 15.4703),
    "19": (143_667_240, 19.6321),
    "11-BN": (132_868_840, 7.6091),
    "13-BN": (133_053_736, 11.3085),
    "16-BN": (138_365_992, 15.4703),
    "19-BN": (143_678_248, 19.6321),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_counts(variant, count):
    parameters, multiply_adds = count(partial(VGG, variant))
    assert (parameters, round(multiply_adds / 1e9, 4)) == COUNTS[variant]


FAST = ("11", "13-BN")  # 100 million weights each, of which most are in the first linear layer


@pytest.mark.parametrize("variant", [pytest.param(v, marks=() if v in FAST else pytest.mark.slow) for v in VARIANTS])
@pytest.mark.one_in(3)
def test_same_logits_as_torchvision(variant, he_weights, randomise, agree, images):
    torch.manual_seed(0)
    with torch.device("meta"):
        ours, theirs = VGG(variant, num_classes=10), getattr(torchvision.models, VGG.torchvision_names[variant])()
        theirs.classifier[6] = nn.Linear(4096, 10)
    ours = ours.to_empty(device="cpu")
    for norm in (m for m in ours.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.reset_running_stats()
    ours = randomise(he_weights(ours), 48, 3)
    theirs = theirs.eval()
    theirs.load_state_dict(ours.state_dict(), assign=True)
    agree(ours, theirs, images(96))  # 3 x 3 maps at the end, averaged to 7 x 7
    ours.load_state_dict(theirs.state_dict())


@pytest.mark.parametrize(("pixels", "side"), [(224, 7), (64, 2), (32, 1)])
def test_map_sizes(pixels, side, map_sizes):
    make = partial(VGG, "13", image_size=pixels)
    assert map_sizes(make, pixels) == [(c, pixels // 2**i) for i, c in enumerate((64, 128, 256, 512, 512))]
    with torch.device("meta"):
        assert make().classifier[0].in_features == 512 * side**2


@pytest.mark.parametrize("variant", VARIANTS)
def test_layers_with_weights_make_the_name(variant):
    with torch.device("meta"):
        modules = [*VGG(variant).modules()]
    assert sum(isinstance(m, nn.Conv2d | nn.Linear) for m in modules) == int(variant.removesuffix("-BN"))
    assert any(isinstance(m, nn.BatchNorm2d) for m in modules) == variant.endswith("-BN")


def test_initial_weights():
    torch.manual_seed(0)
    model = VGG("11", num_classes=10, image_size=32)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            assert module.weight.std().item() == pytest.approx((2 / (9 * module.out_channels)) ** 0.5, rel=0.05)
            assert not module.bias.any()
        if isinstance(module, nn.Linear):
            assert module.weight.std().item() == pytest.approx(0.01, rel=0.05)
            assert not module.bias.any()


def test_refuses_images_that_shrink_to_nothing():
    with pytest.raises(ValueError, match="at least 32 px"):
        VGG("11", image_size=28)
