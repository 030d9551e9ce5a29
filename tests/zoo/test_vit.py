import math
from dataclasses import replace

import pytest
import safetensors.torch
import timm
import torch
import torch.nn.functional as F
import torchvision
from timm.layers import resample_abs_pos_embed
from torch import nn

from zoo import DeiT, DynamicViT, EViT, Swin, ViT
from zoo.layers.attention import Attention, attention, fused_attention
from zoo.layers.patch_embed import resize_positions
from zoo.tools.complexity import total_macs
from zoo.vit import VARIANTS

# Parameters and multiply-adds at 224 px, 1000 classes. Parameters of B, L and H are the paper's 86M, 307M, 632M, to the
# unit those of timm's networks; multiply-adds were counted on timm's. timm has L/32 and H/14 without a head, and Ti/32
# as parts only.
COUNTS = {
    "96/16": (637_384, 131_498_496),
    "Ti/16": (5_717_416, 1_253_683_200),
    "Ti/32": (6_131_560, 306_034_176),
    "S/16": (22_050_664, 4_598_882_304),
    "S/32": (22_878_952, 1_142_909_952),
    "B/16": (86_567_656, 17_563_828_224),
    "B/32": (88_224_232, 4_409_186_304),
    "L/16": (304_326_632, 61_554_712_576),
    "L/32": (305_510_400 + 1_025_000, 15_376_515_072 + 1_024_000),
    "H/14": (630_764_800 + 1_281_000, 167_293_829_120 + 1_280_000),
}
# At 384 px.
COUNTS_384 = {
    "Ti/16": (5_790_376, 4_682_219_520),
    "Ti/32": (6_149_800, 951_730_176),
    "S/16": (22_196_584, 15_490_351_104),
    "S/32": (22_915_432, 3_442_900_992),
    "B/16": (86_859_496, 55_484_350_464),
    "B/32": (88_297_192, 13_043_564_544),
    "L/16": (304_715_752, 191_066_300_416),
    "L/32": (306_632_680, 45_275_963_392),
}
SMALL_ROWS = ("Ti/16", "S/32")


def slow_if_large(names):
    return [name if name in SMALL_ROWS else pytest.param(name, marks=pytest.mark.slow) for name in names]


def randomised(network: nn.Module) -> nn.Module:
    """No two weights alike, and none of them neutral."""
    torch.manual_seed(0)
    for name, p in network.named_parameters():
        nn.init.normal_(p, mean=float(p.ndim == 1 and name.endswith("weight")), std=0.05)
    return network.eval()


@pytest.mark.parametrize("variant", VARIANTS)
def test_counts(variant):
    with torch.device("meta"):
        model = ViT(variant)
    assert {*COUNTS} == {*VARIANTS}
    assert (sum(p.numel() for p in model.parameters()), total_macs(model, 224)) == COUNTS[variant]


@pytest.mark.parametrize("variant", COUNTS_384)
def test_counts_at_384_px(variant):
    with torch.device("meta"):
        model = ViT(variant, image_size=384)
    assert (sum(p.numel() for p in model.parameters()), total_macs(model, 384)) == COUNTS_384[variant]


def test_counts_of_small_images():
    with torch.device("meta"):
        tiny, small = (ViT(v, num_classes=10, image_size=32) for v in ("Ti/16", "S/16"))
    assert [sum(p.numel() for p in m.parameters()) for m in (tiny, small)] == [5_362_762, 21_342_346]
    assert [total_macs(m, 32) for m in (tiny, small)] == [365_107_584, 1_420_309_248]
    assert tiny.patch_embed.proj.stride == (4, 4)
    assert ViT("Ti/16", image_size=64).patch_embed.proj.stride == (8, 8)


@pytest.mark.parametrize("variant", slow_if_large(ViT.timm_names))
@pytest.mark.one_in(6)
def test_logits_and_weights_equal_timms(variant, monkeypatch):
    """L and H with a block a stage: `test_counts` has their depth, and equal blocks would repeat the comparison."""
    name, depth = ViT.timm_names[variant][0], 4 if variant[0] in "LH" else VARIANTS[variant].depth
    monkeypatch.setitem(VARIANTS, variant, replace(VARIANTS[variant], depth=depth))
    theirs = randomised(timm.create_model(name, num_classes=10, depth=depth))
    ours = ViT(variant, num_classes=10)
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        expected = theirs(images)
        torch.testing.assert_close(ours.eval()(images), expected, rtol=1e-4, atol=1e-4)
    assert expected.std() > 0.1
    theirs.load_state_dict(ours.plain_state_dict())


@pytest.mark.parametrize("variant", ["Ti/16", "S/16", "B/16"])
def test_weights_of_deit_and_of_384_px_are_of_the_same_network(variant):
    with torch.device("meta"):
        ours = ViT(variant, image_size=224).state_dict()
        for name in ViT.timm_names[variant]:
            state = timm.create_model(name).state_dict()
            assert {*state} == {*ours}
            assert {k for k in ours if ours[k].shape != state[k].shape} == ({"pos_embed"} if "384" in name else set())


