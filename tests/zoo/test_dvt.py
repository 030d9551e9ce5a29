import json
import math
from pathlib import Path

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tests.closed_form import fill
from zoo import DVT, Step, ViT
from zoo.dvt import NAMES, VARIANTS, Row, fit
from zoo.layers.t2t import linear_attention, sines
from zoo.layers.token_grid import upsample, upsample_features, upsample_relations
from zoo.tools.early_exit import choose_exits, confidences, search_thresholds, thresholds_for

# Logits of the authors' networks and thresholds of their search, on numbers in closed form.
ORACLE = json.loads((Path(__file__).parents[1] / "data" / "dvt.json").read_text())
# The authors' networks at 224 px, 1000 classes: parameters, with T2T's fixed positions and random features, and the
# multiply-adds of an image that leaves at each exit.
COUNTS = {
    "DeiT-S": (70_442_232, [1_142_909_952, 3_643_143_168, 8_800_629_120]),
    "T2T-12": (22_461_516, [467_702_400, 1_446_098_208, 3_455_014_176]),
    "T2T-14": (67_881_836, [1_200_582_272, 3_818_118_304, 9_264_151_296]),
}


@torch.no_grad()
def filled(model: DVT) -> DVT:
    """With the oracle's weights: by name in order, one more radian each; gains about 1; T2T's positions as they are."""
    learned = dict(model.named_parameters())
    for i, (name, x) in enumerate(sorted(model.state_dict().items())):
        if name.endswith(".w") or name in learned:
            a = 0.2 if x.ndim == 1 or len(x) == 1 else 1.5 / math.sqrt(x[0].numel())
            gain = x.ndim == 1 and name.endswith(("norm.weight", "norm1.weight", "norm2.weight", "mlp.0.weight"))
            x.copy_(fill(*x.shape, s=i, a=1.0 if name.endswith(".w") else a) + gain)
    return model.eval()


@pytest.fixture(autouse=True)
def nano(monkeypatch):
    """Rows small enough for a test: 24 wide, two blocks."""
    monkeypatch.setitem(VARIANTS, "DeiT-nano", Row(24, 2, 2, 4))
    monkeypatch.setitem(VARIANTS, "T2T-nano", Row(24, 2, 2, 2, t2t=True))


@pytest.fixture
def model():
    """Random, on 32 px; sure of some images and not of others."""
    torch.manual_seed(0)
    return randomised(DVT("DeiT-nano", num_classes=10, image_size=32)).eval()


@torch.no_grad()
def randomised(network: nn.Module) -> nn.Module:
    for name, p in network.named_parameters():
        nn.init.normal_(p, mean=float("norm" in name and name.endswith("weight")), std=0.3 if p.ndim > 1 else 0.1)
    return network


# ---- what it costs


def test_every_row_is_counted():
    assert {*COUNTS, "DeiT-Ti", "DeiT-nano", "T2T-nano"} == {*VARIANTS}


@pytest.mark.parametrize("variant", ["DeiT-S", "T2T-12", pytest.param("T2T-14", marks=pytest.mark.slow)])
def test_counts(variant):
    with torch.device("meta"):
        model = DVT(variant)
    size, macs = COUNTS[variant]
    assert sum(x.numel() for x in model.state_dict().values()) == size
    assert model.macs() == macs


@pytest.mark.parametrize(
    ("variant", "pixels", "grids"),
    [
        ("DeiT-nano", 224, [7, 10, 14]),
        ("T2T-nano", 224, [7, 10, 14]),
        ("DeiT-nano", 32, [4, 6, 8]),
        ("DeiT-nano", 64, [4, 6, 8]),
        ("DeiT-nano", 256, [8, 12, 16]),
        ("T2T-nano", 256, [8, 11, 16]),
    ],
)
def test_tokens(variant, pixels, grids):
    model, seen = DVT(variant, num_classes=2, image_size=pixels).eval(), []
    for stage in model.stages.values():
        stage.register_forward_hook(lambda m, inputs, output: seen.append(output.shape[1]))
    model(torch.zeros(1, 3, pixels, pixels))
    assert seen == [1 + grid**2 for grid in grids]
    assert [net.grid for net in model.cascade] == grids


