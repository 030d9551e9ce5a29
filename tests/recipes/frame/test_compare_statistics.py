"""Intervals: by hand against scipy, and their coverage on simulated arms, peeking included."""

from math import inf, sqrt

import numpy as np
import pytest
from scipy import stats

from recipes.frame.compare_statistics import (
    Difference,
    Pool,
    advice,
    card_interval,
    compare_arms,
    compare_sequence,
    dunnett_bound,
    is_diverged,
    noisy_arms,
    paired_half_width,
    pool,
    pooled_sd,
    seeds_needed,
    sequence_half_width,
)

TRIALS = 1000  # at 95 % true coverage, the share that covers has a standard error of .007


def draw(seed: int, arms: int, seeds: int, rho: float = 0.3, sd: float = 0.003) -> np.ndarray:
    """Accuracies of equal arms, with a correlation over seeds."""
    random = np.random.default_rng(seed)
    own, shared = random.standard_normal((arms, seeds)), random.standard_normal(seeds)
    return 0.66 + sd * (sqrt(1 - rho) * own + sqrt(rho) * shared)


# ---- by hand


def test_two_arms_are_the_paired_t():
    accuracies = draw(1, 2, 5)
    (found,) = compare_arms(accuracies)
    theirs = stats.ttest_rel(accuracies[1], accuracies[0]).confidence_interval(0.95)
    assert (found.mean - found.half, found.mean + found.half) == pytest.approx((theirs.low, theirs.high))
    assert found.half == pytest.approx(paired_half_width(accuracies[1] - accuracies[0]))
    assert found.sd == pytest.approx((accuracies[1] - accuracies[0]).std(ddof=1)) and found.df == 4


@pytest.mark.parametrize("df", [2, 4, 18])
def test_one_arm_has_the_bound_of_t(df):
    assert dunnett_bound(1, df) == pytest.approx(stats.t.ppf(0.975, df), rel=1e-5)


def test_the_bound_is_that_of_scipy():
    accuracies = draw(2, 4, 5, rho=0)
    accuracies[1] += 0.005
    theirs = stats.dunnett(*accuracies[1:], control=accuracies[0], rng=np.random.default_rng(0))
    for p, t in zip(theirs.pvalue, theirs.statistic, strict=True):
        assert dunnett_bound(3, 16, float(p)) == pytest.approx(abs(t), abs=0.01)


def test_the_pool_by_hand():
    accuracies = np.array([[1.0, 2, 3], [2, 3, 7]])
    rest = np.array([[0.5, 0.5, -1], [-0.5, -0.5, 1]])  # arms' and seeds' means taken out
    assert pooled_sd(accuracies) == (pytest.approx(sqrt((rest**2).sum() / 2)), 2)


def test_a_card_has_the_noise_of_its_regime():
    arm, base = np.array([0.70, 0.71, 0.72]), np.full(10, 0.69)
    mean, half = card_interval(arm, base, Pool(0.004, 100))
    assert mean == pytest.approx(0.02)
    assert half == pytest.approx(stats.t.ppf(0.975, 100) * 0.004 * sqrt(1 / 3 + 1 / 10))


def test_the_sequence_is_at_the_edge_of_its_e_value():
    n, s, g = 6, 0.7, 5.0
    t = sequence_half_width(n, s) * sqrt(n) / s
    nu, k = n - 1, 1 + n * g
    assert k**-0.5 * ((nu + t**2) / (nu + t**2 / k)) ** (n / 2) == pytest.approx(20)
    assert sequence_half_width(3, s) == inf and sequence_half_width(10, 1.0) == pytest.approx(1.27, abs=0.01)


def test_verdicts_never_say_no_effect():
    assert Difference(0.02, 0.01, 0.01, 4, True).verdict == "better"
    assert Difference(-0.02, 0.01, 0.01, 4, True).verdict == "worse"
    assert Difference(0.0, 0.01, 0.01, 4, True).verdict == "undecided"
    assert Difference(0.02, inf, 0.01, 4, True).verdict == "undecided"