def published() -> list:
    """Of timm's checkpoints of our networks one for each network and number of classes: 1000, 21843, none ..."""
    found = {}
    for kind in (ViT, DeiT, Swin):
        for variant, names in kind.timm_names.items():
            for name in (names,) if isinstance(names, str) else names:
                for tag in timm.list_pretrained(f"{name}.*"):
                    found[name, timm.get_pretrained_cfg(tag).num_classes] = (kind, variant, tag)
    return list(found.values())


@pytest.mark.parametrize(
    ("kind", "variant", "tag"),
    [pytest.param(*one, marks=[pytest.mark.slow] if i % 4 else []) for i, one in enumerate(published())],
)
@pytest.mark.one_in(3)
def test_every_published_checkpoint_of_timm_fits(kind, variant, tag, monkeypatch):
    """Strictly, by names and shapes, also those of 384 px; timm makes as many classes as a checkpoint has."""
    classes, create = timm.get_pretrained_cfg(tag).num_classes, timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained: create(name, num_classes=classes))
    with torch.device("meta"):
        assert not kind(variant, weights=f"timm:{tag}").untrained


def test_the_published_checkpoints_are_many():
    tags = {tag.split(".")[0] for _, _, tag in published()}
    assert len(tags) == sum(len(names) for names in ViT.timm_names.values()) + 4 + 6


def test_weights_without_a_head_get_a_new_one(tmp_path):
    theirs, path = ViT("Ti/16", num_classes=10, image_size=32), tmp_path / "headless.safetensors"
    state = {k: v for k, v in theirs.state_dict().items() if not k.startswith("head.")}
    safetensors.torch.save_file(state, path)
    for kind, variant in ((ViT, "Ti/16"), (EViT, "Ti"), (DynamicViT, "Ti")):
        model = kind(variant, num_classes=7, image_size=32, weights=str(path))
        assert all(torch.equal(model.state_dict()[key], value) for key, value in state.items())
        assert model.head.weight.shape == (7, 192) and model.head.weight.std().item() == pytest.approx(0.02, rel=0.1)
    safetensors.torch.save_file(state | {"head.bias": theirs.head.bias.data}, path)
    with pytest.raises(ValueError, match=r"missing: head\.weight"):
        ViT("Ti/16", num_classes=10, image_size=32, weights=str(path))


def test_positions_of_another_size_are_interpolated(tmp_path):
    large, path = randomised(ViT("Ti/16", num_classes=10, image_size=384)), tmp_path / "large.safetensors"
    large.export(path)
    small = ViT("Ti/16", num_classes=10, image_size=224, weights=str(path))
    expected = resample_abs_pos_embed(large.pos_embed.data, (14, 14), (24, 24), num_prefix_tokens=1)
    torch.testing.assert_close(small.pos_embed.data, expected)
    assert torch.equal(small.blocks[0].mlp.fc1.weight, large.blocks[0].mlp.fc1.weight)


def test_interpolation_keeps_what_is_constant_and_the_class_token():
    positions = torch.cat([torch.full((1, 1, 3), 9.0), torch.full((1, 16, 3), 2.0)], 1)
    resized = resize_positions(positions, 7, 1)
    assert resized.shape == (1, 50, 3)
    assert torch.equal(resized[:, 0], positions[:, 0])
    torch.testing.assert_close(resized[:, 1:], torch.full((1, 49, 3), 2.0))


