"""The synthetic patents against their closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from tabcohort.reproduce.patent_pairs import (
    ASSIGNEE_MATCH,
    MEANS,
    SCALES,
    Pairs,
    consecutive_split,
    expected_auc,
    patent_pairs,
)


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    return patent_pairs(50_000, seed=3)


def test_pairs_have_the_documents_means_and_scales_and_lie_in_the_unit_interval(pairs: Pairs) -> None:
    assert pairs.X.min() >= 0
    assert pairs.X.max() <= 1
    np.testing.assert_allclose(pairs.X.mean(axis=0), MEANS, atol=0.006)
    np.testing.assert_allclose(pairs.X.std(axis=0), SCALES, atol=0.006)
    assert set(np.unique(pairs.X[:, ASSIGNEE_MATCH])) == {0.0, 1.0}
    correlation = np.corrcoef(pairs.X.T)
    assert 0.3 < correlation[0, 8] < 0.7


def test_pairs_are_the_same_for_the_same_seed_only() -> None:
    first, again, other = (patent_pairs(100, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.X, again.X)
    np.testing.assert_array_equal(first.y, again.y)
    assert not np.array_equal(first.X, other.X)


def test_labels_come_as_often_as_their_probability_says(pairs: Pairs) -> None:
    decile = np.argsort(np.argsort(pairs.probability)) * 10 // len(pairs.y)
    for part in range(10):
        p, y = pairs.probability[decile == part], pairs.y[decile == part]
        assert abs(y.mean() - p.mean()) < 4.5 * math.sqrt((p * (1 - p)).mean() / len(y)) + 1e-4


def test_best_possible_auc_is_the_documents(pairs: Pairs) -> None:
    assert expected_auc(pairs.probability, pairs.probability) == pytest.approx(0.972, abs=1e-3)
    assert roc_auc_score(pairs.y, pairs.probability) == pytest.approx(0.972, abs=3e-3)


@pytest.mark.parametrize("n_levels", [None, 3])
def test_expected_auc_is_the_sum_over_pairs(n_levels: int | None) -> None:
    rng = np.random.default_rng(5)
    probability = rng.random(40)
    score = rng.normal(size=40) if n_levels is None else rng.integers(n_levels, size=40).astype(float)
    ordered = total = 0.0
    for i in range(40):
        for j in range(40):
            if i != j:
                weight = probability[i] * (1 - probability[j])
                ordered += weight * ((score[i] > score[j]) + (score[i] == score[j]) / 2)
                total += weight
    assert expected_auc(score, probability) == pytest.approx(ordered / total, rel=1e-12)


def test_expected_auc_with_certain_labels_is_the_auc() -> None:
    rng = np.random.default_rng(6)
    y = rng.integers(2, size=200)
    score = np.round(rng.normal(size=200) + y, 1)
    assert expected_auc(score, y.astype(float)) == pytest.approx(roc_auc_score(y, score))


def test_no_score_beats_the_true_probability(pairs: Pairs) -> None:
    p = pairs.probability[:2_000]
    noise = np.random.default_rng(7).normal(size=2_000)
    best = expected_auc(p, p)
    assert all(expected_auc(p + scale * noise, p) < best for scale in (0.01, 0.1, 1.0))


def test_rows_are_split_in_their_order() -> None:
    split = consecutive_split((3, 2, 1))
    assert [part.tolist() for part in (split.train, split.validation, split.test)] == [[0, 1, 2], [3, 4], [5]]
