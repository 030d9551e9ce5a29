"""Judge whether our runs agree with a published number: inside, outside or undecided, by a rule chosen in advance.

There are three kinds of published numbers. Each has a 95 % interval from Student's t. Our runs have mean m, deviation s
and number n:

- one run, or the mean of k runs without a deviation (`one_run`): m +- t(n - 1) s sqrt(1/k + 1/n). The mean of k more
  runs of ours would lie in it;
- mean M and deviation S of k runs (`mean_of_runs`): Welch's interval of m - M. It must contain 0;
- an effect, arm minus base (`effect`): m_d +- t(n - 1) s_d sqrt(1/k + 1/n), where d are the differences of our
  runs with the same seed.

Inside: the published number lies in the interval. Outside: it does not. Undecided: it does, but the interval is too
wide to tell. For a number, it is wider than the effect that the source reports. For an effect, it also contains 0. At
least two runs are needed. A run that did not train (NaN) leaves the arm undecided, and is counted.
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from recipes.frame.records import Summary, summary

Unclear = Callable[[float, float], bool]  # low and high end of an interval -> whether it is too wide
Word = Literal["inside", "outside", "undecided"]
LEVEL = 0.95


class Verdict(NamedTuple):
    """A published number beside ours.

    Attributes:
        word: "inside", "outside" or "undecided".
        published: the number, in the unit of our runs.
        ours: mean, deviation and number of our runs, or of their paired differences.
        low: lower end of the interval; NaN without one.
        high: upper end; NaN without one.
    """

    word: Word
    published: float
    ours: Summary
    low: float = math.nan
    high: float = math.nan


def quantile(degrees: float) -> float:
    """Return the t that 2.5 % of Student's distribution with `degrees` > 0 of freedom exceed."""
    from scipy.stats import t  # installed with scikit-learn; its import takes a second

    return float(t.ppf(0.5 + LEVEL / 2, degrees))


def one_run(ours: Sequence[float], published: Sequence[float], effect: float | None = None) -> Verdict:
    """Judge the mean of published runs by our prediction interval.

    Args:
        ours: results of our runs.
        published: published runs, at least one.
        effect: gain of this arm, or over it, that the source reports; None: it reports none.
    """
    return _judge(ours, published, None if effect is None else lambda low, high: high - low > abs(effect))


def effect(ours: Sequence[float], published: Sequence[float]) -> Verdict:
    """Judge the mean of published differences, arm minus base, by our differences of runs with the same seed."""
    return _judge(ours, published, lambda low, high: low <= 0 <= high)


def mean_of_runs(ours: Sequence[float], mean: float, std: float, k: int, effect: float | None = None) -> Verdict:
    """Judge a published mean by Welch's interval. The result has the range of means that agree with our runs.

    Args:
        ours: results of our runs.
        mean: M.
        std: S, standard deviation of single runs, > 0.
        k: number of published runs, >= 2.
        effect: see `one_run`.
    """
    m, s, n = summarise(ours)
    if n < 2 or not math.isfinite(m):
        return Verdict("undecided", mean, Summary(m, s, n))
    half = welch(s, n, std, k)
    wide = effect is not None and 2 * half > abs(effect)
    return Verdict(_word(m - half <= mean <= m + half, wide), mean, Summary(m, s, n), m - half, m + half)


def welch(s: float, n: int, std: float, k: int) -> float:
    """Return half the width of Welch's interval for the difference of two means, of n and of k runs."""
    a, b = s**2 / n, std**2 / k
    degrees = (a + b) ** 2 / (a**2 / (n - 1) + b**2 / (k - 1))  # Welch and Satterthwaite
    return quantile(degrees) * math.sqrt(a + b)


def deviation_of(half_width: float, k: int) -> float:
    """Return the standard deviation of single runs, from half the 95 % interval of the mean of k of them."""
    return half_width * math.sqrt(k) / quantile(k - 1)


def proportion(right: int, count: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval for a probability, after `right` successes in `count` trials."""
    z = 1.959964  # 95 % of the normal distribution lie within +- z
    p, scale = right / count, 1 + z**2 / count
    middle = (p + z**2 / (2 * count)) / scale
    half = z * math.sqrt(p * (1 - p) / count + z**2 / (4 * count**2)) / scale
    return middle - half, middle + half


def summarise(runs: Sequence[float]) -> Summary:
    """Return mean, deviation and number of runs. Mean and deviation are NaN if a run did not train."""
    if not all(map(math.isfinite, runs)):
        return Summary(math.nan, math.nan, len(runs))
    return summary(runs)


def _judge(ours: Sequence[float], published: Sequence[float], unclear: Unclear | None) -> Verdict:
    m, s, n = summarise(ours)
    number = summary(published).mean
    if n < 2 or not math.isfinite(m):
        return Verdict("undecided", number, Summary(m, s, n))
    half = quantile(n - 1) * s * math.sqrt(1 / len(published) + 1 / n)
    low, high = m - half, m + half
    return Verdict(
        _word(low <= number <= high, unclear is not None and unclear(low, high)), number, Summary(m, s, n), low, high
    )


def _word(lies_within: bool, unclear: bool) -> Word:
    if not lies_within:
        return "outside"
    return "undecided" if unclear else "inside"
