"""The recipe on small data in the official layout: what it puts on, and that it trains and draws its curve."""

import pytest

from recipes import tiny_imagenet20
from tests.datamodules.conftest import write_tiny


@pytest.fixture
def root(tmp_path, monkeypatch):
    write_tiny(tmp_path / "tiny-imagenet-200", train=30, val=2)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_trains_on_the_official_layout(root):
    recipe = tiny_imagenet20.recipe(root=root, batch_size=10, budget=0.5)
    metrics = recipe.run(save=False)
    assert recipe.watch.images == 2 * 4 * 10  # of 81 training images: half of 8 batches, twice
    assert max(recipe.watch.rates) == pytest.approx(0.4 * 10 / 256)
    assert {"val/acc", "test/acc"} <= metrics.keys() and 0 <= metrics["test/acc"] <= 1
    assert recipe.arguments["images"] == root.stem
    _, curve = recipe.history.curve("val/acc")
    assert len(curve) == 2 * tiny_imagenet20.CURVE


def test_the_network_fits_the_data(root):
    recipe = tiny_imagenet20.recipe(root=root)
    assert recipe.model.num_classes == recipe.data.num_classes == 3 and recipe.model.image_size == 64


@pytest.mark.parametrize("budget", [0, 1.5, -1])
def test_a_budget_is_a_share(budget):
    with pytest.raises(ValueError, match=r"in \(0, 1\], got"):
        tiny_imagenet20.recipe(budget=budget)
