"""What every model of `zoo.__all__` owes: it learns, keeps examples apart, and survives files, casts and compilers."""

import contextlib
import copy
import dataclasses
import functools
import itertools
import math

import lightning as L
import pytest
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader

import zoo
from recipes.frame.processor import has_bfloat16
from zoo import (
    cbam,
    convnext,
    convnext_roadmap,
    densenet,
    dvt,
    dynamic_vit,
    lvvit,
    preact_resnet,
    repvgg,
    resnet,
    resnext,
    senet,
    sknet,
    swin,
    wide_resnet,
)
from zoo.frame.fast import decompile, is_compiled
from zoo.frame.outputs import split_outputs
from zoo.layers.token_classifier import TokenRow

# Rows that are light enough for images of 8 px. Other models take images of 32 px, and unless named below, their
# row with the fewest parameters. Where a model is trained, copied or compiled, the tests of all but `ALWAYS` are
# slow.
ALWAYS = "ResNet"
LIGHT = {"PreActResNet": "18", "ResNet": "20", "WideResNet": "16-1"}
ROWS = {
    "MLP": "128-128-128",
    "VGG": "11-BN",
}  # three stages; plain VGG learns from a shallower one only
# Rows of our own, with all kinds of a network's blocks but few of each, where a step of the smallest row takes up to a
# second. What the rows of the papers are, the models' own tests compare with other libraries.
NANO = {
    "CBAMResNet": cbam.Row(cbam.CBAMBasic, (1, 2, 1, 1)),
    "ConvNeXt": convnext.Row((2, 1, 2, 1), (24, 48, 96, 192), 0.1, scale=0.1),
    "ConvNeXtRoadmap": dataclasses.replace(convnext_roadmap.VARIANTS["50-depthwise"], blocks=(2, 1, 1, 1), width=24),
    "DVT": dvt.Row(48, 4, 3, 4),
    "DeiT": TokenRow(48, 4, 3),
    "DenseNet": densenet.Row((2, 3, 2), k=12, stem=24, bottleneck=True),
    "DynamicViT": dynamic_vit.Row(48, 4, 3),
    "EViT": TokenRow(48, 12, 3),
    "LVViT": lvvit.Row(48, 4, 3, stem=16, a=1, drop_path=0.1),
    "MoEViT": TokenRow(48, 4, 3),
    "PatchSlimming": TokenRow(48, 4, 3),
    "PreActResNet": preact_resnet.Row(preact_resnet.PreActBasic, (2, 1, 1), 16),
    "RepVGG": repvgg.Row((1, 2, 2, 1), 0.25, 0.25),
    "ResNeXt": resnext.Row((1, 2, 1, 1), cardinality=4, path=8),
    "ResNet": resnet.Row(resnet.BasicBlock, (2, 1, 1), 16, shortcut="A"),
    "SENet": senet.Row((1, 2, 1, 1), None),
    "SKNet": sknet.Row((1, 2, 1, 1)),
    "Swin": swin.Row(24, (2, 1, 1, 1), (1, 2, 4, 8), 0.2),
    "ViT": TokenRow(48, 4, 3),
    "WideResNet": wide_resnet.Row((2, 1, 1), 1),
}
NAMES = sorted(zoo.__all__)
every_model = pytest.mark.parametrize("name", NAMES)
LARGE = {"AlexNet", "InceptionResNetV2", "InceptionV3", "InceptionV4", "Xception", "ZFNet"}  # half of the time of all
MARKS = {name: [pytest.mark.slow, pytest.mark.whole] if name in LARGE else [pytest.mark.slow] for name in NAMES}
MARKS[ALWAYS] = []
every_model_trained = pytest.mark.parametrize("name", [pytest.param(name, marks=MARKS[name]) for name in NAMES])


def variants(name: str) -> list[str]:
    return [variant for variant in getattr(zoo, name).variants if variant != "nano"]


@contextlib.contextmanager
def nano_rows():
    """Within it, the tables of the models have the rows of `NANO`."""
    with pytest.MonkeyPatch.context() as patch:
        for name, row in NANO.items():
            patch.setitem(getattr(zoo, name).variants, "nano", row)
        yield


@pytest.fixture(autouse=True)
def _nano_rows():
    with nano_rows():
        yield


