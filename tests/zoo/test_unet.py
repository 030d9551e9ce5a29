"""UNet and AttentionUNet: counts of the paper, a second reading in plain functions, the gate by hand."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from zoo import AttentionUNet, UNet
from zoo.attention_unet import Gate
from zoo.layers.unet_levels import init_weights


def block(state, name, x, padding):
    for i in (1, 2):
        x = F.conv2d(x, state[f"{name}.conv{i}.weight"], state[f"{name}.conv{i}.bias"], padding=padding).relu()
    return x


def cropped(skip, like):
    top, left = ((a - b) // 2 for a, b in zip(skip.shape[-2:], like.shape[-2:], strict=True))
    return skip[..., top : top + like.shape[-2], left : left + like.shape[-1]]


def gated(state, i, x, g):
    """Equations 1 and 2, pixel of g by pixel of g."""
    if f"gate{i}.psi.weight" not in state:
        return x
    patches = F.unfold(x, 2, stride=2).transpose(1, 2)  # (N, L, 4C)
    theta = patches @ state[f"gate{i}.theta.weight"].flatten(1).T
    phi = g.flatten(2).transpose(1, 2) @ state[f"gate{i}.phi.weight"][..., 0, 0].T + state[f"gate{i}.phi.bias"]
    q = (theta + phi).relu() @ state[f"gate{i}.psi.weight"].flatten() + state[f"gate{i}.psi.bias"]  # (N, L)
    a = torch.sigmoid(q).view(len(x), 1, *g.shape[-2:])
    return F.interpolate(a, scale_factor=2, mode="bilinear") * x


def literal(state, x, padding=1):
    """Figure 1 of U-Net from weights alone, for any padding: 0 is the paper's, then skips are cropped."""
    skips = []
    for i in (1, 2, 3, 4):
        skips.append(block(state, f"encoder{i}", x, padding))
        x = F.max_pool2d(skips[-1], 2)
    x = block(state, "bottleneck", x, padding)
    for i in (4, 3, 2, 1):
        skip = gated(state, i, skips.pop(), x)
        x = F.conv_transpose2d(x, state[f"decoder{i}.up.weight"], state[f"decoder{i}.up.bias"], stride=2)
        x = block(state, f"decoder{i}", torch.cat([cropped(skip, x), x], 1), padding)
    return F.conv2d(x, state["head.weight"], state["head.bias"])


def as_in_the_paper():
    """Its weights: 64 to 1024 channels, two classes, images of one channel."""
    with torch.device("meta"):
        state = UNet(num_classes=2).state_dict()
        state["encoder1.conv1.weight"] = torch.empty(64, 1, 3, 3)
    return state


def test_parameters_are_the_papers():
    """31,030,658 for grey images and two classes, summed by hand: 9 ab + b a 3x3 convolution, 4 ab + b an up one."""
    w = [1, 64, 128, 256, 512, 1024]
    down = sum(9 * a * b + b + 9 * b * b + b for a, b in zip(w, w[1:], strict=False))
    up = sum(4 * 2 * c * c + c + 9 * 2 * c * c + c + 9 * c * c + c for c in w[1:5])
    assert down + up + 2 * 64 + 2 == 31_030_658
    assert sum(p.numel() for p in as_in_the_paper().values()) == 31_030_658
    with torch.device("meta"):
        assert sum(p.numel() for p in UNet(num_classes=2).parameters()) == 31_030_658 + 2 * 64 * 9  # of three colours


def test_the_literal_reading_has_the_papers_sizes_and_cost():
    """572 px give 388, at 150.4 G multiply-adds (counted before, from the figure)."""
    with FlopCounterMode(display=False) as flops, torch.device("meta"):
        assert literal(as_in_the_paper(), torch.empty(1, 1, 572, 572), padding=0).shape == (1, 2, 388, 388)
    assert flops.get_total_flops() / 2e9 == pytest.approx(150.4, abs=0.05)


