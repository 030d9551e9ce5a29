"""SENet: timm's counts and logits, and squeeze and excitation by hand."""

import math
from functools import partial

import pytest
import timm
import torch
from torch import nn

from tests.zoo.checks import assert_he_weights, counts_are
from zoo import SENet
from zoo.layers.squeeze_excite import SqueezeExcite
from zoo.senet import VARIANTS, SEBasic

# At 1000 classes and 224 px: parameters, 1e9 multiply-adds. Counted on timm 1.0; the paper prints 3.87, 7.60 and 11.32
# for 50, 101 and 152, 4.25 and 8.00 for 50-32x4d and 101-32x4d (Table 2).
COUNTS = {
    "18": (11_778_592, 1.8142),
    "34": (21_958_868, 3.6639),
    "50": (28_088_024, 3.8605),
    "101": (49_326_872, 7.5749),
    "152": (66_821_848, 11.2890),
    "50-32x4d": (27_559_896, 4.2330),
    "101-32x4d": (48_955_416, 7.9747),
    "154": (115_088_984, 20.6884),
}
QUICK = ("18", "50", "50-32x4d")


def test_every_row_is_counted():
    assert {*COUNTS} == {*VARIANTS} == {*SENet.timm_names}


test_counts = counts_are(SENet, COUNTS)


@pytest.mark.parametrize("variant", [pytest.param(v, marks=() if v in QUICK else pytest.mark.slow) for v in COUNTS])
@pytest.mark.one_in(2)
def test_same_logits_as_timm(variant, randomise, agree, images):
    torch.manual_seed(0)
    ours = randomise(SENet(variant, num_classes=10))
    theirs = timm.create_model(SENet.timm_names[variant], num_classes=10).eval()
    theirs.load_state_dict(ours.state_dict())
    ours.load_state_dict(theirs.state_dict())
    agree(ours, theirs, images(72))  # odd maps in stages 2 to 4


# ---- by hand


def test_squeeze_and_excitation_by_hand():
    """Two channels with means 1 and 3, squeezed to their sum: sigmoid(4 - 3) weighs the first, 1/2 the second."""
    gate = SqueezeExcite(2, 1)
    with torch.no_grad():
        gate.fc1.weight.fill_(1)
        gate.fc1.bias.zero_()
        gate.fc2.weight[:] = torch.tensor([1.0, 0.0]).reshape(2, 1, 1, 1)
        gate.fc2.bias[:] = torch.tensor([-3.0, 0.0])
        y = gate(torch.tensor([[[0.0, 2.0]], [[3.0, 3.0]]])[None])
    first = 1 / (1 + math.exp(-1))
    torch.testing.assert_close(y[0, :, 0], torch.tensor([[0.0, 2 * first], [1.5, 1.5]]))


def test_what_is_squeezed_to_the_negative_does_not_excite():
    gate = SqueezeExcite(4, 2)
    nn.init.constant_(gate.fc1.bias, -100.0)
    x = torch.randn(2, 4, 3, 3)
    torch.testing.assert_close(gate(x), x * gate.fc2.bias.sigmoid()[:, None, None])


@pytest.mark.parametrize("variant", ["18", "50", "50-32x4d"])
def test_the_branch_is_weighed_before_the_sum(variant):
    """With a closed gate a block passes on what it got, not nothing."""
    torch.manual_seed(0)
    block = SENet(variant, num_classes=10).layer1[1].eval()
    nn.init.constant_(block.se_module.fc2.bias, -100.0)
    x = torch.rand(2, 64 if isinstance(block, SEBasic) else 256, 4, 4)
    torch.testing.assert_close(block(x), x)


def test_only_154_drops_before_its_head():
    with torch.device("meta"):
        rates = {variant: SENet(variant).dropout.p for variant in VARIANTS}
    assert rates.pop("154") == 0.2 and not any(rates.values())


@pytest.mark.parametrize("variant", ["50", "154"])
def test_map_sizes(variant, map_sizes):
    for pixels, first in ((224, 56), (64, 64), (32, 32)):
        sizes = map_sizes(partial(SENet, variant, image_size=pixels), pixels)
        assert sizes == [(c, first // 2**i) for i, c in enumerate((256, 512, 1024, 2048))]


def test_starts_with_he_weights():
    torch.manual_seed(0)
    model = SENet("18", num_classes=10, image_size=32)
    assert_he_weights(model)


def test_bad_arguments_say_what_to_do():
    with pytest.raises(ValueError, match="SENet has no '50-32x8d'; did you mean '50-32x4d'"):
        SENet("50-32x8d")
    assert SENet(18, num_classes=10).hparams.variant == "18"  # a number will do
