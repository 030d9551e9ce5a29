"""MobileNetV2: counts at every width, torchvision's outputs, rounding and linear bottlenecks by hand."""

import pytest
import torch
import torchvision
from torch import nn

from tests.zoo.checks import assert_he_weights, counts_are, stages_halve
from zoo import MobileNetV2
from zoo.layers.round_to_8 import round_to_8
from zoo.mobilenet_v2 import VARIANTS, InvertedResidual

# At 1000 classes: parameters, and 1e9 multiply-adds of convolutions and linear layers at 224 px, counted on timm 1.0 or
# torchvision 0.29; the authors' code prints 6.06, 3.47, 2.61, 1.95 and 1.66 million, 582, 300, 209, 97 and 59 million.
COUNTS = {
    "1.4": (6_108_776, 0.5822),
    "1.0": (3_504_872, 0.3008),
    "0.75": (2_636_424, 0.2091),
    "0.5": (1_968_680, 0.0971),
    "0.35": (1_677_128, 0.0593),
}


def test_every_row_is_counted():
    assert {*COUNTS} == {*VARIANTS}


test_counts = counts_are(MobileNetV2, COUNTS)


@pytest.mark.parametrize("variant", COUNTS)
def test_same_logits_as_torchvision(variant, randomise, images, agree):
    torch.manual_seed(0)
    ours = randomise(MobileNetV2(variant, num_classes=10))
    theirs = torchvision.models.mobilenet_v2(width_mult=VARIANTS[variant].a, num_classes=10).eval()
    theirs.load_state_dict(ours.state_dict())
    agree(ours, theirs, images(72))


# ---- by hand


def test_rounding_by_hand():
    """To multiples of 8, up where down would lose more than a tenth: 44.8 / 48, 33.6 / 32, 11.2 / 16, 22.4 / 24."""
    assert [round_to_8(c) for c in (44.8, 33.6, 11.2, 22.4, 5.6, 8.0, 12.0)] == [48, 32, 16, 24, 8, 8, 16]


def test_blocks_end_without_activation():
    torch.manual_seed(0)
    assert InvertedResidual(8, 16, stride=1, t=6).eval()(torch.randn(4, 8, 5, 5)).min() < 0


def test_shortcut_is_an_identity_where_the_shape_stays():
    block = InvertedResidual(8, 8, stride=1, t=6).eval()
    nn.init.zeros_(block.conv[2].weight)
    x = torch.randn(2, 8, 5, 5)
    assert torch.equal(block(x), x)
    assert not InvertedResidual(8, 8, stride=2, t=6).shortcut and not InvertedResidual(8, 16, stride=1, t=6).shortcut


test_map_sizes = stages_halve(MobileNetV2, (24, 32, 96, 320))


def test_stages_end_where_maps_shrink_next():
    model = MobileNetV2(num_classes=10)
    names = [path.removeprefix("features.") for path in model.stage_paths]
    shrinking = [n for n in range(2, 18) if model.features[n].conv[1][0].stride == (2, 2)]
    assert names == [str(n - 1) for n in shrinking[1:]] + ["17"]


def test_drops_a_fifth_of_the_features():
    assert [m.p for m in MobileNetV2("0.35", num_classes=10).modules() if isinstance(m, nn.Dropout)] == [0.2]


def test_starts_with_he_weights():
    torch.manual_seed(0)
    model = MobileNetV2("1.0", num_classes=10)
    assert_he_weights(model)
    assert model.classifier[1].weight.std().item() == pytest.approx(0.01, rel=0.05)


def test_bad_arguments_say_what_to_do():
    with pytest.raises(ValueError, match="MobileNetV2 has no '1.5'; .*there are: 1.4, 1.0, 0.75, 0.5, 0.35"):
        MobileNetV2(1.5)
