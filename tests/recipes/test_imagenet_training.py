"""ConvNeXt's and DeiT's training: the published settings, and two steps of each on a few tiny images."""

from dataclasses import replace

import pytest
import torch
from PIL import Image

from callbacks import EMA, CosineDecay, LabelSmoothing, LinearScaling, MixUpOrCutMix, NoBiasDecay
from datamodules.transforms.catalogue import MODERN, OPERATIONS, train_transform
from recipes import convnext_training, deit_training
from zoo import ConvNeXt, ViT, convnext, vit

TRICKS = [CosineDecay, LinearScaling, NoBiasDecay, MixUpOrCutMix, LabelSmoothing, EMA]
BOTH = pytest.mark.parametrize("module", [convnext_training, deit_training], ids=lambda m: m.__name__)
NETWORKS = {convnext_training: ConvNeXt, deit_training: ViT}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two classes of small files: 12 images to train, 4 to test."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    for part, count in (("train", 6), ("test", 2)):
        for name in ("cat", "dog"):
            (tmp_path / "tiny" / part / name).mkdir(parents=True)
            for i in range(count):
                pixels = torch.randint(256, (40, 48, 3), dtype=torch.uint8)
                Image.fromarray(pixels.numpy()).save(tmp_path / "tiny" / part / name / f"{i}.png")
    return tmp_path / "tiny"


@pytest.fixture
def tiny(monkeypatch):
    """The smallest networks of either kind, under names of their own."""
    monkeypatch.setitem(convnext.VARIANTS, "nano", convnext.Row((1, 1, 1, 1), (8, 8, 16, 16), 0.1))
    monkeypatch.setitem(vit.VARIANTS, "nano", vit.TokenRow(16, 2, 2))


def small(module, folder, **more):
    """12 images in batches of 3, two of them a step: two steps."""
    sizes = {"batch_size": 3, "accumulate": 2, "epochs": 1, "image_size": 32, "warmup_epochs": 0.5}
    return module.recipe("nano", replace(module.STEPS, folder=folder, **{**sizes, **more}))


@BOTH
def test_two_steps_and_a_test(module, folder, tiny):
    recipe = small(module, folder)
    recipe.data.num_workers = 0
    recipe.data._share_cores = False
    metrics = recipe.run(save=False)
    assert recipe.watch.images == 12 and recipe.model.trainer.global_step == 2
    published = {convnext_training: 4e-3 / 4096, deit_training: 5e-4 / 512}[module]  # for one image a step
    assert max(recipe.watch.rates) == pytest.approx(published * 6)
    average = recipe.callbacks[-1].label
    assert {"test/acc", f"test/acc_{average}", "train/acc_mixed"} <= metrics.keys()
    assert all(p.isfinite().all() for p in recipe.model.parameters())


@BOTH
def test_settings_are_the_published_ones(module, folder):
    variant = {convnext_training: "T", deit_training: "Ti/16"}[module]
    recipe = module.recipe(variant, replace(module.STEPS, folder=folder))
    assert [type(trick) for trick in recipe.callbacks] == TRICKS
    model, data, (schedule, scaling, _, mixing, smoothing, average) = recipe.model, recipe.data, recipe.callbacks
    assert type(model) is NETWORKS[module] and model.image_size == data.image_size == 224
    assert {"optimizer": "adamw", "weight_decay": 0.05}.items() <= dict(model.hparams).items()
    assert (mixing.mixup_alpha, mixing.cutmix_alpha, mixing.switch, mixing.p) == (0.8, 1.0, 0.5, 1.0)
    assert smoothing.eps == 0.1 and smoothing.formulation == "torch"
    assert recipe.trainer["max_epochs"] == 300 and data.val_split == 0
    k = recipe.arguments["images a step"] / scaling.base
    peak, last = model.hparams.lr * k, model.hparams.lr * k * schedule.end
    expected = {
        convnext_training: (4096, 4e-3, 1e-6, 20, 0.9999, 1),
        deit_training: (1024, 1e-3, 1e-5, 5, 0.99996, 3),
    }[module]
    found = (recipe.arguments["images a step"], peak, last, schedule.warmup_epochs, average.decay, data.repeats)
    assert found == pytest.approx(expected)
    drop_path = [m.p for m in model.modules() if type(m).__name__ == "DropPath"]
    assert drop_path[0] == 0 and drop_path[-1] == pytest.approx(0.1)


@BOTH
def test_what_an_image_goes_through(module, folder, tiny):
    data = small(module, folder).data
    operations = train_transform(data.transform, 32).operations
    assert [type(operation) for operation in operations] == [type(OPERATIONS[name](32)) for name in MODERN]
    assert data.evaluation.interpolation == "bicubic"
