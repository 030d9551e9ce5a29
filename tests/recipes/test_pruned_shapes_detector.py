"""A pruned detector of shapes: what the arms share and take out, and a short run whose lines hold both mAPs."""

from functools import partial
from typing import Literal

import pytest
import torch

import zoo
from recipes import pruned_shapes_detector as module
from recipes.frame import records
from zoo import Detector, ResNet


@pytest.fixture(autouse=True)
def here(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    yield
    module.prune.cache_clear()


def test_arms_start_from_the_same_detector_and_lose_half_of_its_channels(monkeypatch, tmp_path, trainer):
    torch.manual_seed(0)
    whole, run = Detector(ResNet("20", image_size=32), "fcos", 3, 32, optimizer="adamw"), trainer()
    run.strategy.connect(whole)
    run.save_checkpoint(tmp_path / "whole.ckpt")
    asked = []
    monkeypatch.setattr(module, "train_teacher", lambda recipe: asked.append(recipe) or tmp_path / "whole.ckpt")
    arms = {arm: module.recipe(arm, seed=3) for arm in ("whole", "l1", "gamma")}
    first, *tuned = ([type(trick).__name__ for trick in one.callbacks] for one in [asked[0], *arms.values()])
    assert all(first == [*tricks, "Slimming"] for tricks in tuned)
    assert {one.seed for one in asked} == {3} and all(one.trainer["max_epochs"] == 12 for one in asked)
    assert {one.model.hparams.lr for one in arms.values()} == {1e-3} and arms["l1"].trainer["max_epochs"] == 3
    bodies = {arm: one.model.network.backbone.body for arm, one in arms.items()}
    assert [bodies[arm].layer2[1].conv1.out_channels for arm in ("whole", "l1")] == [32, 16]
    expected = zoo.prune_channels(whole, 0.5, "gamma").state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in arms["gamma"].model.state_dict().items())
    with torch.no_grad():
        arms["l1"].model.network.backbone.body.conv1.weight.zero_()
    assert module.recipe("l1", seed=3).model.network.backbone.body.conv1.weight.any()  # each run has its own copy


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:the model's weights and the data differ")
def test_a_run_has_the_map_before_and_after(monkeypatch, tmp_path):
    pytest.importorskip("pycocotools", reason="counts mean average precision")
    monkeypatch.setattr(records, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(module, "Arm", Literal["whole", "lcp"])
    monkeypatch.setattr(module, "IMAGES", 8)
    monkeypatch.setattr(module, "ShapeBoxes", partial(module.ShapeBoxes, test_images=12))
    monkeypatch.setattr("zoo.tools.prune_detector.PASSES", 3)
    module.main(seeds=1, fraction=0.9, epochs=1, tuning=1, images=16, record=True)
    whole, lcp = records.read("pruned_shapes_detector")
    assert [run["arguments"]["arm"] for run in (whole, lcp)] == ["whole", "lcp"]
    assert set(module.COLUMNS) <= whole["metrics"].keys() and 0 <= lcp["metrics"]["pruned/map"] <= 1
    assert lcp["metrics"]["parameters"] < 0.5 * whole["metrics"]["parameters"]
