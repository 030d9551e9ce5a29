"""Planted noise on Fashion-MNIST: what is planted, that arms share it, and the table of their runs."""

import numpy as np
import pytest
import torch

from datamodules import FashionMNIST
from datamodules.frame.idx import IdxData
from recipes import noisy_labels_fashion as noisy
from recipes.frame.web_noise import paste, plant_background


def grey(count):
    """Images of ten classes, as bright as their class, and the classes."""
    targets = torch.arange(10).repeat(count)
    images = np.broadcast_to(10 + 20 * targets.numpy()[:, None, None, None], (len(targets), 28, 28, 1))
    return np.ascontiguousarray(images, np.uint8), targets


@pytest.fixture
def _small(monkeypatch, tmp_path):
    monkeypatch.setattr(FashionMNIST, "prepare_data", lambda self: None)
    monkeypatch.setattr(IdxData, "read", lambda self, part: grey(9 if part == "train" else 1))
    monkeypatch.chdir(tmp_path)


def test_a_pasted_image_by_hand():
    """White, half as large, in the lower right corner of a black canvas; then in the middle."""
    white, black = torch.full((2, 1, 8, 8), 255, dtype=torch.uint8), torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
    found = paste(white, black, torch.tensor([0.5, 0.5]), torch.tensor([[1.0, 1.0], [0.5, 0.5]]))
    assert (found[0, 0, 4:, 4:] == 255).all() and found[0].float().mean() == 255 / 4
    assert (found[1, 0, 2:6, 2:6] == 255).all() and found[1].float().mean() == 255 / 4
    below = paste(white, black, torch.tensor([0.5, 0.5]), torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    assert (below[0, 0, 4:, :4] == 255).all() and (below[1, 0, :4, 4:] == 255).all()


def test_a_small_image_is_the_average_of_the_large_one():
    ramp = torch.arange(0, 160, 10, dtype=torch.uint8).view(1, 1, 1, 16).expand(1, 1, 16, 16)
    found = paste(ramp, torch.zeros_like(ramp), torch.tensor([0.5]), torch.tensor([[0.0, 0.0]]))
    assert found[0, 0, 2, :8].tolist() == pytest.approx([5 + 20 * i for i in range(8)], abs=4)


def test_backgrounds_are_of_other_classes_and_the_share_is_kept():
    images, targets = grey(20)
    found, noisy = plant_background(images, targets, 0.3, seed=1)
    assert noisy.sum() == 60 and np.array_equal(found[~noisy.numpy()], images[~noisy.numpy()])
    own = 10 + 20 * targets[noisy]
    corners = torch.from_numpy(found)[noisy][:, [0, 0, 27, 27], [0, 27, 0, 27], 0].sort(1).values  # one may be covered
    assert ((corners != own[:, None]).sum(1) >= 3).all()
    area = (torch.from_numpy(found)[noisy][..., 0] == own[:, None, None]).float().mean((1, 2))
    assert (area > 0.2**2).all() and (area < 0.6**2 + 0.01).all() and area.std() > 0.03
    assert np.array_equal(images, grey(20)[0])
    again, other = plant_background(images, targets, 0.3, 1)[0], plant_background(images, targets, 0.3, 2)[0]
    assert np.array_equal(found, again) and not np.array_equal(found, other)


@pytest.mark.usefixtures("_small")
def test_what_is_planted_is_the_same_for_all_seeds_and_not_in_the_test():
    made = []
    for seed in (0, 1):
        data = noisy.recipe(noise=0.4, background=0.5, images=8, seed=seed).data
        data.setup()
        assert int((data.train_set.targets != data.clean_targets).sum()) == 32
        made.append((data.train_set.targets, data.train_set.without_augmentation().images))
        assert np.array_equal(data.test_set.images[..., :1], grey(1)[0])
    assert torch.equal(made[0][0], made[1][0]) and np.array_equal(made[0][1], made[1][1])
    clean = noisy.recipe(noise=0.4, images=8).data
    clean.setup()
    changed = (clean.train_set.without_augmentation().images != made[0][1]).any((1, 2, 3))
    assert changed.sum() == 40


def test_the_table_has_a_row_for_each_noise_and_arm():
    def run(arm, noise, acc):
        metrics = {"test/acc": acc, noisy.FITTED: 0.5, noisy.CORRECTED: 0.25}
        return {"arguments": {"arm": arm, "noise": noise, "background": 0.0}, "metrics": metrics}

    heads, rows = noisy.table([run("mixup", 0.4, 0.5), run("mixup", 0.4, 0.7), run("memory", 0.2, 0.9)])
    assert heads[:3] == ["noise", "background", "arm"]
    assert rows == [
        ["0.2", "0.0", "memory", "0.9000 (1 run)", "0.5000 (1 run)", "0.2500 (1 run)", "1"],
        ["0.4", "0.0", "mixup", "0.6000 ± 0.1414", "0.5000 ± 0.0000", "0.2500 ± 0.0000", "2"],
    ]


@pytest.mark.slow
@pytest.mark.usefixtures("_small")
def test_all_arms_are_compared(capsys):
    noisy.main(noise=0.4, seeds=2, images=4, epochs=1, workers=0)
    said = capsys.readouterr().out
    assert all(f"{arm:<27}fitted 0." in said or f"{arm:<27}fitted 1." in said for arm in noisy.ARMS)
