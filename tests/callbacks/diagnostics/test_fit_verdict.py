"""FitVerdict: trends by hand, all nine cases, the gap of a converged run, curves that are not finite."""

from types import SimpleNamespace

import pytest
import torch

from callbacks import FitVerdict
from callbacks.diagnostics.fit_verdict import VERDICTS, trend
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
    assert trend([float(v) for v in curve]) == expected


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
