"""Statistics of a comparison over seeds: intervals, verdicts, and how many more seeds would decide it.

Accuracies are arrays (arms, seeds), the baseline first; row i and row j share their seeds. Differences are means of an
arm less those of the baseline. Every interval holds at 95 %; the tests simulate that each of them does.

Two arms: paired t. Several: noise pooled over arms, with seeds as blocks, and Dunnett's bound, which holds for all
differences at once (Dunnett 1955, https://doi.org/10.1080/01621459.1955.10501294). An arm that is much noisier than
the rest leaves the pool, and gets a paired t of its own at level alpha / m. `sequence` holds at every number of seeds
at once, so that one may look after each seed (Wang, Ramdas 2023, https://arxiv.org/abs/2310.03722).
"""

from functools import lru_cache
from math import inf, isinf, sqrt
from typing import NamedTuple

import numpy as np
from scipy import optimize, stats

ALPHA = 0.05
G = 5.0  # variance of the effect sizes that the sequence expects, in standard deviations squared
STEPS = (5, 10, 20, 50)  # to which the number of further seeds is rounded up
Array = np.ndarray


class Difference(NamedTuple):
    """An arm against the baseline.

    Attributes:
        mean: of the differences.
        half: half width of the interval; infinite where there is none.
        sd: standard deviation of a paired difference: from the pool where the arm is in it.
        df: degrees of freedom of `sd`.
        pooled: whether the noise is the pool's.
    """

    mean: float
    half: float
    sd: float
    df: int
    pooled: bool

    @property
    def verdict(self) -> str:
        """ "better" or "worse" where the interval leaves out zero, else "undecided"; never "no effect"."""
        if not abs(self.mean) > self.half:
            return "undecided"
        return "better" if self.mean > 0 else "worse"


# ---- a number of seeds that was fixed in advance


def compare_arms(accuracies: Array, alpha: float = ALPHA) -> list[Difference]:
    """Compare each arm with the baseline, at a number of seeds that was fixed in advance.

    Args:
        accuracies: (arms, seeds), at least two of both, without NaN.
        alpha: probability that any of the intervals is wrong.

    Raises:
        ValueError: fewer than two arms or seeds.
    """
    k, n = accuracies.shape
    if k < 2 or n < 2:
        raise ValueError(f"an interval needs two arms and two seeds or more, not {k} arms and {n} seeds")
    noisy = noisy_arms(accuracies) if k > 2 else set()
    inside = [0, *(i for i in range(1, k) if i not in noisy)]
    sd, df = pooled_sd(accuracies[inside]) if len(inside) > 1 else (0.0, 0)
    bound = dunnett_bound(len(inside) - 1, df, alpha * (len(inside) - 1) / (k - 1)) if len(inside) > 1 else inf
    found = []
    for i in range(1, k):
        differences = accuracies[i] - accuracies[0]
        mean = float(differences.mean())
        if i in noisy:
            half, own = paired_half_width(differences, alpha / (k - 1)), float(differences.std(ddof=1))
            found.append(Difference(mean, half, own, n - 1, False))
        else:
            found.append(Difference(mean, bound * sd * sqrt(2 / n), sd * sqrt(2), df, True))
    return found


def paired_half_width(differences: Array, alpha: float = ALPHA) -> float:
    """Return the half width of the t interval for the mean of n paired differences (n,)."""
    n = len(differences)
    return float(stats.t.ppf(1 - alpha / 2, n - 1) * differences.std(ddof=1) / sqrt(n))


def pooled_sd(accuracies: Array) -> tuple[float, int]:
    """Return a run's standard deviation, without effects of arm and seed, and its (k - 1)(n - 1) degrees of freedom.

    With two arms, sqrt(2) times it is the standard deviation of the paired differences.
    """
    k, n = accuracies.shape
    rest = accuracies - accuracies.mean(1, keepdims=True) - accuracies.mean(0) + accuracies.mean()
    df = (k - 1) * (n - 1)
    return sqrt(float((rest**2).sum()) / df), df