def test_seeds_that_would_decide():
    assert [seeds_needed(d, 1.0) for d in (0.5, 1.0, 2.0)] == [34, 10, 5]
    assert seeds_needed(0.0, 1.0) is None
    open_ = Difference(0.005, 0.007, 0.005, 8, True)
    assert advice(open_, 5) == "about 5 more seeds would decide it, if the difference really is this large"
    assert advice(open_._replace(mean=0.0001), 5).startswith("more than 50 more seeds")
    assert advice(open_._replace(df=2), 3) == ""  # its noise is hardly known
    assert advice(open_._replace(mean=0.01), 5) == ""  # decided


def test_runs_that_did_not_train():
    assert is_diverged(0.1, 2.3, 10, 10_000) and is_diverged(0.7, float("nan"), 10, 10_000)
    assert is_diverged(float("nan"), 1.0, 10, 10_000)
    assert not is_diverged(0.2, 2.0, 10, 10_000)
    assert is_diverged(0.55, 0.7, 2, 100) and not is_diverged(0.75, 0.7, 2, 100)


def test_an_interval_needs_two_of_both():
    for shape in ((1, 5), (3, 1)):
        with pytest.raises(ValueError, match="two arms and two seeds"):
            compare_arms(np.zeros(shape))


# ---- coverage


@pytest.mark.parametrize(("arms", "seeds"), [(2, 3), (2, 5), (4, 5), (13, 3), (13, 5)])
@pytest.mark.parametrize("rho", [0.0, 0.6])
def test_fixed_intervals_cover_together(arms, seeds, rho):
    inside = sum(
        all(abs(found.mean) <= found.half for found in compare_arms(draw(i, arms, seeds, rho))) for i in range(TRIALS)
    )
    assert 0.93 <= inside / TRIALS <= 0.975


@pytest.mark.parametrize("m", [1, 4])
def test_the_sequence_covers_though_one_looks_after_every_seed(m):
    """Up to 20 seeds; the plain t interval, looked at like this, covers .77."""
    inside, naive, trials = 0, 0, 400
    for i in range(trials):
        accuracies = draw(i, m + 1, 20)
        looks = [compare_sequence(accuracies[:, :n]) for n in range(3, 21)]
        inside += all(abs(found.mean) <= found.half for look in looks for found in look)
        differences = accuracies[1] - accuracies[0]
        naive += all(abs(differences[:n].mean()) <= paired_half_width(differences[:n]) for n in range(3, 21))
    assert inside / trials >= 0.95
    assert naive / trials < 0.85


def test_cards_cover():
    """Each for itself, with a base of ten seeds and the noise of twenty arms, some of them noisier."""
    random, inside = np.random.default_rng(0), 0
    for _ in range(TRIALS):
        arms = [random.standard_normal(n) for n in (10, 5, 5, *[3] * 17)]
        arms[-1] *= 6  # leaves the pool
        mean, half = card_interval(arms[1], arms[0], pool(arms))
        inside += abs(mean) <= half
    assert 0.93 <= inside / TRIALS <= 0.97


def test_a_difference_of_three_deviations_is_found_among_twelve_arms():
    """With pooled noise and three seeds, where paired t tests of their own find 6 %."""
    found = 0
    for i in range(300):
        accuracies = draw(i, 13, 3, rho=0)
        accuracies[1] += 0.009
        found += compare_arms(accuracies)[0].verdict == "better"
    assert found / 300 > 0.65


# ---- noise that is not equal


def test_a_much_noisier_arm_leaves_the_pool_with_an_interval_of_its_own():
    accuracies = draw(3, 8, 5, rho=0)
    random = np.random.default_rng(3)
    accuracies[2] = 0.66 + 0.03 * random.standard_normal(5)
    assert noisy_arms(accuracies) == {2}
    found = compare_arms(accuracies)
    assert [one.pooled for one in found] == [True, False, *[True] * 5]
    assert found[1].half == pytest.approx(paired_half_width(accuracies[2] - accuracies[0], 0.05 / 7))
    quiet = np.delete(accuracies, 2, axis=0)
    assert found[0].sd == pytest.approx(pooled_sd(quiet)[0] * sqrt(2))


def test_the_pool_of_a_regime_leaves_out_what_is_too_noisy():
    random = np.random.default_rng(5)
    quiet = [random.standard_normal(n) for n in (10, 5, 5, 3, 3, 3)]
    assert pool(quiet).df == 23
    assert pool([*quiet, 30 * random.standard_normal(5)]) == pool(quiet)
    with pytest.raises(ValueError, match="two seeds"):
        pool([np.array([1.0])])
