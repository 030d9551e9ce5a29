"""Xception: the paper's parameters, timm's outputs, and the separable convolution by hand."""

import pytest
import timm
import torch
from torch import nn

from zoo import Xception
from zoo.xception import Block, SeparableConv

# At 1000 classes and 299 px: parameters, as the paper prints them (table 3), and 1e9 multiply-adds of convolutions and
# linear layers, counted on timm 1.0.
COUNTS = (22_855_952, 8.3574)


def test_counts(count):
    parameters, multiply_adds = count(Xception)
    assert (parameters, round(multiply_adds / 1e9, 4)) == COUNTS


def test_same_logits_as_timm(randomise, agree, images):
    torch.manual_seed(0)
    ours, theirs = randomise(Xception(num_classes=10)), timm.create_model("legacy_xception", num_classes=10).eval()
    theirs.load_state_dict(ours.state_dict())
    agree(ours, theirs, images(75))
    ours.load_state_dict(theirs.state_dict())


def test_separable_convolution_by_hand():
    """The 3x3 adds up each channel, the 1x1 takes twice the first minus the second; a sum below 0 passes on."""
    layer = SeparableConv(2, 1)
    with torch.no_grad():
        layer.conv1.weight.fill_(1)
        layer.pointwise.weight.copy_(torch.tensor([2.0, -1.0]).reshape(1, 2, 1, 1))
    x = torch.stack([-torch.ones(3, 3), torch.ones(3, 3)])[None]
    expected = -3 * torch.tensor([[4.0, 6, 4], [6, 9, 6], [4, 6, 4]])
    torch.testing.assert_close(layer(x)[0, 0], expected)


def test_blocks_leave_their_input_alone():
    """The shortcut reads it after the first ReLU has run."""
    block = Block(4, (4, 4, 4))
    for norm in (m for m in block.modules() if isinstance(m, nn.BatchNorm2d)):
        nn.init.zeros_(norm.weight)
    x = torch.randn(2, 4, 5, 5)
    torch.testing.assert_close(block(x.clone()), x)


@pytest.mark.parametrize(
    ("pixels", "sides"), [(299, (147, 74, 37, 19, 10)), (64, (64, 64, 32, 16, 8)), (32, (32, 32, 16, 8, 4))]
)
def test_map_sizes(pixels, sides, map_sizes):
    found = map_sizes(lambda: Xception(image_size=pixels), pixels)
    assert found == list(zip((64, 128, 256, 728, 2048), sides, strict=True))


def test_drops_half_before_the_classes():
    torch.manual_seed(0)
    model = Xception(num_classes=10, image_size=32).eval()
    seen = []
    model.fc.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    x = torch.randn(1, 3, 32, 32)
    model(x)
    model.dropout.train()
    model(x)
    assert (seen[1][seen[0] > 0] == 0).float().mean().item() == pytest.approx(0.5, abs=0.05)
