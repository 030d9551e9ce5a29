"""FCOS on shapes: what the arms share, the backbones, and a short run with its report."""

import warnings
from typing import Literal

import pytest
import torch

from callbacks import BoxLoss
from recipes import shapes_detector
from recipes.frame import records
from recipes.frame.page import lookouts


def test_arms_differ_in_the_loss_or_the_backbone_alone():
    first, other = shapes_detector.recipe("ciou"), shapes_detector.recipe("giou", "digits")
    assert [t.kind for r in (first, other) for t in r.callbacks if isinstance(t, BoxLoss)] == ["ciou", "giou"]
    heads = [{k: v for k, v in r.model.state_dict().items() if "backbone.body" not in k} for r in (first, other)]
    assert all(torch.equal(value, heads[1][key]) for key, value in heads[0].items()) and len(heads[0]) > 20
    bodies = [r.model.network.backbone.body.conv1.weight for r in (first, other)]
    assert not torch.equal(*bodies)
    assert torch.equal(bodies[0], shapes_detector.recipe("diou").model.network.backbone.body.conv1.weight)


def test_images_to_classify_have_one_shape_and_all_classes():
    data = shapes_detector.one_shape(90)
    data.setup("fit")
    assert 20 < len(data.train_set) < 50 and {*data.train_set.targets.tolist()} == {0, 1, 2}
    with pytest.raises(ValueError, match="digits"):
        shapes_detector.load_backbone("digit", 0)


@pytest.mark.slow
def test_a_backbone_is_trained_with_tricks_or_without():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain, tricks = (shapes_detector.load_backbone(name, 0, 200, 1) for name in ("shapes", "shapes, tricks"))
    raw = shapes_detector.load_backbone("from scratch", 0)
    weights = [body.conv1.weight for body in (plain, tricks, raw)]
    assert all(not torch.equal(one, two) for one, two in zip(weights, weights[1:], strict=False))


@pytest.mark.slow
def test_a_run_is_scored_saved_and_drawn(tmp_path, monkeypatch):
    pytest.importorskip("pycocotools", reason="counts mean average precision")
    monkeypatch.chdir(tmp_path)
    recipe = shapes_detector.recipe(epochs=1, images=32)
    recipe.data.test_images = 12
    assert {type(one).__name__ for one in lookouts(recipe.callbacks, recipe.model, recipe.data)} == {
        "LearningRateMonitor"
    }
    metrics = recipe.run(save=tmp_path / "out")
    assert {"test/map", "test/map_50", "test/map_75"} <= {*metrics}
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {"model.ckpt", "last.ckpt", "report.png"}
    with torch.no_grad():
        recipe.model.network.head.classification_head.cls_logits.bias += 5  # finds boxes everywhere
    with pytest.raises(RuntimeError, match="does not hold the trained model"):
        recipe.check_reload(tmp_path / "out" / "model.ckpt")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:the model's weights and the data differ")
def test_runs_are_compared_by_their_map(tmp_path, monkeypatch, capsys):
    pytest.importorskip("pycocotools", reason="counts mean average precision")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(records, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(shapes_detector, "Loss", Literal["giou"])
    monkeypatch.setattr(shapes_detector, "Backbone", Literal["from scratch", "digits"])
    shapes_detector.main(seeds=1, epochs=1, images=16, workers=0, record=True)
    giou, digits = records.read("shapes_detector")
    assert digits["arguments"]["backbone"] == "digits" and giou["right"] is None and "test/map" in giou["metrics"]
    assert "map %" in capsys.readouterr().out
