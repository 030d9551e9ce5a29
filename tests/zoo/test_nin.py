"""NIN: counts by hand and by the papers, and nin.lua read a second time."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F

from zoo import NIN
from zoo.nin import VARIANTS


def test_counts(count):
    """At 10 classes and 32 px, by hand: each k^2 c_in c_out + 3 c_out (bias and norm), the last c_in c_out + c_out."""
    wide = [(5, 3, 192, 32), (1, 192, 160, 32), (1, 160, 96, 32), (5, 96, 192, 16), (1, 192, 192, 16)]
    wide += [(1, 192, 192, 16), (3, 192, 192, 8), (1, 192, 192, 8), (1, 192, 10, 8)]
    thin = [(5, 3, 96, 32), (1, 96, 80, 32), (1, 80, 48, 32), (5, 48, 96, 16), (1, 96, 96, 16)]
    thin += [(1, 96, 96, 16), (3, 96, 96, 8), (1, 96, 96, 8), (1, 96, 10, 8)]
    for variant, layers, paper in (("wide", wide, 1e6), ("thin", thin, 0.2e6)):
        parameters = sum(k * k * a * b + 3 * b for k, a, b, _ in layers) - 2 * 10
        multiply_adds = sum(k * k * a * b * side**2 for k, a, b, side in layers)
        assert count(partial(NIN, variant, num_classes=10)) == (parameters, multiply_adds)
        assert round(parameters / paper, 1) in (1.0, 1.2)  # table 1 of attention transfer prints 1 and 0.2 million


def by_nin_lua(w: dict, x: torch.Tensor) -> torch.Tensor:
    def block(x: torch.Tensor, name: str, i: int, pad: int) -> torch.Tensor:
        x = F.conv2d(x, w[f"{name}.conv{i}.weight"], w[f"{name}.conv{i}.bias"], padding=pad)
        mean, var, gamma, beta = (
            w[f"{name}.bn{i}.{key}"][:, None, None] for key in ("running_mean", "running_var", "weight", "bias")
        )
        return (gamma * (x - mean) / (var + 1e-3).sqrt() + beta).relu()

    x = block(block(block(x, "mlpconv1", 1, 2), "mlpconv1", 2, 0), "mlpconv1", 3, 0)
    x = F.max_pool2d(x, 3, 2, ceil_mode=True)
    x = block(block(block(x, "mlpconv2", 1, 2), "mlpconv2", 2, 0), "mlpconv2", 3, 0)
    x = F.avg_pool2d(x, 3, 2, ceil_mode=True)
    x = block(block(x, "mlpconv3", 1, 1), "mlpconv3", 2, 0)
    x = F.conv2d(x, w["head.weight"], w["head.bias"])  # there with batch norm and ReLU
    return F.avg_pool2d(x, 8, 1).flatten(1)


@pytest.mark.parametrize("variant", VARIANTS)
def test_is_nin_lua(variant, randomise, agree, images):
    torch.manual_seed(0)
    ours = randomise(NIN(variant, num_classes=10))
    agree(ours, partial(by_nin_lua, ours.state_dict()), 5 * images(32))


@pytest.mark.parametrize("pixels", [32, 64])
def test_map_sizes(pixels, map_sizes):
    found = map_sizes(partial(NIN, "wide", num_classes=10, image_size=pixels), pixels)
    assert found == [(96, pixels), (192, pixels // 2), (192, pixels // 4)]


def test_initial_weights_and_dropout():
    torch.manual_seed(0)
    model = NIN("wide", num_classes=10)
    for name, w in model.named_parameters():
        if "conv2.weight" in name:
            assert w.std().item() == pytest.approx((2 / w.shape[1]) ** 0.5, rel=0.05)
        assert not (("conv" in name.split(".")[1] or "head" in name) and name.endswith("bias") and w.any())
    assert [layer.p for layer in (model.pool1[1], model.pool2[1])] == [0.5, 0.5]


def test_refuses_large_images():
    with pytest.raises(ValueError, match="up to 64 px"):
        NIN(image_size=224)
