"""Whether new rows are distributed as reference rows are: one test per function, with the size of the difference.

A test needs reference rows, or what is known of them: a mean with a deviation, quantiles, or the counts of levels. Rows
must be independent of each other.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np

from tabcohort.types import FloatArray, IntArray

MAX_EXACT_ROWS = 1_000  # of a sample, up to which Kolmogorov and Smirnov's test is exact
MIN_EXPECTED = 5.0  # rows of a level in the smaller sample; rarer levels are counted together
MIN_ROWS = 50  # of a sample whose mean is tested
MAX_SKEWNESS = 0.1  # of a sample whose mean is tested, beside the square root of its rows
MAX_TIES = 1.0  # by how much numbers that are equal to quantiles may change the statistic
TIE = 1e-5  # relative, of numbers beside quantiles that were kept in single precision


@dataclass(frozen=True)
class Drift:
    """A test of one difference between reference and new rows.

    Args:
        test: what it is called.
        p_value: the probability of a difference at least as large where there is none.
        measure: what its size is.
        size: of the difference; NaN where it has none.
        reference, new: the figures that are compared; NaN where there are several.
    """

    test: str
    p_value: float
    measure: str
    size: float
    reference: float = math.nan
    new: float = math.nan


# -- numbers ---------------------------------------------------------------------------------------------------------


def samples_drift(reference: FloatArray, new: FloatArray) -> Drift:
    """Return the two-sample test of Kolmogorov (1933) and Smirnov (1939), with the standardized difference of means.

    Args:
        reference, new: finite numbers, each `(n,)` and not empty.
    """
    from scipy.stats import ks_2samp

    is_exact = max(len(reference), len(new)) <= MAX_EXACT_ROWS
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # that it goes on with the asymptotic distribution
        result = ks_2samp(reference, new, method="exact" if is_exact else "asymp")
    first, second = float(np.mean(reference)), float(np.mean(new))
    size = standardized_difference(first, float(np.std(reference)), second)
    return Drift("Kolmogorov-Smirnov", float(result.pvalue), "standardized difference", size, first, second)


def standardized_difference(mean: float, deviation: float, new: float) -> float:
    """Return a difference of means in standard deviations of the reference; NaN where that has none."""
    return (new - mean) / deviation if deviation > 0 else math.nan


def mean_drift(mean: float, deviation: float, n_reference: float, new: FloatArray) -> Drift | None:
    """Return the test of a mean (Welch 1947), where only mean and deviation of the reference are known.

    None where the new rows are too few for their skewness: the test would alarm too often.

    Args:
        mean, deviation: of the reference.
        n_reference: number of its rows.
        new: finite numbers, `(n,)`.
    """
    from scipy.special import ndtr

    spread = float(np.std(new)) if len(new) else 0.0
    if len(new) < MIN_ROWS or n_reference < MIN_ROWS or deviation <= 0 or spread <= 0:
        return None
    own = float(np.mean(new))
    skewness = float(np.mean(((new - own) / spread) ** 3))
    if abs(skewness) > MAX_SKEWNESS * math.sqrt(min(len(new), n_reference)):
        return None
    # The greater deviation, as a sample without its rare large numbers has a mean and a deviation that are too small.
    error = math.sqrt(deviation**2 / n_reference + max(spread, deviation) ** 2 / len(new))
    p_value = float(2 * ndtr(-abs(own - mean) / error))
    size = standardized_difference(mean, deviation, own)
    return Drift("z, of the means", p_value, "standardized difference", size, mean, own)


def quantiles_drift(
    edges: FloatArray, n_reference: float, mean_and_deviation: tuple[float, float], new: FloatArray
) -> Drift | None:
    """Return the chi-square test of the numbers between quantiles of the reference, whose shares are equal.

    As the quantiles are those of a sample, the shares between them vary as that of a Dirichlet distribution, which
    widens the variance of each count by one plus the ratio of the numbers of rows.

    None where there are too few rows for that many quantiles, or where numbers are equal to a quantile, so that the
    shares between them are not known.

    Args:
        edges: the quantiles, ascending, without the least and the greatest number, `(n_edges,)`.
        n_reference: number of its rows.
        mean_and_deviation: of the reference, for the size.
        new: finite numbers, `(n,)`.
    """
    from scipy.special import chdtrc

    n_parts = len(edges) + 1
    if not len(edges) or len(new) < MIN_EXPECTED * n_parts or n_reference < MIN_EXPECTED * n_parts:
        return None
    place = np.searchsorted(edges, new)
    if n_parts * np.square(_ties(edges, new)).sum() > MAX_TIES * len(new):
        return None
    expected = len(new) / n_parts
    statistic = np.square(np.bincount(place, minlength=n_parts) - expected).sum() / expected
    p_value = float(chdtrc(n_parts - 1, statistic / (1 + len(new) / n_reference)))
    mean, own = mean_and_deviation[0], float(np.mean(new))
    size = standardized_difference(*mean_and_deviation, own)
    return Drift(
        f"chi-square, of {n_parts} parts between quantiles", p_value, "standardized difference", size, mean, own
    )


def _ties(edges: FloatArray, new: FloatArray) -> FloatArray:
    """Return how many numbers are equal to each quantile, `(n_edges,)`."""
    tolerance = TIE * (edges[-1] - edges[0])
    ordered = np.sort(new)
    below, above = np.searchsorted(ordered, edges - tolerance), np.searchsorted(ordered, edges + tolerance, "right")
    return (above - below).astype(np.float64)


# -- levels and shares -----------------------------------------------------------------------------------------------


def levels_drift(reference: FloatArray | IntArray, new: FloatArray | IntArray) -> Drift | None:
    """Return the chi-square test of two rows of counts, with the total variation distance of what is tested.

    Levels that would have fewer than five rows in the smaller sample are counted together, and with them the levels
    that have no count of their own: a level that the reference lacks is a rare one, as others were that it happens to
    have. Of two levels, the test is Fisher's exact one. None where one level is left, so that there is nothing to
    compare.

    Args:
        reference, new: the rows of each level, `(n_levels,)`; the last count is of all other levels.
    """
    from scipy.stats import chi2_contingency

    counts = np.array([reference, new], dtype=np.float64)
    totals = counts.sum(axis=1)
    if not totals.all():
        return None
    tested = _without_rare_levels(counts, totals)
    tested = tested[:, tested.any(axis=0)]
    if tested.shape[1] < 2:
        return None
    if tested.shape[1] == 2:
        test, p_value = "Fisher's exact", _fisher(np.rint(tested), "two-sided")
    else:
        test, p_value = "chi-square", float(chi2_contingency(tested, correction=False).pvalue)
    distance = float(np.abs(tested[0] / totals[0] - tested[1] / totals[1]).sum() / 2)
    return Drift(test, p_value, "total variation distance", distance)


def _without_rare_levels(counts: FloatArray, totals: FloatArray) -> FloatArray:
    """Return counts with the rare levels together, and these with the rarest other one if they are still too few."""
    expected = counts.sum(axis=0) * (totals.min() / totals.sum())
    is_rare = expected < MIN_EXPECTED
    is_rare[-1] = True
    kept, rest = counts[:, ~is_rare], counts[:, is_rare].sum(axis=1)
    if expected[is_rare].sum() >= MIN_EXPECTED or kept.shape[1] < 2:
        return np.column_stack([kept, rest])
    kept[:, kept.sum(axis=0).argmin()] += rest
    return kept


def share_drift(reference: float, n_reference: float, new: float, n_new: float, is_more: bool = False) -> Drift | None:
    """Return Fisher's exact test of two shares, with their difference; None where no row is counted.

    Args:
        reference, n_reference: rows of the reference that are counted, and all of them.
        new, n_new: the same of the new rows.
        is_more: whether only a greater share of the new rows is of interest.
    """
    if n_reference < 1 or n_new < 1 or (reference == 0 and new == 0):
        return None
    table = np.rint([[reference, n_reference - reference], [new, n_new - new]])
    first, second = reference / n_reference, new / n_new
    p_value = _fisher(table, "less" if is_more else "two-sided")
    return Drift("Fisher's exact", p_value, "difference of shares", second - first, first, second)


def _fisher(table: FloatArray, alternative: str) -> float:
    """Return the p-value of Fisher's exact test (1922) of a table of counts, `(2, 2)`."""
    from scipy.stats import fisher_exact

    return float(fisher_exact(table.astype(np.int64), alternative=alternative).pvalue)
