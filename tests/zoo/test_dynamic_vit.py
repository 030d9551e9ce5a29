import itertools
import json
import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from callbacks.loss.token_ratio import ratio_loss
from tests.closed_form import fill, filled, gumbel
from tests.closed_form import images as given_images
from zoo import DynamicViT, LVViT, ViT, lvvit
from zoo.dynamic_vit import VARIANTS, Predictor, Row, decide, gumbel_noise
from zoo.layers.attention import attention
from zoo.layers.masked_attention import masked_attention
from zoo.layers.patch_embed import take_patches
from zoo.tools.complexity import total_macs

# Numbers made from the paper's equations and by the authors' code.
DATA = Path(__file__).parents[1] / "data"
ORACLE = json.loads((DATA / "dynamicvit.json").read_text())
# What the authors' networks say, with weights, images and noise in closed form.
AUTHORS = json.loads((DATA / "dynamicvit_logits.json").read_text())
# The authors' networks at 224 px, 1000 classes: parameters, and twice the multiply-adds by share kept.
COUNTS = {
    "256": (10_304_942, {1.0: 4_398_107_648, 0.7: 2_749_195_520}),
    "S": (
        22_774_414,
        {
            1.0: 9_479_778_816,
            0.9: 8_081_468_160,
            0.8: 6_926_107_008,
            0.7: 5_961_795_456,
            0.6: 5_129_430_144,
            0.5: 4_458_121_344,
        },
    ),
    "B": (89_452_846, {1.0: 36_255_261_696, 0.7: 22_951_603_968}),
    "LV-S": (
        26_875_574,
        {1.0: 13_384_985_088, 0.9: 11_752_612_608, 0.8: 10_412_481_408, 0.7: 9_300_165_504, 0.5: 7_580_340_864},
    ),
    "LV-M": (
        57_115_030,
        {1.0: 25_857_349_632, 0.9: 22_413_468_672, 0.8: 19_565_261_312, 0.7: 17_186_458_112, 0.5: 13_481_108_992},
    ),
}


@pytest.fixture(autouse=True)
def nano(monkeypatch):
    """Variants small enough for a test: 24 wide, and LV-ViT's 20 wide with 8 blocks and halved residuals."""
    for variants in (DynamicViT.variants, ViT.variants):
        monkeypatch.setitem(variants, "nano", replace(next(iter(variants.values())), width=24, depth=12, heads=2))
    monkeypatch.setitem(VARIANTS, "LV-nano", Row(20, 8, 2, stem=8, a=2))
    monkeypatch.setitem(lvvit.VARIANTS, "nano", lvvit.Row(20, 8, 2, stem=8, a=2, drop_path=0.1))


def tiny(randomise=True, variant="nano", **arguments) -> DynamicViT:
    torch.manual_seed(0)
    model = DynamicViT(variant, num_classes=10, image_size=32, **arguments)
    if randomise:
        for name, p in model.named_parameters():
            nn.init.normal_(p, mean=float(p.ndim == 1 and name.endswith("weight")), std=0.1)
    return model


# ---- what it costs


@pytest.mark.parametrize(("variant", "keep"), [(v, keep) for v, (_, macs) in COUNTS.items() for keep in macs])
def test_counts(variant, keep):
    with torch.device("meta"):
        model = DynamicViT(variant, keep=keep).eval()
    parameters, flops = COUNTS[variant]
    assert {*COUNTS, "96", "Ti", "nano", "LV-nano"} == {*VARIANTS}
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert 2 * total_macs(model, 224) == flops[keep]


@pytest.mark.parametrize("keep", ORACLE["kept_tokens"])
def test_tokens_left_at_224_px(keep):
    model, seen = DynamicViT("nano", num_classes=2, keep=float(keep)).eval(), []
    for i in (2, *(block + 2 for block in model.before)):
        model.blocks[i].register_forward_hook(lambda m, inputs, output: seen.append(output.shape[1] - 1))
    model(torch.zeros(1, 3, 224, 224))
    assert seen == ORACLE["kept_tokens"][keep]


# ---- its parts


def test_masked_attention_is_the_equation():
    made = ORACLE["masked_attention"]
    q, k, v = (fill(1, 2, 6, 3, s=s, a=1) for s in (0.1, 0.7, 1.9))
    y = masked_attention(q, k, v, torch.tensor([made["keep_mask"]], dtype=torch.float64))
    torch.testing.assert_close(y, torch.tensor(made["out_eps0"], dtype=torch.float64), rtol=0, atol=1e-6)


