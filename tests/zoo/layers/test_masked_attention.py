"""What drops tokens, heads or experts, in half precision: gradients near those in float32, and nothing but numbers."""

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from callbacks import DropHead, GatingDropout, PatchDropout
from zoo import DynamicViT, EViT, MoEViT, ViT, dynamic_vit
from zoo.evit import reorganise
from zoo.frame.outputs import split_outputs
from zoo.layers.attention import attention
from zoo.layers.masked_attention import masked_attention

HALF = [torch.bfloat16, torch.float16]
# rounding of a half: 2^-9 and 2^-12
ERROR = {torch.float32: 1e-5, torch.bfloat16: 0.03, torch.float16: 0.004}


@pytest.fixture(autouse=True)
def nano(monkeypatch):
    """Variants small enough for a test: 24 wide, 4 blocks (12 where blocks have places of their own)."""
    for model, depth in ((DynamicViT, 4), (EViT, 12), (MoEViT, 4), (ViT, 4)):
        row = next(iter(model.variants.values()))
        monkeypatch.setitem(model.variants, "nano", replace(row, width=24, depth=depth, heads=2))
    monkeypatch.setitem(DynamicViT.variants, "LV-nano", dynamic_vit.Row(20, 8, 2, stem=8, a=2))


def made(kind, variant="nano", **arguments):
    torch.manual_seed(0)
    model = kind(variant, num_classes=4, image_size=16, **{"drop_path": 0.0} | arguments).train()
    for name, p in model.named_parameters():  # predictors and gates that are sure: rounding changes no decision
        if name.endswith((".gate.weight", "out_conv.4.weight")):
            nn.init.normal_(p, std=3.0)
        elif name.endswith("out_conv.4.bias"):
            nn.init.zeros_(p)
    return model


def with_trick(trick, **now):
    model = made(ViT)
    trick.on_fit_start(None, model)
    vars(trick).update(now)
    return model


def without_heads(p):
    return with_trick(DropHead(p), _now=p)


def without_patches(keep):
    return with_trick(PatchDropout(keep), _now=keep)


def without_experts(kind):
    model = made(MoEViT, experts=2)
    for block in model.blocks[1::2]:
        block.mlp.drop = kind
    return model


NETWORKS = {
    "DynamicViT": lambda: made(DynamicViT),
    "DynamicViT, LV": lambda: made(DynamicViT, "LV-nano"),
    "EViT": lambda: made(EViT, keep=0.5),
    "EViT without fusion": lambda: made(EViT, keep=0.5, fuse=False),
    "MoEViT": lambda: made(MoEViT, experts=2),
    "GatingDropout": lambda: without_experts("gate"),
    "DropHead": lambda: without_heads(0.5),
    "PatchDropout": lambda: without_patches(0.5),
}


def gradient(model, dtype) -> torch.Tensor:
    """Of the class loss by all parameters that have one, with the same draws at each precision."""
    images = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(2)
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        logits, _ = split_outputs(model(images))
    F.cross_entropy(logits.float(), torch.arange(8) % 4).backward()
    assert logits.isfinite().all()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.fixture
def same_scores(monkeypatch):
    """A second run of EViT drops the patches of the first, which rounding could change where scores are near."""
    seen = []

    def with_those(x, scores, keep, fuse):
        if len(seen) < 3:
            seen.append(scores.detach())
        else:
            scores = scores.float() + (seen[0] - scores.float()).detach()
            seen.append(seen.pop(0))
        return reorganise(x, scores, keep, fuse)

    monkeypatch.setattr("zoo.evit.reorganise", with_those)


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_under_autocast(name, dtype, same_scores):
    exact, rough = (gradient(NETWORKS[name](), each) for each in (torch.float32, dtype))
    assert rough.isfinite().all() and exact.norm() > 0.1
    assert (rough - exact).norm() < 8 * ERROR[dtype] * exact.norm()


# Where all would go
EMPTY = {
    "patches of DynamicViT": lambda: sure_to_drop(made(DynamicViT)),
    "patches of DynamicViT, LV": lambda: sure_to_drop(made(DynamicViT, "LV-nano")),
    "patches of EViT": lambda: made(EViT, keep=1e-6),
    "places of MoEViT": lambda: made(MoEViT, experts=2, capacity=1e-6),
    "experts": lambda: without_experts("gate-expert"),
    "heads": lambda: without_heads(1.0),
    "patches of PatchDropout": lambda: without_patches(1e-6),
}


def sure_to_drop(model):
    for predictor in model.score_predictor:
        nn.init.zeros_(predictor.out_conv[4].weight)
        predictor.out_conv[4].bias.data = torch.tensor([-50.0, 50.0])
    return model


@pytest.mark.parametrize("dtype", [torch.float32, *HALF])
@pytest.mark.parametrize("name", EMPTY)
def test_nothing_is_no_number(name, dtype):
    model = EMPTY[name]()
    assert gradient(model, dtype).isfinite().all()
    assert model.head.weight.grad.any() and model.cls_token.grad.any()


# ---- equation 11, its gradients by queries, keys and values


@pytest.mark.parametrize("dtype", [torch.float32, *HALF])
def test_a_kept_token_learns_as_among_the_kept_alone(dtype):
    """Also with a dropped key that would draw all of the attention; dropped keys and values learn from nobody else."""
    torch.manual_seed(0)
    values = torch.randn(3, 2, 2, 9, 8)
    values[1, :, :, 2] = 40 * values[0, :, :, 0]
    kept = torch.tensor([1, 1, 0, 1, 0, 0, 1, 1, 0.0])
    left, weights = kept.bool(), torch.randn(2, 2, int(kept.sum()), 8)
    masked, alone = values.to(dtype, copy=True).requires_grad_(), values[:, :, :, left].clone().requires_grad_()
    y = masked_attention(*masked, kept.expand(2, -1))[:, :, left]
    expected, _ = attention(*alone)
    (y.float() * weights).sum().backward()
    (expected * weights).sum().backward()
    close = {"rtol": ERROR[dtype], "atol": 4 * ERROR[dtype]}
    torch.testing.assert_close(y.float(), expected, **close)
    torch.testing.assert_close(masked.grad[:, :, :, left].float(), alone.grad, **close)
    assert not masked.grad[:, :, :, ~left].any()


@pytest.mark.parametrize(("score", "growth"), [(-1.0, math.exp(-1)), (3.0, math.exp(3)), (50.0, math.exp(10))])
def test_what_keeping_a_token_would_change_is_bounded(score, growth):
    """By hand: token 0 scores itself 0 and the dropped token 1 `score`; its value is 1, the other's 0.

    Out of (0 + g e^score) / (1 + g e^score), the slope at g = 0 is e^score, and e^10 where the score is above 10.
    """
    q, k, v = (torch.tensor(each).view(1, 1, 2, 1) for each in ([1.0, 1.0], [0.0, score], [0.0, 1.0]))
    kept = torch.tensor([[1.0, 0.0]], requires_grad=True)
    masked_attention(q, k, v, kept)[0, 0, 0].sum().backward()
    assert kept.grad[0, 1].item() == pytest.approx(growth, rel=1e-5)


@pytest.mark.parametrize("kind", ["gate", "gate-expert"])
def test_layers_are_as_the_trick_leaves_them(kind):
    """`without_experts` above does by hand what `GatingDropout` does."""
    model = made(MoEViT, experts=2)
    GatingDropout(1.0, kind).on_train_batch_start(SimpleNamespace(global_step=0), model, [], 0)
    assert [b.mlp.drop for b in model.blocks[1::2]] == [b.mlp.drop for b in without_experts(kind).blocks[1::2]]