@pytest.mark.parametrize("pixels", [32, 64, 100, 224])
def test_every_pixel_is_in_a_patch(pixels):
    for net in DVT("DeiT-nano", num_classes=2, image_size=pixels).cascade:
        proj, ones = net.patch_embed.proj, torch.ones(1, 3, pixels, pixels, requires_grad=True)
        F.conv2d(ones, torch.ones_like(proj.weight), stride=proj.stride, padding=proj.padding).sum().backward()
        assert (ones.grad > 0).all()


# ---- against the authors


@pytest.mark.parametrize("backbone", ["DeiT", "T2T"])
def test_logits_are_the_authors(backbone):
    model = filled(DVT(f"{backbone}-nano", num_classes=5))
    images = fill(2, 3, 224, 224, s=0.2, a=1.5).float() * torch.tensor([1.0, 0.4])[:, None, None, None]
    with torch.no_grad():
        logits = torch.stack(model.exits(images))
    torch.testing.assert_close(logits, torch.tensor(ORACLE[backbone]), rtol=0, atol=1e-5)


def oracle_logits() -> tuple[torch.Tensor, torch.Tensor]:
    logits = fill(3, 200, 4, s=0.3, a=1) * torch.tensor([1.5, 3.0, 5.0])[:, None, None]
    return logits, torch.tensor(ORACLE["targets"])


def test_thresholds_are_the_authors():
    """Theirs, with the accuracy and the cost that they find, for each way of sharing images out."""
    logits, targets = oracle_logits()
    for p, (first, second, accuracy, cost) in enumerate(ORACLE["thresholds"], start=1):
        shares = torch.tensor([(p / 20) ** k for k in (1, 2, 3)])
        eta = thresholds_for(confidences(logits), (shares / shares.sum()).tolist())
        assert eta == pytest.approx([first, second, 0.0], abs=1e-7)
        exits = choose_exits(confidences(logits), eta)
        right = logits.argmax(-1).gather(0, exits[None])[0] == targets
        assert 100 * right.double().mean().item() == pytest.approx(accuracy, abs=1e-4)
        assert torch.tensor([1.0, 3.0, 8.0])[exits].mean().item() == pytest.approx(cost, abs=1e-4)


# ---- its parts


def test_up_by_hand():
    """From 2 to 3 cells a side: each cell twice, then windows of two, of which the middle one sees both."""
    x = torch.tensor([[[9.0, 0, 4, 8, 20]]])
    assert upsample(x, 3).tolist() == [[[9, 0, 2, 4, 4, 8, 12, 8, 14, 20]]]


