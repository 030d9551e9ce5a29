"""StochasticDepth: it finds every branch, keeps the shortcut, follows its rule, per example or per batch."""

import pytest
import timm
import torch
from torch import nn

import callbacks
import zoo
from callbacks.dropout.stochastic_depth import branch_ends
from tests.callbacks.conftest import At
from tests.callbacks.dropout.sheets import CLASSICS, close
from tests.conftest import tiny_classifier
from zoo.layers.drop_path import linear_rates

# network -> its residual blocks: the layers that end a branch, and whether an activation follows the sum
NETWORKS = {
    "resnet20": (lambda: zoo.ResNet("20", 10), 9),
    "wrn16": (lambda: zoo.WideResNet("16-1", 10), 6),
    "convnext": (lambda: zoo.ConvNeXt("T", 10, 32, drop_path=0.0), 18),
    "vit": (lambda: zoo.ViT("Ti/16", 10, 32), 12),
    "timm resnet": (lambda: zoo.Classifier(timm.create_model("resnet10t", num_classes=10)), 4),
}


@pytest.mark.parametrize(
    "name", ["resnet20", "wrn16", "vit", "timm resnet", pytest.param("convnext", marks=pytest.mark.slow)]
)
def test_every_branch_is_found_and_the_shortcut_stays(name):
    build, blocks = NETWORKS[name]
    model = build().eval()
    ends = branch_ends(model)
    assert len(ends) == blocks
    for _, end in ends:
        end.register_forward_hook(lambda m, i, y: y * 0)
    seen = []
    parents = {path.rpartition(".")[0] for path, _ in ends}
    for path in parents:
        model.get_submodule(path).register_forward_hook(lambda m, i, y: seen.append((m, i[0], y)))
    with torch.no_grad():
        model(torch.randn(1, 3, 32, 32))
        for block, x, y in seen:
            around = [getattr(block, s, None) for s in ("downsample", "shortcut", "convdim")]
            if not any(isinstance(s, nn.Module) for s in around):
                assert torch.equal(y, x) or torch.equal(y, x.relu())
    assert len(seen) == blocks


def test_rates_of_the_paper():
    assert callbacks.StochasticDepth().factors(10) == pytest.approx([0.1 * i for i in range(1, 11)])
    assert [1 - 0.5 * f for f in callbacks.StochasticDepth().factors(10)] == pytest.approx(
        [0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.5]
    )
    assert callbacks.StochasticDepth(rule="constant").factors(3) == [1, 1, 1]


@pytest.mark.parametrize("shape", [(2000, 3, 2, 2), (2000, 3, 2)])
def test_draws_for_examples_and_for_batches(shape):
    torch.manual_seed(0)
    y = callbacks.StochasticDepth(0.4).drop(torch.ones(shape), 0.4).flatten(1)
    assert torch.equal(y, y[:, :1].expand_as(y))
    assert (y[:, 0] == 0).float().mean().item() == pytest.approx(0.4, abs=0.05)
    assert y.max().item() == pytest.approx(1 / 0.6)
    whole = [callbacks.StochasticDepth(0.4, per="batch").drop(torch.ones(4, 3), 0.4) for _ in range(300)]
    assert all(len(z.unique()) == 1 for z in whole)
    assert sum((z == 0).all().item() for z in whole) / 300 == pytest.approx(0.4, abs=0.12)


def test_refuses_networks_without_branches_or_that_drop_paths_themselves(trainer, tiny_data):
    with pytest.raises(TypeError, match="no residual block"):
        callbacks.StochasticDepth().named_modules(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()))
    with pytest.raises(ValueError, match="drop_path=0"):
        callbacks.StochasticDepth().named_modules(zoo.ViT("Ti/16", 10, 32, drop_path=0.1))
    assert [name for name, _ in callbacks.StochasticDepth().named_modules(tiny_classifier())] == [
        "network.block1.bn1",
        "network.block2.bn1",
    ]


@pytest.mark.parametrize("swa_first", [True, False])
def test_statistics_that_swa_renews_are_those_of_whole_branches(swa_first, trainer, tiny_data):
    """Its hooks are on norms, the only modules in training mode when SWA recomputes statistics."""
    model, seen = tiny_classifier(), []
    for block in (model.network.block1, model.network.block2):
        block.bn1.register_forward_hook(lambda m, i, y: seen.append(y.detach()) if not model.training else None)
    ends = {id(m): [] for m in (model.network.block1.bn1, model.network.block2.bn1)}

    def look(trainer, model):
        for block in (model.network.block1, model.network.block2):
            block.bn1.register_forward_hook(lambda m, i, y: None if model.training else ends[id(m)].append(y.detach()))

    tricks = [callbacks.StochasticDepth(0.9, "constant"), callbacks.SWA(start=0.5)]
    trainer(callbacks=[*tricks[:: -1 if swa_first else 1], At("on_train_start", look)]).fit(model, tiny_data)
    after = [y for both in zip(*ends.values(), strict=True) for y in both]
    assert len(after) == len(seen) > 0
    assert all(torch.equal(a, b) for a, b in zip(after, seen, strict=True))


def test_the_slow_loops_numbers():
    sheet = CLASSICS["stochastic_depth"]
    factors = callbacks.StochasticDepth(1 - sheet["p_L"]).factors(sheet["L"])
    close([1 - (1 - sheet["p_L"]) * factor for factor in factors], sheet["survival"])
    close(sum(linear_rates(1 - sheet["p_L"], (4, 6)), []), sheet["timm_linspace_drop"])
