"""The bound against counted guesses, and trainings with right and with shuffled labels."""

import warnings

import pytest
import torch
from torch.utils.data import DataLoader

from callbacks import MixUp, ShuffledLabels
from callbacks.diagnostics import shuffled_labels
from callbacks.diagnostics.shuffled_labels import ClassCounts, chance_bound, looks_shuffled
from tests.conftest import collate, tiny_classifier
from zoo import Classifier

K = 4
SHIFT = torch.tensor([1, 2, 3, 0])  # another order of the same classes: accuracy 0
WORDS = r"training accuracy is \d.* and validation accuracy 0\.\d+, which is chance: the labels look shuffled"


def images(count, seed, order=None, largest=0.0):
    """Return noise in the colour of each class; all classes equally frequent, with `largest` more of the first."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.arange(count) % K
    targets[: int(largest * count)] = 0
    colours = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]])
    pictures = torch.randn(count, 3, 8, 8, generator=generator) / 4 + colours[targets][:, :, None, None]
    if order == "random":
        targets = targets[torch.randperm(count, generator=generator)]
    elif order is not None:
        targets = order[targets]
    return list(zip(pictures, targets, strict=True))


def loader(data, shuffle=False):
    return DataLoader(data, batch_size=20, shuffle=shuffle, collate_fn=collate)


def fitted(trainer, order, tricks=(), patience=2, epochs=4, largest=0.0):
    torch.manual_seed(0)
    model = tiny_classifier(lr=0.1)
    run = trainer(callbacks=[*tricks, ShuffledLabels(patience)], max_epochs=epochs)
    run.fit(model, loader(images(200, 1, largest=largest), shuffle=True), loader(images(200, 2, order)))
    return {name: value.item() for name, value in run.callback_metrics.items()}


@pytest.mark.parametrize("order", ["random", SHIFT], ids=["random", "another order"])
def test_warns_of_shuffled_labels_once(trainer, order):
    with pytest.warns(UserWarning, match=WORDS) as told:
        metrics = fitted(trainer, order)
    assert metrics["train/acc"] > 0.8 and metrics["val/acc"] < 0.35
    assert len([w for w in told if "look shuffled" in str(w.message)]) == 1


def test_says_nothing_of_right_labels(trainer):
    metrics = fitted(trainer, None)
    assert metrics["train/acc"] > 0.8 and metrics["val/acc"] > 0.8


def test_mixed_targets(trainer):
    with pytest.warns(UserWarning, match=WORDS):
        metrics = fitted(trainer, "random", [MixUp(0.2)])
    assert "train/acc" not in metrics
    fitted(trainer, None, [MixUp(0.2)])


def test_patience(trainer):
    fitted(trainer, "random", patience=5)  # warnings are errors
    with pytest.warns(UserWarning, match=WORDS):
        fitted(trainer, "random", patience=3)
    with pytest.raises(ValueError, match=r"patience must be in \[1, inf\]"):
        ShuffledLabels(0)


class Unlucky(Classifier):
    """A model whose validation is at chance in the first epoch only, as stale batch-norm averages may cause."""

    def validation_step(self, batch, batch_idx):
        images, targets = batch
        super().validation_step([images, (targets + (self.trainer.current_epoch == 0)) % K], batch_idx)


def test_one_bad_validation_is_none(trainer):
    torch.manual_seed(0)
    model = Unlucky(tiny_classifier().network, lr=0.1)
    trainer(callbacks=[ShuffledLabels()], max_epochs=3).fit(model, loader(images(200, 1)), loader(images(200, 2)))


@pytest.mark.parametrize(("seen", "told"), [([1, 0, 1, 0, 1], 0), ([1, 1, 1, 1, 1], 1), ([0, 1, 1, 0, 1], 1)])
def test_only_in_a_row_and_once_in_each_fit(trainer, monkeypatch, seen, told):
    trick = ShuffledLabels(2)
    for _ in range(2):
        looks = iter(seen)
        monkeypatch.setattr(shuffled_labels, "looks_shuffled", lambda *_, looks=looks: bool(next(looks)))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            run = trainer(callbacks=[trick], max_epochs=5, num_sanity_val_steps=0)
            run.fit(tiny_classifier(), loader(images(8, 1)), loader(images(8, 2)))
        assert sum("labels look shuffled" in str(warning.message) for warning in caught) == told


def test_no_validation_nothing_to_say(trainer):
    torch.manual_seed(0)
    trainer(callbacks=[ShuffledLabels(1)]).fit(tiny_classifier(), loader(images(40, 1)))


def test_bound_is_exceeded_as_often_as_the_binomial_says():
    guesses = torch.rand(20_000, 500, generator=torch.Generator().manual_seed(0)) < 0.1
    accuracies = guesses.float().mean(1)
    for deviations, share in ((1, 0.159), (2, 0.0228)):
        seen = (accuracies > chance_bound(0.1, 500, deviations)).float().mean().item()
        assert seen == pytest.approx(share, rel=0.15)
    assert chance_bound(0.1, 500, 3) == pytest.approx(0.1402, abs=1e-4)  # 0.1 + 3 sqrt(0.09 / 500)


EVEN = torch.full((10,), 100.0)


@pytest.mark.parametrize(
    ("train_acc", "val_acc", "shuffled"),
    [
        (0.5, 0.10, True),
        (0.5, 0.02, True),
        (0.5, 0.128, True),  # 0.1 + 3 sqrt(0.09 / 1000) = 0.1285
        (0.5, 0.129, False),
        (0.5, 0.50, False),
        (0.2, 0.10, False),  # twice chance is not clearly above chance
        (0.1, 0.10, False),
    ],
)
def test_decision(train_acc, val_acc, shuffled):
    assert looks_shuffled(train_acc, EVEN, val_acc, EVEN) is shuffled


def test_who_guesses_the_largest_class_has_learned_nothing():
    skewed = torch.tensor([900.0, 50, 50])
    assert not looks_shuffled(0.9, skewed, 1 / 3, torch.full((3,), 100.0))
    assert not looks_shuffled(0.5, EVEN, 0.95, skewed) and looks_shuffled(0.5, EVEN, 0.9, skewed)


def test_few_images_prove_nothing():
    few = torch.ones(10)
    assert not looks_shuffled(0.5, few, 0.1, EVEN) and looks_shuffled(0.6, few, 0.1, EVEN)  # 0.1 + 5 * 0.0949


def test_counts():
    classes = ClassCounts()
    classes.add(torch.tensor([0, 2, 2]))
    classes.add(torch.tensor([[0.5, 0.5, 0, 0], [0, 0, 0, 1]]))
    assert classes.counts().tolist() == [1.5, 0.5, 2, 1]
