"""ShuffleNetV2: counts, torchvision's outputs, split and shuffle by hand."""

import pytest
import torch
import torchvision
from torch import nn

from tests.zoo.checks import counts_are, stages_halve
from zoo import ShuffleNetV2
from zoo.shufflenet_v2 import VARIANTS, Unit

# At 1000 classes: parameters, and 1e9 multiply-adds of convolutions and linear layers at 224 px, counted on torchvision
# 0.29; the authors' code prints 1.4, 2.3, 3.5 and 7.4 million, 41, 146, 299 and 591 million.
COUNTS = {
    "0.5x": (1_366_792, 0.0405),
    "1.0x": (2_278_604, 0.1449),
    "1.5x": (3_503_624, 0.2958),
    "2.0x": (7_393_996, 0.5833),
}


def test_every_row_is_counted():
    assert {*COUNTS} == {*VARIANTS}


test_counts = counts_are(ShuffleNetV2, COUNTS)


@pytest.mark.parametrize("variant", COUNTS)
def test_same_logits_as_torchvision(variant, randomise, images, agree):
    torch.manual_seed(0)
    ours = randomise(ShuffleNetV2(variant, num_classes=10))
    theirs = getattr(torchvision.models, ShuffleNetV2.torchvision_names[variant])(num_classes=10).eval()
    theirs.load_state_dict(ours.state_dict())
    agree(ours, theirs, images(72))


# ---- by hand


def test_half_of_the_channels_pass_and_all_are_shuffled():
    torch.manual_seed(0)
    unit, x = Unit(8, 8, stride=1).eval(), torch.randn(2, 8, 5, 5)
    y = unit(x)
    assert torch.equal(y[:, ::2], x[:, :4]) and torch.equal(y[:, 1::2], unit.branch2(x[:, 4:]))


def test_shrinking_unit_has_two_branches_of_the_whole_input():
    torch.manual_seed(0)
    unit, x = Unit(6, 16, stride=2).eval(), torch.randn(2, 6, 6, 6)
    y = unit(x)
    assert y.shape == (2, 16, 3, 3)
    assert torch.equal(y[:, ::2], unit.branch1(x)) and torch.equal(y[:, 1::2], unit.branch2(x))


def test_drops_features_of_the_widest_only():
    rates = {v: [m.p for m in ShuffleNetV2(v, 10).modules() if isinstance(m, nn.Dropout)] for v in VARIANTS}
    assert rates == {"0.5x": [], "1.0x": [], "1.5x": [], "2.0x": [0.2]}


test_map_sizes = stages_halve(ShuffleNetV2, (24, 116, 232, 464), "1.0x")


def test_bad_arguments_say_what_to_do():
    with pytest.raises(ValueError, match="ShuffleNetV2 has no '3x'; there are: 0.5x, 1.0x, 1.5x, 2.0x"):
        ShuffleNetV2("3x")
