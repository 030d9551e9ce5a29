import itertools
import json
from pathlib import Path

import pytest
import timm
import torch
from torch import nn

import zoo
from tests.closed_form import fill
from zoo import PatchSlimming, ViT, patch_slimming
from zoo.layers.token_classifier import TokenRow
from zoo.layers.transformer import Block
from zoo.patch_slimming import (
    SlimBlock,
    find_tokens,
    find_tokens_within,
    multiply_adds,
    propagate,
    relative_error,
    significance,
    trace,
)
from zoo.tools.complexity import total_macs

# Significance by a loop over all paths through the heads, on weights in closed form
ORACLE = json.loads((Path(__file__).parents[1] / "data" / "patch_slimming.json").read_text())


@torch.no_grad()
def filled(block: SlimBlock, s: float) -> SlimBlock:
    """The parameters in their order, one more radian each; gains of norms about 1."""
    for i, (name, p) in enumerate(block.double().named_parameters()):
        p.copy_(fill(*p.shape, s=s + i) + float(p.ndim == 1 and name.endswith("weight")))
    return block.eval()


@torch.no_grad()
def randomised(network: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    for name, p in network.named_parameters():
        nn.init.normal_(p, mean=float(p.ndim == 1 and name.endswith("weight")), std=0.05)
    return network.eval()


def nested(depth: int, tokens: int) -> list[list[int]]:
    """Some tokens for each block, fewer and fewer, the class token alone in the end."""
    torch.manual_seed(1)
    order = (torch.randperm(tokens - 1) + 1).tolist()
    counts = [tokens - 1 - i * (tokens - 1) // (depth - 1) for i in range(depth)]
    return [sorted([0, *order[:count]]) for count in counts]


@pytest.fixture
def model():
    return randomised(PatchSlimming("Ti", num_classes=10, image_size=32))


def test_before_slimming_it_is_timms(model):
    theirs = timm.create_model("deit_tiny_patch16_224", num_classes=10, img_size=32, patch_size=4).eval()
    theirs.load_state_dict(model.state_dict())
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(model(images), theirs(images), rtol=1e-4, atol=1e-4)


def test_counts():
    """DeiT-S has 4.6 G multiply-adds; without patches after block 6, half of the blocks see one token."""
    with torch.device("meta"):
        full, vit = PatchSlimming("S"), ViT("S/16")
        model = PatchSlimming("S", kept=[[*range(197)]] * 6 + [[0]] * 6)
    assert total_macs(full, 224) == total_macs(vit, 224) == 4_598_882_304
    d, tokens, block = 384, 197, 4_598_882_304
    block = 12 * tokens * d * d + 2 * tokens * tokens * d
    seventh = 2 * tokens * d * d + 2 * d * d + 2 * tokens * d + 8 * d * d  # K and V of all; Q, map, MLP of one
    last = 12 * d * d + 2 * d
    saved = 6 * block - seventh - 5 * last
    assert total_macs(full, 224) - total_macs(model, 224) == saved


@pytest.mark.parametrize("fused", [True, False])
def test_rows_that_are_kept_are_those_of_the_full_block(fused):
    slim, full = filled(SlimBlock(6, 2, 0.0), 0.3), filled(SlimBlock(6, 2, 0.0), 0.3)
    slim.rows, slim.attn.fused = torch.tensor([0, 2, 3]), fused
    x = fill(2, 5, 6, s=0.4, a=1)
    torch.testing.assert_close(slim(x), full(x)[:, [0, 2, 3]], rtol=1e-12, atol=1e-12)


def test_full_block_is_vits():
    block, vits = filled(SlimBlock(6, 2, 0.0), 0.3), Block(6, 2).double()
    vits.load_state_dict(block.state_dict())
    x = fill(2, 5, 6, s=0.4, a=1)
    torch.testing.assert_close(block(x), vits(x), rtol=1e-12, atol=1e-12)


def test_significance_of_the_oracle():
    blocks = [filled(SlimBlock(6, 2, 0.0), 0.1 + 10 * i) for i in range(4)]
    features, maps = [fill(1, 5, 6, s=0.4, a=1)], []
    for block in blocks:
        maps.append(block.attn.map(block.norm1(features[-1])))
        features.append(block(features[-1]))
    G = torch.eye(5, dtype=torch.float64)[None]
    for layer in (3, 2):
        G = propagate(G, maps[layer], torch.tensor(ORACLE["masks"][str(layer)]))
    s = significance(G, maps[1], features[1])
    assert s.tolist() == pytest.approx(ORACLE["significance_bruteforce"], rel=1e-9)
    assert s.argsort(descending=True).tolist() == ORACLE["order"]


def test_significance_is_the_sum_over_all_paths():
    """Two images, two later blocks, three heads: nine paths, as theorem 1 has them."""
    torch.manual_seed(0)
    P = torch.randn(3, 2, 3, 4, 4, dtype=torch.float64).softmax(-1)
    Z, masks = torch.randn(2, 4, 5, dtype=torch.float64), torch.tensor([[1, 0, 1, 0], [1, 0, 0, 0]])
    expected = torch.zeros(4, dtype=torch.float64)
    for n, a, b, h, i in itertools.product(range(2), range(3), range(3), range(3), range(4)):
        A = torch.diag(masks[1].double()) @ P[2, n, b] @ torch.diag(masks[0].double()) @ P[1, n, a]
        U = P[0, n, h] @ Z[n].abs()
        expected[i] += torch.outer(A[:, i], U[i]).square().sum() / 2
    G = propagate(torch.eye(4, dtype=torch.float64).expand(2, -1, -1), P[2], masks[1])
    torch.testing.assert_close(significance(propagate(G, P[1], masks[0]), P[0], Z), expected)


def test_a_slim_model_is_the_full_one_with_rows_masked(model):
    """A plain reading: every block over what is left, written with ViT's own blocks."""
    kept, images = nested(12, 65), torch.randn(2, 3, 32, 32)
    slim = model.slim(kept)
    with torch.no_grad():
        x, here = model.embed(images), [*range(65)]
        for block, now in zip(model.blocks, kept, strict=True):
            x, here = block(x)[:, [here.index(token) for token in now]], now
        torch.testing.assert_close(slim(images), model.head(model.norm(x)[:, 0]), rtol=1e-4, atol=1e-5)
    assert x.shape[1] == 1 and not torch.allclose(slim(images), model(images), atol=1e-2)


def test_with_all_tokens_it_is_the_dense_model(model):
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(model.slim([[*range(65)]] * 12)(images), model(images))


def test_only_the_class_token_is_needed_last(model):
    """The last block may drop every patch, at no error at all."""
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(model.slim([[*range(65)]] * 11 + [[0]])(images), model(images), rtol=1e-4, atol=1e-5)


def test_search_stays_within_its_error(model):
    images, eps = torch.randn(4, 3, 32, 32), 0.002
    kept = find_tokens(model, images, eps, step=5)
    assert kept[-1] == [0] and [*map(len, kept)] == sorted(map(len, kept), reverse=True)
    assert len({*map(len, kept)}) > 3 and len(kept[0]) > 1
    with torch.no_grad():
        features, _ = trace(model, images)
        for layer in range(1, 12):
            block, given, wanted = model.blocks[layer], kept[layer - 1], kept[layer]
            assert relative_error(block, features[layer], features[layer + 1], given, wanted) <= eps
    assert all(block.rows is None for block in model.blocks)
    assert [*map(len, find_tokens(model, images, 100.0))] == [1] * 12
    assert [*map(len, find_tokens(model, images, 1e-12))][:-1] == [65] * 11


def test_search_adds_the_most_significant_first(model):
    """The last choice but one: the tokens that block 11 keeps beside the class token are the best of its scores."""
    images = torch.randn(4, 3, 32, 32)
    kept = find_tokens(model, images, 0.002, step=5)
    features, maps = trace(model, images)
    G = propagate(torch.eye(65).expand(4, -1, -1), maps[11], torch.eye(65)[0])
    order = [i for i in significance(G, maps[10], features[10]).argsort(descending=True).tolist() if i]
    assert kept[10] == sorted([0, *order[: len(kept[10]) - 1]]) and 1 < len(kept[10]) < 65


@torch.no_grad()
def test_search_weighs_all_images_alike(model):
    """Of images whose significances differ in size: what each block adds is the best by theorem 1 as it stands."""
    for block in model.blocks:  # attention that looks somewhere
        block.attn.qkv.weight.mul_(3)
    images = torch.randn(4, 3, 32, 32) * torch.tensor([0.1, 0.5, 2.0, 8.0])[:, None, None, None]
    kept = find_tokens(model, images, 0.005, step=5)
    features, maps = ([x.double() for x in each] for each in trace(model, images))
    G, steps = torch.eye(65, dtype=torch.float64).expand(4, -1, -1), 0
    for layer in range(11, 0, -1):
        G = propagate(G, maps[layer], torch.zeros(65).index_fill_(0, torch.tensor(kept[layer]), 1))
        order = significance(G, maps[layer - 1], features[layer - 1]).argsort(descending=True).tolist()
        new = {*kept[layer - 1]} - {*kept[layer]}
        assert new == {*[token for token in order if token not in kept[layer]][: len(new)]}
        steps += 0 < len(new) < 60
    assert steps > 5


def test_slim_models_keep_their_tokens_in_files(model, tmp_path, trainer):
    slim = PatchSlimming("Ti", num_classes=10, image_size=32, kept=nested(12, 65), lr=1e-3)
    data = torch.utils.data.DataLoader([(torch.randn(3, 32, 32), i) for i in range(4)], batch_size=4)
    run = trainer(max_epochs=1)
    run.fit(slim, data)
    run.save_checkpoint(tmp_path / "slim.ckpt")
    again, images = zoo.load(tmp_path / "slim.ckpt"), torch.randn(2, 3, 32, 32)
    assert torch.equal(again(images), slim.eval()(images))
    assert total_macs(again, 32) < 0.7 * total_macs(model, 32)


@pytest.mark.slow
def test_slim_models_are_graphs_too(tmp_path, monkeypatch):
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnx, onnxscript and onnxruntime")
    monkeypatch.setitem(PatchSlimming.variants, "nano", TokenRow(8, 3, 2))
    slim = randomised(PatchSlimming("nano", num_classes=10, image_size=32, kept=nested(3, 65)))
    images = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        expected = slim(images)
    slim.export(tmp_path / "slim.pt2")
    graph = torch.export.load(tmp_path / "slim.pt2").module()
    torch.testing.assert_close(graph(images), expected, rtol=1e-5, atol=1e-5)
    slim.export(tmp_path / "slim.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "slim.onnx", providers=["CPUExecutionProvider"])
    logits = torch.from_numpy(session.run(["logits"], {"images": images.numpy()})[0])
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("kept", "match"),
    [
        ([[0]] * 3, "kept has 3 lists for 12 blocks"),
        ([[1]] * 12, r"kept\[0\] must be ascending, contain 0"),
        ([[0, 70]] * 12, r"kept\[0\] must be ascending"),
        ([[0, 2, 1]] * 12, r"kept\[0\] must be ascending"),
        ([[0, 1]] * 11 + [[0, 2]], r"kept\[11\] must be ascending, contain 0 \(the class token\), and be a subset"),
    ],
)
def test_refusals(kept, match):
    with pytest.raises(ValueError, match=match):
        PatchSlimming("Ti", num_classes=10, image_size=32, kept=kept)


def test_search_within_a_share_of_the_multiply_adds(model):
    """No more than asked for, and not much less; the tokens are those of the search at some error."""
    images = torch.randn(2, 3, 32, 32)
    kept = find_tokens_within(model, images, 0.6, step=8, rounds=5)
    assert 0.45 < multiply_adds(model, kept) / multiply_adds(model, None) <= 0.6
    assert multiply_adds(model, kept) == total_macs(model.slim(kept), 32)
    assert not model.training and all(block.rows is None for block in model.blocks)


def test_a_share_that_no_error_reaches_is_refused(model):
    with pytest.raises(ValueError, match="no error bound reduces the multiply-adds to 0.01"):
        find_tokens_within(model, torch.randn(1, 3, 32, 32), 0.01, step=64, rounds=1)


def test_the_search_keeps_no_graph(monkeypatch):
    seen = []
    monkeypatch.setattr(patch_slimming, "trace", lambda *_: ())
    monkeypatch.setattr(patch_slimming, "search", lambda *_: seen.append(torch.is_grad_enabled()))
    patch_slimming.find_tokens(torch.nn.Linear(1, 1), torch.zeros(1))
    assert seen == [False]