def spread(before: int, after: int) -> torch.Tensor:
    """upsample() as a matrix (1 + after^2, 1 + before^2): the cells of the doubled grid, one by one."""
    U = torch.zeros(1 + after**2, 1 + before**2, dtype=torch.float64)
    U[0, 0] = 1
    window = [range(i * 2 * before // after, -(-(i + 1) * 2 * before // after)) for i in range(after)]
    for i in range(after):
        for j in range(after):
            for a in window[i]:
                for b in window[j]:
                    share = 1 / (len(window[i]) * len(window[j]))
                    U[1 + i * after + j, 1 + (a // 2) * before + b // 2] += share
    return U


@pytest.mark.parametrize(("before", "after"), [(7, 10), (10, 14), (4, 6), (6, 8)])
def test_relations_and_features_go_from_grid_to_grid(before, after):
    U = spread(before, after)
    A = fill(2, 3, 1 + before**2, 1 + before**2)
    torch.testing.assert_close(upsample_relations(A, after), U @ A @ U.T)
    E = fill(2, 1 + before**2, 5)
    expected = U @ E
    expected[:, 0] = 0  # the class token gets no features
    torch.testing.assert_close(upsample_features(E, after), expected)


def test_first_exit_is_a_plain_vit(model):
    theirs = timm.create_model(
        "vit_tiny_patch16_224", img_size=32, patch_size=8, embed_dim=24, depth=2, num_heads=2, num_classes=10
    ).eval()
    theirs.load_state_dict(model.less_less_token.state_dict())
    images = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(model.exits(images)[0], theirs(images), rtol=1e-4, atol=1e-4)


def test_later_exits_see_features_and_relations_of_the_earlier(model):
    """Without either, the logits are others; the third exit depends on the first through the second's scores too."""
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = model.exits(images)
        for parameter in (
            "less_token.relation_reuse_conv.2.weight",
            "less_token.blocks.0.feature_resuse_mlp.1.fc2.weight",
            "normal_token.relation_reuse_conv.2.weight",
            "normal_token.blocks.0.feature_resuse_mlp.1.fc2.weight",
        ):
            p = model.get_parameter(parameter)
            kept = p.clone()
            p.zero_()
            changed = [(a - b).abs().max().item() > 1e-3 for a, b in zip(model.exits(images), expected, strict=True)]
            p.copy_(kept)
            assert changed == [False, parameter.startswith("less"), True]


def test_linear_attention_is_its_equation_and_nears_the_softmax():
    torch.manual_seed(0)
    q, k, v = 0.4 * torch.randn(3, 1, 5, 8, dtype=torch.float64)
    w = torch.randn(40_000, 8, dtype=torch.float64)

    def f(x):
        return torch.exp(w @ x - x @ x / 2) / math.sqrt(len(w))

    weights = torch.stack([torch.stack([f(a) @ f(b) for b in k[0]]) for a in q[0]])
    y = linear_attention(q, k, v, w)
    torch.testing.assert_close(y[0], weights @ v[0] / weights.sum(1, keepdim=True), rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(y, (q @ k.mT).softmax(-1) @ v, rtol=0, atol=0.02)


def test_positions_of_t2t():
    expected = [math.sin(3), math.cos(3), math.sin(3 / 100), math.cos(3 / 100)]
    torch.testing.assert_close(sines(5, 4)[3], torch.tensor(expected))


# ---- training


def test_loss_is_the_sum_over_the_exits(model):
    images, targets = torch.randn(4, 3, 32, 32), torch.tensor([1, 2, 3, 4])
    exits = model.exits(images)
    assert torch.equal(model(images), exits[2])
    for block in (block for net in model.cascade for block in net.blocks):
        block.drop_path.p = 0.0
    logits, extras = model.train()(images)
    loss = Step(images, targets, logits, None, extras).over_heads(lambda z: F.cross_entropy(z, targets))
    torch.testing.assert_close(loss, sum(F.cross_entropy(z, targets) for z in exits))
    loss.backward()
    for name in NAMES:
        assert all(p.grad.any() for p in model.get_submodule(name).head.parameters())


def test_drop_path_rises_in_each_vit():
    model = DVT("DeiT-nano", num_classes=2, image_size=32, drop_path=0.2)
    assert [[block.drop_path.p for block in net.blocks] for net in model.cascade] == [[0.0, 0.2]] * 3
    block, tokens = model.less_less_token.blocks[1].train(), torch.randn(2, 17, 24)
    block.drop_path.p = 1 - 1e-9
    assert torch.equal(block(tokens, None, None)[0], tokens)  # both branches


# ---- leaving early


def chosen(logits: list[torch.Tensor], eta: list[float]) -> tuple[torch.Tensor, list[int]]:
    """Image by image, exit by exit."""
    numbers = []
    for n in range(len(logits[0])):
        sure = [z[n].softmax(0).max().item() >= t for z, t in zip(logits, eta, strict=True)]
        numbers.append(sure.index(True) if any(sure[:-1]) else len(eta) - 1)
    return torch.stack([logits[i][n] for n, i in enumerate(numbers)]), numbers


@pytest.mark.parametrize(
    "eta", [[0.5, 0.4, 0.0], [0.0, 0.0, 0.0], [2.0, 0.0, 0.0], [2.0, 2.0, 2.0], [math.inf, 0.7, 9.0]]
)
def test_each_image_leaves_where_it_is_sure(model, eta):
    torch.manual_seed(1)
    images, runs = torch.randn(12, 3, 32, 32), []
    with torch.no_grad():
        expected, numbers = chosen(model.exits(images), eta)
    for net in model.cascade:
        net.register_forward_hook(lambda m, inputs, output: runs.append(len(inputs[0])))
    logits, exits = model.early_exit(images, eta)
    assert exits.tolist() == numbers and not logits.requires_grad
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)
    assert runs == [n for i in range(3) if (n := sum(number >= i for number in numbers))]  # no others are computed
    if eta[0] == 0.5:
        assert {*numbers} == {0, 1, 2}


def test_sure_is_at_the_threshold_too(model):
    images = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        sure = confidences(model.exits(images)[0])
    _, exits = model.early_exit(images, [sure[1].item(), 0.0, 0.0])
    assert exits.tolist() == [int(each < sure[1]) for each in sure]


def test_what_is_no_number_leaves_last(model):
    images = torch.randn(3, 3, 32, 32)
    images[1] = math.nan
    logits, exits = model.early_exit(images, [0.0, 0.0, 0.0])
    assert exits.tolist() == [0, 2, 0] and logits[1].isnan().all() and not logits[::2].isnan().any()


def test_thresholds_cost_what_they_promise(model):
    """On the images on which they were found: by the counts of the search, and as counted in the run."""
    torch.manual_seed(2)
    images, macs = torch.randn(40, 3, 32, 32), model.macs()
    with torch.no_grad():
        logits = torch.stack(model.exits(images))
    budget = 0.5 * (macs[0] + macs[1])
    eta = [t - 1e-5 for t in search_thresholds(logits, macs, budget)]  # the same image at the edge, in any batch
    promised = torch.tensor(macs)[choose_exits(confidences(logits), eta)].sum().item()
    with FlopCounterMode(display=False) as counted:
        _, exits = model.early_exit(images, eta)
    assert counted.get_total_flops() // 2 == promised == sum(macs[i] for i in exits.tolist())
    assert 0.8 * budget < promised / len(images) <= budget


def test_the_best_within_the_budget():
    logits, targets = oracle_logits()
    macs, rows = [1, 3, 8], ORACLE["thresholds"]
    for budget in (1.5, 3.0, 6.0):
        within = [row for row in rows if row[3] <= budget]
        best = max(within, key=lambda row: (row[2], -row[3]))
        assert search_thresholds(logits, macs, budget, targets) == pytest.approx([best[0], best[1], 0], abs=1e-7)
        dear = max(within, key=lambda row: row[3])
        assert search_thresholds(logits, macs, budget) == pytest.approx([dear[0], dear[1], 0], abs=1e-7)
    with pytest.raises(ValueError, match="budget=1 is less than the 1.1"):
        search_thresholds(logits, macs, 1.0, targets)


def test_quantiles_by_hand():
    sure = torch.tensor([[0.9, 0.8, 0.7, 0.6, 0.5], [0.1, 0.2, 0.3, 0.9, 0.8], [1.0] * 5])
    assert thresholds_for(sure, [0.4, 0.2, 0.4]) == pytest.approx([0.8, 0.9, 0])
    assert choose_exits(sure, [0.8, 0.9, 0.0]).tolist() == [0, 0, 2, 1, 2]
    assert choose_exits(sure, [2.0, 2.0, 2.0]).tolist() == [2] * 5
    assert thresholds_for(sure, [0.1, 0.8, 0.1]) == pytest.approx([math.inf, 0.2, 0])  # a tenth of five is nobody
    four = torch.tensor([[0.9, 0.1, 0.1, 0.1], [0.2, 0.9, 0.1, 0.1], [0.9, 0.8, 0.7, 0.1], [1.0] * 4])
    assert thresholds_for(four, [0.25] * 4) == pytest.approx([0.9, 0.9, 0.7, 0])  # who left at any exit is gone


# ---- files


def test_starts_from_a_vit(tmp_path):
    """What fits is taken as it is, positions and patches at another size; what is reused starts afresh."""
    torch.manual_seed(0)
    dense, path = randomised(ViT("Ti/16", num_classes=5, image_size=32)), tmp_path / "dense.safetensors"
    dense.export(path)
    model, theirs = DVT("DeiT-Ti", num_classes=10, image_size=32, weights=str(path)), dense.state_dict()
    first, second, last = (net.state_dict() for net in model.cascade)
    assert all(torch.equal(first[key], x) for key, x in theirs.items() if key.startswith(("blocks", "norm", "cls")))
    assert torch.equal(last["pos_embed"], theirs["pos_embed"]) and second["pos_embed"].shape == (1, 37, 192)
    assert torch.equal(last["patch_embed.proj.weight"], theirs["patch_embed.proj.weight"])
    for net in (second, last):
        assert torch.equal(net["blocks.3.mlp.fc1.weight"][:, :192], theirs["blocks.3.mlp.fc1.weight"])
        assert torch.equal(net["blocks.3.norm2.weight"][:192], theirs["blocks.3.norm2.weight"])
        assert net["blocks.3.norm2.weight"][192:].tolist() == [1] * 48
        assert net["blocks.3.mlp.fc1.weight"][:, 192:].std().item() == pytest.approx(0.02, rel=0.2)
    assert last["head.weight"].shape == (10, 192) and not model.untrained


def test_patches_of_another_size_say_the_same():
    """Kernels that are a plain sum and a slope, of an image that is plain, and one that rises as far in all."""
    rise = (torch.arange(4) - 1.5) / 4
    kernel = torch.stack([torch.ones(4, 4), rise.expand(4, 4)])[:, None]
    large = fit(kernel, torch.empty(2, 1, 8, 8))
    assert large.shape == (2, 1, 8, 8)
    assert large.sum((1, 2, 3)).tolist() == pytest.approx([16, 0], abs=1e-5)
    slope = (torch.arange(8) - 3.5) / 8
    assert (large[1] * slope).sum().item() == pytest.approx((kernel[1] * rise).sum().item(), rel=0.1)


def test_weights_of_another_image_size(tmp_path):
    path = tmp_path / "small.safetensors"
    small = DVT("DeiT-nano", num_classes=5)
    small.export(path)
    large = DVT("DeiT-nano", num_classes=5, image_size=256, weights=str(path))
    assert large.normal_token.pos_embed.shape == (1, 257, 24)
    assert torch.equal(large.less_token.head.weight, small.less_token.head.weight)


def test_refuses_weights_of_another_network(tmp_path):
    ViT("Ti/16", num_classes=5, image_size=32).export(tmp_path / "dense.safetensors")
    with pytest.raises(ValueError, match="does not fit"):
        DVT("DeiT-nano", num_classes=5, image_size=32, weights=str(tmp_path / "dense.safetensors"))


def test_refusals(model):
    with pytest.raises(ValueError, match="use larger images, or DeiT-Ti"):
        DVT("T2T-12", image_size=64)
    with pytest.raises(ValueError, match="DVT has positions for images of 32 x 32 px, got 48 x 48"):
        model(torch.zeros(1, 3, 48, 48))
    with pytest.raises(ValueError, match="shorter"):
        model.early_exit(torch.zeros(1, 3, 32, 32), [0.9, 0.9])


# ---- other numbers


@pytest.mark.parametrize("backbone", ["DeiT", "T2T"])
def test_nearly_the_same_under_autocast(backbone):
    torch.manual_seed(0)
    model = DVT(f"{backbone}-nano", num_classes=10, image_size=96).eval()
    images = torch.randn(4, 3, 96, 96)
    with torch.no_grad():
        exact = model(images)
        with torch.autocast("cpu", torch.bfloat16):
            rough = model(images)
    torch.testing.assert_close(rough.float(), exact, rtol=0, atol=0.1 * exact.std().item())


@pytest.mark.slow
@pytest.mark.whole
def test_t2t_as_a_graph(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnx, onnxscript and onnxruntime")
    model, images = DVT("T2T-nano", num_classes=10, image_size=96).eval(), torch.randn(3, 3, 96, 96)
    with torch.no_grad():
        expected = model(images)
    model.export(tmp_path / "model.pt2")
    torch.testing.assert_close(torch.export.load(tmp_path / "model.pt2").module()(images), expected)
    model.export(tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    logits = torch.from_numpy(session.run(["logits"], {"images": images.numpy()})[0])
    torch.testing.assert_close(logits, expected, rtol=1e-3, atol=1e-4)
