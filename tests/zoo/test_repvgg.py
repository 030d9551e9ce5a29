"""RepVGG: counts of both forms, timm's outputs, the authors' keys, and that adding up the branches changes nothing."""

from dataclasses import replace
from functools import partial

import pytest
import timm
import torch
import torch.nn.functional as F
from timm.models import byobnet
from timm.utils import reparameterize_model
from torch import nn

import zoo
from tests.zoo.checks import stages_halve
from zoo import RepVGG
from zoo.layers.squeeze_excite import SqueezeExcite
from zoo.repvgg import VARIANTS, Block, Row
from zoo.tools.complexity import total_macs

# At 1000 classes: parameters, and 1e9 multiply-adds of convolutions and linear layers at 224 px, training and
# fused. Counted on timm 1.0, B1g2 on a network written apart from this one; the authors print, fused, 8.30, 12.78,
# 25.49, 14.33, 51.82, 41.36 (B1g2), 36.12, 80.31, 55.77, 110.96, 75.62 and 120.39 (D2se) million.
COUNTS = {
    "A0": (9_108_968, 1.5126, 8_309_384, 1.3615),
    "A1": (14_092_264, 2.6265, 12_789_864, 2.3640),
    "A2": (28_210_600, 5.6853, 25_499_944, 5.1170),
    "B0": (15_817_960, 3.3972, 14_339_048, 3.0576),
    "B1": (57_415_016, 13.1281, 51_829_480, 11.8155),
    "B1g4": (39_966_056, 8.1185, 36_125_416, 7.3069),
    "B2": (89_022_376, 20.4182, 80_315_112, 18.3766),
    "B2g4": (61_758_376, 12.5907, 55_777_512, 11.3319),
    "B3": (123_085_288, 29.1207, 110_960_872, 26.2089),
    "B3g4": (83_825_128, 17.8492, 75_626_728, 16.0645),
}
FUSED = {"B1g2": (41_360_104, 8.8097), "D2se": (120_387_572, 32.8296)}


@pytest.fixture
def tiny(monkeypatch):
    """Few channels, groups in every second of seven layers."""
    monkeypatch.setitem(VARIANTS, "tiny", Row((2, 2, 2, 1), 0.25, 0.125, 2))
    torch.manual_seed(0)
    return partial(RepVGG, "tiny", num_classes=10)


def test_every_row_is_counted():
    assert {*COUNTS, *FUSED, "B2g2", "B3g2"} == {*VARIANTS}


def fused_count(variant: str) -> tuple[int, float]:
    with torch.device("meta"):
        model = RepVGG(variant).reparameterize()
    return sum(p.numel() for p in model.parameters()), round(total_macs(model, 224) / 1e9, 4)


@pytest.mark.parametrize("variant", [pytest.param(v, marks=[pytest.mark.slow] * (v > "B0")) for v in COUNTS])
def test_counts(variant, count):
    parameters, multiply_adds = count(partial(RepVGG, variant))
    assert (parameters, round(multiply_adds / 1e9, 4), *fused_count(variant)) == COUNTS[variant]


@pytest.mark.parametrize("variant", FUSED)
def test_fused_counts(variant):
    assert fused_count(variant) == FUSED[variant]


@pytest.mark.slow
@pytest.mark.parametrize("size", ["B2", "B3"])
def test_two_groups_are_between_one_and_four(size):
    """Grouped kernels shrink to 1/2 and 1/4, the rest stays: from g1, g2 saves two thirds of what g4 saves."""
    one, two, four = (fused_count(f"{size}{g}")[0] for g in ("", "g2", "g4"))
    assert (one - two) * 3 == (one - four) * 2


# ---- the same function as the references


# one of each kind: plain, grouped, with gates; all rows of the table are counted above
@pytest.mark.parametrize(
    "variant",
    [
        "A0",
        "small with gates",
        pytest.param("B1g4", marks=pytest.mark.slow),
        pytest.param("D2se", marks=[pytest.mark.slow, pytest.mark.whole]),  # a minute
    ],
)
def test_same_logits_as_timm_in_both_forms(variant, randomise, images, agree, monkeypatch):
    torch.manual_seed(0)
    monkeypatch.setitem(VARIANTS, "small with gates", Row((1, 2, 2, 1), 0.5, 0.5, se=True))
    ours = randomise(RepVGG(variant, num_classes=10, image_size=224))
    theirs = (small_with_gates() if variant not in RepVGG.timm_names else timm_model(RepVGG.timm_names[variant])).eval()
    theirs.load_state_dict(ours.state_dict())
    batch = images(72)
    if variant == "D2se":  # 48 layers of gates double a rounding error so often that float32 tells nothing
        ours, theirs, batch = ours.double(), theirs.double(), batch.double()
    agree(ours, theirs, batch)
    fused = reparameterize_model(theirs)
    agree(ours.reparameterize(), fused, batch)
    agree(ours, theirs, batch)
    ours.load_state_dict(fused.state_dict())


