"""Lists of tricks by paper: the published numbers, the recipes that use them, and a short run of each."""

import inspect

import lightning as L
import numpy as np
import pytest
import torch

from callbacks import presets
from datamodules import Arrays
from recipes import convnext_training, deit_training, digits_ladder, digits_resnet20
from recipes.frame.imagenet import imagenet_recipe
from zoo import ConvNeXt, ResNet, ViT, convnext, vit

# The arguments of every trick, from the papers' tables: He et al. 2018, sections 3.1 and 5; Liu et al. 2022, table 5;
# Touvron et al. 2021, table 9; Wightman et al. 2021, table 2; DeVries and Taylor 2017, section 4.1. Ends of cosines:
# the authors' and mmpretrain's command lines.
PUBLISHED = {
    "bag_of_tricks": {
        "CosineDecay": {"warmup_epochs": 5, "warmup_kind": "linear", "end": 0},
        "LinearScaling": {"base": 256},
        "ZeroGamma": {},
        "NoBiasDecay": {},
        "LabelSmoothing": {"eps": 0.1},
        "MixUp": {"alpha": 0.2},
    },
    "convnext": {
        "CosineDecay": {"warmup_epochs": 20, "warmup_kind": "linear", "end": pytest.approx(2.5e-4)},
        "LinearScaling": {"base": 256},
        "NoBiasDecay": {},
        "MixUpOrCutMix": {"mixup_alpha": 0.8, "cutmix_alpha": 1.0, "switch": 0.5, "p": 1.0},
        "LabelSmoothing": {"eps": 0.1, "formulation": "torch"},
        "EMA": {"decay": 0.9999},
    },
    "deit": {
        "CosineDecay": {"warmup_epochs": 5, "warmup_kind": "linear", "end": pytest.approx(0.01)},
        "LinearScaling": {"base": 256},
        "NoBiasDecay": {},
        "MixUpOrCutMix": {"mixup_alpha": 0.8, "cutmix_alpha": 1.0, "switch": 0.5, "p": 1.0},
        "LabelSmoothing": {"eps": 0.1, "formulation": "torch"},
        "EMA": {"decay": 0.99996},
    },
    "A1": {
        "CosineDecay": {"warmup_epochs": 5, "warmup_kind": "linear", "end": pytest.approx(1e-6 / 5e-3)},
        "NoBiasDecay": {},
        "StochasticDepth": {"p": 0.05, "rule": "linear", "per": "sample"},
        "MixUpOrCutMix": {"mixup_alpha": 0.2, "cutmix_alpha": 1.0, "switch": 0.5, "p": 1.0},
        "BinaryCrossEntropy": {"threshold": 0, "smoothing": 0.1, "sum_classes": False},
    },
    "A2": {
        "CosineDecay": {"warmup_epochs": 5, "warmup_kind": "linear", "end": pytest.approx(1e-6 / 5e-3)},
        "NoBiasDecay": {},
        "StochasticDepth": {"p": 0.05, "rule": "linear", "per": "sample"},
        "MixUpOrCutMix": {"mixup_alpha": 0.1, "cutmix_alpha": 1.0, "switch": 0.5, "p": 1.0},
        "BinaryCrossEntropy": {"threshold": 0, "smoothing": 0.0, "sum_classes": False},
    },
    "A3": {
        "CosineDecay": {"warmup_epochs": 5, "warmup_kind": "linear", "end": pytest.approx(1e-6 / 8e-3)},
        "NoBiasDecay": {},
        "MixUpOrCutMix": {"mixup_alpha": 0.1, "cutmix_alpha": 1.0, "switch": 0.5, "p": 1.0},
        "BinaryCrossEntropy": {"threshold": 0, "smoothing": 0.0, "sum_classes": False},
    },
    "cifar": {
        "StepDecay": {"milestones": ("0.3dur", "0.6dur", "0.8dur"), "gamma": 0.2, "warmup_epochs": 0},
        "Cutout": {"side": 16},
    },
}
NETWORKS = {
    "convnext": lambda: ConvNeXt("nano", 10, 32),
    "deit": lambda: ViT("nano", 10, 32, drop_path=0.1),
}


def make(name):
    return presets.resnet_strikes_back(name) if name in presets.PROCEDURES else getattr(presets, name)()


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_number_is_the_published_one(name):
    tricks = make(name)
    assert [type(trick).__name__ for trick in tricks] == [*PUBLISHED[name]]
    for trick in tricks:
        expected = PUBLISHED[name][type(trick).__name__]
        assert {key: getattr(trick, key) for key in expected} == expected


def test_cifar_100_has_smaller_squares():
    assert presets.cifar(100)[1].side == 8
    with pytest.raises(ValueError, match="for 10 or 100 classes, got 1000: take Cutout"):
        presets.cifar(1000)


def test_an_unknown_procedure_is_refused():
    assert repr(presets.resnet_strikes_back()) == repr(presets.resnet_strikes_back("A3"))
    with pytest.raises(ValueError, match="resnet_strikes_back has no 'A4'.*A1, A2, A3"):
        presets.resnet_strikes_back("A4")


@pytest.mark.parametrize("name", PUBLISHED)
def test_each_call_makes_new_tricks(name):
    one, other = make(name), make(name)
    assert repr(one) == repr(other) and not {id(trick) for trick in one} & {id(trick) for trick in other}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_short_run(name, monkeypatch):
    """Two steps with the whole list, on a small network of the paper's family."""
    monkeypatch.setitem(convnext.VARIANTS, "nano", convnext.Row((1, 1, 1, 1), (8, 8, 16, 16), 0.1))
    monkeypatch.setitem(vit.VARIANTS, "nano", vit.TokenRow(16, 2, 2))
    torch.manual_seed(3)
    model = NETWORKS.get(name, lambda: ResNet("20", 10, 32))()
    before = [p.clone() for p in model.parameters()]
    images = np.random.default_rng(3).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
    data = Arrays(images, np.arange(20) % 10, batch_size=8, val_split=0)
    options = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    L.Trainer(fast_dev_run=2, callbacks=make(name), **options).fit(model, data)
    after = [*model.parameters()]
    assert all(p.isfinite().all() for p in after)
    assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_recipes_take_their_lists_from_here(monkeypatch):
    """So no number stands twice."""
    seen = {}
    for module in (convnext_training, deit_training):
        monkeypatch.setattr(module, "imagenet_recipe", lambda *a, **k: seen.setdefault(a[0], a[3]))
        module.recipe()
    assert repr(seen["convnext_training"]) == repr(presets.convnext())
    assert repr(seen["deit_training"]) == repr(presets.deit())
    assert [*inspect.signature(imagenet_recipe).parameters][3] == "tricks"
    assert repr(digits_resnet20.recipe().callbacks[:-1]) == repr(presets.bag_of_tricks(2))
    assert repr(digits_ladder.recipe("+ mixup").callbacks) == repr(presets.bag_of_tricks(2, base=32))
