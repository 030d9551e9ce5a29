"""Verdicts: the intervals by hand and by simulation, and the words."""

import math
import random
import statistics

import pytest

from recipes.frame import verdict


def test_one_run_is_students_prediction_interval():
    found = verdict.one_run([97.0, 98.0, 99.0], [98.5])
    half = 4.302653 * 1.0 * math.sqrt(1 + 1 / 3)  # t(2) at 97.5 %
    assert (found.low, found.high) == pytest.approx((98 - half, 98 + half), rel=1e-6)
    assert found.word == "inside" and found.ours == (98.0, 1.0, 3) and found.published == 98.5


def test_a_mean_of_three_runs_has_a_narrower_interval():
    one, three = verdict.one_run([97.0, 98.0, 99.0], [98.0]), verdict.one_run([97.0, 98.0, 99.0], [97.0, 98.0, 99.0])
    assert (three.high - three.low) / (one.high - one.low) == pytest.approx(math.sqrt(2 / 3 / (4 / 3)))


def test_words_of_one_run():
    ours = [98.0, 98.1, 98.2]
    assert verdict.one_run(ours, [90.0]).word == "outside"
    assert verdict.one_run(ours, [98.1], effect=5.0).word == "inside"
    assert verdict.one_run(ours, [98.1], effect=-0.2).word == "undecided"  # the interval is wider than the effect
    assert verdict.one_run(ours, [90.0], effect=0.2).word == "outside"  # far off is far off


def test_words_of_an_effect():
    assert verdict.effect([1.0, 1.1, 0.9], [1.05]).word == "inside"
    assert verdict.effect([1.0, 1.1, 0.9], [3.0]).word == "outside"
    assert verdict.effect([0.1, -0.1, 0.05], [0.1]).word == "undecided"
    assert verdict.effect([0.1, -0.1, 0.05], [3.0]).word == "outside"


def test_one_run_of_ours_or_one_that_did_not_train_decides_nothing():
    assert verdict.one_run([98.0], [98.0]).word == "undecided"
    assert verdict.one_run([98.0, math.nan, 98.1], [50.0]).word == "undecided"
    assert verdict.effect([1.0], [1.0]).word == "undecided"
    assert verdict.mean_of_runs([98.0], 98.0, 0.1, 5).word == "undecided"


def test_mean_of_runs_is_welchs_interval():
    from scipy.stats import ttest_ind_from_stats

    ours, (mean, std, k) = [99.0, 99.1, 99.25, 99.3], (99.03, 0.04, 4)
    m, s = statistics.fmean(ours), statistics.stdev(ours)
    p = ttest_ind_from_stats(m, s, len(ours), mean, std, k, equal_var=False).pvalue
    assert (verdict.mean_of_runs(ours, mean, std, k).word == "inside") == (p > 0.05)
    edge = m - verdict.welch(s, 4, std, k)  # a mean at the end of the interval has p = 5 %
    assert ttest_ind_from_stats(m, s, 4, edge, std, k, equal_var=False).pvalue == pytest.approx(0.05)


def test_a_published_confidence_interval_becomes_a_deviation():
    assert verdict.deviation_of(0.33, 5) == pytest.approx(0.33 * math.sqrt(5) / 2.776445, rel=1e-6)


@pytest.mark.parametrize("n", [3, 10])
@pytest.mark.parametrize("k", [1, 3])
def test_intervals_cover_19_of_20(n, k):
    draw = random.Random(0)
    rounds = 2000
    covered = 0
    for _ in range(rounds):
        ours, theirs = ([draw.gauss(98, 0.3) for _ in range(m)] for m in (n, k))
        covered += verdict.one_run(ours, theirs).word == "inside"
    assert covered / rounds == pytest.approx(0.95, abs=0.015)
