import json
from pathlib import Path

import pytest
import timm
import torch
from torch import nn

from zoo import Swin
from zoo.layers.window_attention import relative_index, shift_mask, window_partition, window_reverse
from zoo.swin import VARIANTS, Block, neighbours, resize_table
from zoo.tools.complexity import total_macs

# Computed from the definitions by loops, and by the authors' code: https://github.com/microsoft/Swin-Transformer
ORACLE = json.loads((Path(__file__).parents[1] / "data" / "swin.json").read_text())
# Parameters and multiply-adds of timm's networks, 1000 classes. Paper, Table 1: 29M 4.5G, 50M 8.7G, 88M 15.4G; 47.0G
# at 384 px (B), 103.9G (L).
COUNTS = {
    ("T", 224): (28_288_354, 4_490_566_656),
    ("S", 224): (49_606_258, 8_740_875_264),
    ("B", 224): (87_768_224, 15_430_946_816),
    ("B", 384): (87_903_584, 47_083_134_976),
    ("L", 224): (196_532_476, 34_475_759_616),
    ("L", 384): (196_735_516, 103_919_087_616),
}


@torch.no_grad()
def randomised(network: nn.Module) -> nn.Module:
    """No two weights alike, and none of them neutral."""
    torch.manual_seed(0)
    for name, p in network.named_parameters():
        nn.init.normal_(p, mean=float(p.ndim == 1 and name.endswith("weight")), std=0.05)
        if name.endswith("bias_table"):
            p.mul_(20)
    return network.eval()


@pytest.fixture
def small():
    return randomised(Swin("T", num_classes=10, image_size=32))


@pytest.mark.parametrize(("variant", "pixels"), COUNTS)
def test_counts(variant, pixels):
    with torch.device("meta"):
        model = Swin(variant, image_size=pixels)
    assert (sum(p.numel() for p in model.parameters()), total_macs(model, pixels)) == COUNTS[variant, pixels]


def slow_unless_first(names):
    return [n if i == 0 else pytest.param(*n, marks=pytest.mark.slow) for i, n in enumerate(names)]


@pytest.mark.parametrize(("variant", "pixels"), slow_unless_first(COUNTS))
@pytest.mark.one_in(7)
def test_logits_and_weights_equal_timms(variant, pixels):
    names = Swin.timm_names[variant]
    name = names if isinstance(names, str) else next(n for n in names if n.endswith(str(pixels)))
    theirs, ours = timm.create_model(name, num_classes=10), Swin(variant, num_classes=10, image_size=pixels)
    ours.load_state_dict(randomised(theirs).state_dict())
    images = torch.randn(1, 3, pixels, pixels)
    with torch.no_grad():
        expected = theirs(images)
        torch.testing.assert_close(ours.eval()(images), expected, rtol=1e-4, atol=1e-4)
    assert expected.std() > 0.1
    theirs.load_state_dict(ours.plain_state_dict())


def test_small_images_are_timms_with_windows_of_four(small):
    """Which pads, shifts and shrinks windows by itself."""
    depths, heads = VARIANTS["T"].depths, VARIANTS["T"].heads
    arguments = {"img_size": 32, "patch_size": 2, "window_size": 4, "num_classes": 10, "embed_dim": 96}
    theirs = timm.models.swin_transformer.SwinTransformer(depths=depths, num_heads=heads, **arguments).eval()
    theirs.load_state_dict(small.plain_state_dict())
    images = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        expected = theirs(images)
        torch.testing.assert_close(small(images), expected, rtol=1e-4, atol=1e-4)
    assert expected.std() > 0.1


def test_stages_are_maps(small):
    shapes = []
    for stage in small.stages.values():
        stage.register_forward_hook(lambda m, a, out: shapes.append(tuple(out.shape)))
    for pixels in (32, 64):
        model = small if pixels == 32 else Swin("T", num_classes=10, image_size=64)
        model(torch.randn(2, 3, pixels, pixels))
    assert shapes == [(2, 96, 16, 16), (2, 192, 8, 8), (2, 384, 4, 4), (2, 768, 2, 2)]


def test_which_blocks_shift():
    with torch.device("meta"):
        models = Swin("T"), Swin("T", image_size=32), Swin("B", image_size=384)
    shifts = [[(b.window, b.shift) for stage in m.layers for b in stage.blocks[:2]] for m in models]
    assert shifts[0] == [(7, 0), (7, 3)] * 3 + [(7, 0), (7, 0)]
    assert shifts[1] == [(4, 0), (4, 2)] * 2 + [(4, 0), (4, 0), (2, 0), (2, 0)]
    assert shifts[2] == [(12, 0), (12, 6)] * 3 + [(12, 0), (12, 0)]


def test_index_of_the_table():
    assert relative_index(2).tolist() == ORACLE["relative_position_index_2x2"]
    seven, known = relative_index(7), ORACLE["relative_position_index_7x7"]
    assert seven[0, :8].tolist() == known["row0_first8"]
    assert (seven.max().item(), seven.sum().item()) == (known["max"], known["sum"])


def test_mask_of_a_shifted_map():
    mask, known = shift_mask(8, 4, 2), ORACLE["shift_mask_8x8_w4_s2"]
    assert mask.shape == (4, 1, 16, 16)
    assert mask.count_nonzero((1, 2, 3)).tolist() == known["nonzero_per_window"]
    assert mask[3, 0, 0].tolist() == known["window3_row0"]