timm_model = partial(timm.create_model, num_classes=10)


def small_with_gates() -> nn.Module:
    """timm's network of D2se, of fewer and narrower blocks."""
    blocks = byobnet._rep_vgg_bcfg((1, 2, 2, 1), (0.5,) * 4)
    return byobnet.ByobNet(replace(byobnet.model_cfgs["repvgg_d2se"], blocks=blocks, stem_chs=32), num_classes=10)


def norm(w: dict, key: str, x: torch.Tensor) -> torch.Tensor:
    mean, var, gamma, beta = (w[f"{key}.{n}"][:, None, None] for n in ("running_mean", "running_var", "weight", "bias"))
    return gamma * (x - mean) / (var + 1e-5).sqrt() + beta


def layer(w: dict, key: str, x: torch.Tensor, stride: int, groups: int) -> torch.Tensor:
    y = norm(w, f"{key}.rbr_dense.bn", F.conv2d(x, w[f"{key}.rbr_dense.conv.weight"], None, stride, 1, groups=groups))
    y = y + norm(w, f"{key}.rbr_1x1.bn", F.conv2d(x, w[f"{key}.rbr_1x1.conv.weight"], None, stride, 0, groups=groups))
    if x.shape == y.shape:
        y = y + norm(w, f"{key}.rbr_identity", x)
    return y.relu()


def by_the_authors(w: dict, x: torch.Tensor, blocks: tuple[int, ...], groups: int) -> torch.Tensor:
    """The authors' network read literally, under their keys: layers 2, 4, 6, ... are grouped, the stem is layer 0."""
    x, index = layer(w, "stage0", x, 2, 1), 0
    for i, depth in enumerate(blocks, 1):
        for j in range(depth):
            index += 1
            x = layer(w, f"stage{i}.{j}", x, 2 if j == 0 else 1, groups if index % 2 == 0 else 1)
    return x.mean((2, 3)) @ w["linear.weight"].T + w["linear.bias"]


def under_the_authors_keys(model: RepVGG) -> dict:
    def theirs(key: str) -> str:
        prefix = max((a for a, b in model.aliases.items() if key.startswith(b)), key=lambda a: len(model.aliases[a]))
        return prefix + key.removeprefix(model.aliases[prefix])

    return {theirs(key): value for key, value in model.state_dict().items()}


@pytest.mark.parametrize("variant", ["tiny", pytest.param("B1g2", marks=pytest.mark.slow)])
def test_takes_the_authors_files_and_is_their_network(variant, tiny, randomise, images, agree, tmp_path):
    w = under_the_authors_keys(randomise(RepVGG(variant, num_classes=10)))
    assert {key.split(".")[0] for key in w} == {"stage0", "stage1", "stage2", "stage3", "stage4", "linear"}
    torch.save(w, tmp_path / "authors.pth")
    ours = RepVGG(variant, num_classes=10, weights=tmp_path / "authors.pth").eval()
    row = VARIANTS[variant]
    agree(ours, partial(by_the_authors, w, blocks=row.depths, groups=row.groups), images(72))


def test_takes_the_authors_files_with_squeeze_and_excitation(monkeypatch, randomise, images, tmp_path):
    """D2se: https://github.com/DingXiaoH/RepVGG has the two convolutions of `se_block.py` under `se.down`, `se.up`."""
    monkeypatch.setitem(VARIANTS, "tiny-se", Row((2, 1, 1, 1), 0.25, 0.125, se=True))
    torch.manual_seed(0)
    model = randomise(RepVGG("tiny-se", num_classes=10))
    w = under_the_authors_keys(model)
    assert {"stage0.se.down.weight", "stage1.1.se.up.bias"} <= w.keys() and not any("attn" in key for key in w)
    torch.save(w, tmp_path / "authors.pth")
    ours = RepVGG("tiny-se", num_classes=10, weights=tmp_path / "authors.pth").eval()
    batch = images(72)
    assert torch.equal(ours(batch), model(batch))


# ---- adding up the branches


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize(("c_out", "stride"), [(8, 1), (8, 2), (12, 1)])
def test_a_block_gives_the_same_from_one_convolution(c_out, stride, groups, randomise):
    torch.manual_seed(0)
    stem = nn.Conv2d(3, 8, 1)
    block = Block(8, c_out, stride, groups, se=False)
    randomise(nn.Sequential(stem, block))
    x = torch.randn(2, 8, 7, 7)
    before = block(x)
    assert (block.identity is not None) == (c_out == 8 and stride == 1)
    block.reparameterize()
    assert {name for name, _ in block.named_parameters()} == {"reparam_conv.weight", "reparam_conv.bias"}
    torch.testing.assert_close(block(x), before, rtol=1e-5, atol=1e-5)


