"""Norm: groups, kept parameters, and batch renormalisation by hand, at its limits and through its schedule."""

import pytest
import timm
import torch
from torch import nn

from callbacks import Norm, ZeroGamma
from callbacks.frame.batch_renorm import BatchRenorm2d
from callbacks.network.norm import NORMS, groups_of, swap_norms
from tests.conftest import tiny_classifier
from zoo import Classifier, ConvNeXt, ResNet


def swapped(kind: str, c: int = 8) -> nn.Module:
    network = nn.Sequential(nn.BatchNorm2d(c, eps=1e-3))
    nn.init.normal_(network[0].weight)
    nn.init.normal_(network[0].bias)
    gamma, beta = network[0].weight.clone(), network[0].bias.clone()
    swap_norms(network, kind)
    assert torch.equal(network[0].weight, gamma) and torch.equal(network[0].bias, beta)
    return network[0]


@pytest.mark.parametrize(
    ("kind", "over"), [("batch", (0, 2, 3)), ("layer", (1, 2, 3)), ("instance", (2, 3)), ("batch_renorm", (0, 2, 3))]
)
def test_what_it_is_over(kind, over):
    torch.manual_seed(0)
    norm, x = swapped(kind), torch.randn(4, 8, 5, 5) * 3 + 1
    var, mean = torch.var_mean(x, over, correction=0, keepdim=True)
    expected = (x - mean) / (var + 1e-3).sqrt() * norm.weight[:, None, None] + norm.bias[:, None, None]
    torch.testing.assert_close(norm.train()(x), expected, rtol=1e-4, atol=1e-5)


def test_group_by_hand():
    """C = 4 in two groups; 0, 2 | 4, 4: mean 1 and 4, deviation 1 and 0."""
    norm = swapped("group", 4)
    nn.init.ones_(norm.weight)
    nn.init.zeros_(norm.bias)
    out = norm(torch.tensor([0.0, 2.0, 4.0, 4.0]).view(1, 4, 1, 1))
    assert out.flatten().tolist() == pytest.approx([-1, 1, 0, 0], abs=1e-3)


@pytest.mark.parametrize("kind", ["group", "layer"])
def test_in_bfloat16_and_channels_last_it_is_torchs_and_keeps_the_layout(kind, monkeypatch):
    torch.manual_seed(0)
    norm, x = swapped(kind), torch.randn(3, 8, 5, 4).bfloat16().contiguous(memory_format=torch.channels_last)
    seen, group_norm = [], torch.nn.functional.group_norm
    monkeypatch.setattr(
        torch.nn.functional, "group_norm", lambda x, *rest: seen.append(x.is_contiguous()) or group_norm(x, *rest)
    )
    inputs, outputs = [x.clone().requires_grad_() for _ in range(2)], []
    for run, one in zip((norm, lambda x: nn.GroupNorm.forward(norm, x)), inputs, strict=True):
        norm.zero_grad()
        outputs.append(run(one))
        outputs[-1].float().pow(2).sum().backward()
        outputs += [one.grad, norm.weight.grad]
    assert seen == [True, False]  # torch's is slow where it gets channels_last maps
    assert outputs[0].is_contiguous(memory_format=torch.channels_last) and not outputs[0].is_contiguous()
    for ours, theirs in zip(outputs[:3], outputs[3:], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0.02, atol=0.02)
    with torch.no_grad():
        norm(x)
    assert seen == [True, False, False]


@pytest.mark.parametrize(
    ("c", "groups"),
    [(64, 32), (2048, 32), (96, 32), (32, 16), (16, 8), (48, 24), (40, 20), (36, 18), (7, 1), (1, 1), (2, 1)],
)
def test_groups(c, groups):
    assert groups_of(c) == groups and c % groups == 0


@pytest.mark.parametrize(
    ("c", "channels", "groups"),
    [
        (64, 16, 4),
        (2048, 16, 128),
        (16, 16, 1),
        (8, 16, 1),
        (24, 16, 2),
        (40, 16, 4),
        (7, 16, 1),
        (17, 16, 17),
        (64, 1, 64),
    ],
)
def test_groups_of_so_many_channels(c, channels, groups):
    assert groups_of(c, channels) == groups and c % groups == 0


def test_so_many_channels_a_group_in_a_run(trainer, tiny_data):
    """The tiny network's norms have 8 and 16 channels."""
    model = tiny_classifier()
    trainer(callbacks=[Norm(channels=4)], max_steps=0).fit(model, tiny_data)
    assert [m.num_groups for m in model.modules() if isinstance(m, nn.GroupNorm)] == [2, 4]
    assert model.surgery == [("Norm", {"kind": "group", "channels": 4})]
    with pytest.raises(ValueError, match='channels belongs to "group"'):
        Norm("layer", channels=4)


