"""Circle loss on Fashion-MNIST: which classes are learned and which are searched, and what the arms differ in."""

from typing import get_args

import numpy as np
import pytest
import torch

from datamodules import FashionMNIST
from recipes import circle_fashion
from recipes.circle_fashion import recipe
from recipes.frame import records


@pytest.fixture(autouse=True)
def _small(monkeypatch, tmp_path):
    """Twenty images of each class to train on, four to test, as bright as their class."""

    def read(self, part):
        targets = torch.arange(10).repeat(20 if part == "train" else 4)
        return np.broadcast_to(20 * targets.numpy()[:, None, None, None], (len(targets), 28, 28, 1)).astype(
            np.uint8
        ), targets

    monkeypatch.setattr(FashionMNIST, "prepare_data", lambda self: None)
    monkeypatch.setattr(FashionMNIST, "read", read)
    monkeypatch.chdir(tmp_path)


def test_what_is_searched_was_never_learned():
    data = recipe(images=12).data
    data.setup()
    assert data.class_counts.tolist() == [12] * 7 + [0] * 3
    images, targets = next(iter(data.test_dataloader()))
    assert sorted(targets.tolist()) == [7] * 4 + [8] * 4 + [9] * 4 and len(data.test_set) == 12
    assert torch.equal(images[:, 0, 0, 0], 20 * targets.to(torch.uint8))


def test_arms_differ_in_batches_and_loss():
    found = {}
    for arm in ("softmax, random batches", "softmax", "circle, classes", "circle, pairs"):
        one = recipe(arm)
        found[arm] = one.data.per_class, *(trick.form for trick in one.callbacks if hasattr(trick, "form"))
    assert found == {
        "softmax, random batches": (None,),
        "softmax": (8,),
        "circle, classes": (8, "class"),
        "circle, pairs": (8, "pair"),
    }


@pytest.mark.slow
def test_all_arms_run(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(records, "RESULTS", tmp_path / "results")
    circle_fashion.main(seeds=1, images=8, epochs=1, workers=0, record=True)
    runs = records.read("circle_fashion")
    assert [run["arguments"]["arm"] for run in runs] == [*get_args(circle_fashion.Arm)]
    said = capsys.readouterr().out
    assert "map_at_r %" in said
    assert all(f"{run['arguments']['arm']}, seed 0: {run['metrics']['test/map_at_r']:.4f}" in said for run in runs)