@functools.cache
def smallest(name: str, pixels: int) -> str | None:
    """The row with the fewest parameters among those that take such images, if any does."""
    model, sizes = getattr(zoo, name), {}
    for variant in variants(name):
        with contextlib.suppress(ValueError), torch.device("meta"):
            network = model(variant, num_classes=10, image_size=pixels)
            sizes[variant] = sum(p.numel() for p in network.parameters())
    return min(sizes, key=sizes.get) if sizes else None


def size(name: str) -> int:
    """Side of the images, in pixels."""
    return 8 if name in LIGHT else 32


def row_of(name: str, pixels: int, nano: bool = True) -> str:
    """The row that is tested."""
    rows = ROWS | (LIGHT if pixels == size(name) else {}) | (dict.fromkeys(NANO, "nano") if nano else {})
    return rows.get(name) or smallest(name, pixels) or variants(name)[0]


def make(name: str, pixels: int | None = None, nano: bool = True, **arguments) -> zoo.Classifier:
    torch.manual_seed(0)
    pixels = pixels or size(name)
    arguments = {"optimizer": "sgd", "weight_decay": 1e-4, **arguments}  # the same for all, whatever a paper takes
    with nano_rows():
        return getattr(zoo, name)(row_of(name, pixels, nano), num_classes=10, image_size=pixels, **arguments)


def batch(name: str, n: int = 8, pixels: int | None = None) -> list[torch.Tensor]:
    torch.manual_seed(1)
    pixels = pixels or size(name)
    return [torch.randn(n, 3, pixels, pixels), torch.arange(n) % 10]


def collate(items):
    return [torch.stack([x for x, _ in items]), torch.stack([y for _, y in items])]


def loader(name: str, n: int = 8, pixels: int | None = None) -> DataLoader:
    """Batches of four."""
    return DataLoader(list(zip(*batch(name, n, pixels), strict=True)), batch_size=4, collate_fn=collate)


@pytest.fixture
def dynamo():
    """Compiled code and dynamo's settings end with the test."""
    flags = torch._dynamo.config.skip_nnmodule_hook_guards
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()
    torch._dynamo.config.skip_nnmodule_hook_guards = flags