def test_masked_attention_is_that_of_the_kept_tokens_alone():
    """Also where a dropped token would draw all of the attention."""
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 2, 4, 9, 5)
    kept = torch.tensor([[1, 1, 0, 1, 0, 0, 1, 1, 0.0]]).expand(2, -1)
    k[:, :, 2] = 40 * q[:, :, 0]
    left = kept[0].bool()
    expected, _ = attention(q[:, :, left], k[:, :, left], v[:, :, left])
    torch.testing.assert_close(masked_attention(q, k, v, kept)[:, :, left], expected)


def test_a_token_alone_sees_itself():
    q, k, v = torch.randn(3, 1, 1, 4, 2)
    torch.testing.assert_close(masked_attention(q, k, v, torch.zeros(1, 4)), v)


def gradient(dtype) -> torch.Tensor:
    """Of the attention's sum, by the decisions, of which two of six are 0."""
    q, k, v = (fill(1, 2, 6, 3, s=s, a=2).to(dtype) for s in (0.1, 0.7, 1.9))
    kept = torch.tensor([[1.0, 1, 0, 1, 0, 1]], dtype=torch.float32 if dtype != torch.float64 else dtype)
    kept.requires_grad_()
    (masked_attention(q, k, v, kept).float() * fill(3, s=3.0).float()).sum().backward()
    return kept.grad


def test_gradient_of_the_decisions_by_finite_differences():
    """Eq. 11 by hand in float64, as a function of the decisions."""
    q, k, v = (fill(1, 2, 6, 3, s=s, a=2) for s in (0.1, 0.7, 1.9))

    def loss(kept):
        G = kept[:, None, None] + (1 - kept[:, None, None]) * torch.eye(6, dtype=kept.dtype)
        weights = (q @ k.mT / math.sqrt(3)).exp() * G
        return (weights / weights.sum(-1, keepdim=True) @ v * fill(3, s=3.0)).sum()

    kept, step = torch.tensor([[1.0, 1, 0, 1, 0, 1]], dtype=torch.float64), 1e-6 * torch.eye(6, dtype=torch.float64)
    expected = torch.stack([(loss(kept + row) - loss(kept - row)) / 2e-6 for row in step])
    torch.testing.assert_close(gradient(torch.float32)[0].double(), expected, rtol=1e-4, atol=1e-5)
    assert expected.abs().min() > 0.05  # of the dropped ones too


@pytest.mark.parametrize(("dtype", "error"), [(torch.bfloat16, 0.05), (torch.float16, 0.01)])
def test_gradient_of_the_decisions_in_half_precision(dtype, error):
    exact = gradient(torch.float32)
    torch.testing.assert_close(gradient(dtype), exact, rtol=error, atol=error * exact.abs().max().item() / 2)


def test_predictor_is_the_authors():
    made = ORACLE["predictor"]
    predictor = Predictor(8).double()
    assert [name for name, _ in predictor.named_parameters()] == made["param_names"]
    with torch.no_grad():
        for i, p in enumerate(predictor.parameters()):
            p.copy_(fill(*p.shape, s=0.1 + i, a=0.3) + (i == 0))
        log_pi = predictor(fill(2, 5, 8, s=0.4, a=1), torch.tensor(made["D"], dtype=torch.float64))
    torch.testing.assert_close(log_pi, torch.tensor(made["log_pi"], dtype=torch.float64), rtol=0, atol=1e-8)
    assert sum(p.numel() for p in Predictor(384).parameters()) == made["params_per_module_C384"]


def test_decisions_are_torchs_gumbel_softmax():
    log_pi = torch.randn(4, 50, 2).log_softmax(-1).requires_grad_()
    torch.manual_seed(3)
    theirs = F.gumbel_softmax(log_pi, hard=True)[..., 0]
    torch.manual_seed(3)
    ours = decide(log_pi, gumbel_noise(log_pi))
    assert {*ours.flatten().tolist()} == {0.0, 1.0}  # exactly
    torch.testing.assert_close(ours, theirs)
    weights = torch.randn(4, 50)
    expected, mine = (torch.autograd.grad((y * weights).sum(), log_pi)[0] for y in (theirs, ours))
    torch.testing.assert_close(mine, expected)


