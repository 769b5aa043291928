"""Subgroups: their metrics beside those of their rows alone, and what a search names."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import fisher_exact

from tabcohort.evaluation.evaluate import evaluate
from tabcohort.evaluation.subgroups import (
    ALPHA_PAIR,
    ALPHA_SINGLE,
    Condition,
    MeasuredRows,
    search_subgroups,
    subgroup_metrics,
)
from tabcohort.types import BoolArray

N = 4_000


def measured(is_error: BoolArray, weight: float = 1.0, copies: int = 1) -> MeasuredRows:
    """Return rows of two classes of which these are predicted wrongly."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, len(is_error))
    y_pred = np.where(is_error, 1 - y, y)
    log_proba = np.log(np.where(np.arange(2) == y_pred[:, None], 0.7, 0.3))
    groups = np.arange(len(y)) // copies
    return MeasuredRows(log_proba, y, y_pred, np.full(len(y), weight), groups, 1)


def columns(seed: int, n_columns: int = 6, n_levels: int = 5, n_rows: int = N) -> list[Condition]:
    """Return the levels of random columns."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, n_levels, (n_columns, n_rows))
    return [
        Condition(f"c{column}", f"c{column} = {level}", own == level)
        for column, own in enumerate(codes)
        for level in range(n_levels)
    ]


def test_the_metrics_of_a_subgroup_are_those_of_its_rows() -> None:
    rows = measured(np.random.default_rng(1).random(600) < 0.2)
    inside = np.arange(600) < 150
    metrics = subgroup_metrics(rows, inside)
    alone = evaluate(rows.log_proba[inside], rows.y[inside], rows.weight[inside], 1, 0, rows.y_pred[inside])
    for name in ("accuracy", "roc_auc", "sensitivity", "specificity"):
        assert metrics[name] == alone.metrics[name]
    assert metrics["log_loss"].value == pytest.approx(alone.metrics["log_loss"].value)
    assert metrics["log_loss"].low == pytest.approx(alone.metrics["log_loss"].low, abs=0.02)


def test_the_difference_has_the_interval_of_two_shares() -> None:
    is_error = np.zeros(200, dtype=bool)
    is_error[:30] = is_error[100:110] = True  # 30 of 100, and 10 of 100
    difference = subgroup_metrics(measured(is_error), np.arange(200) < 100)["difference"]
    error = math.sqrt(0.3 * 0.7 / 100 + 0.1 * 0.9 / 100)
    assert difference.value == pytest.approx(-0.2)
    assert (difference.low, difference.high) == pytest.approx((-0.2 - 1.96 * error, -0.2 + 1.96 * error), abs=1e-4)
    assert math.isnan(subgroup_metrics(measured(is_error), np.ones(200, dtype=bool))["difference"].value)


def test_a_planted_subgroup_is_found_with_the_p_value_of_fisher() -> None:
    conditions = columns(1)
    rng = np.random.default_rng(2)
    is_error = rng.random(N) < np.where(conditions[7].inside, 0.3, 0.15)
    search = search_subgroups(measured(is_error), conditions)
    first = search.found[0]
    assert first.conditions == (7,)
    inside = conditions[7].inside
    counts = [[(is_error & own).sum(), (~is_error & own).sum()] for own in (inside, ~inside)]
    assert first.p_value == pytest.approx(search.n_single * fisher_exact(counts, "greater").pvalue, rel=1e-6)
    assert first.difference.high < 0
    assert first.difference.low < -0.15 < first.difference.high
    assert (search.n_single, search.n_pairs) == (30, 15 * 25)


def test_what_is_named_has_a_corrected_interval_below_zero() -> None:
    """Where few rows have many errors, a normal interval contradicts the test."""
    n_named = 0
    for n_errors in range(10, 50):
        is_error = np.zeros(2_000, dtype=bool)
        is_error[:n_errors] = is_error[200:300] = True
        conditions = [Condition("a", "a", np.arange(2_000) < 150), *columns(0, n_rows=2_000)]
        rows = measured(is_error)
        found = [own for own in search_subgroups(rows, conditions).found if own.conditions == (0,)]
        assert all(own.difference.low < own.difference.value < own.difference.high < 0 for own in found)
        n_named += len(found)
        if found and n_named == 1:
            difference = subgroup_metrics(rows, conditions[0].inside)["difference"]
            reach = (difference.high - difference.value) / 1.96 * 3.5  # about that of 31 tests
            assert difference.value + reach > 0  # a normal interval would hold 0
    assert n_named > 15


def test_a_pair_is_named_beside_its_part_only_where_it_is_worse_than_that() -> None:
    conditions = columns(3, n_columns=5, n_levels=3)
    part, both = conditions[0].inside, conditions[0].inside & conditions[4].inside
    named = []
    for rates in (np.where(both, 0.6, 0.1), np.where(part, 0.3, 0.1)):
        is_error = np.random.default_rng(4).random(N) < rates
        named.append([own.conditions for own in search_subgroups(measured(is_error), conditions).found])
    assert named[0][0] == (0, 4)  # the worst comes first
    assert (0,) in named[0]
    assert named[1] == [(0,)]


def test_a_pair_alone_is_found() -> None:
    """The errors of each condition alone are as frequent as elsewhere."""
    first, second = np.arange(N) % 2 == 0, np.arange(N) // 2 % 2 == 0
    is_error = np.random.default_rng(5).random(N) < np.where(first == second, 0.3, 0.1)
    conditions = [Condition("a", "a", first), Condition("b", "b", second)]
    named = [subgroup.conditions for subgroup in search_subgroups(measured(is_error), conditions).found]
    assert named == [(0, 1)]


def test_nothing_is_named_without_errors_or_with_few_rows() -> None:
    conditions = columns(1)
    assert search_subgroups(measured(np.zeros(N, dtype=bool)), conditions).found == ()
    small = [Condition("a", "a", np.arange(N) < 20)]
    assert search_subgroups(measured(np.arange(N) < 20), small).n_single == 0


def test_where_there_is_no_difference_a_subgroup_is_seldom_named() -> None:
    n_named = 0
    for seed in range(60):
        is_error = np.random.default_rng(1_000 + seed).random(1_000) < 0.2
        n_named += bool(search_subgroups(measured(is_error), columns(seed, n_rows=1_000)).found)
    assert n_named <= 60 * (ALPHA_SINGLE + ALPHA_PAIR) + 3 * math.sqrt(60 * 0.025)


def test_copies_of_rows_prove_nothing() -> None:
    """Each row ten times over: what looks certain for independent rows is not for groups."""
    few = np.random.default_rng(6).random(400) < np.where(np.arange(400) < 100, 0.24, 0.15)
    conditions = [Condition("a", "a", np.repeat(np.arange(400) < 100, 10))]
    is_error = np.repeat(few, 10)
    assert search_subgroups(measured(is_error), conditions).found
    assert not search_subgroups(measured(is_error, copies=10), conditions).found


def test_weights_that_are_equal_change_nothing() -> None:
    conditions = columns(1)
    is_error = np.random.default_rng(2).random(N) < np.where(conditions[7].inside, 0.3, 0.15)
    one, other = (search_subgroups(measured(is_error, weight), conditions) for weight in (1.0, 5.0))
    assert [own.conditions for own in one.found] == [own.conditions for own in other.found]


def test_weighted_rows_are_tested_by_their_standard_error() -> None:
    conditions = columns(1)
    is_error = np.random.default_rng(2).random(N) < np.where(conditions[7].inside, 0.3, 0.15)
    rows = measured(is_error)
    rows.weight[::2] = 3.0
    search = search_subgroups(rows, conditions)
    assert search.found[0].conditions == (7,)
