"""Calibration: torchmetrics' error, every image counted once, the drawing by hand."""

import pytest
import torch
from torchmetrics.functional.classification import multiclass_calibration_error

from callbacks import Calibration
from tests.conftest import tiny_classifier


def test_calibration_is_torchmetrics_and_counts_every_image(tiny_data, trainer):
    trick, model = Calibration(bins=10), tiny_classifier()
    run = trainer(callbacks=[trick])
    run.test(model, tiny_data, verbose=False)
    images, targets = (torch.cat(x) for x in zip(*tiny_data, strict=True))
    with torch.no_grad():
        p = model.eval()(images).softmax(1)
    expected = multiclass_calibration_error(p, targets, 10, n_bins=10)
    assert run.callback_metrics["test/ece"] == pytest.approx(expected.item(), abs=1e-6)
    table = torch.zeros(10, 10, dtype=torch.long)
    for truth, prediction in zip(targets.tolist(), p.argmax(1).tolist(), strict=True):
        table[truth, prediction] += 1
    assert torch.equal(trick.confusion, table)
    assert len(trick.draw().figure.axes) == 2


def test_the_drawing_has_fractions_of_each_true_class():
    trick = Calibration()
    trick.confusion = torch.tensor([[3, 1], [0, 0]])
    drawn = trick.draw().figure.axes[0].images[0].get_array()
    assert drawn.tolist() == [[0.75, 0.25], [0, 0]]


def test_calibration_speaks_of_the_last_test_alone(tiny_data, trainer):
    trick = Calibration()
    for _ in range(2):
        trainer(callbacks=[trick]).test(tiny_classifier(), tiny_data, verbose=False)
    assert len(trick.findings) == 1


def test_the_most_frequent_mistakes():
    trick = Calibration()
    trick.confusion = torch.tensor([[5, 0, 2], [7, 1, 0], [0, 0, 9]])
    assert trick._top_confusions() == [(1, 0, 7), (0, 2, 2)]