def test_order_of_merging():
    """A map whose channels count its cells: (0,0), (1,0), (0,1), (1,1)."""
    x = torch.arange(32.0).view(1, 4, 4, 2)
    assert neighbours(x)[0, 0, 0].tolist() == ORACLE["patch_merging_example_4x4x2_first_cell"]


def test_windows_are_squares_and_come_back():
    x = torch.arange(2 * 36.0).view(2, 6, 6, 1)
    assert window_partition(x, 3)[1, :, 0].tolist() == [3, 4, 5, 9, 10, 11, 15, 16, 17]
    assert torch.equal(window_reverse(window_partition(x, 3), 3, 6), x)


@pytest.mark.parametrize(("shifted", "reached"), [(False, range(4)), (True, range(2, 6))])
def test_a_cell_sees_its_window_and_no_other(shifted, reached):
    """Of an 8 x 8 map in windows of 4: cell (3, 3) sees rows and columns 0 to 3; shifted by 2, those from 2 to 5."""
    block = randomised(Block(8, 2, 8, 4, shifted, 0.0))
    x = torch.randn(1, 8, 8, 8, requires_grad=True)
    block(x)[0, 3, 3].sum().backward()
    seen = x.grad[0].abs().sum(-1) > 1e-12
    assert seen.nonzero().tolist() == [[i, j] for i in reached for j in reached]


def test_what_the_roll_brings_together_stays_apart():
    """A corner's cell, shifted, shares its window with three other corners: it must see its own 2 x 2 alone."""
    block = randomised(Block(8, 2, 8, 4, True, 0.0))
    x = torch.randn(1, 8, 8, 8, requires_grad=True)
    block(x)[0, 0, 0].sum().backward()
    seen = x.grad[0].abs().sum(-1) > 1e-12
    assert seen.nonzero().tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]


def test_fused_and_plain_attention_agree(small):
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = small(images)
        for stage in small.layers:
            for block in stage.blocks:
                block.attn.fused = False
        torch.testing.assert_close(small(images), expected, rtol=1e-4, atol=1e-5)


def test_the_authors_files_load(small, tmp_path):
    """Merging ends a stage there, the head is not `fc`, and buffers are in the file; timm's filter reads it too."""
    state = {}
    for key, value in small.plain_state_dict().items():
        key = key.replace("head.fc", "head")
        for i in (1, 2, 3):
            key = key.replace(f"layers.{i}.downsample", f"layers.{i - 1}.downsample*")
        state[key.replace("*", "")] = value
    state |= {"layers.0.blocks.1.attn_mask": torch.zeros(1), "layers.0.blocks.0.attn.relative_position_index": 1}
    torch.save({"model": {k: torch.as_tensor(v) for k, v in state.items()}}, tmp_path / "swin.pth")
    again = Swin("T", num_classes=10, image_size=32, weights=str(tmp_path / "swin.pth"))
    for key, value in again.plain_state_dict().items():
        assert torch.equal(value, small.plain_state_dict()[key])


def test_tables_of_another_window_are_interpolated(tmp_path):
    small, path = randomised(Swin("T", num_classes=10)), tmp_path / "t.safetensors"
    small.export(path)
    large = Swin("T", num_classes=10, image_size=256, weights=str(path))
    table = large.layers[0].blocks[0].attn.relative_position_bias_table
    expected = resize_table(small.layers[0].blocks[0].attn.relative_position_bias_table, 15 * 15)
    assert table.shape == (225, 3) and torch.equal(table, expected)
    assert table[112].tolist() == pytest.approx(expected[112].tolist())
    flat = resize_table(torch.full((169, 3), 2.0), 225)
    torch.testing.assert_close(flat, torch.full((225, 3), 2.0))


def test_interpolated_tables_keep_their_heads_and_axes():
    """Head h holds h + row: after interpolation still, and rows do not become columns."""
    rows = torch.arange(13.0).repeat_interleave(13)
    table = resize_table(torch.stack([rows, rows + 100], 1), 225).view(15, 15, 2)
    assert torch.allclose(table[..., 1] - table[..., 0], torch.tensor(100.0), atol=1e-3)
    assert torch.allclose(table[:, :1], table, atol=1e-3) and (table[1:, 0] > table[:-1, 0]).all()


def test_start():
    model = Swin("T", num_classes=10, image_size=32)
    for tensor in (model.layers[2].blocks[3].attn.qkv.weight, model.layers[1].downsample.reduction.weight):
        assert tensor.std().item() == pytest.approx(0.02, rel=0.1)
    assert model.layers[0].blocks[0].attn.relative_position_bias_table.std().item() == pytest.approx(0.02, rel=0.2)
    rates = [block.drop_path.p for stage in model.layers for block in stage.blocks]
    assert rates == pytest.approx([0.2 * i / 11 for i in range(12)])


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: Swin("XL"), "Swin has no 'XL'"),
        (lambda: Swin("T", image_size=230), "multiple of 32 px, got 230"),
        (lambda: Swin("T", image_size=40), "multiple of 16 px, got 40"),
        (lambda: Swin("T", image_size=96)(torch.zeros(1, 3, 128, 128)), "windows for images of 96 x 96 px"),
    ],
)
def test_refusals(call, match):
    with pytest.raises(ValueError, match=match):
        call()
