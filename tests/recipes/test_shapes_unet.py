"""The U-Net on shapes: where dropout acts, what is measured and drawn, and that it learns."""

import pytest
import torch

from callbacks import HeuristicDropout
from recipes import shapes_unet
from recipes.frame import records
from zoo.frame.scores import Scores


@pytest.mark.parametrize("network", shapes_unet.NETWORKS)
def test_dropout_is_between_the_convolutions_of_every_stage(network):
    recipe = shapes_unet.recipe(network=network)
    assert type(recipe.model).__name__ == network
    trick = recipe.callbacks[1]
    assert isinstance(trick, HeuristicDropout) and trick.p == 0.1
    assert trick.where == tuple(f"{stage}.relu1" for stage in recipe.model.stages) and len(trick.where) == 9
    plain = shapes_unet.recipe("none", network)
    assert [type(on).__name__ for on in plain.callbacks] == ["CosineDecay"]
    assert all(map(torch.equal, recipe.model.parameters(), plain.model.parameters()))


def background_alone() -> float:
    """IoU of who says background everywhere."""
    data = shapes_unet.recipe().data
    data.setup()
    masks, scores = data.test_set.targets, Scores(4, torch.device("cpu"), masks=True)
    scores.update(torch.eye(4)[torch.zeros_like(masks)].movedim(-1, 1), masks)
    return scores.compute()["iou"].item()


def test_background_alone_is_what_the_header_says():
    assert f"an IoU of {background_alone():.2f}"[:-1].replace("0.", ".") in shapes_unet.__doc__


@pytest.mark.slow
def test_all_rows_are_run_and_recorded_figures_are_there(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(records, "RESULTS", tmp_path / "results")
    shapes_unet.main(seeds=1, epochs=2, images=36, workers=0, record=True)
    runs = records.read("shapes_unet")
    assert [(run["arguments"]["network"], run["arguments"]["dropout"]) for run in runs] == [
        (network, dropout) for network in ("UNet", "AttentionUNet") for dropout in ("none", "heuristic")
    ]
    said = capsys.readouterr().out
    for run in runs:
        assert {"test/acc", "test/dice", "test/iou"} < run["metrics"].keys() and run["right"] is None
        assert f"{run['arguments']['dropout']}, seed 0: {run['metrics']['test/dice']:.4f}" in said


def test_the_report_shows_masks(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = shapes_unet.recipe(epochs=2, images=18)
    recipe.data.test_images = 10  # as many as are drawn
    metrics = recipe.run(save=tmp_path / "out")
    assert {"test/acc", "test/dice", "test/iou"} <= {*metrics}
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {"model.ckpt", "last.ckpt", "report.png"}


@pytest.mark.slow
@pytest.mark.whole
def test_it_learns_under_dropout(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    metrics = shapes_unet.recipe("heuristic", p=0.05, epochs=12, images=400).run(save=False)
    assert metrics["test/iou"] > 1.4 * background_alone()
