"""What one column alone predicts, against scikit-learn's metrics and what is known of made columns."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from tabcohort.data.one_column import accuracy, out_of_fold_shares, roc_auc, shares_of_numbers


def labels(n_rows: int = 400, n_classes: int = 2, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).permutation(np.arange(n_rows) % n_classes)


def test_shares_are_probabilities() -> None:
    y = labels(n_classes=3)
    values = np.random.default_rng(1).normal(size=len(y))
    values[::7] = np.nan
    for column in (values, np.arange(len(y)) % 13):
        shares = out_of_fold_shares(column, y)
        assert shares.shape == (400, 3)
        assert np.allclose(shares.sum(axis=1), 1)
        assert shares.min() >= 0


def test_a_different_level_in_every_row_predicts_nothing() -> None:
    y = labels()
    assert roc_auc(out_of_fold_shares(np.arange(len(y)), y), y) < 0.55


def test_noise_predicts_nothing() -> None:
    y = labels()
    areas = [roc_auc(out_of_fold_shares(np.random.default_rng(seed).normal(size=len(y)), y), y) for seed in range(20)]
    assert abs(np.mean(areas) - 0.5) < 0.03


def test_the_target_under_another_name_predicts_all() -> None:
    y = labels(n_classes=3)
    for column in (2 - y, 7.5 * y + np.random.default_rng(0).normal(0, 1e-9, len(y))):
        shares = out_of_fold_shares(column, y)
        assert accuracy(shares, y) > 0.99
        assert roc_auc(shares, y) > 0.999


def test_a_number_need_not_rise_with_the_target() -> None:
    x = np.random.default_rng(0).uniform(-1, 1, 400)
    y = (np.abs(x) < 0.5).astype(np.int64)
    assert roc_auc(out_of_fold_shares(x, y), y) > 0.95


def test_missing_cells_are_a_level_of_their_own() -> None:
    y = labels()
    x = np.where(y == 1, np.nan, np.random.default_rng(0).normal(size=len(y)))
    assert accuracy(out_of_fold_shares(x, y), y) == 1


def test_a_row_is_not_used_for_its_own_share() -> None:
    y = labels()
    x = np.random.default_rng(0).normal(size=len(y))
    before = out_of_fold_shares(x, y)[5]
    y[5] = 1 - y[5]
    assert np.array_equal(out_of_fold_shares(x, y)[5], before)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_columns_at_once_have_the_shares_of_each_counted_row_by_row(n_classes: int) -> None:
    y, rng = labels(60, n_classes), np.random.default_rng(0)
    X = np.stack(
        [rng.normal(size=60), rng.integers(4, size=60), np.where(rng.random(60) < 0.4, np.nan, rng.random(60))]
    )
    shares = shares_of_numbers(X, y)
    fold = np.random.default_rng(0).permutation(60) % 5
    for column, row in itertools.product(range(3), range(60)):
        x, known = X[column], y[fold != fold[row]]
        others = x[fold != fold[row]]
        if np.isnan(x[row]):
            alike = known[np.isnan(others)]
        else:
            ordered = np.sort(others[~np.isnan(others)])
            low, high = np.searchsorted(ordered, x[row], "left"), np.searchsorted(ordered, x[row], "right")
            more = max(0, 4 - (high - low) + 1) // 2
            by_value = known[np.argsort(others, kind="stable")]
            alike = by_value[max(low - more, 0) : min(high + more, len(ordered))]
        prior = np.bincount(known, minlength=n_classes) / len(known)
        expected = (np.bincount(alike, minlength=n_classes) + prior) / (len(alike) + 1)
        assert np.allclose(shares[column, row], expected, rtol=1e-12)


@pytest.mark.parametrize("n_classes", [2, 4])
def test_the_area_is_that_of_scikit_learn(n_classes: int) -> None:
    y = labels(n_classes=n_classes)
    shares = np.random.default_rng(3).dirichlet(np.ones(n_classes), len(y)).round(2)
    shares /= shares.sum(axis=1, keepdims=True)
    if n_classes == 2:
        expected = roc_auc_score(y, shares[:, 1])
    else:
        expected = roc_auc_score(y, shares, multi_class="ovr", average="weighted")
    assert roc_auc(shares, y) == pytest.approx(expected)
