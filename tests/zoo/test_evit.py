import itertools
import json
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.closed_form import filled, images
from zoo import EViT, ViT
from zoo.evit import VARIANTS, ScoringAttention, dropping, reorganise
from zoo.layers.attention import attention
from zoo.layers.token_classifier import TokenRow
from zoo.tools.complexity import total_macs

# What the authors' network says, with weights and images in closed form, by share kept and fate of the others.
AUTHORS = json.loads((Path(__file__).parents[1] / "data" / "evit.json").read_text())
# The authors' DeiT-S at 224 px, 1000 classes: twice the multiply-adds, with fusion and without, by share kept.
FLOPS = {
    1.0: (9_197_764_608, 9_197_764_608),
    0.9: (8_043_746_304, 7_976_252_928),
    0.8: (6_954_319_872, 6_888_430_080),
    0.7: (6_058_561_536, 5_993_989_632),
    0.6: (5_270_587_392, 5_216_862_720),
    0.5: (4_617_670_656, 4_564_756_992),
}
# The tokens after the class token, before and after each of the three blocks.
TOKENS = {
    (1.0, True): [196, 196, 196, 196],
    (0.9, True): [196, 178, 162, 147],
    (0.8, True): [196, 158, 128, 104],
    (0.7, True): [196, 139, 99, 71],
    (0.6, True): [196, 119, 73, 45],
    (0.5, True): [196, 99, 51, 27],
    (0.9, False): [196, 177, 160, 144],
    (0.7, False): [196, 138, 97, 68],
    (0.5, False): [196, 98, 49, 25],
}


@pytest.fixture(autouse=True)
def nano(monkeypatch):
    """A variant small enough for a test: 24 wide."""
    for variants in (EViT.variants, ViT.variants):
        monkeypatch.setitem(variants, "nano", TokenRow(24, 12, 2))


def tiny(**arguments) -> EViT:
    torch.manual_seed(0)
    model = EViT("nano", num_classes=10, **{"image_size": 32, "drop_path": 0.0} | arguments)
    for name, p in model.named_parameters():
        nn.init.normal_(p, mean=float(p.ndim == 1 and name.endswith("weight")), std=0.1)
    return model


@pytest.mark.parametrize(("keep", "fuse"), [*itertools.product(FLOPS, (True, False))])
def test_counts(keep, fuse):
    with torch.device("meta"):
        model = EViT("S", keep=keep, fuse=fuse).eval()
    assert sum(p.numel() for p in model.parameters()) == 22_050_664
    assert 2 * total_macs(model, 224) == FLOPS[keep][not fuse]
    assert {*VARIANTS} == {"96", "Ti", "S", "B", "nano"}
    assert dropping(12) == [3, 6, 9] and dropping(4) == [1, 2, 3]


@pytest.mark.parametrize(("keep", "fuse"), TOKENS)
@pytest.mark.parametrize("training", [False, True])
def test_tokens_left_at_224_px(keep, fuse, training):
    model, seen = tiny(image_size=224, keep=keep, fuse=fuse).train(training), []
    for i in (2, 3, 6, 9):
        model.blocks[i].register_forward_hook(lambda m, inputs, output: seen.append(output.shape[1] - 1))
    model(torch.zeros(1, 3, 224, 224))
    assert seen == TOKENS[keep, fuse]


@torch.no_grad()
@pytest.mark.parametrize("case", AUTHORS)
def test_logits_are_the_authors(case):
    keep, fate = case.split(", ")
    model = filled(EViT("nano", num_classes=5, keep=float(keep), fuse=fate == "fused"))
    torch.testing.assert_close(model(images()), torch.tensor(AUTHORS[case]), rtol=0, atol=1e-5)


def test_reorganised_by_hand():
    """Class, three patches, of which ceil(.6 * 3) = 2 stay: the third times its score is the new last one."""
    x, scores = torch.tensor([[[9.0], [1.0], [2.0], [3.0]]]), torch.tensor([[0.2, 0.1, 0.5]])
    torch.testing.assert_close(reorganise(x, scores, 0.6, True), torch.tensor([[[9.0], [3.0], [1.0], [0.2]]]))
    torch.testing.assert_close(reorganise(x, scores, 0.6, False), torch.tensor([[[9.0], [3.0], [1.0]]]))
    assert reorganise(x, scores, 0.9, True) is x


def test_fusion_sums_all_that_go():
    torch.manual_seed(0)
    x, scores = torch.randn(2, 8, 3), torch.rand(2, 7)
    y = reorganise(x, scores, 0.5, True)
    for i in range(2):
        gone = [j for j in range(7) if (scores[i] > scores[i, j]).sum() >= 4]
        expected = sum(scores[i, j] * x[i, j + 1] for j in gone)
        torch.testing.assert_close(y[i, -1], expected)
        assert torch.equal(y[i, 0], x[i, 0])


def test_attention_and_scores_are_those_of_the_map():
    torch.manual_seed(0)
    attn, x = ScoringAttention(12, 3), torch.randn(2, 6, 12)
    y, scores = attn(x)
    expected, weights = attention(*attn.split(x))
    torch.testing.assert_close(y, attn.proj(expected.transpose(1, 2).flatten(2)))
    torch.testing.assert_close(scores, weights[:, :, 0, 1:].mean(1))


def test_keeping_all_is_the_dense_network_with_its_weights():
    model, images = tiny(keep=1.0).eval(), torch.randn(2, 3, 32, 32)
    dense = ViT("nano", num_classes=10, image_size=32).eval()
    dense.load_state_dict(model.state_dict())
    expected = dense(images)
    torch.testing.assert_close(model(images), expected, rtol=1e-4, atol=1e-5)
    assert expected.std() > 0.1


def test_the_kept_patches_are_those_of_the_highest_scores():
    """A second, literal reading of the fourth block: patch by patch."""
    model, x = tiny(keep=0.5), torch.randn(1, 9, 24)
    block = model.blocks[3]
    y, weights = attention(*block.attn.split(block.norm1(x)))
    x1 = x + block.attn.proj(y.transpose(1, 2).flatten(2))
    scores = weights[0, :, 0, 1:].mean(0)
    ranked = sorted(range(8), key=lambda i: -scores[i].item())
    rows = [x1[0, 0], *(x1[0, i + 1] for i in ranked[:4]), sum(scores[i] * x1[0, i + 1] for i in ranked[4:])]
    expected = torch.stack(rows)[None]
    expected = expected + block.mlp(block.norm2(expected))
    torch.testing.assert_close(block(x), expected, rtol=1e-4, atol=1e-5)


def test_keep_may_be_moved_and_is_checked():
    model = tiny(keep=0.7)
    model.keep = 0.25
    assert [block.keep for block in model.blocks if hasattr(block, "keep")] == [0.25] * 3
    assert model(torch.randn(1, 3, 32, 32)).shape == (1, 10)
    for wrong in (0, 1.5):
        with pytest.raises(ValueError, match="EViT: keep must be in"):
            model.keep = wrong


def test_start():
    model = EViT("Ti", num_classes=10, image_size=32)
    assert model.blocks[3].attn.qkv.weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert not model.blocks[3].attn.qkv.bias.any()
    assert [b.drop_path.p for b in model.blocks] == pytest.approx([0.1 * i / 11 for i in range(12)])