def test_reparameterize_is_in_place_once_and_keeps_the_mode(tiny, randomise, images):
    model, batch = randomise(tiny()), images(72)
    before = model(batch)
    assert model.reparameterize() is model and not any(m.training for m in model.modules())
    kernel = model.stem.reparam_conv.weight
    assert model.reparameterize().stem.reparam_conv.weight is kernel and kernel.requires_grad
    assert not any(isinstance(m, nn.BatchNorm2d) for m in model.modules())
    torch.testing.assert_close(model(batch), before, rtol=1e-4, atol=1e-4)


def test_reparameterize_keeps_the_kind_of_number(tiny, randomise, images):
    model, batch = randomise(tiny()).double(), images(72).double()
    before = model(batch)
    assert {p.dtype for p in model.reparameterize().parameters()} == {torch.float64}
    torch.testing.assert_close(model(batch), before, rtol=1e-12, atol=1e-12)
    assert tiny().train().reparameterize().stem.reparam_conv.training


def test_squeeze_excite_by_hand():
    """Means 1 and 3, hidden ReLU(1 - 3) = 0, gates of the biases 0 and ln 3: 1/2 and 3/4."""
    gated = SqueezeExcite(16, 1)
    for parameter in gated.parameters():
        nn.init.zeros_(parameter)
    with torch.no_grad():
        gated.fc1.weight[0, 0], gated.fc1.weight[0, 1] = 1, -1
        gated.fc2.weight.fill_(1.0)
        gated.fc2.bias[1] = torch.tensor(3.0).log()
    x = torch.zeros(1, 16, 1, 2)
    x[0, 0], x[0, 1] = torch.tensor([0.0, 2.0]), torch.tensor([3.0, 3.0])
    torch.testing.assert_close(gated(x)[0, :2, 0], torch.tensor([[0.0, 1.0], [2.25, 2.25]]))


def test_d2se_is_larger_than_its_images():
    with torch.device("meta"):
        model = RepVGG("D2se")
    assert model.image_size == 320 and sum(isinstance(m, SqueezeExcite) for m in model.modules()) == 48


test_map_sizes = stages_halve(RepVGG, (48, 96, 192, 1280), "A0")


def test_bad_arguments_say_what_to_do():
    with pytest.raises(ValueError, match="RepVGG has no 'B2g3'; did you mean 'B2g4'"):
        RepVGG("B2g3")


# ---- exact, however deep, and in files


def test_every_block_adds_up_exactly_where_the_whole_cannot_show_it(monkeypatch, randomise, images):
    """48 layers of gates turn a rounding error of 1e-15 into one of 1e-8 or worse, added up or not: block by block, on
    the maps that it gets in the network, float64 shows the equality to 1e-13 of the output."""
    monkeypatch.setitem(VARIANTS, "thin-se", Row((8, 14, 24, 1), 0.25, 0.25, se=True))
    torch.manual_seed(0)
    model = randomise(RepVGG("thin-se", num_classes=10)).double()
    blocks, seen = [m for m in model.modules() if isinstance(m, Block)], []
    assert len(blocks) == 48
    hooks = [b.register_forward_hook(lambda m, a, out: seen.append((a[0].clone(), out.clone()))) for b in blocks]
    with torch.no_grad():
        model(images(64, 2).double())
        for hook in hooks:
            hook.remove()
        for block, (x, before) in zip(blocks, seen, strict=True):
            assert type(block.attn) is SqueezeExcite
            block.reparameterize()
            assert ((block(x) - before).norm() / before.norm()).item() < 1e-13


def test_an_added_up_checkpoint_loads(tiny, randomise, images, tmp_path, monkeypatch, trainer):
    model, file = randomise(tiny()).reparameterize(), tmp_path / "model.ckpt"
    run = trainer(max_epochs=1)
    run.strategy.connect(model)
    run.save_checkpoint(file, weights_only=True)
    batch = images(72)
    for loaded in (zoo.load(file), RepVGG.load_from_checkpoint(file, weights_only=True).eval()):
        assert torch.equal(loaded(batch), model(batch))
        assert all(block.reparam_conv is not None for block in loaded.modules() if isinstance(block, Block))
    model.export(tmp_path / "model.safetensors")
    assert torch.equal(tiny(weights=tmp_path / "model.safetensors").eval()(batch), model(batch))


def test_branches_do_not_load_into_a_network_without_them(tiny, tmp_path):
    tiny().export(tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="missing: .*reparam_conv"):
        tiny().reparameterize().load_weights(tmp_path / "model.safetensors")