def test_share_of_decisions_is_pi():
    torch.manual_seed(0)
    log_pi = torch.tensor([0.8, 0.2]).log().expand(1, 20_000, 2)
    assert decide(log_pi, gumbel_noise(log_pi)).mean().item() == pytest.approx(0.8, abs=0.01)


def test_take_keeps_the_prefix_and_the_order_asked_for():
    tokens = torch.arange(6.0).view(1, 6, 1)
    assert take_patches(tokens, torch.tensor([[3, 0]]), prefix=2).flatten().tolist() == [0, 1, 5, 2]


# ---- the whole


@pytest.fixture(params=["nano", "LV-nano"])
def authors(request, monkeypatch):
    """A network with the authors' stem of 64 channels, and what theirs says."""
    monkeypatch.setitem(VARIANTS, "LV-nano", Row(20, 8, 2, stem=64, a=2))
    return filled(DynamicViT(request.param, num_classes=5, keep=0.7)), AUTHORS[request.param]


@torch.no_grad()
def test_logits_are_the_authors(authors):
    model, known = authors
    torch.testing.assert_close(model(given_images()), torch.tensor(known["inference"]), rtol=0, atol=1e-5)


@torch.no_grad()
def test_training_is_the_authors(authors, monkeypatch):
    """With the same noise: decisions, patches and logits. Of LV-ViT, theirs with the best kept patch of each class."""
    model, known = authors
    place = itertools.count()
    monkeypatch.setattr("zoo.dynamic_vit.gumbel_noise", lambda like: gumbel(like, next(place)))
    model.train()
    for module in model.modules():  # LV-ViT's stem
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    logits, extras = model(given_images())
    torch.testing.assert_close(logits, torch.tensor(known["training"]), rtol=0, atol=1e-5)
    shares = torch.stack([D.mean(1) for D in extras["kept"]])
    torch.testing.assert_close(shares, torch.tensor(known["shares"]), rtol=0, atol=1e-6)
    if "features" in known:
        torch.testing.assert_close(extras["tokens"][:, ::49, :4], torch.tensor(known["features"]), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("variant", "dense"), [("nano", ViT), ("LV-nano", LVViT)])
def test_keeping_all_is_the_dense_network(variant, dense):
    model, images = tiny(variant=variant, keep=1.0).eval(), torch.randn(2, 3, 32, 32)
    dense = dense("nano", num_classes=10, image_size=32).eval()
    dense.load_state_dict({k: v for k, v in model.state_dict().items() if not k.startswith("score_predictor")})
    expected = dense(images)
    torch.testing.assert_close(model(images), expected, rtol=1e-4, atol=1e-5)
    assert expected.std() > 0.1


@pytest.mark.parametrize("variant", ["nano", "LV-nano"])
def test_masks_in_training_are_removal_in_evaluation(variant, monkeypatch):
    """With the same decisions: training's are replaced by evaluation's best."""
    model, images = tiny(variant=variant, keep=0.5).eval(), torch.randn(2, 3, 32, 32)
    for module in model.modules():  # LV-ViT's stem
        if isinstance(module, nn.BatchNorm2d):
            module.forward = partial(F.batch_norm, running_mean=module.running_mean, running_var=module.running_var)
    expected, counts = model(images), iter([32, 16, 8])

    def best(log_pi, noise):
        left = log_pi[..., 0].masked_fill(gone(), -torch.inf)
        kept = torch.zeros_like(left).scatter(1, left.topk(next(counts), 1).indices, 1.0)
        decisions.append(kept)
        return kept

    decisions = []
    monkeypatch.setattr("zoo.dynamic_vit.decide", best)

    def gone():
        return decisions[-1] == 0 if decisions else torch.zeros(2, 64, dtype=torch.bool)

    logits, extras = model.train()(images)
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)
    assert [D.sum(1).tolist() for D in extras["kept"]] == [[32, 32], [16, 16], [8, 8]]


def test_training_gives_decisions_that_only_fall_and_the_patches():
    _, extras = tiny().train()(torch.randn(2, 3, 32, 32))
    first, second, third = extras["kept"]
    assert ((first >= second) & (second >= third)).all() and first.mean() < 1
    assert extras["tokens"].shape == (2, 64, 24)
    assert first.grad_fn is not None


