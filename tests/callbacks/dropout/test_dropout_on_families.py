"""Every method of `FeatureDropout` on every family of networks: it trains, and leaves the plain network.

Methods are found in `callbacks.__all__`: new ones are tested here without a line of their own.
"""

import inspect
import zlib

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader

import callbacks
from callbacks.frame.feature_dropout import FeatureDropout
from tests.callbacks.conftest import At, assert_equal, hooks, weights
from tests.conftest import collate
from zoo import ConvNeXt, DenseNet, MobileNetV2, ResNet, ViT, convnext, densenet, mobilenet_v2, resnet, vit

METHODS = [name for name in callbacks.__all__ if issubclass(getattr(callbacks, name), FeatureDropout)]
STAGES = ("stage1", "stage2", "stage3", "stage4")
# the family's class and table, a narrow and shallow row of it, and that row's number of stages
FAMILIES = {
    "ResNet": (ResNet, resnet.VARIANTS, resnet.Row(resnet.BasicBlock, (1, 1, 1), 8), 3),
    "DenseNet": (DenseNet, densenet.VARIANTS, densenet.Row((2, 2, 2), k=4, stem=8, bottleneck=False), 3),
    "MobileNetV2": (MobileNetV2, mobilenet_v2.VARIANTS, mobilenet_v2.Row(0.1), 4),
    "ConvNeXt": (ConvNeXt, convnext.VARIANTS, convnext.Row((1, 1, 1, 1), (8, 8, 16, 16), 0.0, scale=1.0), 4),
    "ViT": (ViT, vit.VARIANTS, vit.TokenRow(16, 4, 2), 4),
}
NEVER = callbacks.Linear(0, 0)
LAYERS = {"DropConnect", "ClusteringDropConnect", "GuidedDropout"}  # act on layers, not on stages
CHANGES = {"GuidedDropout"}  # gives its layers parameters, and says so: tests/callbacks/network/test_surgery.py
every_family = pytest.mark.parametrize(
    "family", [pytest.param(name, marks=[] if name in ("ResNet", "ViT") else [pytest.mark.slow]) for name in FAMILIES]
)
every_method = pytest.mark.parametrize("name", METHODS)


def where_of(family):
    """Return values of `where`: the default, and each stage."""
    return (None, *STAGES[: FAMILIES[family][3]])


def places_of(name, family):
    """Return those that are tried: the default and, on ResNet, all stages, elsewhere one, by a hash of the names."""
    default, *stages = where_of(family)
    return (default, *(stages if family == "ResNet" else [stages[zlib.crc32((name + family).encode()) % len(stages)]]))


EVERYWHERE = [
    # in the default suite where a method acts by itself; on ResNet everywhere
    pytest.param(name, family, where, marks=[pytest.mark.slow] if where and family != "ResNet" else [])
    for name in METHODS
    for family in FAMILIES
    for where in places_of(name, family)
]


def fresh(family, **training):
    kind, table, row, _ = FAMILIES[family]
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(table, "nano", row)
        model = kind("nano", num_classes=10, image_size=32, lr=0.05, **training)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0  # the network's own dropout: its draws would differ between two runs
    return model


def images():
    """4 images of 32 px, 2 batches."""
    torch.manual_seed(1)
    return DataLoader([*zip(torch.randn(4, 3, 32, 32), torch.arange(4), strict=True)], batch_size=2, collate_fn=collate)


def trained(trainer, model, *tricks):
    """Train for two steps and return the model."""
    torch.manual_seed(2)
    trainer(callbacks=[*tricks], max_epochs=1).fit(model, images())
    return model


PLAIN = {}


def plain(family, trainer):
    """Return a model trained without any trick, and its weights; cached for all tests."""
    if family not in PLAIN:
        model = trained(trainer, fresh(family))
        PLAIN[family] = model, weights(model)
    return PLAIN[family]


def build(name, where=None, **arguments):
    """Return a method that acts strongly, at every step."""
    kind = getattr(callbacks, name)
    takes = inspect.signature(kind).parameters
    # blocks smaller than every map here: CorrDrop keeps a map of one block
    strong = {"p": 0.9 if name == "StructuralDropout" else 0.5, "participation": 1.0, "block_size": 2} | arguments
    if where is not None:
        strong["where"] = where
    return kind(**{key: value for key, value in strong.items() if key in takes})


def default_where(name):
    """Return its default `where`."""
    takes = inspect.signature(getattr(callbacks, name)).parameters
    return takes["where"].default if "where" in takes else "branches"


def refusal(name, family, where):
    """Return the error message for modules on which the method cannot act, else None."""
    where = where or default_where(name)
    if where in STAGES and name in LAYERS:
        return TypeError, f"{name} .*'{where}' is a .*: name other layers"
    if where == "branches" and family == "DenseNet":
        return TypeError, f"{name}: DenseNet has no residual block that it knows: (take it out|name modules)"
    if family == "ViT" and where != "classifier" and 3 not in getattr(callbacks, name).acts_on:
        return ValueError, rf"{name} acts on maps \(N, C, H, W\), and .* gives tokens \(N, L, D\): choose other modules"
    return None


def parts(model):
    return [(name, type(module), vars(module).keys()) for name, module in model.named_modules() if name]


def assert_plain(model, other):
    """Assert that a model equals one that never had a trick: equal parts, and equal logits for equal weights."""
    assert hooks(model) == 0
    assert parts(model) == parts(other)
    assert vars(model).keys() <= vars(other).keys()  # fewer if it was refused before Lightning added its own
    other.load_state_dict(model.state_dict())
    x = next(iter(images()))[0]
    with torch.no_grad():
        assert torch.equal(model.eval()(x), other.eval()(x))


