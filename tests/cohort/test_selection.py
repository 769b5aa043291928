"""Ensembles: the settings that are best together, judged on rows that did not choose them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, logsumexp

from tabcohort.cohort import selection
from tabcohort.cohort.selection import Ensemble, choose_ensemble, cross_fit, greedy_weights, mean_log_proba
from tabcohort.evaluation.calibration import BIAS_CORRECTED, NONE, Calibrator
from tabcohort.evaluation.out_of_fold import OutOfFoldPredictions
from tabcohort.types import FloatArray, IntArray

FEW = hypothesis_settings(max_examples=40, deadline=None)


def out_of_fold(sharpness: list[float], n_rows: int = 240, n_classes: int = 2, seed: int = 0) -> OutOfFoldPredictions:
    """Return predictions of settings that see the class of a row so sharply, each with a noise of its own."""
    rng = np.random.default_rng(seed)
    y = rng.integers(n_classes, size=n_rows)
    logits = [sharp * np.eye(n_classes)[y] + rng.normal(0, 1, (n_rows, n_classes)) for sharp in sharpness]
    weight = rng.uniform(0.5, 2.0, n_rows)
    return OutOfFoldPredictions(log_softmax(np.array(logits), axis=2), y, weight, rng.integers(5, size=n_rows))


def loss_of(found: OutOfFoldPredictions, weight: FloatArray) -> float:
    proba = np.tensordot(weight, np.exp(found.log_proba), 1)[np.arange(len(found.y)), found.y]
    return float(np.average(-np.log(proba), weights=found.weight))


# Means


@given(st.integers(1, 4), st.integers(1, 5), st.integers(2, 4), st.integers(0, 99))
@FEW
def test_the_mean_is_that_of_the_probabilities(n_settings: int, n_rows: int, n_classes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    log_proba = log_softmax(rng.normal(0, 5, (n_settings, n_rows, n_classes)), axis=2)
    weight = rng.dirichlet(np.ones(n_settings))
    expected = logsumexp(log_proba, axis=0, b=weight[:, None, None])
    np.testing.assert_allclose(mean_log_proba(log_proba, weight), expected, rtol=1e-9, atol=1e-12)


def test_a_setting_without_a_share_is_not_looked_at_and_nothing_is_quite_impossible() -> None:
    log_proba = np.array([[[0.0, -2000.0]], [[np.nan, np.nan]]])
    found = mean_log_proba(log_proba, np.array([1.0, 0.0]))
    np.testing.assert_array_equal(found, np.log([[1.0, np.finfo(np.float64).tiny]]))


def test_an_ensemble_corrects_the_mean() -> None:
    found = out_of_fold([1.0, 2.0], n_classes=3)
    calibrator = Calibrator(BIAS_CORRECTED, 0.7, np.array([0.0, 0.5, -0.5]))
    weight = np.array([0.25, 0.75])
    expected = calibrator.apply(mean_log_proba(found.log_proba, weight))
    np.testing.assert_array_equal(Ensemble(weight, calibrator).log_proba(found.log_proba), expected)


def test_losses_are_those_of_each_rows_class_and_parts_of_the_rows_keep_theirs() -> None:
    found = out_of_fold([1.0, 2.0], n_rows=30, n_classes=3)
    rows = np.array([7, 3, 20])
    some = found.of(rows)
    np.testing.assert_array_equal(some.losses(), found.losses()[:, rows])
    for i, row in enumerate(rows):
        assert some.losses()[1, i] == -found.log_proba[1, row, found.y[row]]
        assert (some.weight[i], some.part[i]) == (found.weight[row], found.part[row])


# Weights


@pytest.mark.parametrize("place", [0, 1, 2])
def test_the_only_good_setting_is_taken_alone(place: int) -> None:
    found = out_of_fold([0.0, 0.0, 0.0])
    y = found.y
    found.log_proba[place] = np.log(np.where(np.eye(2)[y] == 1, 0.99, 0.01))
    weight = greedy_weights(found)
    assert weight[place] == 1


def test_two_settings_that_are_right_about_different_rows_are_better_than_either() -> None:
    found = out_of_fold([0.0, 0.0, 0.0], n_rows=400)
    knows = np.arange(400) % 2
    for setting in (0, 1):
        proba = np.where(np.eye(2)[found.y] == 1, 0.95, 0.05)
        found.log_proba[setting] = np.log(np.where((knows == setting)[:, None], proba, 0.5))
    found.log_proba[2] = np.log(0.5)
    weight = greedy_weights(found)
    np.testing.assert_allclose(weight, [0.5, 0.5, 0.0], atol=0.11)
    alone = [loss_of(found, each) for each in np.eye(3)]
    assert loss_of(found, weight) < min(alone) - 0.02


@given(st.lists(st.floats(0, 3), min_size=1, max_size=6), st.integers(2, 3), st.integers(0, 999))
@FEW
def test_shares_sum_to_one_and_lose_no_more_than_the_best_setting(
    sharpness: list[float], n_classes: int, seed: int
) -> None:
    found = out_of_fold(sharpness, 60, n_classes, seed)
    weight = greedy_weights(found)
    assert weight.sum() == pytest.approx(1.0, abs=1e-12)
    assert weight.min() >= 0
    assert loss_of(found, weight) <= min(loss_of(found, each) for each in np.eye(len(sharpness))) + 1e-12


@given(st.floats(0, 3), st.floats(0, 3), st.integers(0, 999))
@FEW
def test_of_two_settings_the_shares_are_nearly_the_best_there_are(one: float, other: float, seed: int) -> None:
    found = out_of_fold([one, other], 80, seed=seed)
    best = minimize_scalar(lambda share: loss_of(found, np.array([share, 1 - share])), bounds=(0, 1), method="bounded")
    assert loss_of(found, greedy_weights(found)) <= best.fun + 2e-3


def test_shares_depend_on_weights_as_on_repeated_rows() -> None:
    found = out_of_fold([1.0, 1.2, 0.8], n_rows=50)
    times = np.random.default_rng(1).integers(1, 4, 50)
    weighted = OutOfFoldPredictions(found.log_proba, found.y, times.astype(np.float64), found.part)
    repeated = weighted.of(np.repeat(np.arange(50), times))
    alike = OutOfFoldPredictions(repeated.log_proba, repeated.y, np.ones(len(repeated.y)), repeated.part)
    np.testing.assert_array_equal(greedy_weights(weighted), greedy_weights(alike))
    plain = OutOfFoldPredictions(found.log_proba, found.y, np.ones(50), found.part)
    assert (greedy_weights(weighted) != greedy_weights(plain)).any()


def test_a_table_in_which_every_second_row_is_a_control_is_not_judged_by_one_class(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(selection, "MOST_ROWS", 500)
    y = np.arange(1_000) % 2
    always_first = np.log(np.tile([0.99, 0.01], (1_000, 1)))  # as good as can be on every second row
    fair = np.log(np.where(np.eye(2)[y] == 1, 0.7, 0.3))
    found = OutOfFoldPredictions(np.stack([always_first, fair]), y, np.ones(1_000), np.arange(1_000) % 5)
    assert greedy_weights(found)[1] > 0.9


# Honesty


@pytest.mark.parametrize("n_classes", [2, 3])
def test_what_is_said_of_a_part_does_not_depend_on_its_own_labels(n_classes: int) -> None:
    found = out_of_fold([0.3, 3.0, 0.5, 2.0], 300, n_classes)
    before, _ = cross_fit(found)
    rng = np.random.default_rng(1)
    for number in range(5):
        of_part = found.part == number
        y = np.where(of_part, rng.permutation(found.y), found.y)
        weight = np.where(of_part, rng.permutation(found.weight), found.weight)
        after, _ = cross_fit(OutOfFoldPredictions(found.log_proba, y, weight, found.part))
        np.testing.assert_array_equal(after[of_part], before[of_part])
        assert (after[~of_part] != before[~of_part]).any()


def test_each_part_is_answered_for_by_the_ensemble_of_the_others() -> None:
    found = out_of_fold([1.0, 0.5], 200)
    honest, _ = cross_fit(found)
    for number in range(5):
        others, rows = np.flatnonzero(found.part != number), np.flatnonzero(found.part == number)
        expected = choose_ensemble(found.of(others)).log_proba(found.of(rows).log_proba)
        np.testing.assert_array_equal(honest[rows], expected)


def parts_of(found: OutOfFoldPredictions, part: IntArray) -> OutOfFoldPredictions:
    return OutOfFoldPredictions(found.log_proba, found.y, found.weight, part)


def test_rows_of_one_part_choose_nothing_all_settings_answer_alike() -> None:
    found = parts_of(out_of_fold([0.0, 5.0, 0.0]), np.full(240, 4))
    chosen = choose_ensemble(found)
    np.testing.assert_array_equal(chosen.weight, np.full(3, 1 / 3))
    assert chosen.calibrator.method == NONE
    np.testing.assert_allclose(cross_fit(found)[0], mean_log_proba(found.log_proba, chosen.weight), rtol=1e-12)


def test_of_two_parts_neither_chooses_for_the_other_with_what_it_cannot_check() -> None:
    found = parts_of(out_of_fold([0.0, 5.0, 0.0]), np.arange(240) % 2)
    np.testing.assert_allclose(cross_fit(found)[0], mean_log_proba(found.log_proba, np.full(3, 1 / 3)), rtol=1e-12)
    assert choose_ensemble(found).weight[1] > 0.9


def test_a_single_setting_has_the_whole_share() -> None:
    np.testing.assert_array_equal(greedy_weights(out_of_fold([1.0])), [1.0])
