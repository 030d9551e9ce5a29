"""ConvNeXt: counts and outputs of the references, the authors' keys, and how its blocks start and are dropped."""

import math
from functools import partial

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

from tests.zoo.checks import counts_are
from zoo import ConvNeXt
from zoo.convnext import VARIANTS, Block, Row
from zoo.layers.drop_path import DropPath, linear_rates
from zoo.layers.layer_norm_2d import LayerNorm2d

# At 1000 classes: parameters, and 1e9 multiply-adds of convolutions and linear layers at 224 px. Counted on timm 1.0,
# isotropic rows on a network written apart from this one; the authors print 28, 50, 89, 198 and 350 million, 4.5, 8.7,
# 15.4, 34.4 and 60.9, isotropic 22, 87 and 306 million, 4.3, 16.9 and 59.7.
COUNTS = {
    "T": (28_589_128, 4.4555),
    "S": (50_223_688, 8.6837),
    "B": (88_591_464, 15.3547),
    "L": (197_767_336, 34.3614),
    "XL": (350_196_968, 60.9210),
    "S-iso": (22_308_712, 4.2864),
    "B-iso": (87_083_752, 16.8963),
    "L-iso": (305_942_504, 59.6992),
}
# At 384 px; for B the authors print 45.0 in one table and 47.0 in another, of the same network.
AT_384 = {"T": 13.0923, "S": 25.5180, "B": 45.1221, "L": 100.9776, "XL": 179.0293}


@torch.no_grad()
def randomised(network: nn.Module) -> nn.Module:
    """Gains, shifts and layer scales away from their start: at g = 1e-6 every block is the identity."""
    for name, parameter in network.named_parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=math.sqrt(2 / parameter[0].numel()))
        elif name.endswith("bias"):
            nn.init.normal_(parameter, std=0.3)
        else:
            nn.init.uniform_(parameter, 0.3, 1.2)
    return network.eval()


@pytest.fixture
def nano(monkeypatch):
    """Small enough for a test: one block per stage, few channels."""
    monkeypatch.setitem(VARIANTS, "nano", Row((1, 1, 2, 1), (8, 16, 24, 32), 0.1))
    monkeypatch.setitem(VARIANTS, "nano-iso", Row((1, 1, 1), (8, 8, 8), 0.1, patch=16, scale=None))
    torch.manual_seed(0)
    return partial(ConvNeXt, "nano", num_classes=10)


def test_every_row_is_counted():
    assert {*COUNTS} == {*VARIANTS}


test_counts = counts_are(ConvNeXt, COUNTS)


@pytest.mark.parametrize("variant", [pytest.param(v, marks=[pytest.mark.slow] * (v != "T")) for v in AT_384])
def test_counts_at_384(variant, count):
    assert round(count(partial(ConvNeXt, variant, image_size=384))[1] / 1e9, 4) == AT_384[variant]


# ---- the same function as the references, under the same keys


@pytest.mark.parametrize(
    "variant", [pytest.param(v, marks=[pytest.mark.slow] * (v != "T")) for v in ConvNeXt.timm_names]
)
@pytest.mark.one_in(6)
def test_same_logits_as_timm(variant, images, agree):
    torch.manual_seed(0)
    ours = randomised(ConvNeXt(variant, num_classes=10))
    theirs = timm.create_model(ConvNeXt.timm_names[variant], num_classes=10).eval()
    theirs.load_state_dict(ours.state_dict())
    ours.load_state_dict(theirs.state_dict())
    agree(ours, theirs, images(72))


def authors(w: dict, x: torch.Tensor, patch: int) -> torch.Tensor:
    """The authors' network, hierarchical or isotropic, read literally on a dictionary of weights under their keys."""
    stem = "downsample_layers.0.0" if "downsample_layers.0.0.weight" in w else "stem"
    x = F.conv2d(x, w[f"{stem}.weight"], w[f"{stem}.bias"], stride=patch)
    if stem == "stem":
        x = run_blocks(w, "blocks", x)
    else:
        x = run_blocks(w, "stages.0", norm(w, "downsample_layers.0.1", x))
        for i in (1, 2, 3):
            down = f"downsample_layers.{i}"
            x = F.conv2d(norm(w, f"{down}.0", x), w[f"{down}.1.weight"], w[f"{down}.1.bias"], stride=2)
            x = run_blocks(w, f"stages.{i}", x)
    x = norm(w, "norm", x.mean((2, 3), keepdim=True)).flatten(1)
    return x @ w["head.weight"].T + w["head.bias"]


