import json
from functools import partial
from pathlib import Path

import pytest
import torch
from timm.layers import resample_abs_pos_embed
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from tests.closed_form import filled
from tests.closed_form import images as given_images
from zoo import LVViT
from zoo.layers.patch_embed import ConvStem
from zoo.lvvit import VARIANTS, Row, box
from zoo.tools.complexity import total_macs

# What the authors' network says, with weights and images in closed form, and with a box that it drew.
AUTHORS = json.loads((Path(__file__).parents[1] / "data" / "lvvit.json").read_text())

# Parameters, with the token head, and multiply-adds of the authors' code, https://github.com/zihangJiang/TokenLabeling
# at 9dbfd59, 1000 classes. Their README: 8.5M 2.9G, 26M 6.6G, 56M 16G (12.7 by this count), 151M 59G (at 288 px).
COUNTS = {
    ("T", 224): (8_534_720, 2_868_017_664),
    ("S", 224): (26_151_824, 6_551_485_440),
    ("M", 224): (55_830_544, 12_678_045_696),
    ("L", 224): (150_021_968, 34_637_359_104),
    ("S", 384): (26_297_744, 21_896_432_640),
    ("M", 384): (56_025_104, 41_637_912_576),
    ("L", 448): (150_473_552, 155_116_357_632),
}


@torch.no_grad()
def randomised(network: nn.Module) -> nn.Module:
    """No two weights alike, and none of them neutral."""
    torch.manual_seed(0)
    for name, p in network.named_parameters():
        nn.init.normal_(p, mean=float(p.ndim == 1 and name.endswith("weight")), std=0.05)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.8, 1.5)
    return network.eval()


@pytest.fixture
def model():
    return randomised(LVViT("T", num_classes=10, image_size=32, drop_path=0.0))


@pytest.mark.parametrize(("variant", "pixels"), COUNTS)
def test_counts(variant, pixels):
    with torch.device("meta"):
        model = LVViT(variant, image_size=pixels)
    assert (sum(p.numel() for p in model.parameters()), total_macs(model, pixels)) == COUNTS[variant, pixels]


