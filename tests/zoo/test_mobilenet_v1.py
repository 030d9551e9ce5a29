"""MobileNetV1: counts at every width, timm's outputs, and what a separable convolution saves."""

from functools import partial

import pytest
import timm
import torch
from timm.models.efficientnet import _gen_mobilenet_v1
from torch import nn

from tests.zoo.checks import assert_he_weights, counts_are
from zoo import MobileNetV1
from zoo.mobilenet_v1 import VARIANTS, SeparableConv
from zoo.tools.complexity import total_macs

# At 1000 classes: parameters, and 1e9 multiply-adds of convolutions and linear layers at 224 px. Counted on a network
# written apart from this one (1.0 also on timm 1.0); the paper prints 4.2, 2.6, 1.3 and .5 million, 569, 325, 149, 41.
COUNTS = {
    "1.0": (4_231_976, 0.5687),
    "0.75": (2_585_560, 0.3254),
    "0.5": (1_331_592, 0.1495),
    "0.25": (470_072, 0.0410),
}


def test_every_row_is_counted():
    assert {*COUNTS} == {*VARIANTS}


test_counts = counts_are(MobileNetV1, COUNTS)


def test_same_logits_as_timm(randomise, images, agree):
    torch.manual_seed(0)
    ours = randomise(MobileNetV1("1.0", num_classes=10))
    theirs = timm.create_model(MobileNetV1.timm_names["1.0"], num_classes=10).eval()
    theirs.load_state_dict(ours.state_dict())
    agree(ours, theirs, images(72))


@pytest.mark.parametrize("variant", ["0.75", "0.5", "0.25"])
def test_same_logits_as_timms_code_at_other_widths(variant, randomise, images, agree):
    torch.manual_seed(0)
    ours = randomise(MobileNetV1(variant, num_classes=10))
    theirs = _gen_mobilenet_v1("mobilenetv1_100", VARIANTS[variant].a, num_classes=10).eval()
    theirs.load_state_dict(ours.state_dict())
    agree(ours, theirs, images(72))


# ---- by hand


def test_cost_of_a_separable_convolution():
    """1 / C_out + 1 / k^2 of a full convolution: equation (5) of the paper."""
    with torch.device("meta"):
        separable = nn.Sequential(nn.Conv2d(3, 32, 1), SeparableConv(32, 64, stride=1))
        full = nn.Sequential(nn.Conv2d(3, 32, 1), nn.Conv2d(32, 64, 3, padding=1))
    first = 3 * 32 * 8 * 8
    ratio = (total_macs(separable, 8) - first) / (total_macs(full, 8) - first)
    assert ratio == pytest.approx(1 / 64 + 1 / 9)


def test_activations_end_at_six():
    block = SeparableConv(2, 2, stride=1).eval()
    nn.init.constant_(block.bn2.bias, 100.0)
    assert (block(torch.randn(1, 2, 3, 3)) == 6).all()


def test_map_sizes(map_sizes):
    for pixels, first in ((224, 56), (64, 64), (32, 32)):
        sizes = map_sizes(partial(MobileNetV1, "0.5", image_size=pixels), pixels)
        assert sizes == [(64 * 2**i, first // 2**i) for i in range(4)]


def test_starts_with_he_weights():
    torch.manual_seed(0)
    model = MobileNetV1("1.0", num_classes=10)
    assert_he_weights(model)
    assert model.classifier.weight.std().item() == pytest.approx(0.01, rel=0.05) and not model.classifier.bias.any()


def test_bad_arguments_say_what_to_do():
    with pytest.raises(ValueError, match="MobileNetV1 has no '0.6'; .*there are: 1.0, 0.75, 0.5, 0.25"):
        MobileNetV1(0.6)
    assert MobileNetV1(0.25, num_classes=10).classifier.in_features == 256