@pytest.mark.parametrize("kind", NORMS)
def test_there_and_back_keeps_gamma_and_beta(kind):
    model = ResNet("20", num_classes=10)
    nn.init.normal_(model.bn1.weight)
    gamma = model.bn1.weight.clone()
    swap_norms(model, kind)
    swap_norms(model, "batch")
    assert isinstance(model.bn1, nn.BatchNorm2d) and torch.equal(model.bn1.weight, gamma)
    assert model.state_dict().keys() == ResNet("20", num_classes=10).state_dict().keys()


# ---- batch renormalisation


def after(passes: int) -> BatchRenorm2d:
    norm = BatchRenorm2d(1, eps=0.0, affine=False).train()
    norm.num_batches_tracked.fill_(passes)
    return norm


@pytest.mark.parametrize(
    ("passes", "r_max", "d_max"),
    [
        (0, 1, 0),
        (5000, 1, 0),
        (15_000, 1 + 2 * 10 / 35, 2.5),
        (25_000, 1 + 2 * 20 / 35, 5),
        (40_000, 3, 5),
        (10**6, 3, 5),
    ],
)
def test_limits_are_the_papers(passes, r_max, d_max):
    assert [v.item() for v in after(passes).limits()] == pytest.approx([r_max, d_max], abs=1e-5)


def test_by_hand():
    """Batch 1, 3: mean 2, sigma 1. Averages 0 and sigma 0.5: r = 2, d = 4; y = -1 * 2 + 4, 1 * 2 + 4."""
    norm, x = after(40_000), torch.tensor([1.0, 3.0]).view(2, 1, 1, 1)
    norm.running_var.fill_(0.25)
    assert norm(x).flatten().tolist() == [2, 6]
    assert norm.running_mean.item() == pytest.approx(0.02) and norm.running_var.item() == pytest.approx(0.2575)
    assert norm.num_batches_tracked == 40_001


def test_within_its_limits_it_is_the_evaluated_norm():
    norm, x = after(40_000), torch.randn(8, 1, 4, 4) + 0.5
    assert torch.allclose(norm(x), x, atol=1e-5)  # averages 0 and 1


def test_clips_by_hand():
    """Averages 0 and sigma 0.1: sigma_B / sigma = 10 > 3, mean_B / sigma = 20 > 5; so y = -3 + 5, 3 + 5."""
    norm, x = after(40_000), torch.tensor([1.0, 3.0]).view(2, 1, 1, 1)
    norm.running_var.fill_(0.01)
    assert norm(x).flatten().tolist() == pytest.approx([2, 8])
    norm = after(40_000)
    norm.running_var.fill_(100.0)  # ratio 0.1 < 1 / 3
    assert norm(x).flatten().tolist() == pytest.approx([-1 / 3 + 0.2, 1 / 3 + 0.2])


def test_at_first_it_is_batch_norm_in_values_and_gradients():
    torch.manual_seed(0)
    ours, plain = BatchRenorm2d(4), nn.BatchNorm2d(4)
    x = torch.randn(3, 4, 2, 2)
    results = []
    for norm in (ours, plain):
        images = x.clone().requires_grad_()
        y = norm.train()(images)
        (y**3).sum().backward()
        results.append((y, images.grad, norm.weight.grad, norm.bias.grad))
    for mine, theirs in zip(*results, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)


def test_no_gradient_through_r_and_d():
    """With r and d constants, the sum of y is N d whatever x is: no gradient."""
    norm, x = after(40_000), torch.randn(8, 1, 4, 4).requires_grad_()
    norm(x).sum().backward()
    assert x.grad.abs().max() < 1e-5


def test_loads_and_evaluates_as_a_batch_norm():
    plain, ours = nn.BatchNorm2d(4), BatchRenorm2d(4)
    plain.train()(torch.randn(8, 4, 3, 3) * 2 + 1)
    ours.load_state_dict(plain.state_dict())
    x = torch.randn(2, 4, 3, 3)
    assert torch.equal(ours.eval()(x), plain.eval()(x))


def test_bf16_keeps_its_statistics_in_float32():
    norm, x = BatchRenorm2d(4).train(), torch.randn(8, 4, 3, 3).bfloat16()
    assert norm(x).dtype == torch.bfloat16 and norm.running_mean.dtype == torch.float32


# ---- with other tricks, and refusals


@pytest.mark.parametrize("tricks", [(Norm("group"), ZeroGamma()), (ZeroGamma(), Norm("group"))])
def test_zero_gamma_in_either_order(tricks, trainer, tiny_data):
    model = tiny_classifier()
    trainer(callbacks=list(tricks), max_steps=0).fit(model, tiny_data)
    norm = model.network.block1.bn1
    assert isinstance(norm, nn.GroupNorm) and not norm.weight.any()


def test_refusals():
    with pytest.raises(ValueError, match="Norm has no 'gruop'; did you mean 'group'"):
        Norm("gruop")
    with pytest.raises(TypeError, match="ConvNeXt has no batch, group or instance norms: take Norm out"):
        swap_norms(ConvNeXt("T", num_classes=10, image_size=32), "group")
    with pytest.raises(TypeError, match="norms of another kind .BatchNormAct2d."):
        swap_norms(Classifier(timm.create_model("efficientnet_b0")), "group")