def test_counts(count):
    """At 512 px; gates: 4 c^2 (theta) + 2 c^2 + c (phi) + c + 1 (psi), c = 128, 256, 512."""
    assert count(UNet) == (31_031_810, 192_686_325_760)
    gates = sum(6 * c * c + 2 * c + 1 for c in (128, 256, 512))
    macs = sum((6 * c * c + c) * (512 // side) ** 2 for c, side in ((128, 4), (256, 8), (512, 16)))
    assert count(AttentionUNet) == (31_031_810 + gates, 192_686_325_760 + macs)


@pytest.mark.parametrize("model", [UNet, AttentionUNet])
def test_same_logits_as_the_literal_reading(model, agree):
    torch.manual_seed(0)
    ours = model("8", num_classes=5, image_size=32).eval()
    for name, p in ours.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(p, std=0.1)
    state = ours.state_dict()
    agree(ours, lambda x: literal(state, x), torch.randn(2, 3, 32, 48))


def test_the_gate_by_hand():
    """One channel, 2 x 2 px: a = sigmoid(psi ReLU(sum of x + g0 + 2 g1 + 1) - 1) for all four pixels."""
    gate = Gate(1)
    for p, value in zip(gate.parameters(), ([1.0] * 4, [1.0, 2.0], [1.0], [0.5], [-1.0]), strict=True):
        p.data = torch.tensor(value).view_as(p)
    x, g = torch.tensor([1.0, 2.0, 3.0, -4.0]).view(1, 1, 2, 2), torch.tensor([1.0, -0.5]).view(1, 2, 1, 1)
    a = 1 / (1 + math.exp(-(0.5 * (2 + 1 - 1 + 1) - 1)))
    torch.testing.assert_close(gate(x, g), a * x)
    closed = 1 / (1 + math.exp(1))  # below 0 the ReLU is silent, and psi's bias alone decides
    torch.testing.assert_close(gate(x, -3 * g - 5), closed * x)


def test_gates_look_at_the_map_below_and_at_three_skips():
    model = AttentionUNet("8", num_classes=2, image_size=32)
    seen = {}
    for i in (2, 3, 4):
        gate = getattr(model, f"gate{i}")
        gate.register_forward_hook(lambda m, a, out, i=i: seen.update({i: (*a[0].shape[1:], *a[1].shape[1:])}))
    model(torch.randn(1, 3, 32, 32))
    assert seen == {4: (64, 4, 4, 128, 2, 2), 3: (32, 8, 8, 64, 4, 4), 2: (16, 16, 16, 32, 8, 8)}
    assert not hasattr(model, "gate1")


@pytest.mark.parametrize("model", [UNet, AttentionUNet])
def test_starts_as_declared(model):
    torch.manual_seed(0)
    model = model("32", num_classes=4, image_size=32)
    for name, layer in model.named_modules():
        if hasattr(layer, "weight"):
            each = layer.in_channels * (1 if name.endswith("up") else layer.kernel_size[0] ** 2)
            variance = (2 if layer.kernel_size == (3, 3) else 1) / each
            assert layer.weight.var(correction=0).item() == pytest.approx(
                variance, rel=4 * (2 / layer.weight.numel()) ** 0.5
            )
            assert layer.bias is None or not layer.bias.any()
    up = torch.nn.ConvTranspose2d(64, 32, 2, 2)
    init_weights(up)
    assert up(torch.randn(8, 64, 16, 16)).var().item() == pytest.approx(1, rel=0.1)  # as large as what comes in


@pytest.mark.parametrize("model", [UNet, AttentionUNet])
def test_refuses_what_does_not_fit(model):
    with pytest.raises(ValueError, match="multiples of 16 px, got 40 x 40"):
        model("8", image_size=40)
    with pytest.raises(ValueError, match="multiples of 16 px, got 32 x 40; crop or pad"):
        model("8", image_size=32)(torch.randn(1, 3, 32, 40))
    with pytest.raises(ValueError, match="no '63'; there are: 64, 32, 16, 8"):
        model("63")
