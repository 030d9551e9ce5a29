"""CBAMResNet: the authors' counts, timm's attention inside timm's ResNet, and both gates by hand."""

import math
from functools import partial

import pytest
import torch
from timm.layers.cbam import CbamModule
from timm.models.resnet import BasicBlock, Bottleneck
from timm.models.resnet import ResNet as TimmResNet
from torch import nn

from tests.zoo.checks import assert_he_weights, stages_halve
from zoo import CBAMResNet
from zoo.cbam import CBAM, VARIANTS, CBAMBasic, ChannelGate, SpatialGate

# At 1000 classes and 224 px: parameters, 1e9 multiply-adds. Counted on a network written apart from this one; the paper
# prints 11.78, 21.96, 28.09 and 49.33 million; 1.815, 3.665, 3.864 and 7.581 (50 and 101 with the stride in the 1x1,
# which the authors' code has not).
COUNTS = {
    "18": (11_779_392, 1.8151),
    "34": (21_960_468, 3.6654),
    "50": (28_089_624, 4.0956),
    "101": (49_330_172, 7.8126),
}


@pytest.mark.parametrize("variant", COUNTS)
def test_counts(variant, count):
    assert {*COUNTS} == {*VARIANTS}
    parameters, multiply_adds = count(partial(CBAMResNet, variant))
    assert (parameters, round(multiply_adds / 1e9, 4)) == COUNTS[variant]


def with_timms_keys(state: dict) -> dict:
    """timm's gate: 1x1 convolutions for the MLP, and the mean before the maximum."""
    theirs = {}
    for key, value in state.items():
        if "mlp" in key and key.endswith("weight"):
            value = value[:, :, None, None]
        if key.endswith("spatial.conv.weight"):
            value = value.flip(1)
        for ours, other in {
            "cbam.ChannelGate.mlp.1": "se.channel.fc1",
            "cbam.ChannelGate.mlp.3": "se.channel.fc2",
            "cbam.SpatialGate.spatial": "se.spatial.conv",
        }.items():
            key = key.replace(ours, other)
        theirs[key] = value
    return theirs


@pytest.mark.parametrize("variant", ["18", *(pytest.param(v, marks=pytest.mark.slow) for v in ("34", "50", "101"))])
def test_same_logits_as_timms_parts(variant, randomise, agree, images):
    torch.manual_seed(0)
    ours = randomise(CBAMResNet(variant, num_classes=10))
    block, blocks = VARIANTS[variant].block, VARIANTS[variant].depths
    theirs = TimmResNet(
        BasicBlock if block is CBAMBasic else Bottleneck,
        blocks,
        num_classes=10,
        block_args={"attn_layer": partial(CbamModule, mlp_bias=True)},
    ).eval()
    theirs.load_state_dict(with_timms_keys(ours.state_dict()))
    agree(ours, theirs, images(72))  # odd maps in stages 2 to 4


def test_keys_are_the_authors():
    """Read off their files."""
    keys = {key for key in CBAMResNet("18", num_classes=10).state_dict() if key.startswith("layer1.0.cbam.")}
    keys = {key.removeprefix("layer1.0.cbam.") for key in keys if "running" not in key and "num_batches" not in key}
    mlp = {f"ChannelGate.mlp.{i}.{kind}" for i in (1, 3) for kind in ("weight", "bias")}
    assert keys == mlp | {f"SpatialGate.spatial.{name}" for name in ("conv.weight", "bn.weight", "bn.bias")}


# ---- by hand


def test_channel_gate_by_hand():
    """Mean 1 and maximum 3 of a channel go through the same MLP, and add up before the sigmoid."""
    gate = ChannelGate(16)
    with torch.no_grad():
        for linear in (gate.mlp[1], gate.mlp[3]):
            linear.weight.zero_()
            linear.bias.zero_()
        gate.mlp[1].weight[0, 0] = 1
        gate.mlp[1].bias[0] = -2  # ReLU(1 - 2) = 0 and ReLU(3 - 2) = 1: a ReLU of the sum would give 2
        gate.mlp[3].weight[5, 0] = 1
        x = torch.ones(1, 16, 1, 3)
        x[0, 0, 0] = torch.tensor([0.0, 0.0, 3.0])
        y = gate(x)
    torch.testing.assert_close(y[0, 5], torch.full((1, 3), 1 / (1 + math.exp(-1))))
    torch.testing.assert_close(y[0, 0, 0], torch.tensor([0.0, 0.0, 1.5]))


def test_spatial_gate_by_hand():
    """Over channels 0 and 4 the maximum is 4 and the mean 2: the centre of the kernel takes their difference."""
    gate = SpatialGate().eval()
    with torch.no_grad():
        gate.spatial.conv.weight.zero_()
        gate.spatial.conv.weight[0, :, 3, 3] = torch.tensor([1.0, -1.0])
        x = torch.tensor([0.0, 4.0]).reshape(1, 2, 1, 1).expand(1, 2, 2, 2)
        y = gate(x)
    torch.testing.assert_close(y, x / (1 + math.exp(-2)), rtol=1e-4, atol=1e-4)


def test_fresh_gates_halve_twice():
    """The norm's gamma starts at 0: every pixel weighs 1/2, in training too. Channels weigh sigmoid(0) when silent."""
    torch.manual_seed(0)
    cbam = CBAMResNet("18", num_classes=10).layer1[0].cbam
    x = torch.randn(2, 64, 4, 4)
    assert torch.equal(cbam(x), cbam.ChannelGate(x) / 2)
    nn.init.zeros_(cbam.ChannelGate.mlp[3].weight)
    assert torch.equal(cbam(x), x / 4)
    assert list(cbam.children()) == [cbam.ChannelGate, cbam.SpatialGate] and isinstance(cbam, CBAM)


def test_statistics_of_the_pixels_move_slowly():
    assert SpatialGate().spatial.bn.momentum == 0.01


test_map_sizes = stages_halve(CBAMResNet, (256, 512, 1024, 2048), "50")


def test_starts_with_he_weights():
    torch.manual_seed(0)
    model = CBAMResNet("18", num_classes=10, image_size=32)
    assert_he_weights(model)
    assert model.fc.weight.std().item() == pytest.approx(math.sqrt(2 / 512), rel=0.1)
    assert not any(layer.bias.any() for layer in model.modules() if isinstance(layer, nn.Linear))


def test_bad_arguments_say_what_to_do():
    with pytest.raises(ValueError, match="CBAMResNet has no '152'; .*there are: 18, 34, 50, 101"):
        CBAMResNet("152")
    assert CBAMResNet(18, num_classes=10).hparams.variant == "18"  # a number will do
