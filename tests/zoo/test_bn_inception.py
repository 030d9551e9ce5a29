"""BN-Inception: counts of a network written apart, the released graph read a second time, and its files' names."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from zoo import BNInception
from zoo.bn_inception import BLOCKS, NAMES

# At 1000 classes and 224 px: parameters, and 1e9 multiply-adds of convolutions and linear layers, counted on a network
# written apart from this one; the SE paper prints 2.03.
COUNTS = (11_295_240, 2.0326)


def test_counts(count):
    parameters, multiply_adds = count(BNInception)
    assert (parameters, round(multiply_adds / 1e9, 4)) == COUNTS


def by_the_graph(w: dict, x: torch.Tensor) -> torch.Tensor:
    """On weights under the names of the Caffe graph, line by line of its table."""

    def conv(x: torch.Tensor, key: str, stride: int = 1) -> torch.Tensor:
        kernel = w[f"{key}.weight"]
        x = F.conv2d(x, kernel, w[f"{key}.bias"], stride, padding=kernel.shape[-1] // 2)
        stats = (w[f"{key}_bn.{name}"][:, None, None] for name in ("running_mean", "running_var", "weight", "bias"))
        mean, var, gamma, beta = stats
        return (gamma * (x - mean) / (var + 1e-5).sqrt() + beta).relu()

    def halved(x: torch.Tensor) -> torch.Tensor:
        return F.max_pool2d(F.pad(x, (0, 1, 0, 1)), 3, 2)  # even maps, rounded up: one zero at the far edges

    def same(x: torch.Tensor, name: str) -> torch.Tensor:
        k = f"inception_{name}_"
        around = F.pad(x, (1, 1, 1, 1))  # the zeros count in the mean
        pooled = F.max_pool2d(around, 3, 1) if name == "5b" else F.avg_pool2d(around, 3, 1)
        three = conv(conv(x, f"{k}3x3_reduce"), f"{k}3x3")
        double = conv(conv(conv(x, f"{k}double_3x3_reduce"), f"{k}double_3x3_1"), f"{k}double_3x3_2")
        return torch.cat([conv(x, f"{k}1x1"), three, double, conv(pooled, f"{k}pool_proj")], 1)

    def shrinking(x: torch.Tensor, name: str) -> torch.Tensor:
        k = f"inception_{name}_"
        three = conv(conv(x, f"{k}3x3_reduce"), f"{k}3x3", 2)
        double = conv(conv(conv(x, f"{k}double_3x3_reduce"), f"{k}double_3x3_1"), f"{k}double_3x3_2", 2)
        return torch.cat([three, double, halved(x)], 1)

    x = halved(conv(x, "conv1_7x7_s2", 2))
    x = halved(conv(conv(x, "conv2_3x3_reduce"), "conv2_3x3"))
    channels = []
    for name in ("3a", "3b", "3c", "4a", "4b", "4c", "4d", "4e", "5a", "5b"):
        x = shrinking(x, name) if name in ("3c", "4e") else same(x, name)
        channels.append(x.shape[1])
    assert channels == [256, 320, 576, 576, 576, 608, 608, 1056, 1024, 1024]
    return x.mean((2, 3)) @ w["last_linear.weight"].T + w["last_linear.bias"]


def released(model: BNInception) -> dict[str, torch.Tensor]:
    """Its weights under the names of the released files."""
    state = model.state_dict()
    for ours, theirs in {**NAMES, "fc": "last_linear"}.items():
        for key in [key for key in state if key.startswith(f"{ours}.")]:
            rest = key.removeprefix(f"{ours}.").split(".")
            norm = "_bn" if rest[0] == "bn" else ""
            state[f"{theirs}{norm}.{rest[-1]}"] = state.pop(key)
    return state


def test_is_the_released_graph(randomise, agree, images):
    torch.manual_seed(0)
    ours = randomise(BNInception(num_classes=10), 96, 3)
    weights = released(ours)
    agree(ours, lambda x: by_the_graph(weights, x), 3 * images(96))


def test_takes_released_files(tmp_path, images):
    torch.manual_seed(0)
    source = BNInception(num_classes=10, image_size=32).eval()
    torch.save(released(source), tmp_path / "bn_inception.pth")
    model = BNInception(num_classes=10, image_size=32, weights=str(tmp_path / "bn_inception.pth")).eval()
    x = images(32)
    torch.testing.assert_close(model(x), source(x))


def test_statistics_move_by_a_tenth():
    norms = [m for m in BNInception(image_size=32).modules() if isinstance(m, nn.BatchNorm2d)]
    assert {norm.momentum for norm in norms} == {0.1}


@pytest.mark.parametrize(
    ("pixels", "sides"), [(224, (112, 56, 28, 14, 7)), (64, (64, 64, 32, 16, 8)), (32, (32, 32, 16, 8, 4))]
)
def test_map_sizes(pixels, sides, map_sizes):
    found = map_sizes(lambda: BNInception(image_size=pixels), pixels)
    assert found == list(zip((64, 192, 320, 608, 1024), sides, strict=True))


@pytest.mark.parametrize(("pixels", "step"), [(299, 32), (36, 8)])
def test_refuses_odd_maps(pixels, step):
    with pytest.raises(ValueError, match=f"multiple of {step}"):
        BNInception(image_size=pixels)


def test_blocks_that_shrink_have_no_projection():
    assert {name for name, block in BLOCKS.items() if block.proj == 0} == {"3c", "4e"}