@pytest.mark.parametrize("variant", ["nano", "LV-nano"])
def test_dropping_every_patch_gives_finite_logits_and_gradients(variant):
    model = tiny(variant=variant)
    for predictor in model.score_predictor:
        predictor.out_conv[4].bias.data = torch.tensor([-50.0, 50.0])
    logits, extras = model.train()(torch.randn(2, 3, 32, 32))
    assert not any(D.any() for D in extras["kept"])
    (logits.sum() + ratio_loss(extras["kept"], model.ratios)).backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_predictors_learn_under_autocast(dtype):
    """The loss's gradient through the mask alone, near that in float32."""
    grads = []
    for on in (False, True):
        model, images = tiny(randomise=False), torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
        torch.manual_seed(2)
        with torch.autocast("cpu", dtype, enabled=on):
            logits, extras = model.train()(images)
        F.cross_entropy(logits.float(), torch.arange(4)).backward()
        grads.append(torch.cat([p.grad.flatten() for p in model.score_predictor[2].parameters()]))
    exact, rough = grads
    assert exact.norm() > 0
    assert F.cosine_similarity(exact, rough, dim=0) > 0.9


def test_a_dropped_patch_has_no_say_in_the_largest_logit():
    model, z = tiny(variant="LV-nano"), torch.randn(2, 17, 20)
    kept = torch.tensor([[1.0, 0, 1, 0] * 4, [0.0] * 16])
    of_class, of_patches = model.head(z[:, 0]), model.aux_head(z[:, 1:])
    expected = of_class + torch.stack([of_patches[0, ::2].amax(0), of_patches[1].amax(0)]) / 2
    torch.testing.assert_close(model.classify(z, kept), expected)
    torch.testing.assert_close(model.classify(z), of_class + of_patches.amax(1) / 2)


@pytest.mark.parametrize(("variant", "blocks"), [("S", [3, 6, 9]), ("LV-S", [4, 8, 12]), ("LV-M", [5, 10, 15])])
def test_patches_go_where_the_authors_have_it(variant, blocks):
    with torch.device("meta"):
        assert DynamicViT(variant).before == blocks


@pytest.mark.parametrize("keep", [0.7, 0.4, 1.0])
def test_starts_with_the_shares_that_are_asked_for(keep):
    """So that the ratio's term starts at what draws alone leave of it."""
    model = tiny(randomise=False, keep=keep).train()
    _, extras = model(torch.randn(32, 3, 32, 32))
    shares = [D.mean().item() for D in extras["kept"]]
    expected = model.ratios if keep < 1 else (0.99, 0.99**2, 0.99**3)
    assert shares == pytest.approx(expected, abs=0.04)
    draws = sum(rho * (1 - rho) for rho in expected) / 3 / 64
    assert ratio_loss(extras["kept"], expected).item() == pytest.approx(draws, abs=2e-3)


def test_at_least_one_patch_stays():
    model = tiny(keep=0.01).eval()
    assert model.remove(model.embed(torch.randn(1, 3, 32, 32))).shape[1] == 2


@pytest.mark.parametrize(("variant", "dense"), [("nano", ViT), ("LV-nano", LVViT)])
def test_starts_from_a_dense_network(variant, dense, tmp_path):
    dense, path = dense("nano", num_classes=10, image_size=32), tmp_path / "dense.safetensors"
    dense.export(path)
    model = DynamicViT(variant, num_classes=10, image_size=32, weights=str(path), keep=1.0).eval()
    images = torch.randn(1, 3, 32, 32)
    torch.testing.assert_close(model(images), dense.eval()(images), rtol=1e-4, atol=1e-5)
    assert model.score_predictor[0].in_conv[1].weight.std().item() == pytest.approx(0.02, rel=0.2)
    model.export(path)  # with predictors: those are read too
    again = DynamicViT(variant, num_classes=10, image_size=32, weights=str(path))
    assert torch.equal(again.score_predictor[1].in_conv[1].weight, model.score_predictor[1].in_conv[1].weight)


@pytest.mark.parametrize("keep", [0, 1.1, -0.5])
def test_refuses_a_share_out_of_range(keep):
    with pytest.raises(ValueError, match="keep must be in"):
        DynamicViT("Ti", image_size=32, keep=keep)