def test_attention_by_hand():
    """Two tokens, one head, d = 4: the scores are 2 and 0, halved by sqrt(d)."""
    q, k = torch.tensor([[2.0, 0, 0, 0], [0, 0, 0, 0]])[None, None], torch.tensor([[1.0, 0, 0, 0], [0, 1, 0, 0]])
    v = torch.tensor([[1.0, 0, 0, 0], [0, 1, 0, 0]])[None, None]
    y, weights = attention(q, k[None, None], v)
    p = math.e / (math.e + 1)
    torch.testing.assert_close(weights[0, 0], torch.tensor([[p, 1 - p], [0.5, 0.5]]))
    torch.testing.assert_close(y[0, 0, :, :2], torch.tensor([[p, 1 - p], [0.5, 0.5]]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_kernel_is_taken_where_it_is_faster(dtype, monkeypatch):
    """Not in bfloat16 on a CPU. Both give the same."""
    called, kernel = [], torch.nn.functional.scaled_dot_product_attention
    monkeypatch.setattr(
        torch.nn.functional, "scaled_dot_product_attention", lambda *a, **k: called.append(a) or kernel(*a, **k)
    )
    q, k, v = torch.randn(3, 2, 3, 7, 8)
    mask = torch.randn(7, 7)
    y = fused_attention(*(z.to(dtype) for z in (q, k, v, mask)))
    assert y.dtype == dtype and len(called) == (dtype == torch.float32)
    tolerance = 1e-5 if dtype == torch.float32 else 0.03
    torch.testing.assert_close(y.float(), attention(q, k, v, mask)[0], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("masked", [False, True])
def test_fused_and_plain_attention_agree_with_torchs_module(masked):
    ours, torchs = randomised(Attention(12, 3)), nn.MultiheadAttention(12, 3, batch_first=True).eval()
    torchs.in_proj_weight.data, torchs.in_proj_bias.data = ours.qkv.weight.data, ours.qkv.bias.data
    torchs.out_proj.load_state_dict(ours.proj.state_dict())
    x, mask = torch.randn(2, 5, 12), torch.randn(5, 5) if masked else None
    expected, map_of_all = torchs(x, x, x, attn_mask=mask, average_attn_weights=False)
    fused = ours(x, mask)
    ours.fused = False
    torch.testing.assert_close(fused, expected)
    torch.testing.assert_close(ours(x, mask), expected)
    torch.testing.assert_close(ours.map(x, mask), map_of_all)
    torch.testing.assert_close(map_of_all.sum(-1), torch.ones(2, 3, 5))


def test_patches_are_read_row_by_row():
    model, image = ViT("Ti/16", image_size=32), torch.zeros(1, 3, 32, 32)
    image[:, :, 4:8, 8:12] = 1  # second row, third column of 8 x 8
    with torch.no_grad():
        changed = (model.patch_embed(image) != model.patch_embed(torch.zeros_like(image))).any(-1)[0]
    assert changed.nonzero().flatten().tolist() == [8 + 2]


def test_only_the_class_token_is_read():
    model, images = randomised(ViT("Ti/16", num_classes=10, image_size=32)), torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        tokens = model.norm(model.blocks(model.embed(images)))
        torch.testing.assert_close(model(images), F.linear(tokens[:, 0], model.head.weight, model.head.bias))


def test_stages_are_the_quarters_of_the_blocks():
    with torch.device("meta"):
        model = ViT("L/16")
    blocks = list(model.blocks)
    assert [blocks.index(stage) for stage in model.stages.values()] == [5, 11, 17, 23]


def test_drop_path_rises_to_the_last_block():
    rates = [block.drop_path.p for block in ViT("Ti/16", image_size=32, drop_path=0.11).blocks]
    assert rates == pytest.approx([0.01 * i for i in range(12)])


def test_start():
    model = ViT("Ti/16", num_classes=10, image_size=32)
    for tensor in (model.pos_embed, model.blocks[3].attn.qkv.weight, model.head.weight):
        assert tensor.std().item() == pytest.approx(0.02, rel=0.1)
    assert model.cls_token.std().item() == pytest.approx(0.02, rel=0.3)
    assert not model.blocks[3].attn.qkv.bias.any()


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: ViT("B/8"), "ViT has no 'B/8'; there are: Ti/16"),
        (lambda: ViT("B/16", image_size=230), "image_size=230 is not a multiple of the patch's 16 px"),
        (lambda: ViT("Ti/16", image_size=224)(torch.zeros(1, 3, 256, 256)), "positions for images of 224 x 224 px"),
    ],
)
def test_refusals(call, match):
    with pytest.raises(ValueError, match=match):
        call()


def test_the_head_of_pre_training_is_torchvisions():
    """Linear, tanh, linear on the class token; the last starts at 0, the first as torchvision's, N(0, 1 / D)."""
    torch.manual_seed(3)
    theirs = torchvision.models.VisionTransformer(32, 8, 1, 3, 192, 768, num_classes=7, representation_size=500).heads
    model = ViT("Ti/16", num_classes=7, image_size=32, representation_size=500).eval()
    assert not model.head.weight.any() and not model.head.bias.any() and not theirs.head.weight.any()
    assert model.pre_logits.fc.weight.std().item() == pytest.approx(theirs.pre_logits.weight.std().item(), rel=0.05)
    torch.nn.init.normal_(theirs.head.weight)
    model.pre_logits.fc.load_state_dict(theirs.pre_logits.state_dict())
    model.head.load_state_dict(theirs.head.state_dict())
    images = torch.randn(2, 3, 32, 32)
    token = model.norm(model.blocks(model.embed(images)))[:, 0]
    torch.testing.assert_close(model(images), theirs(token))


def test_fine_tuning_leaves_the_layer_of_pre_training_out(tmp_path):
    torch.manual_seed(3)
    trained, file = ViT("Ti/16", num_classes=7, image_size=32, representation_size=24), tmp_path / "trained.safetensors"
    trained.export(file)
    same = ViT("Ti/16", num_classes=7, image_size=32, representation_size=24, weights=str(file))
    assert torch.equal(same.pre_logits.fc.weight, trained.pre_logits.fc.weight)
    tuned = ViT("Ti/16", num_classes=7, image_size=32, weights=str(file))
    assert torch.equal(tuned.blocks[3].attn.qkv.weight, trained.blocks[3].attn.qkv.weight)
    assert tuned.pre_logits is None and tuned.head.weight.shape == (7, 192) and tuned.head.weight.any()
