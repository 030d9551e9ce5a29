"""The recipe on a ViT of width 24 and images of ten shades: versions start from the trained network, and train."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

import zoo
from callbacks import TokenDistillation
from recipes import token_reduction_cifar as module
from recipes.frame import catalogue, records
from recipes.frame.cifar import Cifar
from tests.recipes.conftest import write_shades
from zoo.tools.complexity import total_macs
from zoo.tools.early_exit import confidences

CACHED = (module.images, module.dense)
LAST = "normal_token."  # of DVT: its last ViT has the patches of the trained one
TABLES = ((zoo.vit, "Ti/16"), (zoo.dynamic_vit, "Ti"), (zoo.evit, "Ti"), (zoo.patch_slimming, "Ti"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Ten classes of 32 x 32 images: 160 to train, of which 10 % validate, and 20 to test."""
    return write_shades(tmp_path_factory.mktemp("shades"), train=16, test=2)


@pytest.fixture(autouse=True)
def narrow(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for file, name in TABLES:
        monkeypatch.setitem(file.VARIANTS, name, replace(file.VARIANTS[name], width=24))
    monkeypatch.setitem(zoo.dvt.VARIANTS, "DeiT-Ti", zoo.dvt.Row(24, 12, 3, 4))
    yield
    for kept in CACHED:
        kept.cache_clear()


def small(folder, version: str = "ViT"):
    return module.recipe(version, epochs=1, source=Cifar(folder=folder))


@pytest.mark.parametrize("version", module.VERSIONS)
def test_each_version_starts_from_the_trained_network(version, folder, monkeypatch):
    torch.manual_seed(0)
    vit = zoo.ViT("Ti/16", num_classes=10, image_size=32)
    monkeypatch.setattr(module, "dense", lambda *arguments: (SimpleNamespace(model=vit), {}))
    monkeypatch.setattr(module, "find_tokens_within", lambda model, images, share, step: [[*range(65)]] * 11 + [[0]])
    model = small(folder, version).model
    theirs, ours = vit.state_dict(), model.state_dict()
    if version == "DVT":  # but for the inputs and outputs that are reused
        ours = {key.removeprefix(LAST): value for key, value in ours.items()}
        theirs = {key: value for key, value in theirs.items() if ours[key].shape == value.shape}
        assert len(theirs) > 100
    assert all(torch.equal(ours[key], value) for key, value in theirs.items())
    assert all(ours[key].data_ptr() != value.data_ptr() for key, value in theirs.items())
    assert model.hparams.get("drop_path", 0) == 0 and model.hparams.lr == 3e-4


@pytest.mark.slow
def test_slimming_leaves_its_share(folder):
    torch.manual_seed(0)
    vit = zoo.ViT("Ti/16", num_classes=10, image_size=32)
    share = total_macs(module.slim(vit, module.images(1.0, Cifar(folder=folder))), 32) / total_macs(vit, 32)
    assert 0.4 < share <= module.SHARE


def test_the_dense_network_is_trained_once_and_teaches(folder, monkeypatch):
    trained = []
    run = module.Recipe.run
    monkeypatch.setattr(module.Recipe, "run", lambda recipe, **how: trained.append(recipe.model) or run(recipe, **how))
    recipes = [small(folder, version) for version in ("EViT 0.7", "DynamicViT 0.7")]
    assert len(trained) == 1
    (teaching,) = (trick for trick in recipes[1].callbacks if isinstance(trick, TokenDistillation))
    assert teaching.teacher is trained[0]


@pytest.mark.slow
def test_all_versions_train_and_are_recorded(folder, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(records, "RESULTS", tmp_path)
    module.main(epochs=2, source=Cifar(folder=folder), record=True)
    runs = {run["arguments"]["version"]: run["metrics"] for run in records.read("token_reduction_cifar")}
    assert list(runs) == ["ViT", *module.VERSIONS]
    assert len(capsys.readouterr().out.splitlines()) == len(runs)
    for metrics in runs.values():
        tokens = {column for column in module.COLUMNS if column.startswith("tokens")}
        assert {*module.COLUMNS, "test/acc", "val/acc"} - tokens <= metrics.keys()
        assert metrics["test/acc"] > 0.1  # chance
    tokens = {name: [metrics[f"tokens {i}"] for i in (1, 2, 3, 4)] for name, metrics in runs.items() if name != "DVT"}
    assert runs["DVT"]["MACs"] < 1.1 * module.EARLY * runs["ViT"]["MACs"]  # the thresholds are of validation images
    assert tokens["DynamicViT 0.7"] == [65, 45, 32, 22]
    assert tokens["EViT 0.7"] == [65, 47, 35, 26]
    assert tokens["ViT"] == tokens["PatchDropout 0.5"] == [65] * 4
    assert tokens["PatchSlimming"][-1] == 1


@pytest.fixture
def networks():
    torch.manual_seed(0)
    make = {"image_size": 32, "num_classes": 10}
    return zoo.ViT("Ti/16", **make), zoo.EViT("Ti", **make), zoo.DVT("DeiT-Ti", **make)


def ready(folder):
    data = module.images(1.0, Cifar(folder=folder))
    data.setup("test")
    return data


def test_columns_are_what_is_measured(folder, networks):
    vit, evit, _ = networks
    measured = module.costs(evit, vit, ready(folder))
    assert {*measured, "training images/s"} == {*module.COLUMNS}
    assert catalogue.columns("token_reduction_cifar") == module.COLUMNS
    assert measured["MACs"] < total_macs(vit, 32)


@pytest.mark.slow
def test_early_exits_are_those_of_the_network(folder, networks, monkeypatch):
    """The table's accuracy and cost, against `early_exit` on the test images and the shares that leave."""
    *_, dvt = networks
    for net in dvt.cascade:  # so that images differ in how sure it is
        torch.nn.init.normal_(net.head.weight)
    data = ready(folder)
    batches = [data.on_after_batch_transfer(list(batch), 0) for batch in data.test_dataloader()]
    images, targets = (torch.cat(parts) for parts in zip(*batches, strict=True))
    with torch.no_grad():
        first, second, _ = map(confidences, dvt.eval().exits(images))
    half = first.quantile(0.5)  # between two images: other batches round them differently
    halves = [half.item(), second[first < half].quantile(0.5).item(), 0.0]  # each exit has some
    monkeypatch.setattr(module, "search_thresholds", lambda *arguments: halves)
    eta, measured = module.early_exits(dvt, data, 1e9)
    logits, exits = dvt.early_exit(images, halves)
    assert eta == halves and len(set(exits.tolist())) == 3
    assert measured["test/acc"] == pytest.approx((logits.argmax(1) == targets).float().mean().item())
    left = [measured[f"leave at exit {i}"] for i in (1, 2, 3)]
    assert left == pytest.approx((exits.bincount(minlength=3) / len(exits)).tolist())
    macs = dvt.macs()
    assert measured["MACs"] == pytest.approx(sum(macs[i] for i in exits) / len(exits), abs=1)
