"""The ladder on CIFAR-10: what stands on each rung, and one teacher for all seeds."""

import pytest
import torch

from callbacks import CosineDecay, KnowledgeDistillation, LinearScaling, MixUp, StepDecay
from recipes import bag_of_tricks_cifar
from recipes.digits_ladder import RUNGS
from recipes.frame import cifar, records
from recipes.frame.cifar import IMAGENET, Cifar
from tests.recipes.conftest import write_shades
from zoo import ResNet


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Ten classes of 32x32 images: 130 to train, 10 to test."""
    monkeypatch.setattr(records, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(cifar, "TRAINING_IMAGES", 130)
    monkeypatch.chdir(tmp_path)
    return write_shades(tmp_path / "tiny", train=13, test=1)


def test_the_rungs(monkeypatch):
    monkeypatch.setattr(bag_of_tricks_cifar, "trained_teacher", lambda *_: ResNet("20", num_classes=10, image_size=32))
    first, last = (bag_of_tricks_cifar.recipe(rung, epochs=40) for rung in (RUNGS[0], RUNGS[-1]))
    assert [type(trick) for trick in first.callbacks] == [StepDecay]
    kinds = {type(trick): trick for trick in last.callbacks}
    assert kinds[CosineDecay].warmup_epochs == 2 and kinds[LinearScaling].base == 32
    assert kinds[MixUp].alpha == 0.2 and kinds[KnowledgeDistillation].T == 20
    assert last.arguments["published"] == "0.7929" and first.arguments["published"] == ""


def test_a_published_teacher_gets_images_as_it_was_trained_on(tmp_path):
    theirs = ResNet("56", num_classes=10, image_size=32)
    torch.save(theirs.state_dict(), tmp_path / "theirs.th")
    one = bag_of_tricks_cifar.recipe(RUNGS[-1], teacher=tmp_path / "theirs.th")
    knowledge = one.callbacks[-1]
    assert (knowledge.T, knowledge.normalization) == (20, IMAGENET)
    for ours, expected in zip(knowledge.teacher.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(ours, expected)
    assert one.arguments["teacher"] == "theirs"


@pytest.mark.slow
def test_a_ladder_trains_and_its_teacher_once(folder, capsys, monkeypatch):
    trained = []
    monkeypatch.setattr(ResNet, "on_fit_end", lambda self: trained.append(self.hparams.variant), raising=False)
    monkeypatch.setattr(bag_of_tricks_cifar, "RUNGS", rungs := (RUNGS[0], RUNGS[-1]))
    bag_of_tricks_cifar.main(seeds=2, images=130, epochs=2, source=Cifar(folder=folder), workers=0, record=True)
    assert trained.count("56") == 1 and trained.count("20") == 4
    runs = records.read("bag_of_tricks_cifar")
    assert [run["arguments"]["rung"] for run in runs] == [*rungs, *rungs]
    assert "+ distillation, seed 1: 0." in capsys.readouterr().out