def loss_of(model: zoo.Classifier, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """As in training, over all heads."""
    logits, extras = split_outputs(model.train()(images))
    return zoo.Step(images, targets, logits, None, extras).over_heads(lambda z: F.cross_entropy(z, targets))


def keep_one_batchs_statistics(model: zoo.Classifier) -> None:
    """Running means of two or three batches would be those of the start, and logits explode in deep networks."""
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0


def without_dropout(model: zoo.Classifier) -> None:
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0


def with_moved_statistics(name: str, **arguments) -> zoo.Classifier:
    """In eval mode, with the batch-norm statistics of one batch."""
    model = make(name, **arguments)
    keep_one_batchs_statistics(model)
    with torch.no_grad():
        model.train()(batch(name)[0])
    return model.eval()


# ---- it learns


# Logits of standard deviation s cost s^2 / 2 more than log K. Where the published weights let them start further away:
NEAR = 0.25
FAR = {
    "AlexNet": 1.0,  # biases of 1: all hidden units are near 1, and dropout doubles their squares: s = 1.2
    "CBAMResNet": 0.6,  # the authors' head has six times the variance of torch's: s = 0.9
    "ConvNeXtRoadmap": 0.5,  # the steps of ResNet with its end's N(0, 0.02^2) on 2048 sums of branches: s = 0.9
    "ResNet": 0.5,  # sums of nine rectified branches, none of which starts at 0: s = 0.9
}


@every_model_trained
@pytest.mark.one_in(4)
def test_starts_near_chance(name):
    """The mean loss over all labels of every image, as of labels that have nothing to do with it: never below log K.

    In the depth of a paper's row.
    """
    with torch.no_grad():
        logits = split_outputs(make(name, nano=False).train()(batch(name, 16)[0]))[0]
    excess = -logits.log_softmax(1).mean().item() - math.log(10)
    assert -1e-5 < excess < FAR.get(name, NEAR)
    assert (excess > NEAR) == (name in FAR)  # no exception that is not needed


@every_model_trained
@pytest.mark.one_in(6)
def test_learns_one_batch_by_heart_and_trains_all_of_itself(name):
    lr = 3e-3 if name in NANO else 1e-3  # narrow layers learn at larger rates
    fused = {"fused": True}  # a step over AlexNet's 28.6 million weights in .03 s, not .26 s
    model, (images, targets) = make(name, optimizer="adamw", lr=lr, optimizer_options=fused), batch(name)
    if name == "ZFNet":  # from the paper's weights N(0, .01^2) the first thousand steps find the class frequencies only
        for p in model.parameters():
            if p.ndim > 1:
                torch.nn.init.kaiming_normal_(p)
    optimizer, trained = model.configure_optimizers(), set()
    for _ in range(100):
        loss = loss_of(model, images, targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        trained |= {key for key, p in model.named_parameters() if p.grad is not None and p.grad.any()}
        if loss < 0.1:
            break
    assert loss < 0.1
    assert trained | by_a_teacher(model) | of_no_effect(model) == {key for key, _ in model.named_parameters()}


def by_a_teacher(model: zoo.Classifier) -> set[str]:
    """What only a distillation trick trains: DeiT's second head."""
    return {key for key, _ in model.named_parameters() if key.startswith("head_dist.")}


def of_no_effect(model: zoo.Classifier) -> set[str]:
    """What the authors' network has for nothing: in DVT's last block only patches get features, and none is read."""
    last = f"normal_token.blocks.{NANO['DVT'].depth - 1}.feature_resuse_mlp."
    return {key for key, _ in model.named_parameters() if key.startswith(last)}


@every_model
def test_examples_do_not_see_each_other(name):
    model, (images, _) = make(name).eval(), batch(name, 3)
    model(images.requires_grad_())[0].sum().backward()
    assert images.grad[0].any() and not images.grad[1:].any()


# ---- its shape


@every_model
def test_stages_are_maps_that_shrink_or_tokens(name):
    model, sides = make(name, 32), {}
    for stage, module in model.stages.items():
        assert model.stages[stage] is module
        module.register_forward_hook(lambda m, a, out, stage=stage: sides.update({stage: out.shape[-1]}))
    model.eval()(torch.randn(2, 3, 32, 32))
    assert list(sides) == [f"stage{i}" for i in range(1, len(sides) + 1)]
    assert len(sides) >= 3 and all(a >= b >= 1 for a, b in itertools.pairwise(sides.values()))
    assert next(iter(sides.values())) > 1  # one pixel a map leaves spatial tricks nothing to do


@every_model_trained
@pytest.mark.parametrize("pixels", [32, 224])
@pytest.mark.one_in(8)
def test_trains_at(name, pixels, trainer):
    if name not in NANO and smallest(name, pixels) is None:
        with pytest.raises(ValueError, match=str(pixels)):
            make(name, pixels)
        return
    run, data = trainer(max_epochs=1), loader(name, 2, pixels)
    run.fit(make(name, pixels, lr=1e-3), data, data)
    assert {"train/loss", "val/loss"} <= {key for key, value in run.callback_metrics.items() if value.isfinite()}


@every_model
def test_no_layer_hides_a_method(name):
    """`model.double()` of a network with a child called `double` would be that child; `model.classes` are names."""
    model, frame = on_meta(name), zoo.Classifier(torch.nn.Identity(), num_classes=2)
    children = {child for module in model.modules() for child, _ in module.named_children()}
    assert {child for child in children if hasattr(torch.nn.Module, child)} == set()
    assert {child for child, _ in model.named_children() if child in vars(frame)} == set()


def on_meta(name: str) -> zoo.Classifier:
    with torch.device("meta"):
        return make(name)


@pytest.mark.slow
@every_model
@pytest.mark.one_in(2)
def test_rows_with_the_same_keys_are_told(name):
    """One of such a group at most may take a file in silence: the row that everybody's files are of."""
    groups = {}
    for variant in variants(name):
        with torch.device("meta"):
            state = getattr(zoo, name)(variant).state_dict()
        groups.setdefault(tuple((key, value.shape) for key, value in state.items()), []).append(variant)
    silent = [[row for row in rows if row not in getattr(zoo, name).twins] for rows in groups.values()]
    assert [rows for rows in silent if len(rows) > 1] == []


@every_model
def test_hyper_parameters_are_plain(name):
    plain = (bool, int, float, str, type(None), dict)
    hparams = make(name, optimizer_options={"momentum": 0.8}).hparams
    assert {"variant", "num_classes", "image_size", "lr", "optimizer", "weight_decay"} <= {*hparams}
    assert {key: value for key, value in hparams.items() if not isinstance(value, plain)} == {}
    assert "weights" not in hparams  # a checkpoint brings its own


# ---- files and copies


@every_model_trained
@pytest.mark.one_in(8)
def test_checkpoint_round_trip(name, trainer, tmp_path):
    model, run, path = make(name, lr=0.01), trainer(max_epochs=1), tmp_path / "model.ckpt"
    run.fit(model, loader(name))
    run.save_checkpoint(path)
    images = batch(name)[0]
    expected = model.eval()(images)
    assert torch.load(path, weights_only=True)["class"] == name
    loaded = zoo.load(path)
    assert type(loaded) is type(model) and not loaded.training and not loaded.untrained
    assert torch.equal(loaded(images), expected)
    again = type(model).load_from_checkpoint(path)
    assert torch.equal(again.eval()(images), expected) and not again.untrained
    assert loaded.hparams == again.hparams == model.hparams


@every_model_trained
@pytest.mark.one_in(8)
def test_export_round_trip(name, tmp_path):
    model, images = with_moved_statistics(name), batch(name)[0]
    for file in ("model.safetensors", "model.pth"):
        model.export(tmp_path / file)
        again = make(name, weights=str(tmp_path / file))
        assert torch.equal(again.eval()(images), model(images))


@every_model_trained
@pytest.mark.one_in(8)
def test_copies_are_apart(name, trainer):
    model = make(name, lr=0.01)
    trainer(max_epochs=1).fit(model, loader(name))
    images, twin = batch(name)[0], copy.deepcopy(model)
    before = model.eval()(images)
    assert torch.equal(twin.eval()(images), before)
    torch.nn.init.zeros_(next(twin.parameters()))
    assert torch.equal(model(images), before) and not torch.equal(twin(images), before)


# Networks all of whose operations are in the others too, the quick ones among them. Translation to ONNX and capture by
# dynamo go operation by operation, some five seconds a network, and leave these out; `test_exports_as_a_graph` leaves
# out three of hundreds of layers.
ALIKE = {
    "BNInception", "ConvNeXtRoadmap", "DeiT", "InceptionResNetV2", "InceptionV3", "InceptionV4", "MobileNetV1", "NIN",
    "PatchSlimming", "RegNet", "ResNeXt", "VGG", "Xception", "ZFNet",
}  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [
        name if name == ALWAYS else pytest.param(name, marks=pytest.mark.slow)
        for name in NAMES
        if name not in ("InceptionResNetV2", "InceptionV3", "InceptionV4")
    ],
)
@pytest.mark.one_in(12)
def test_exports_as_a_graph(name, tmp_path):
    model, images = with_moved_statistics(name), batch(name)[0]
    model.train().export(tmp_path / "model.pt2")
    assert model.training
    graph, expected = torch.export.load(tmp_path / "model.pt2").module(), model.eval()(images)
    torch.testing.assert_close(graph(images), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(graph(images[:3]), expected[:3], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "name",
    [name if name == ALWAYS else pytest.param(name, marks=pytest.mark.slow) for name in NAMES if name not in ALIKE],
)
@pytest.mark.one_in(12)
def test_exports_to_onnx(name, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnx, onnxscript and onnxruntime")
    model, images = with_moved_statistics(name), batch(name)[0]
    model.export(tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    expected = model(images).detach()
    for n in (1, 8):
        logits = torch.from_numpy(session.run(["logits"], {"images": images[:n].numpy()})[0])
        torch.testing.assert_close(logits, expected[:n], rtol=1e-3, atol=1e-3)  # a hundred layers, sums in other orders


# ---- switches: the same numbers


@every_model_trained
@pytest.mark.one_in(5)
def test_trains_in_bf16(name, trainer):
    """As in float32, to a fifth: bf16 has eight bits, and errors grow over two steps on batches of four."""
    if name not in LIGHT and not has_bfloat16():
        pytest.skip("this processor emulates bfloat16: ten minutes for all models")
    runs = {p: trainer(max_epochs=1, precision=p) for p in ("32-true", "bf16-mixed", "bf16-true")}
    for run in runs.values():
        run.fit(make(name, lr=3e-4), loader(name), loader(name))
    exact, *rough = (run.callback_metrics["train/loss"] for run in runs.values())
    for loss in rough:
        assert loss.item() == pytest.approx(exact.item(), rel=0.2)
        assert loss.dtype == torch.float32


@every_model_trained
@pytest.mark.one_in(6)
def test_channels_last_changes_no_number(name, trainer):
    """With steps so small that differences in the last bit do not grow, and statistics of one batch."""
    models = [make(name, lr=1e-6, channels_last=switch) for switch in (False, True)]
    runs = [trainer(max_epochs=1) for _ in models]
    for model, run in zip(models, runs, strict=True):
        keep_one_batchs_statistics(model)
        without_dropout(model)  # which draws in the order of memory
        run.fit(model, loader(name))
    kernels = [p for p in models[1].parameters() if p.ndim == 4 and min(p.shape[1:]) > 1]
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in kernels)
    assert kernels or name not in LIGHT  # patches of one pixel have kernels of one
    close = 1e-3 if name in LIGHT else 3e-2  # a hundred norms over batches of four let the last bit grow
    torch.testing.assert_close(*(run.callback_metrics["train/loss"] for run in runs), rtol=close, atol=0)
    models[1].load_state_dict(models[0].state_dict())
    expected, logits = (model.eval()(batch(name)[0]) for model in models)
    atol = (1e-4 if name in LIGHT else 1e-3) * max(1, expected.std().item())
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=atol)


# Inductor takes a minute a model to compile; what it sees of a model, aot_eager sees too, and of most "eager" enough:
# whether its code can be captured as a graph. Where training runs the same code, evaluation alone is captured,
# by `test_exports_as_a_graph`.
STRAIGHT = {"AlexNet", "CBAMResNet", "ConvNet", "DenseNet", "MLP", "MobileNetV2", "MobileNetV3", "SENet", "SKNet"}
BACKWARD_TOO = {*LIGHT, "DynamicViT", "MoEViT", "ShuffleNetV2", "Swin"}
COMPILED = [
    pytest.param(
        name, "aot_eager" if name in BACKWARD_TOO else "eager", marks=[] if name == ALWAYS else pytest.mark.slow
    )
    for name in NAMES
    if name not in ALIKE | STRAIGHT
] + [pytest.param("ResNet", "inductor", marks=pytest.mark.slow)]


@pytest.mark.parametrize(("name", "backend"), COMPILED)
@pytest.mark.one_in(12)
def test_compile_changes_no_number(name, backend, trainer, dynamo, monkeypatch, tmp_path):
    plain, compiled = make(name, lr=0.01), make(name, lr=0.01, compile=True)
    keys = list(plain.state_dict())
    monkeypatch.setattr(type(compiled), "compile", functools.partialmethod(zoo.Classifier.compile, backend=backend))
    evaluated = {} if backend != "eager" else {"limit_val_batches": 0}
    runs = [trainer(max_epochs=1, **evaluated), trainer(max_epochs=1, **evaluated)]
    runs[0].fit(plain, loader(name), loader(name))
    runs[1].fit(compiled, loader(name), loader(name))
    assert not is_compiled(plain) and is_compiled(compiled)
    torch.testing.assert_close(*(run.callback_metrics["train/loss"] for run in runs), rtol=1e-3, atol=1e-4)
    assert list(compiled.state_dict()) == keys
    runs[1].save_checkpoint(tmp_path / "compiled.ckpt")
    if backend == "eager":  # its graph in evaluation is captured by `test_exports_as_a_graph` too
        decompile(compiled)
    images = batch(name, 8)[0]  # eight are compiled once more, for batches of any size
    torch.testing.assert_close(zoo.load(tmp_path / "compiled.ckpt")(images), compiled.eval()(images))


@every_model_trained
@pytest.mark.one_in(16)
def test_the_seed_decides(name, trainer):
    weights = []
    for seed in (3, 3, 4):
        L.seed_everything(seed, verbose=False)
        model = getattr(zoo, name)(row_of(name, size(name)), num_classes=10, image_size=size(name), lr=0.01)
        trainer(max_epochs=1).fit(model, loader(name))
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
