"""The recipe on a few images of ten shades: the authors' settings, both runs, and what they are compared by."""

import pytest

from callbacks import CosineDecay, SnapshotEnsemble
from recipes import snapshot_ensemble_cifar as module
from recipes.frame import cifar, records
from recipes.frame.cifar import Cifar
from tests.recipes.conftest import write_shades


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Ten classes of 32 x 32 images: 130 to train, 10 to test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cifar, "TRAINING_IMAGES", 130)
    return write_shades(tmp_path / "tiny", train=13, test=1)


def test_settings_are_the_authors():
    recipe = module.recipe()
    (trick,) = recipe.callbacks
    assert (trick.cycles, trick.last, recipe.trainer["max_epochs"]) == (5, 5, 200)
    options = recipe.model.hparams
    assert (options.optimizer, options.lr, options.weight_decay) == ("sgd", 0.2, 1e-4)
    assert recipe.data.batch_size == 64 and recipe.data.padding == 4 and recipe.data.flip


def test_the_single_network_has_the_same_training_time():
    one, five = module.recipe(1), module.recipe(5)
    assert [type(trick) for trick in one.callbacks] == [CosineDecay]
    assert [type(trick) for trick in five.callbacks] == [SnapshotEnsemble]
    assert one.trainer == five.trainer and one.arguments | {"cycles": 5} == five.arguments


def test_both_run_and_are_recorded(folder, monkeypatch, capsys):
    monkeypatch.setattr(records, "RESULTS", folder)
    module.main(cycles=[1, 2], images=100, epochs=2, source=Cifar(folder=folder), workers=0, record=True)
    one, two = records.read("snapshot_ensemble_cifar")
    assert "test/acc" in one["metrics"] and "test/acc_snapshots2" not in one["metrics"]
    assert {"test/acc", "test/acc_snapshots2"} < two["metrics"].keys()
    said = capsys.readouterr().out
    assert f"1 cycles, seed 0: {one['metrics']['test/acc']:.4f}" in said
    assert f"2 cycles, seed 0: {two['metrics']['test/acc_snapshots2']:.4f}" in said