def norm(w: dict, key: str, x: torch.Tensor) -> torch.Tensor:
    mean, var = x.mean(1, keepdim=True), x.var(1, unbiased=False, keepdim=True)
    return w[f"{key}.weight"][:, None, None] * (x - mean) / (var + 1e-6).sqrt() + w[f"{key}.bias"][:, None, None]


def run_blocks(w: dict, stage: str, x: torch.Tensor) -> torch.Tensor:
    depth = len([key for key in w if key.startswith(f"{stage}.") and key.endswith(".dwconv.weight")])
    for key in (f"{stage}.{i}" for i in range(depth)):
        y = F.conv2d(x, w[f"{key}.dwconv.weight"], w[f"{key}.dwconv.bias"], padding=3, groups=x.shape[1])
        y = norm(w, f"{key}.norm", y)
        y = F.conv2d(y, w[f"{key}.pwconv1.weight"][..., None, None], w[f"{key}.pwconv1.bias"])
        y = 0.5 * y * (1 + torch.erf(y / math.sqrt(2)))
        y = F.conv2d(y, w[f"{key}.pwconv2.weight"][..., None, None], w[f"{key}.pwconv2.bias"])
        x = x + w.get(f"{key}.gamma", torch.ones(x.shape[1]))[:, None, None] * y
    return x


def authors_weights(depths: tuple[int, ...], channels: tuple[int, ...], patch: int) -> dict:
    """Random weights under the authors' keys, in their shapes."""
    isotropic = len({*channels}) == 1
    if isotropic:
        depths, channels = (sum(depths),), channels[:1]
    shapes = {"head": (10, channels[-1]), "norm": (channels[-1],)}
    shapes["stem" if isotropic else "downsample_layers.0.0"] = (channels[0], 3, patch, patch)
    if not isotropic:
        shapes["downsample_layers.0.1"] = (channels[0],)
    for i in range(1, len(depths)):
        shapes[f"downsample_layers.{i}.0"] = (channels[i - 1],)
        shapes[f"downsample_layers.{i}.1"] = (channels[i], channels[i - 1], 2, 2)
    w = {}
    for i, (depth, c) in enumerate(zip(depths, channels, strict=True)):
        for j in range(depth):
            key = f"blocks.{j}" if isotropic else f"stages.{i}.{j}"
            shapes |= {f"{key}.dwconv": (c, 1, 7, 7), f"{key}.norm": (c,)}
            shapes |= {f"{key}.pwconv1": (4 * c, c), f"{key}.pwconv2": (c, 4 * c)}
            w |= {} if isotropic else {f"{key}.gamma": torch.randn(c)}
    for key, shape in shapes.items():
        w[f"{key}.weight"] = torch.randn(shape) / math.sqrt(math.prod(shape[1:]))
        w[f"{key}.bias"] = torch.randn(shape[0]) / 3
    return w


@pytest.mark.parametrize("variant", ["nano", "nano-iso"])
def test_takes_the_authors_files_and_is_their_network(variant, nano, images, agree, tmp_path):
    row = VARIANTS[variant]
    depths, channels, patch = row.depths, row.widths, row.patch
    w = authors_weights(depths, channels, patch)
    torch.save({"model": w}, tmp_path / "authors.pth")
    ours = ConvNeXt(variant, num_classes=10, weights=tmp_path / "authors.pth").eval()
    agree(ours, partial(authors, w, patch=patch), images(96))


@pytest.mark.parametrize("variant", ["nano", "nano-iso"])
def test_takes_its_own_files(variant, nano, tmp_path):
    ours = ConvNeXt(variant, num_classes=10)
    ours.export(tmp_path / "own.safetensors")
    again = ConvNeXt(variant, num_classes=10, weights=tmp_path / "own.safetensors")
    assert all(torch.equal(again.state_dict()[key], value) for key, value in ours.state_dict().items())


@pytest.mark.slow
def test_isotropic_is_the_authors_network(images, agree):
    torch.manual_seed(0)
    w = authors_weights((18,), (384,), 16)
    ours = ConvNeXt("S-iso", num_classes=10)
    renamed = {next(b + k.removeprefix(a) for a, b in ours.aliases.items() if k.startswith(a)): v for k, v in w.items()}
    ours.load_state_dict(renamed)
    agree(ours.eval(), partial(authors, w, patch=16), images(96))


# ---- by hand


def test_blocks_start_as_the_identity():
    x = torch.randn(2, 8, 5, 5)
    torch.testing.assert_close(Block(8, drop_path=0.0, scale=1e-6)(x), x, rtol=0, atol=1e-4)


@pytest.mark.parametrize("variant", VARIANTS)
def test_layer_scale_starts_as_published(variant):
    with torch.device("meta"):
        block = ConvNeXt(variant).stages["stage1"].blocks[0]
    assert (block.gamma is None) == (variant in ("S-iso", "B-iso"))
    assert Block(8, 0.0, VARIANTS[variant].scale).gamma is None or (Block(8, 0.0, 1e-6).gamma == 1e-6).all()


