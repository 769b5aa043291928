"""How good predictions are for some of the rows, and a search for those where they are worse than elsewhere."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tabcohort.evaluation.evaluate import estimate_metrics
from tabcohort.evaluation.intervals import Z95, Estimate, rate_estimate, standard_error
from tabcohort.evaluation.metrics import METRICS, Scorer
from tabcohort.types import BoolArray, FloatArray, IntArray

SUBGROUP_METRICS = ("accuracy", "roc_auc", "log_loss", "sensitivity", "specificity")
MIN_ROWS, MIN_SHARE, MIN_ERRORS = 30, 0.01, 5  # of a subgroup that is searched
# One-sided: the chance of naming any subgroup where there is no difference, for single conditions and for pairs.
ALPHA_SINGLE, ALPHA_PAIR = 0.0125, 0.0125
MAX_CELLS = 2**26  # rows x conditions of which pairs are searched, as float32
Subgroup = tuple[tuple[int, ...], BoolArray]  # the places of its conditions, and its rows
Z_TO_TEST = 2.5  # standard errors, below which no test can be passed after correction


@dataclass(frozen=True)
class MeasuredRows:
    """Predictions of rows that the model did not see, and the truth.

    Args:
        log_proba: log probabilities, `(n_rows, n_classes)`, float64.
        y, y_pred: true and predicted class codes, `(n_rows,)`.
        weight: row weights, `(n_rows,)`.
        group_ids: the group of each row, `(n_rows,)`.
        positive: code of the positive class, or None.
    """

    log_proba: FloatArray
    y: IntArray
    y_pred: IntArray
    weight: FloatArray
    group_ids: IntArray
    positive: int | None

    def take(self, some: BoolArray) -> MeasuredRows:
        """Return some of the rows, `(n_rows,)`."""
        return MeasuredRows(
            self.log_proba[some],
            self.y[some],
            self.y_pred[some],
            self.weight[some],
            self.group_ids[some],
            self.positive,
        )

    @functools.cached_property
    def is_error(self) -> BoolArray:
        """Which rows are predicted wrongly, `(n_rows,)`."""
        return self.y != self.y_pred

    @functools.cached_property
    def groups(self) -> IntArray:
        """The group of each row, `(n_rows,)`, numbered from 0 without gaps."""
        return np.unique(self.group_ids, return_inverse=True)[1]

    @functools.cached_property
    def are_alike(self) -> bool:
        """Whether all rows are independent and count the same."""
        return int(self.groups.max()) + 1 == len(self.y) and bool((self.weight == self.weight[0]).all())


def subgroup_metrics(rows: MeasuredRows, inside: BoolArray) -> dict[str, Estimate]:
    """Return metrics of some of the rows by name, and as `difference` their accuracy minus that of the others.

    Args:
        rows: all rows.
        inside: which of them, `(n_rows,)`; at least one.
    """
    scorer = Scorer(rows.log_proba[inside], rows.y[inside], rows.positive, rows.y_pred[inside])
    names = [name for name in SUBGROUP_METRICS if rows.positive is not None or not METRICS[name].needs_positive]
    metrics = estimate_metrics(scorer.weighted(rows.weight[inside]), names, rows.group_ids[inside])
    value, error = _difference(rows, inside)
    metrics["difference"] = Estimate(value, value - Z95 * error, value + Z95 * error)
    return metrics


def _difference(rows: MeasuredRows, inside: BoolArray) -> tuple[float, float]:
    """Return the accuracy of some rows minus that of the others, and its standard error; NaN without either."""
    is_right, influence, value = 1.0 - rows.is_error, np.zeros(len(inside)), 0.0
    for part, sign in ((inside, 1.0), (~inside, -1.0)):
        weight = rows.weight * part
        if not weight.any():
            return float("nan"), float("nan")
        mean = float(weight @ is_right / weight.sum())
        influence += sign * weight / weight.sum() * (is_right - mean)
        value += sign * mean
    return value, standard_error(influence, rows.weight, rows.groups)


@dataclass(frozen=True)
class Condition:
    """Rows for which something holds of one column.

    Args:
        column: name of the column.
        label: what holds, for people: "age >= 65".
        inside: the rows, `(n_rows,)`.
    """

    column: str
    label: str
    inside: BoolArray


@dataclass(frozen=True)
class FoundSubgroup:
    """A subgroup with more errors than elsewhere, beyond what a search finds by chance.

    Args:
        conditions: places of its one or two conditions.
        p_value: times the number of subgroups that were compared with it (Bonferroni), at most 1.
        difference: its accuracy minus that of the others, with an interval that holds for all that were searched.
    """

    conditions: tuple[int, ...]
    p_value: float
    difference: Estimate


@dataclass(frozen=True)
class SubgroupSearch:
    """What a search found.

    Args:
        found: the worst first: those that are worse by the most for certain, the upper end of their interval.
        n_single, n_pairs: number of subgroups that were tested, of one and of two conditions.
    """

    found: tuple[FoundSubgroup, ...]
    n_single: int
    n_pairs: int


def search_subgroups(rows: MeasuredRows, conditions: Sequence[Condition]) -> SubgroupSearch:
    """Return the subgroups of one or two conditions where more predictions are wrong than among the other rows.

    Each subgroup of at least 30 rows and 1 % of all is tested: with independent rows of equal weight by the
    hypergeometric distribution of its errors (Fisher 1935), otherwise by their standard error. The tests are corrected
    for their number (Bonferroni), 1.25 % for single conditions and 1.25 % for pairs, so that where errors do not depend
    on the columns, a subgroup is named in at most 2.5 % of tables.

    Args:
        rows: all rows.
        conditions: the subgroups of one condition.
    """
    error_rate = float(rows.is_error.mean())
    sizes = np.array([condition.inside.sum() for condition in conditions], dtype=np.int64)
    usable = np.flatnonzero(_is_large(sizes, len(rows.y)) & (sizes * error_rate >= MIN_ERRORS))
    singles = [((place,), conditions[place].inside) for place in usable.tolist()]
    found = _tested(rows, singles, len(singles), ALPHA_SINGLE)
    pairs, n_pairs = _promising_pairs(rows, conditions, usable)
    named = {place for subgroup in found for place in subgroup.conditions}

    def tells_more(pair: FoundSubgroup) -> bool:
        """Return whether a pair is worse than the rest of each of its conditions that is named already."""
        inside = np.logical_and.reduce([conditions[place].inside for place in pair.conditions])
        parts = [conditions[place].inside for place in pair.conditions if place in named]
        return all(n_pairs * _p_value(rows.take(part), inside[part]) <= ALPHA_PAIR for part in parts)

    of_pairs = filter(tells_more, _tested(rows, pairs, n_pairs, ALPHA_PAIR))
    worst = sorted([*found, *of_pairs], key=lambda subgroup: (subgroup.difference.high, subgroup.conditions))
    return SubgroupSearch(tuple(worst), len(singles), n_pairs)


def _is_large(sizes: IntArray, n_rows: int) -> BoolArray:
    """Return which subgroups have enough rows, and leave enough outside."""
    least = max(MIN_ROWS, MIN_SHARE * n_rows)
    return (sizes >= least) & (sizes <= n_rows - least)


def _promising_pairs(
    rows: MeasuredRows, conditions: Sequence[Condition], usable: IntArray
) -> tuple[Iterator[Subgroup], int]:
    """Return the pairs of conditions of different columns that may be worse, and how many were looked at."""
    n_rows, rate = len(rows.y), float(rows.is_error.mean())
    if len(usable) < 2 or n_rows * len(usable) > MAX_CELLS:
        return iter(()), 0
    inside = np.array([conditions[place].inside for place in usable.tolist()], dtype=np.float32)
    sizes = np.rint(inside @ inside.T).astype(np.int64)
    relative = rows.weight / rows.weight.mean()
    excess = (inside * (relative * (rows.is_error - np.average(rows.is_error, weights=relative)))) @ inside.T
    names = np.array([conditions[place].column for place in usable.tolist()])
    is_pair = np.triu(names[:, None] != names[None, :], 1)
    is_pair &= _is_large(sizes, n_rows) & (sizes * rate >= MIN_ERRORS)
    is_pair &= (sizes < np.diag(sizes)[:, None]) & (sizes < np.diag(sizes)[None, :])  # else it is one of the two
    variance = sizes * (1 - sizes / n_rows) * rate * (1 - rate) * np.square(relative).mean()
    chosen = np.argwhere(is_pair & (excess > Z_TO_TEST * np.sqrt(np.maximum(variance, 0))))
    places = ((int(usable[first]), int(usable[second])) for first, second in chosen)
    return (((a, b), conditions[a].inside & conditions[b].inside) for a, b in places), int(is_pair.sum())


def _tested(rows: MeasuredRows, subgroups: Iterable[Subgroup], n_tests: int, alpha: float) -> list[FoundSubgroup]:
    """Return the subgroups that pass their test, corrected for the number of tests, with an interval below 0."""
    from scipy.special import ndtri

    n_standard_errors = -float(ndtri(alpha / max(n_tests, 1)))
    found = []
    for conditions, inside in subgroups:
        p_value = min(1.0, n_tests * _p_value(rows, inside))
        if p_value <= alpha:
            difference = _corrected_difference(rows, inside, n_standard_errors)
            if difference.high < 0:
                found.append(FoundSubgroup(conditions, p_value, difference))
    return found


def _corrected_difference(rows: MeasuredRows, inside: BoolArray, z: float) -> Estimate:
    """Return the accuracy of some rows minus that of the others, with the interval of Newcombe (1998, method 10).

    It is made of the score intervals of both. Unlike a normal interval it agrees with the test where a part has few
    rows and many errors: the test's variance is that of the share of errors elsewhere.

    Args:
        rows: all rows.
        inside: which of them, `(n_rows,)`.
        z: standard normal quantile of the interval's ends.
    """
    here, there = (
        rate_estimate(~rows.is_error[part], rows.weight[part], rows.groups[part], z) for part in (inside, ~inside)
    )
    value = here.value - there.value
    low = value - math.hypot(here.value - here.low, there.high - there.value)
    return Estimate(value, low, value + math.hypot(here.high - here.value, there.value - there.low))


def _p_value(rows: MeasuredRows, inside: BoolArray) -> float:
    """Return how probable at least as many errors among some rows are, if errors do not depend on being one of them."""
    from scipy.special import ndtr
    from scipy.stats import hypergeom

    is_error, weight = rows.is_error, rows.weight
    if rows.are_alike:
        return float(hypergeom.sf((is_error & inside).sum() - 1, len(weight), is_error.sum(), inside.sum()))
    mean = weight @ is_error / weight.sum()
    own = weight * inside
    influence = (own / own.sum() - weight / weight.sum()) * (is_error - mean)
    error = standard_error(influence, weight, rows.groups)
    return float(ndtr(-influence.sum() / error)) if error > 0 else 1.0
