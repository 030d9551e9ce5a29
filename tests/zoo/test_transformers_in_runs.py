"""The transformers in whole runs: their own tricks beside mixing, averages and a teacher, stopped and resumed."""

from dataclasses import replace

import pytest
import torch
from torch.utils.data import DataLoader

import callbacks
from callbacks import EMA, CutMix, KnowledgeDistillation, MixUp
from tests.callbacks.conftest import At, assert_equal, weights
from tests.conftest import collate
from zoo import (
    DVT,
    DeiT,
    DynamicViT,
    EViT,
    HierarchicalMixture,
    LVViT,
    MoEViT,
    PatchSlimming,
    ResNet,
    Swin,
    ViT,
    dvt,
    lvvit,
    swin,
)

HALF = [[*range(65)]] * 6 + [[*range(33)]] * 5 + [[0]]


@pytest.fixture(autouse=True)
def nano(monkeypatch):
    """Variants small enough for a test: 8 wide, 12 blocks; images of 16 px."""
    for model in (ViT, DeiT, DynamicViT, EViT, LVViT, MoEViT, PatchSlimming):
        row = next(iter(model.variants.values()))
        monkeypatch.setitem(model.variants, "nano", replace(row, width=8, depth=12, heads=2))
    monkeypatch.setitem(lvvit.VARIANTS, "nano", lvvit.Row(8, 12, 2, stem=8, a=2, drop_path=0.1))
    monkeypatch.setitem(dvt.VARIANTS, "nano", dvt.Row(8, 2, 2, 4))
    monkeypatch.setitem(swin.VARIANTS, "nano", swin.Row(8, (2, 2, 2, 2), (1, 2, 2, 4), 0.1))


def teacher(kind=ResNet, variant="20"):
    torch.manual_seed(9)
    return kind(variant, num_classes=10, image_size=16)


# Each network, and the tricks that were made for it
OWN = {
    "ViT": (ViT, {}, lambda: [callbacks.PatchDropout((0.5, 1.0)), callbacks.DropHead()]),
    "DeiT": (DeiT, {}, lambda: [callbacks.AttentionPatchDropout((0.0, 0.5)), callbacks.DropHead(0.3)]),
    "Swin": (Swin, {}, lambda: [callbacks.DropHead()]),
    "LVViT": (LVViT, {}, lambda: [callbacks.TokenLabeling(teacher())]),
    "DynamicViT": (
        DynamicViT,
        {"keep": 0.5},
        lambda: [callbacks.TokenRatio(), callbacks.TokenDistillation(teacher(ViT, "nano")), callbacks.KeepRate()],
    ),
    "EViT": (EViT, {"keep": 0.5}, lambda: [callbacks.KeepRate(0, "1dur")]),
    "DVT": (DVT, {}, list),
    "PatchSlimming": (PatchSlimming, {"kept": HALF}, list),
    "MoEViT": (MoEViT, {"experts": 2}, lambda: [callbacks.GatingDropout(0.5), callbacks.ExpertBalance()]),
    "HierarchicalMixture": (HierarchicalMixture, {}, lambda: [callbacks.SubtreeDropout()]),
}
OTHERS = {
    "MixUp": MixUp,
    "CutMix": CutMix,
    "EMA": lambda: EMA(0.5),
    "soft": lambda: KnowledgeDistillation(teacher()),
    "hard": lambda: KnowledgeDistillation(teacher(), kind="hard"),
}
every = pytest.mark.parametrize("name", OWN)


def model(name):
    kind, options, _ = OWN[name]
    torch.manual_seed(0)
    return kind("20-2" if name == "HierarchicalMixture" else "nano", num_classes=10, image_size=16, lr=1e-2, **options)


@pytest.fixture
def data():
    """Six images, three batches."""
    torch.manual_seed(1)
    items = [(torch.randn(3, 16, 16), torch.tensor(i)) for i in range(6)]
    return DataLoader(items, batch_size=2, collate_fn=collate)


@every
@pytest.mark.parametrize("other", [pytest.param(other, marks=pytest.mark.slow) for other in OTHERS])
@pytest.mark.one_in(2)
def test_beside_one_other(name, other, data, trainer):
    """Its own tricks first, since one of them replaces the loss."""
    trained, before = model(name), weights(model(name))
    run = trainer(callbacks=[*OWN[name][2](), OTHERS[other]()], max_epochs=1)
    run.fit(trained, data, data)
    assert run.global_step == 3 and run.callback_metrics["val/loss"].isfinite()
    after = weights(trained)
    assert all(value.isfinite().all() for value in after.values())
    assert any(not torch.equal(before[key], after[key]) for key in before)


@every
def test_a_resumed_run_ends_with_the_same_bits(name, data, trainer, tmp_path):
    """Beside mixing, an average and a teacher, all at once."""

    def tricks():
        return [MixUp(), CutMix(p=0.5), *OWN[name][2](), OTHERS["hard"](), OTHERS["EMA"]()]

    file = tmp_path / "half.ckpt"
    save = At("on_train_epoch_end", lambda run, _: run.current_epoch or run.save_checkpoint(file))
    straight, resumed = trainer(callbacks=[*tricks(), save]), trainer(callbacks=tricks())
    straight.fit(model(name), data)
    resumed.fit(model(name), data, ckpt_path=file, weights_only=True)
    assert resumed.global_step == 6
    assert_equal(weights(resumed.lightning_module), weights(straight.lightning_module))
    assert_equal(*(next(t.average for t in run.callbacks if isinstance(t, EMA)) for run in (straight, resumed)))