@pytest.mark.parametrize(
    ("variant", "rate"),
    {"T": 0.1, "S": 0.4, "B": 0.5, "L": 0.5, "XL": 0.2, "S-iso": 0.1, "B-iso": 0.2, "L-iso": 0.5}.items(),
)
def test_drop_path_rises_to_the_published_rate(variant, rate):
    with torch.device("meta"):
        rates = [m.p for m in ConvNeXt(variant).modules() if isinstance(m, DropPath)]
    assert rates == pytest.approx([rate * i / (len(rates) - 1) for i in range(sum(VARIANTS[variant].depths))])


def test_drop_path_of_ones_own(nano):
    assert [m.p for m in nano(drop_path=0.4).modules() if isinstance(m, DropPath)] == pytest.approx(
        [0, 0.1, 0.2, 0.3, 0.4]
    )
    assert linear_rates(0.5, (1,)) == [[0.0]]


def test_drop_path_drops_whole_examples_and_keeps_the_mean():
    torch.manual_seed(0)
    y = DropPath(0.25)(torch.ones(20_000, 2, 3))
    assert y.unique().tolist() == pytest.approx([0, 4 / 3])
    assert (y == y[:, :1, :1]).all()
    assert y[:, 0, 0].mean().item() == pytest.approx(1, abs=5 * math.sqrt(1 / 3 / 20_000))
    x, drawn = torch.randn(4, 2, 3), []
    for dtype in (torch.float32, torch.bfloat16):
        torch.manual_seed(0)
        drawn.append(DropPath(0.5)(torch.ones(100, 1, dtype=dtype)))
    assert torch.equal(drawn[0].bfloat16(), drawn[1])
    assert torch.equal(DropPath(0.25).eval()(x), x) and torch.equal(DropPath(0.0)(x), x)
    with pytest.raises(ValueError, match=r"must be in \[0, 1\), got 1"):
        DropPath(1)


def test_dropped_blocks_are_identities():
    torch.manual_seed(0)
    block, x = Block(8, drop_path=0.5, scale=1.0), torch.randn(64, 8, 5, 5)
    changed = (block(x) != x).flatten(1)
    assert ((changed.float().mean(1) > 0.9) | ~changed.any(1)).all() and 16 < changed.any(1).sum() < 48


def test_layer_norm_is_over_the_channels_of_a_pixel():
    x = torch.tensor([1.0, 3.0]).reshape(1, 2, 1, 1) * torch.tensor([1.0, 10.0])  # pixels (1, 3) and (10, 30)
    layer = LayerNorm2d(2, eps=1e-6)
    torch.testing.assert_close(layer(x)[0, :, 0], torch.tensor([[-1.0, -1.0], [1.0, 1.0]]), rtol=1e-5, atol=1e-5)
    nn.init.constant_(layer.weight, 2.0)
    layer.bias.data[1] = 5.0
    torch.testing.assert_close(layer(x)[0, :, 0], torch.tensor([[-2.0, -2.0], [7.0, 7.0]]), rtol=1e-5, atol=1e-5)


def test_map_sizes(map_sizes):
    for pixels, first in ((224, 56), (64, 32), (32, 32)):
        sizes = map_sizes(partial(ConvNeXt, "T", image_size=pixels), pixels)
        assert sizes == [(c, first // 2**i) for i, c in enumerate((96, 192, 384, 768))]


@pytest.mark.parametrize(("pixels", "side"), [(224, 14), (64, 8), (32, 8)])
def test_isotropic_map_sizes(pixels, side, map_sizes):
    assert map_sizes(partial(ConvNeXt, "S-iso", image_size=pixels), pixels) == 3 * [(384, side)]


@pytest.mark.parametrize("variant", ["nano", "nano-iso"])
def test_starts_with_small_weights(variant, nano):
    for layer in (m for m in ConvNeXt(variant).modules() if isinstance(m, nn.Conv2d | nn.Linear)):
        assert layer.weight.std().item() == pytest.approx(0.02, rel=5 / math.sqrt(2 * layer.weight.numel()))
        assert not layer.bias.any()


def test_bad_arguments_say_what_to_do():
    with pytest.raises(ValueError, match="ConvNeXt has no 'Tiny'; there are: T, S, B, L, XL, S-iso"):
        ConvNeXt("Tiny")
    with pytest.raises(ValueError, match="ConvNeXt-T needs images of at least 8 px, got image_size=7"):
        ConvNeXt("T", image_size=7)