@pytest.mark.parametrize(("name", "family", "where"), EVERYWHERE)
@pytest.mark.one_in(2)
def test_trains_and_leaves_the_plain_network(name, family, where, trainer):
    if where and "where" not in inspect.signature(getattr(callbacks, name)).parameters:
        return  # it finds its modules itself
    model, trick = fresh(family), build(name, where)
    other, expected = plain(family, trainer)
    if why := refusal(name, family, where):
        with pytest.raises(why[0], match=why[1]):
            trained(trainer, model, trick)
        assert_equal(weights(model), weights(fresh(family)))
        assert_plain(model, other)
        return
    trained(trainer, model, trick)
    after = weights(model)
    assert all(value.isfinite().all() for value in after.values())
    assert any(not torch.equal(after[key], expected[key]) for key in expected)  # it acted
    if name not in CHANGES:
        assert_plain(model, other)


@pytest.mark.parametrize(
    ("family", "stage"),
    [
        pytest.param(name, stage, marks=[] if name == "ResNet" else [pytest.mark.slow])
        for name in FAMILIES
        for stage in where_of(name)
    ],
)
def test_attention_with_dropout_in_every_family(family, stage, trainer):
    """ADCM's layers stay in the network; it refuses tokens."""
    model, before = fresh(family), {*fresh(family).state_dict()}
    trick = callbacks.ADCM(0.5, stage)
    if family == "ViT":
        with pytest.raises(TypeError, match="acts on maps .*choose others"):
            trained(trainer, model, trick)
        assert_equal(weights(model), weights(fresh(family)))
        return
    new = len([*model.stages.keys()][trick.default_stages]) if stage is None else 1
    trained(trainer, model, trick)
    added = [name for name in model.state_dict() if name not in before]
    assert before < {*model.state_dict()} and len(added) == 8 * new and all(".adcm." in name for name in added)
    assert hooks(model) == 0 and all(value.isfinite().all() for value in model.state_dict().values())


@every_family
@every_method
@pytest.mark.one_in(2)
def test_at_rate_or_share_zero_it_is_not_there(name, family, trainer):
    if name in CHANGES:
        return
    if default_where(name) == "branches" and family == "DenseNet":
        return  # refused before the first step
    other, expected = plain(family, trainer)
    for argument in {"p", "participation"} & inspect.signature(getattr(callbacks, name)).parameters.keys():
        model = trained(trainer, fresh(family), build(name, **{argument: NEVER}))
        assert_equal(weights(model), expected)
        assert_plain(model, other)


@every_family
@every_method
@pytest.mark.one_in(2)
def test_evaluation_does_not_see_it(name, family, trainer):
    """Evaluate while the trick is attached, in the middle of a fit."""
    vectors = name not in LAYERS and default_where(name) != "branches" and 2 in getattr(callbacks, name).acts_on
    where = "classifier" if vectors else None
    if refusal(name, family, where) or name in CHANGES:
        return
    seen, x, (other, _) = [], next(iter(images()))[0], plain(family, trainer)

    def look(trainer, model):
        other.load_state_dict(model.state_dict())
        assert hooks(model) > 0
        with torch.no_grad():
            seen.append((model.eval()(x), other.eval()(x)))
        model.train()

    trained(trainer, fresh(family), build(name, where), At("on_train_batch_end", look))
    assert all(torch.equal(*logits) for logits in seen) and len(seen) == 2


# ---- checkpointed, 16-bit


class Checkpointed(nn.Sequential):
    """A stage with activation checkpointing: it recomputes its activations in the backward pass."""

    def forward(self, x):
        return checkpoint(super().forward, x, use_reentrant=False)


@every_method
def test_in_a_checkpointed_stage(name, trainer):
    """Recomputed masks are equal, so the weights are those without checkpointing."""
    if name in LAYERS or "where" not in inspect.signature(getattr(callbacks, name)).parameters:
        return
    ends = []
    for again in (False, True):
        model = fresh("ResNet")
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 0.0  # recomputation would update statistics twice
        if again:
            model.layer2.__class__ = Checkpointed
        trained(trainer, model, build(name, ("layer2.0", "layer2.0.bn1", "stage2")))
        ends.append(weights(model))
    names = [key for key, _ in model.named_parameters()]
    assert [key for key in names if not torch.equal(ends[0][key], ends[1][key])] == []


@every_method
def test_in_channels_last_it_trains_the_same(name, trainer):
    if name in CHANGES:
        return
    where = None if name in LAYERS else ("stage1", "stage2")
    usual, last = (
        weights(trained(trainer, fresh("ResNet", channels_last=channels_last), build(name, where)))
        for channels_last in (False, True)
    )
    for key, value in usual.items():
        torch.testing.assert_close(last[key], value, rtol=1e-3, atol=1e-4)


@every_method
def test_in_bf16_its_masks_are_float32(name, trainer):
    """Nothing is NaN, weights stay float32, and a bfloat16 stage stays bfloat16."""
    if name in LAYERS or "where" not in inspect.signature(getattr(callbacks, name)).parameters:
        return
    model, kinds = fresh("ResNet"), []
    trick = build(name, ("layer1.0.conv1", "layer2.0.conv1"))
    model.layer1[0].bn1.register_forward_pre_hook(lambda module, inputs: kinds.append(inputs[0].dtype))
    trainer(callbacks=[trick], max_epochs=1, precision="bf16-mixed").fit(model, images())
    assert set(kinds) == {torch.bfloat16}
    assert all(p.isfinite().all() and p.dtype == torch.float32 for p in model.parameters())
