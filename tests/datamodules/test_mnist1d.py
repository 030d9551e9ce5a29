"""MNIST-1D: the authors' file to a rounded bit, and what a run gets of it."""

import numpy as np
import pytest
import torch

from datamodules import MNIST1D
from datamodules.mnist1d import CHECKSUM, checksum, draw, resample, signals, templates
from zoo import ConvNet


def test_is_the_authors_file():
    x, y = signals()
    assert checksum(x, y) == CHECKSUM
    assert x[0, :3] == pytest.approx([-0.33200567, -0.47191037, -0.77869708])  # the file's first numbers
    assert y[:10].tolist() == [2, 6, 4, 5, 6, 6, 6, 0, 3, 1]


def test_another_seed_is_another_set():
    (x, y), (other, _) = signals(100, seed=1), signals(100, seed=2)
    assert x.shape == (100, 40) and not np.allclose(x, other)
    assert np.bincount(y).tolist() == [10] * 10
    assert x.mean() == pytest.approx(0, abs=1e-12) and x.std() == pytest.approx(1)


def test_templates_begin_and_end_at_nought():
    curves = templates()
    assert curves.shape == (10, 12) and (curves[:, 0] == 0).all() and np.abs(curves[:, -1]).max() < 1e-12


def test_curves_are_resampled_on_straight_lines():
    assert resample(np.array([0.0, 1.0, 4.0]), 5).tolist() == [0, 0.5, 1, 2.5, 4]


def test_a_signal_is_a_function_of_the_draws():
    one, two = (draw(templates()[3], np.random.RandomState(5)) for _ in range(2))
    assert one.shape == (40,) and (one == two).all()


def test_batches(trainer):
    data = MNIST1D(train=200, test=50)
    run = trainer(max_epochs=1, limit_train_batches=None)
    model = ConvNet("4@1x3+1 max1x2", 10, image_size=40, height=1, in_chans=1, lr=0.01)
    run.fit(model, data)
    assert run.callback_metrics["val/acc"].isfinite()
    images, labels = next(iter(data.train_dataloader()))
    assert images.shape == (100, 1, 1, 40) and images.dtype == torch.float32 and labels.dtype == torch.int64
    assert sum(len(y) for _, y in data.test_dataloader()) == 50


def test_counts_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="their sum a multiple of 10, got 15 and 4"):
        MNIST1D(train=15, test=4)