def timms(variant: str, pixels: int, patch: int) -> VisionTransformer:
    """The same network from timm's parts: the residual's scale is a LayerScale of 1/a everywhere."""
    row = VARIANTS[variant]

    class Embedding(ConvStem):
        def __init__(self, patch_size, embed_dim, **_):
            super().__init__(patch_size, row.stem, embed_dim)
            self.num_patches = (pixels // patch) ** 2

    parts = {"embed_layer": Embedding, "norm_layer": partial(nn.LayerNorm, eps=1e-5), "init_values": 1 / row.a}
    sizes = {"img_size": pixels, "patch_size": patch, "embed_dim": row.width, "depth": row.depth}
    return VisionTransformer(**sizes, **parts, num_heads=row.heads, mlp_ratio=3, qkv_bias=False, num_classes=10).eval()


@torch.no_grad()
@pytest.mark.parametrize(
    ("variant", "pixels"),
    [("T", 32), ("S", 32), *(pytest.param(*row, marks=pytest.mark.slow) for row in (("M", 32), ("L", 224)))],
)
@pytest.mark.one_in(3)
def test_logits_equal_those_of_timms_parts(variant, pixels):
    ours = randomised(LVViT(variant, num_classes=10, image_size=pixels))
    theirs = timms(variant, pixels, pixels // ours.grid)
    missing, unknown = theirs.load_state_dict(ours.state_dict(), strict=False)
    assert all(".ls" in key for key in missing) and {*unknown} == {"aux_head.weight", "aux_head.bias"}
    images = torch.randn(2, 3, pixels, pixels)
    z = theirs.forward_features(images)
    expected = theirs.head(z[:, 0]) + ours.aux_head(z[:, 1:]).max(1)[0] / 2
    torch.testing.assert_close(ours(images), expected, rtol=1e-4, atol=1e-4)
    assert expected.std() > 0.1


@pytest.fixture
def authors(monkeypatch):
    """Narrow, with their stem."""
    monkeypatch.setitem(VARIANTS, "nano", Row(20, 4, 2, stem=64, a=2, drop_path=0.0))
    return filled(LVViT("nano", num_classes=5))


@torch.no_grad()
def test_logits_are_the_authors(authors):
    torch.testing.assert_close(authors(given_images()), torch.tensor(AUTHORS["inference"]), rtol=0, atol=1e-5)


@torch.no_grad()
def test_mixing_is_the_authors(authors, monkeypatch):
    """They paste the logits of patches that were mixed back into their own image."""
    top, left, bottom, right = AUTHORS["box"]
    mask = torch.zeros(14, 14, dtype=torch.bool)
    mask[top:bottom, left:right] = True
    monkeypatch.setattr(authors, "draw_box", lambda: mask)
    authors.mix_token, authors.training = True, True  # batch norms stay in eval mode
    _, extras = authors(given_images())
    patches = extras["token_logits"]
    back = torch.where(mask.view(-1, 1), patches.flip(0), patches)
    torch.testing.assert_close(extras["class"], torch.tensor(AUTHORS["class"]), rtol=0, atol=1e-5)
    torch.testing.assert_close(back[:, ::28], torch.tensor(AUTHORS["patches"]), rtol=0, atol=1e-5)


def test_epsilons_are_those_of_the_authors(model):
    assert {m.eps for m in model.modules() if isinstance(m, nn.LayerNorm)} == {1e-5}


def test_box_by_hand():
    """Of 8 cells, lambda = 3/4: half of the side, four cells about the centre; at the edge it is cut off."""
    mask = box(8, torch.tensor(0.75), torch.tensor([4, 3]))
    assert mask.nonzero()[0].tolist() == [2, 1] and mask.nonzero()[-1].tolist() == [5, 4] and mask.sum() == 16
    assert box(8, torch.tensor(0.75), torch.tensor([0, 7])).nonzero().tolist() == [[0, 5], [0, 6], [0, 7]] + [
        [1, i] for i in (5, 6, 7)
    ]
    assert (
        box(8, torch.tensor(0.0), torch.tensor([4, 4])).all()
        and not box(8, torch.tensor(0.999), torch.tensor([4, 4])).any()
    )


def test_mixed_tokens_are_those_of_the_mirrored_image(model):
    """Before the blocks: inside the box the other image's patches, outside its own; class token and places stay."""
    images, mask = torch.randn(4, 3, 32, 32), box(8, torch.tensor(0.75), torch.tensor([4, 3]))
    plain, mixed = model.embed(images), model.embed(images, mask)
    inside = mask.flatten()
    assert torch.equal(mixed[:, 0], plain[:, 0])
    torch.testing.assert_close(mixed[:, 1:][:, ~inside], plain[:, 1:][:, ~inside])
    torch.testing.assert_close(mixed[:, 1:][:, inside], plain.flip(0)[:, 1:][:, inside])


def test_training_mixes_only_when_asked(model):
    images = torch.randn(4, 3, 32, 32)
    assert model.train()(images)[1]["mixed"] is None
    model.mix_token, model.blocks = True, nn.Sequential()
    masks = torch.stack([model(images)[1]["mixed"] for _ in range(40)])
    assert masks.shape == (40, 8, 8) and masks.dtype == torch.bool
    shares = masks.float().mean((1, 2))
    assert shares.min() < 0.1 and shares.max() > 0.4
    assert model.eval()(images).shape == (4, 10)


def test_share_of_the_box():
    """Of 8 cells: half sides of 0 to 3 with probability (2h + 1) / 16, on average 0, 15/8, 7/2, 39/8 cells a side."""
    expected = sum((2 * h + 1) / 16 * (side / 8) ** 2 for h, side in enumerate((0, 15 / 8, 7 / 2, 39 / 8)))
    torch.manual_seed(0)
    model = LVViT("T", num_classes=10, image_size=32)
    share = torch.stack([model.draw_box().float().mean() for _ in range(2000)]).mean().item()
    assert share == pytest.approx(expected, abs=0.02)


def test_training_and_evaluation_have_the_same_logits(model):
    images = torch.randn(2, 3, 32, 32)
    expected = model(images)
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    logits, extras = model(images)
    torch.testing.assert_close(logits, expected)
    torch.testing.assert_close(extras["class"] + extras["token_logits"].max(1)[0] / 2, expected)
    assert extras["token_logits"].shape == (2, 64, 10)


def test_patches_are_read_row_by_row(model):
    """A patch of the second row, third column: its neighbours see it through the 3x3 convolutions, no more."""
    image = torch.zeros(1, 3, 32, 32)
    image[:, :, 4:8, 8:12] = 1
    with torch.no_grad():
        change = (model.patch_embed(image) - model.patch_embed(torch.zeros_like(image))).abs().sum(-1)[0]
    assert change.argmax() == 8 + 2
    assert {i for i in range(64) if change[i] > 0} <= {8 * r + c for r in range(4) for c in range(1, 5)} | {
        0,
        8,
        16,
        24,
    }


def test_positions_of_another_size_are_interpolated(tmp_path):
    small = randomised(LVViT("T", num_classes=10))
    small.export(tmp_path / "t.safetensors")
    large = LVViT("T", num_classes=10, image_size=384, weights=str(tmp_path / "t.safetensors"))
    expected = resample_abs_pos_embed(small.pos_embed.data, (24, 24), (14, 14), num_prefix_tokens=1)
    torch.testing.assert_close(large.pos_embed.data, expected)
    assert torch.equal(large.aux_head.weight, small.aux_head.weight)


def test_start():
    model = LVViT("S", num_classes=10, image_size=32)
    for tensor in (model.pos_embed, model.blocks[3].attn.qkv.weight, model.aux_head.weight):
        assert tensor.std().item() == pytest.approx(0.02, rel=0.1)
    assert [b.drop_path.p for b in model.blocks] == pytest.approx([0.1 * i / 15 for i in range(16)])
    assert model.blocks[0].attn.qkv.bias is None and {b.a for b in model.blocks} == {2}


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: LVViT("XL"), "LVViT has no 'XL'"),
        (lambda: LVViT("T", image_size=230), "image_size=230 is not a multiple of the patch's 16 px"),
        (lambda: LVViT("T", image_size=24), "patches are of even size, got 3 px"),
    ],
)
def test_refusals(call, match):
    with pytest.raises(ValueError, match=match):
        call()
