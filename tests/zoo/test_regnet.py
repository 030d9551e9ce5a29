"""RegNet: timm's and pycls's counts, widths and depths, timm's logits, and the rule for widths by hand."""

from functools import partial

import pytest
import timm
import torch
from torch import nn

from tests.zoo.checks import assert_he_weights, stages_halve
from zoo import RegNet
from zoo.regnet import VARIANTS, Block, Row, stages, widths

# At 1000 classes and 224 px: parameters, 1e9 multiply-adds (counted on timm 1.0; pycls lists the same, rounded),
# channels and depths of the stages.
TABLE = {
    "X-200MF": (2_684_792, 0.1990, (24, 56, 152, 368), (1, 1, 4, 7)),
    "X-400MF": (5_157_512, 0.3977, (32, 64, 160, 384), (1, 2, 7, 12)),
    "X-600MF": (6_196_040, 0.6009, (48, 96, 240, 528), (1, 3, 5, 7)),
    "X-800MF": (7_259_656, 0.7997, (64, 128, 288, 672), (1, 3, 7, 5)),
    "X-1.6GF": (9_190_136, 1.6028, (72, 168, 408, 912), (2, 4, 10, 2)),
    "X-3.2GF": (15_296_552, 3.1766, (96, 192, 432, 1008), (2, 6, 15, 2)),
    "X-4.0GF": (22_118_248, 3.9645, (80, 240, 560, 1360), (2, 5, 14, 2)),
    "X-6.4GF": (26_209_256, 6.4603, (168, 392, 784, 1624), (2, 4, 10, 1)),
    "X-8.0GF": (39_572_648, 7.9951, (80, 240, 720, 1920), (2, 5, 15, 1)),
    "X-12GF": (46_106_056, 12.0867, (224, 448, 896, 2240), (2, 5, 11, 1)),
    "X-16GF": (54_278_536, 15.9408, (256, 512, 896, 2048), (2, 6, 13, 1)),
    "X-32GF": (107_811_560, 31.7359, (336, 672, 1344, 2520), (2, 7, 13, 1)),
    "Y-200MF": (3_162_996, 0.1995, (24, 56, 152, 368), (1, 1, 4, 7)),
    "Y-400MF": (4_344_144, 0.4018, (48, 104, 208, 440), (1, 3, 6, 6)),
    "Y-600MF": (6_055_160, 0.6012, (48, 112, 256, 608), (1, 3, 7, 4)),
    "Y-800MF": (6_263_168, 0.7972, (64, 128, 320, 768), (1, 3, 8, 2)),
    "Y-1.6GF": (11_202_430, 1.6121, (48, 120, 336, 888), (2, 6, 17, 2)),
    "Y-3.2GF": (19_436_338, 3.1765, (72, 216, 576, 1512), (2, 5, 13, 1)),
    "Y-4.0GF": (20_646_656, 3.9733, (128, 192, 512, 1088), (2, 6, 12, 2)),
    "Y-6.4GF": (30_583_252, 6.3552, (144, 288, 576, 1296), (2, 7, 14, 2)),
    "Y-8.0GF": (39_180_068, 7.9631, (168, 448, 896, 2016), (2, 4, 10, 1)),
    "Y-12GF": (51_822_544, 12.0924, (224, 448, 896, 2240), (2, 5, 11, 1)),
    "Y-16GF": (83_590_140, 15.9115, (224, 448, 1232, 3024), (2, 4, 11, 1)),
    "Y-32GF": (145_046_770, 32.2796, (232, 696, 1392, 3712), (2, 5, 12, 1)),
}
QUICK = {"X-200MF", "X-400MF", "Y-200MF", "Y-400MF"}


def test_every_row_is_counted():
    assert {*TABLE} == {*VARIANTS} == {*RegNet.timm_names}


@pytest.mark.parametrize("variant", TABLE)
def test_counts(variant, count):
    parameters, multiply_adds = count(partial(RegNet, variant))
    assert (parameters, round(multiply_adds / 1e9, 4)) == TABLE[variant][:2]


@pytest.mark.parametrize("variant", TABLE)
def test_widths_and_depths(variant):
    depths, channels, _ = zip(*stages(VARIANTS[variant]), strict=True)
    assert (channels, depths) == TABLE[variant][2:]


@pytest.mark.parametrize("variant", [pytest.param(v, marks=() if v in QUICK else pytest.mark.slow) for v in TABLE])
@pytest.mark.one_in(11)
def test_same_logits_as_timm(variant, randomise, agree, images):
    torch.manual_seed(0)
    ours = randomise(RegNet(variant, num_classes=10))
    nn.init.normal_(ours.head.fc.weight, std=0.1)  # at 0.01, all images would look alike
    theirs = timm.create_model(RegNet.timm_names[variant], num_classes=10).eval()
    theirs.load_state_dict(ours.state_dict())
    ours.load_state_dict(theirs.state_dict())
    agree(ours, theirs, images(72))  # odd maps in stages 3 and 4


# ---- by hand


def test_the_line_by_hand():
    """u = 8, 16, 24, 32 over 8 is 1, 2, 3, 4; in powers of 2 that is 0, 1, 1.58, 2, rounded 0, 1, 2, 2."""
    assert widths(d=4, w_0=8, w_a=8, w_m=2.0) == [8, 16, 32, 32]


def test_widths_are_multiples_of_their_groups():
    """24, 56 fit groups of 8 as they are; 16 would take 24 to one group of 16 (1.5 rounds to 2: 32) and 56 to 64."""
    assert stages(Row(2, 24, 32, 56 / 24, g=8)) == [(1, 24, 8), (1, 56, 8)]
    assert stages(Row(2, 24, 32, 56 / 24, g=16)) == [(1, 32, 16), (1, 64, 16)]
    assert stages(Row(2, 24, 32, 56 / 24, g=48)) == [(1, 24, 24), (1, 48, 48)]  # no group is wider than its stage


def test_squeezed_to_a_quarter_of_the_blocks_input():
    assert Block(c_in=24, w=56, stride=2, g=8, se=True).se.fc1.weight.shape == (6, 56, 1, 1)
    assert isinstance(Block(c_in=24, w=56, stride=2, g=8, se=False).se, nn.Identity)


test_map_sizes = stages_halve(RegNet, (48, 104, 208, 440), "Y-400MF")


def test_starts_with_the_authors_weights():
    torch.manual_seed(0)
    model = RegNet("Y-400MF", num_classes=10, image_size=32)
    assert_he_weights(model)
    assert model.head.fc.weight.std().item() == pytest.approx(0.01, rel=0.1) and not model.head.fc.bias.any()


def test_bad_arguments_say_what_to_do():
    with pytest.raises(ValueError, match="RegNet has no 'Y-400GF'; did you mean 'Y-400MF'"):
        RegNet("Y-400GF")