@lru_cache(maxsize=256)
def dunnett_bound(m: int, df: int, alpha: float = ALPHA) -> float:
    """Return c with P(max_i |T_i| <= c) = 1 - alpha, for the t statistics of m arms against one baseline.

    All have as many seeds, so that two of the T_i have correlation 1/2:
    P = E_s E_z [Phi(z + sqrt(2) c s) - Phi(z - sqrt(2) c s)]^m,  z ~ N(0, 1),  s^2 ~ chi^2(df) / df.
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    weights = weights / weights.sum()
    u, of_u = np.polynomial.legendre.leggauss(400)
    s = np.sqrt(stats.chi2.ppf((u + 1) / 2, df) / df)

    def miss(c: float) -> float:
        reach = sqrt(2) * c * s[:, None]
        inside = stats.norm.cdf(nodes + reach) - stats.norm.cdf(nodes - reach)
        return float((of_u / 2) @ (inside**m) @ weights) - (1 - alpha)

    return float(optimize.brentq(miss, 1e-4, 1000))


# ---- unequal noise


def noisy_arms(accuracies: Array) -> set[int]:
    """Return the arms, except the baseline, whose noise is too large for the pool.

    Each arm's standard deviation, without effects of seeds, is divided by that of all arms. It is too large above the
    95 % quantile of the largest ratio among equally noisy arms.
    """
    k, n = accuracies.shape
    limit = _largest_ratio(k, n)
    noisy: set[int] = set()
    ratios = _ratios(accuracies)
    for i in np.argsort(-ratios):
        if i != 0 and ratios[i] > limit:
            noisy.add(int(i))
    return noisy


def _ratios(accuracies: Array) -> Array:
    """Return the standard deviation of each arm over the root mean square of all of them: (..., k, n) -> (..., k)."""
    sd: Array = accuracies.std(-1, ddof=1)
    pool = np.sqrt((sd**2).mean(-1, keepdims=True))
    return sd / np.where(pool > 0, pool, 1)


@lru_cache(maxsize=64)
def _largest_ratio(k: int, n: int) -> float:
    draws = np.random.default_rng(0).standard_normal((4000, k, n))
    return float(np.quantile(_ratios(draws).max(-1), 0.95))


# ---- looking after every seed


def sequence_half_width(n: int, sd: float, alpha: float = ALPHA) -> float:
    """Half width of the t confidence sequence for the mean of n paired differences with standard deviation `sd`.

    All of its intervals, for n = 2, 3, ..., hold at once: one may look after each seed and stop at any time.
    From E_n = (1 + n g)^(-1/2) [(nu + t^2) / (nu + t^2 / (1 + n g))]^(n/2),  nu = n - 1: those means at which
    E_n < 1 / alpha. Infinite while n is too small.
    """
    k = 1 + n * G
    r = (k / alpha**2) ** (1 / n)
    return sd * sqrt((n - 1) / n * (r - 1) / (1 - r / k)) if r < k else inf


def compare_sequence(accuracies: Array, alpha: float = ALPHA) -> list[Difference]:
    """Compare as `compare_arms` does, with intervals valid at every number of seeds, alpha / m for each arm."""
    k, n = accuracies.shape
    found = []
    for row in accuracies[1:]:
        differences = row - accuracies[0]
        sd = float(differences.std(ddof=1))
        found.append(
            Difference(float(differences.mean()), sequence_half_width(n, sd, alpha / (k - 1)), sd, n - 1, False)
        )
    return found


# ---- a card: arms of one regime with different numbers of seeds


class Pool(NamedTuple):
    """Noise of a run in a regime, and its degrees of freedom."""

    sd: float
    df: int


def pool(arms: list[Array]) -> Pool:
    """Pool the noise of all arms of a regime, each (n,) around its own mean, without arms that are too noisy.

    Raises:
        ValueError: no arm has two seeds.
    """
    several = [arm for arm in arms if len(arm) > 1]
    if not several:
        raise ValueError("noise needs an arm with two seeds or more")
    squares = np.array([float(((arm - arm.mean()) ** 2).sum()) for arm in several])
    degrees = np.array([len(arm) - 1 for arm in several])
    while True:
        rest, of_rest = squares.sum() - squares, degrees.sum() - degrees
        if len(squares) < 3 or not (rest > 0).all():
            break
        # the largest of equal arms, against all the others, goes beyond this in 5 % of cases
        ratios = (squares / degrees) / (rest / of_rest)
        excess = ratios / stats.f.ppf(0.95 ** (1 / len(squares)), degrees, of_rest)
        if excess.max() <= 1:
            break
        squares, degrees = (np.delete(values, excess.argmax()) for values in (squares, degrees))
    return Pool(sqrt(float(squares.sum()) / int(degrees.sum())), int(degrees.sum()))


def card_interval(arm: Array, base: Array, noise: Pool, alpha: float = ALPHA) -> tuple[float, float]:
    """Return the difference of two means and its interval's half width by the regime's noise, for this card alone."""
    half = stats.t.ppf(1 - alpha / 2, noise.df) * noise.sd * sqrt(1 / len(arm) + 1 / len(base))
    return float(arm.mean() - base.mean()), float(half)


# ---- how many seeds


def seeds_needed(effect: float, sd: float, alpha: float = ALPHA, power: float = 0.8) -> int | None:
    """Return the number of pairs that detect a true difference with 80 % power; None: more than 1,000.

    The N with (t(1 - alpha/2, N-1) + t(power, N-1)) sd / sqrt(N) <= |effect|.
    """
    for n in range(2, 1001):
        t = stats.t.ppf(1 - alpha / 2, n - 1) + stats.t.ppf(power, n - 1)
        if t * sd / sqrt(n) <= abs(effect):
            return n
    return None


def advice(found: Difference, n: int) -> str:
    """Estimate how many more seeds would decide it; empty if it is decided or the noise is hardly known."""
    if found.verdict != "undecided" or found.df < 4 or isinf(found.half) or found.sd == 0:
        return ""
    needed = seeds_needed(found.mean, found.sd)
    more = None if needed is None else max(needed - n, 1)
    rounded = next((step for step in STEPS if more is not None and more <= step), None)
    many = f"about {rounded}" if rounded else "more than 50"
    return f"{many} more seeds would decide it, if the difference really is this large"


# ---- runs that did not train


def is_diverged(accuracy: float, loss: float, classes: int | None, images: int) -> bool:
    """Return whether a run is no better than guessing (by three standard errors), or its loss is not a number.

    Args:
        accuracy: of the run, or another score in [0, 1].
        loss: of the same images.
        classes: number of classes; None: a score whose value for guessing is not known.
        images: number of images.
    """
    p = 1 / classes if classes else 0.0
    return not np.isfinite(loss) or not accuracy > p + 3 * sqrt(p * (1 - p) / images)
