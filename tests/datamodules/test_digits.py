"""Digits: the real ones, a fixed test set, no mirror images."""

import lightning as L
import numpy as np
import torch
from lightning.pytorch.tuner import Tuner
from sklearn.datasets import load_digits
from torch import nn

from datamodules import Digits
from zoo import Classifier


def test_the_digits_and_nothing_but_the_digits():
    data = Digits()
    data.setup()
    grey = np.concatenate([data.train_set.images, data.test_set.images])
    assert (grey == grey[..., :1]).all() and grey.min() == 0 and grey.max() == 255
    ours = sorted(image[..., 0].tobytes() for image in grey)
    assert ours == sorted(np.rint(image * 255 / 16).astype(np.uint8).tobytes() for image in load_digits().images)


def test_images_keep_their_labels():
    data = Digits()
    data.setup()
    known = {
        (image * 255 / 16).round().astype(np.uint8).tobytes(): k
        for image, k in zip(*load_digits(return_X_y=True), strict=True)
    }
    for images in (data.train_set, data.test_set):
        labels = [known[image[..., 0].tobytes()] for image in images.images]
        assert labels == images.targets.tolist()


def test_the_test_set_is_fixed_and_fair():
    one, two = Digits(split_seed=1), Digits(split_seed=2, val_split=0.5)
    one.setup(), two.setup()
    assert len(one.test_set) == 360 and len(one.train_set) == 1437
    assert np.array_equal(one.test_set.images, two.test_set.images)
    assert one.test_set.targets.bincount().sub(36).abs().max() <= 1


def test_digits_are_shifted_by_at_most_a_pixel_and_never_mirrored():
    data = Digits()
    data.setup("fit")
    images, _ = data.train_set.__getitems__([(1, i) for i in range(200)])
    padded = np.pad(data.train_set.images[:200], ((0, 0), (1, 1), (1, 1), (0, 0)))
    shifts = [torch.from_numpy(padded[:, y : y + 8, x : x + 8]).permute(0, 3, 1, 2) for y in range(3) for x in range(3)]
    hit = torch.stack([(images == shifted).flatten(1).all(1) for shifted in shifts])
    assert hit.any(0).all() and hit.any(1).all()


def test_the_batch_size_finder_ends_with_a_size_that_trains():
    data = Digits(64)
    model = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(192, 10)), 10)
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = L.Trainer(max_epochs=1, accelerator="cpu", **quiet)
    found = Tuner(trainer).scale_batch_size(model, datamodule=data, init_val=256, steps_per_trial=1, max_trials=8)
    assert found == len(data.train_indices) == 1293
    trainer.fit(model, data)
    assert trainer.num_training_batches == 1
