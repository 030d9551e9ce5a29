"""MobileNetV3: counts, torchvision's and timm's outputs, squeeze-and-excitation and hard activations by hand."""

import math
from functools import partial

import pytest
import torch
import torchvision
from timm.models.mobilenetv3 import _gen_mobilenet_v3
from torch import nn

from tests.zoo.checks import counts_are
from zoo import MobileNetV3
from zoo.layers.squeeze_excite import SqueezeExcite
from zoo.mobilenet_v3 import VARIANTS, InvertedResidual, Layer, squeeze_excite

# At 1000 classes: parameters, and 1e9 multiply-adds of convolutions and linear layers at 224 px, counted on timm 1.0 or
# torchvision 0.29; the authors print 5.4, 2.5, 4.0, 2.0, 3.9 and 2.0 million, 217, 56, 155, 44, 209 and 65 million.
COUNTS = {
    "large": (5_483_032, 0.2166),
    "small": (2_542_856, 0.0565),
    "large-0.75": (3_993_528, 0.1546),
    "small-0.75": (2_041_872, 0.0434),
    "large-minimalistic": (3_924_288, 0.2091),
    "small-minimalistic": (2_044_736, 0.0523),
}
TIMM = {
    "large": ("mobilenetv3_large_100", 1.0),
    "small": ("mobilenetv3_small_100", 1.0),
    "large-0.75": ("mobilenetv3_large_075", 0.75),
    "small-0.75": ("mobilenetv3_small_075", 0.75),
    "large-minimalistic": ("tf_mobilenetv3_large_minimal_100", 1.0),
    "small-minimalistic": ("tf_mobilenetv3_small_minimal_100", 1.0),
}


def test_every_row_is_counted():
    assert {*COUNTS} == {*VARIANTS}


test_counts = counts_are(MobileNetV3, COUNTS)


@torch.no_grad()
def with_biases(network: nn.Module) -> nn.Module:
    """Biases of the gates and of the linear layers away from zero."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.normal_(module.bias)
            nn.init.normal_(module.weight, std=1 / math.sqrt(module.weight[0].numel()))
    return network


@pytest.mark.parametrize("variant", MobileNetV3.torchvision_names)
def test_same_logits_as_torchvision(variant, randomise, images, agree):
    torch.manual_seed(0)
    ours = randomise(with_biases(MobileNetV3(variant, num_classes=10)))
    theirs = getattr(torchvision.models, MobileNetV3.torchvision_names[variant])(num_classes=10).eval()
    theirs.load_state_dict(ours.state_dict())
    agree(ours, theirs, images(72))


@pytest.mark.parametrize("variant", TIMM)
def test_same_logits_as_timms_code(variant, randomise, images, agree):
    """Under other keys, in the same order; with the padding of torch, as timm's weights of their own have it."""
    torch.manual_seed(0)
    ours = randomise(with_biases(MobileNetV3(variant, num_classes=10)))
    name, width = TIMM[variant]
    theirs = _gen_mobilenet_v3(name, width, num_classes=10, bn_eps=0.001).eval()
    with torch.no_grad():
        for other, mine in zip(theirs.state_dict().values(), ours.state_dict().values(), strict=True):
            other.copy_(mine.view(other.shape))
    agree(ours, theirs, images(72))


# ---- by hand


def test_squeeze_excite_by_hand():
    """Means 1 and 3 -> hidden ReLU(1 - 3 + 1) = 0 -> gates of the biases -1 and 6: ReLU6(2) / 6 and ReLU6(9) / 6."""
    layer = squeeze_excite(32)
    assert layer.fc1.weight.shape == (8, 32, 1, 1)
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    with torch.no_grad():
        layer.fc1.weight[:, 0], layer.fc1.weight[:, 1] = 1, -1
        layer.fc1.bias.fill_(1.0)
        layer.fc2.weight.fill_(1.0)
        layer.fc2.bias[0], layer.fc2.bias[1] = -1, 6
    x = torch.zeros(1, 32, 1, 2)
    x[0, 0], x[0, 1] = torch.tensor([0.0, 2.0]), torch.tensor([3.0, 3.0])
    y = layer(x)
    torch.testing.assert_close(y[0, :2, 0], torch.tensor([[0.0, 2.0 * 2 / 6], [3.0, 3.0]]))


def test_blocks_end_without_activation_and_shortcuts_are_identities():
    torch.manual_seed(0)
    block, x = InvertedResidual(8, 24, 8, 1, Layer(3, 24, 8, True, nn.ReLU, 1)).eval(), torch.randn(4, 8, 5, 5)
    assert block.block(x).min() < 0
    nn.init.zeros_(block.block[-1][1].weight)
    assert torch.equal(block(x), x)


@pytest.mark.parametrize("variant", VARIANTS)
def test_minimalistic_rows_have_nothing_slow(variant):
    with torch.device("meta"):
        modules = [*MobileNetV3(variant).modules()]
    slow = any(isinstance(m, nn.Hardswish | SqueezeExcite) for m in modules)
    kernels = {m.kernel_size[0] for m in modules if isinstance(m, nn.Conv2d)}
    assert (slow, kernels) == ((False, {1, 3}) if "minimalistic" in variant else (True, {1, 3, 5}))


@pytest.mark.parametrize(("variant", "channels"), [("large", (24, 40, 112, 160)), ("small", (16, 24, 48, 96))])
def test_map_sizes(variant, channels, map_sizes):
    for pixels, first in ((224, 56), (64, 64), (32, 32)):
        sizes = map_sizes(partial(MobileNetV3, variant, image_size=pixels), pixels)
        assert sizes == [(c, first // 2**i) for i, c in enumerate(channels)]


def test_drops_a_fifth_of_the_features():
    assert [m.p for m in MobileNetV3("small", num_classes=10).modules() if isinstance(m, nn.Dropout)] == [0.2]


def test_starts_with_he_weights():
    torch.manual_seed(0)
    for layer in MobileNetV3("small", num_classes=10).modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            linear = isinstance(layer, nn.Linear)
            std = 0.01 if linear else math.sqrt(2 / (layer.kernel_size[0] ** 2 * layer.out_channels))
            assert layer.weight.std().item() == pytest.approx(std, rel=5 / math.sqrt(2 * layer.weight.numel()))


def test_bad_arguments_say_what_to_do():
    with pytest.raises(ValueError, match="MobileNetV3 has no 'big'; there are: large, small, large-0.75"):
        MobileNetV3("big")
