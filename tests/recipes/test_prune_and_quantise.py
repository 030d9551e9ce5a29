"""The recipe on images of ten shades: each row is the network that it says, and the costs fall."""

import pytest
import torch

import zoo
from recipes import prune_and_quantise as module
from recipes.frame import cifar, records
from recipes.frame.cifar import Cifar
from tests.recipes.conftest import write_shades
from zoo import ResNet


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Ten classes of 32 x 32 images: 130 to train, 20 to test."""
    return write_shades(tmp_path_factory.mktemp("shades"), train=13, test=2)


@pytest.fixture(autouse=True)
def small(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cifar, "TRAINING_IMAGES", 130)
    speed = module.speed
    monkeypatch.setattr(module, "speed", lambda network: speed(network, seconds=0.01, batch=4))
    yield
    for kept in (module.read, module.dense):
        kept.cache_clear()


@pytest.mark.slow
def test_rows(folder, monkeypatch, capsys):
    rows = []
    monkeypatch.setattr(records, "append", lambda name, record: rows.append(record))
    module.main(images=130, epochs=1, tuning=1, source=Cifar(folder=folder), record=True)
    names = [row["arguments"]["network"] for row in rows]
    assert names == ["dense", "dense, int8", "pruned", "pruned, tuned", "pruned, tuned, int8"]
    parameters = [row["metrics"]["parameters"] for row in rows]
    assert parameters[0] == parameters[1] == 269_722 > parameters[2] == parameters[3] == parameters[4]
    assert rows[2]["metrics"]["MACs"] < 0.8 * rows[0]["metrics"]["MACs"] == 0.8 * 40_551_040
    assert {"test/acc", "parameters", "MACs", "images/s", "seconds"} == rows[0]["metrics"].keys()
    assert all(set(module.COLUMNS) <= row["metrics"].keys() for row in rows)
    assert len(capsys.readouterr().out.splitlines()) == 5


def test_tuning_starts_from_what_is_left_of_a_checkpoint(folder, tmp_path, trainer):
    torch.manual_seed(0)
    whole, run = ResNet("20", num_classes=10), trainer()
    run.strategy.connect(whole)
    run.save_checkpoint(tmp_path / "dense.ckpt")
    one = module.recipe(
        "tuned", 130, share=0.25, by="l1", checkpoint=tmp_path / "dense.ckpt", source=Cifar(folder=folder)
    )
    assert one.model.layer2[0].conv1.out_channels == 24 and one.model.hparams.lr == pytest.approx(0.01)
    expected = zoo.prune_channels(whole, 0.25, "l1").state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in one.model.state_dict().items())
    assert [type(trick).__name__ for trick in one.callbacks] == ["CosineDecay", "NoBiasDecay"]


def test_the_dense_network_is_slimmed(folder):
    one = module.recipe(images=130, source=Cifar(folder=folder))
    assert [type(trick).__name__ for trick in one.callbacks] == ["CosineDecay", "NoBiasDecay", "Slimming"]
    assert one.model.hparams.lr == 0.1 and one.trainer["limit_val_batches"] == 0
