"""FitVerdict: trends by hand, all nine cases, the gap of a converged run, curves that are not finite, AIC and BIC."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from callbacks import FitVerdict, LabelSmoothing, MixUp
from callbacks.diagnostics.fit_verdict import VERDICTS, trend
from callbacks.frame.criteria import Criteria
from datamodules import Arrays
from tests.callbacks.diagnostics.fits import found
from tests.conftest import tiny_classifier


@pytest.mark.parametrize(
    ("curve", "expected"),
    [
        ([8, 7, 6, 5, 4, 3, 2, 1], -1),
        ([8, 4, 2, 1, 1, 1, 1, 1], 0),
        ([8, 4, 2, 1, 2, 3, 4, 5], 1),
        ([3, 3, 3, 3], 0),
        ([8, 4, 2, 1.0, 1.1, 0.9, 1.1, 0.9], 0),
    ],
)
def test_trends(curve, expected):
    assert trend([float(v) for v in curve], max(curve) - min(curve)) == expected


def test_both_curves_have_one_scale():
    """Of a pretrained network, val/loss hardly moves: by its own range, it would fall here."""
    train, val = [2.3, 1.4, 1.2, 1.1, 1.0, 0.99, 0.98, 0.98], [0.93, 0.83, 0.82, 0.81, 0.81, 0.80, 0.79, 0.79]
    assert trend(val, max(val) - min(val)) == -1
    assert "converged" in judged(train, val).text


def test_every_pair_of_trends_has_a_verdict():
    assert set(VERDICTS) == {(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1)}
    assert "overfitting" in VERDICTS[-1, 0][1] and "train longer" in VERDICTS[-1, -1][1]


def test_a_second_fit_has_curves_of_its_own(tiny_data, trainer):
    trick = FitVerdict()
    for _ in range(2):
        (finding,) = found(trick, trainer, tiny_data, max_epochs=3)
        assert "no verdict" in finding.text


def test_a_verdict_at_the_end(tiny_data, trainer):
    (finding,) = found(FitVerdict(), trainer, tiny_data, tiny_classifier(lr=1e-3), max_epochs=6)
    assert finding.well and finding.text.startswith("still learning")
    assert "no verdict" in found(FitVerdict(), trainer, tiny_data)[0].text


def judged(train, val, **metrics):
    trick = FitVerdict()
    trick._curves = {"train/loss": train, "val/loss": val}
    trick.on_train_end(SimpleNamespace(callback_metrics={k: torch.tensor(v) for k, v in metrics.items()}), None)
    return trick.findings[0]


def test_a_run_at_rest_is_judged_by_the_gap_between_its_accuracies():
    rest = [8.0, 4.0, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    over = judged(rest, rest, **{"train/acc": 0.99, "val/acc": 0.9})
    assert not over.well and "the accuracy is 0.990 in training and 0.900 in validation: overfitting" in over.text
    under = judged(rest, rest, **{"train/acc": 0.6, "val/acc": 0.59})
    assert under.well and "underfitting: a larger network" in under.text
    mixed = judged(rest, rest, **{"train/acc_mixed": 0.6, "val/acc": 0.9})
    assert mixed.well and "fitting" not in mixed.text


def test_a_curve_that_is_no_number_has_no_verdict():
    falls, broken = [8.0, 7.0, 6.0, 5.0], [8.0, 7.0, float("nan"), float("nan")]
    for curves in ((broken, falls), (falls, broken), ([8.0, 7.0, 6.0, float("inf")], falls)):
        finding = judged(*curves)
        assert not finding.well and "NaN or Inf" in finding.text


def test_criteria_by_hand():
    few, many = Criteria(10, 100, 0.25), Criteria(270_000, 50_000, 0.05)
    assert few.aic == 2 * 10 + 2 * 100 * 0.25 and few.bic == pytest.approx(10 * 4.605170 + 50)
    assert (many.aic, many.aic - 2 * many.parameters) == (545_000, 5_000)
    assert "penalty" not in str(few) and "the penalty decides alone" in str(many)
    assert all("only differences between models on the same data" in str(one) for one in (few, many))


def test_criteria_are_those_of_the_plain_training_images(trainer):
    """Against torch, image by image; smoothing and mixing, which raise train/loss, do not count."""
    torch.manual_seed(2)
    images = np.random.default_rng(2).integers(0, 256, (36, 8, 8, 3), dtype=np.uint8)
    data = Arrays(images, torch.arange(36) % 10, batch_size=5, flip=True, padding=2, val_split=6)
    model, trick = tiny_classifier(), FitVerdict(criteria=True)
    for p in model.network.head.parameters():
        p.requires_grad = False
    run = trainer(callbacks=[LabelSmoothing(0.3), MixUp(), trick], max_epochs=2)
    run.fit(model, data)
    assert model.training
    stored = data.train_set.without_augmentation().__getitems__(data.train_indices.tolist())
    plain, targets = data.on_after_batch_transfer(stored, 0)
    with torch.no_grad():
        loss = F.cross_entropy(model.eval()(plain), targets).item()
    expected = Criteria(sum(p.numel() for p in model.network.parameters() if p.requires_grad), 30, loss)
    criteria, verdict = trick.findings
    assert criteria.well and criteria.text == str(expected) and "no verdict" in verdict.text
    assert run.callback_metrics["train/loss"] > loss


def test_without_plain_images_there_are_no_criteria(tiny_data, trainer):
    first, _ = found(FitVerdict(criteria=True), trainer, tiny_data)
    assert first.well and first.text.startswith("no AIC and BIC: they need a plain_dataloader")
