"""Decisions: thresholds against all thresholds there are, sets against the textbook's formula."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy.special import log_softmax
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, f1_score

from tabcohort.errors import SettingsError
from tabcohort.evaluation.decision import (
    HOW_TO_AIM,
    ThresholdObjective,
    choose_threshold,
    cross_fit_threshold,
    parse_objective,
    predicted_codes,
)
from tabcohort.evaluation.prediction_sets import cross_fit_sets, prediction_sets, set_thresholds
from tabcohort.types import FloatArray, IntArray

FEW = hypothesis_settings(max_examples=80, deadline=None)
CHOSEN_AIMS = ["balanced_accuracy", "f1", "sensitivity>=0.8", "sensitivity>=1", "cost=10:1", "cost=1:3"]

# Aims


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (0.3, ThresholdObjective("probability", 0.3)),
        ("0.3", ThresholdObjective("probability", 0.3)),
        (" .5 ", ThresholdObjective("probability", 0.5)),
        (1e-5, ThresholdObjective("probability", 1e-5)),
        ("2.5e-3", ThresholdObjective("probability", 2.5e-3)),
        ("sensitivity>=0.95", ThresholdObjective("sensitivity", 0.95)),
        ("Sensitivity > 0.9", ThresholdObjective("sensitivity", 0.9)),
        ("sensitivity>=1", ThresholdObjective("sensitivity", 1.0)),
        ("cost=10:1", ThresholdObjective("cost", 10.0)),
        ("cost = 1 : 2.5", ThresholdObjective("cost", 0.4)),
    ],
)
def test_an_aim_is_what_a_person_wrote(text: str | float, expected: ThresholdObjective) -> None:
    assert parse_objective(text) == expected


@pytest.mark.parametrize("text", ["balanced_accuracy", "balanced-accuracy", "Balanced_Accuracy", "f1", "F1"])
def test_an_aim_may_be_a_word(text: str) -> None:
    aim = parse_objective(text)
    assert aim.kind == text.lower().replace("-", "_")
    assert math.isnan(aim.value)


@pytest.mark.parametrize(
    "text",
    [
        "", "0", "1", 0.0, 1.0, "1.5", "-0.5", -0.5, True, "nan", "inf", "half", "accuracy", "f2",
        "sensitivity", "sensitivity>=0", "sensitivity>=1.01", "sensitivity>=95%", "sensitivity<=0.9",
        "specificity>=0.9", "cost=10", "cost=0:1", "cost=1:0", "cost=-1:1", "cost=10:1:1", "cost=1e999:1",
        "cost=1e300:1e-300", "cost=1e-300:1e300", "0.5 0.5x",
    ],
)  # fmt: skip
def test_what_is_no_aim_is_an_error_that_says_what_is(text: str | float) -> None:
    with pytest.raises(SettingsError) as error:
        parse_objective(text)
    assert str(error.value) == f"the threshold must be {HOW_TO_AIM}; it is {text!r}"


@pytest.mark.parametrize("example", ["balanced_accuracy", "f1", "sensitivity>=0.95", "cost=10:1"])
def test_the_examples_of_the_message_are_aims(example: str) -> None:
    assert f"'{example}'" in HOW_TO_AIM
    parse_objective(example)


# Thresholds


def goodness(aim: ThresholdObjective, called: IntArray, truth: IntArray, weight: FloatArray) -> float:
    """How well an aim is reached, by scikit-learn's measures; the more the better."""
    (_, alarms), (missed, hits) = confusion_matrix(truth, called, labels=[0, 1], sample_weight=weight)
    if aim.kind == "balanced_accuracy":
        return float(balanced_accuracy_score(truth, called, sample_weight=weight))
    if aim.kind == "f1":
        return float(f1_score(truth, called, sample_weight=weight, zero_division=0.0))
    if aim.kind == "sensitivity":
        return -float(alarms) if hits / (hits + missed) >= aim.value - 1e-12 else -math.inf
    return -float(aim.value * missed + alarms)


def all_thresholds(proba: FloatArray) -> FloatArray:
    """Return one threshold for each way to call the rows that there is: midway, or at the row where none is midway."""
    edges = np.concatenate([[0.0], np.unique(proba), [1.0]])
    middle = (edges[:-1] + edges[1:]) / 2
    return middle if proba.max() < 1 else middle[:-1]


@st.composite
def judged_rows(draw: st.DrawFn) -> tuple[FloatArray, IntArray, FloatArray]:
    """Probabilities, many equal, some of them 0 or 1; classes, of each one at least; weights."""
    n_rows, grid = draw(st.integers(2, 25)), draw(st.sampled_from([3, 10, 1000]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    truth = rng.integers(2, size=n_rows)
    truth[:2] = [0, 1]
    return rng.integers(grid + 1, size=n_rows) / grid, truth, rng.integers(1, 4, size=n_rows).astype(np.float64)


@given(judged_rows(), st.sampled_from(CHOSEN_AIMS))
@FEW
def test_no_threshold_reaches_an_aim_better_and_of_the_best_it_is_nearest_to_a_half(
    rows: tuple[FloatArray, IntArray, FloatArray], text: str
) -> None:
    (proba, truth, weight), aim = rows, parse_objective(text)
    threshold = choose_threshold(aim, proba, truth == 1, weight)
    assert 0 <= threshold <= 1
    found = goodness(aim, (proba >= threshold).astype(np.int64), truth, weight)
    candidates = all_thresholds(proba)
    each = np.array([goodness(aim, (proba >= value).astype(np.int64), truth, weight) for value in candidates])
    assert found == pytest.approx(each.max(), abs=1e-9)
    best = candidates[each >= each.max() - 1e-9]
    assert abs(threshold - 0.5) == pytest.approx(np.abs(best - 0.5).min(), abs=1e-12)


@given(judged_rows(), st.floats(0.01, 1.0))
@FEW
def test_the_sensitivity_is_kept_on_the_rows_that_the_threshold_was_chosen_on(
    rows: tuple[FloatArray, IntArray, FloatArray], least: float
) -> None:
    proba, truth, weight = rows
    threshold = choose_threshold(ThresholdObjective("sensitivity", least), proba, truth == 1, weight)
    hits = weight[(truth == 1) & (proba >= threshold)].sum()
    assert hits / weight[truth == 1].sum() >= least - 1e-9


@given(judged_rows(), st.sampled_from(CHOSEN_AIMS))
@FEW
def test_a_row_of_weight_two_counts_like_two_rows(rows: tuple[FloatArray, IntArray, FloatArray], text: str) -> None:
    proba, truth, weight = rows
    times = weight.astype(np.int64)
    repeated = [np.repeat(each, times) for each in (proba, truth == 1, np.ones(len(proba)))]
    assert choose_threshold(parse_objective(text), *repeated) == choose_threshold(
        parse_objective(text), proba, truth == 1, weight
    )


def test_a_probability_is_its_own_threshold_whatever_the_rows() -> None:
    assert (
        choose_threshold(ThresholdObjective("probability", 0.37), np.empty(0), np.empty(0, dtype=bool), np.empty(0))
        == 0.37
    )


@pytest.mark.parametrize("text", CHOSEN_AIMS)
@pytest.mark.parametrize("value", [True, False])
def test_rows_of_one_class_have_a_threshold_too(text: str, value: bool) -> None:
    proba = np.array([0.2, 0.6, 0.9])
    threshold = choose_threshold(parse_objective(text), proba, np.full(3, value), np.ones(3))
    if text != "f1" or value:
        np.testing.assert_array_equal(proba >= threshold, value)


@pytest.mark.parametrize("text", CHOSEN_AIMS)
@pytest.mark.parametrize("upper", [0.7, 1.0 - 2**-53, 1.0])
def test_neighbours_in_double_precision_are_told_apart(text: str, upper: float) -> None:
    proba = np.array([np.nextafter(upper, 0), upper])
    threshold = choose_threshold(parse_objective(text), proba, np.array([False, True]), np.ones(2))
    assert (proba >= threshold).tolist() == [False, True]


def test_rows_of_probability_one_are_called_positive_by_every_threshold_also_by_the_one_that_is_chosen() -> None:
    aim, truth = parse_objective("cost=1:100"), np.array([False, True, False])
    weight = np.array([1.0, 1.0, 1.0])
    threshold = choose_threshold(aim, np.array([0.2, 0.6, 1.0]), truth, weight)
    assert threshold == pytest.approx(0.4)  # the false alarm cannot be helped, the other row can
    assert choose_threshold(aim, np.ones(3), truth, weight) == 0.5


# What rows are called


def test_without_a_threshold_a_row_is_called_the_most_probable_class() -> None:
    log_proba = np.log([[0.2, 0.5, 0.3], [0.6, 0.3, 0.1]])
    np.testing.assert_array_equal(predicted_codes(log_proba, None, None), [1, 0])
    np.testing.assert_array_equal(predicted_codes(log_proba[:, :2], 1, None), [1, 0])


@pytest.mark.parametrize("positive", [0, 1])
def test_from_the_threshold_on_a_row_is_called_positive(positive: int) -> None:
    of_positive = np.array([0.1, 0.25, 0.3, 0.9])
    proba = np.column_stack([of_positive, 1 - of_positive][:: 1 if positive == 0 else -1])
    found = predicted_codes(np.log(proba), positive, 0.25)
    np.testing.assert_array_equal(found == positive, [False, True, True, True])


def noisy_predictions(n_rows: int, n_classes: int = 2, seed: int = 0) -> tuple[FloatArray, IntArray, FloatArray]:
    rng = np.random.default_rng(seed)
    y = rng.integers(n_classes, size=n_rows)
    log_proba = log_softmax(rng.normal(0, 1, (n_rows, n_classes)) + 1.5 * np.eye(n_classes)[y], axis=1)
    return log_proba, y, rng.uniform(0.5, 2.0, n_rows)


@pytest.mark.parametrize("text", CHOSEN_AIMS)
@pytest.mark.parametrize("positive", [0, 1])
def test_what_the_rows_of_a_part_are_called_does_not_depend_on_their_own_labels(text: str, positive: int) -> None:
    log_proba, y, weight = noisy_predictions(120)
    part, aim = np.arange(120) % 4, parse_objective(text)
    before = cross_fit_threshold(aim, log_proba, y, weight, part, positive)
    for number in range(4):
        judged = part == number
        flipped = np.where(judged, 1 - y, y)
        after = cross_fit_threshold(aim, log_proba, flipped, weight, part, positive)
        np.testing.assert_array_equal(after[judged], before[judged])
        others = ~judged
        threshold = choose_threshold(aim, np.exp(log_proba[others, positive]), y[others] == positive, weight[others])
        np.testing.assert_array_equal(before[judged], predicted_codes(log_proba[judged], positive, threshold))


def test_rows_of_one_part_are_called_the_most_probable_class_unless_a_probability_is_named() -> None:
    log_proba, y, weight = noisy_predictions(50)
    part = np.full(50, 2)
    codes = cross_fit_threshold(ThresholdObjective("f1"), log_proba, y, weight, part, 1)
    np.testing.assert_array_equal(codes, log_proba.argmax(axis=1))
    codes = cross_fit_threshold(ThresholdObjective("probability", 0.9), log_proba, y, weight, part, 1)
    np.testing.assert_array_equal(codes, np.exp(log_proba[:, 1]) >= 0.9)


# Sets


def textbook_limit(proba: FloatArray, coverage: Fraction) -> float:
    """Split conformal prediction: of n rows, the floor((1 - coverage)(n + 1))-th least probability; 0 before the first.

    Of n + 1 exchangeable rows the last is below it with probability floor(...) / (n + 1), at most 1 - coverage.
    """
    rank = math.floor((1 - coverage) * (len(proba) + 1))
    return float(np.sort(proba)[rank - 1]) if rank else 0.0


@given(
    n_rows=st.integers(1, 80),
    n_classes=st.integers(2, 4),
    hundredths=st.integers(1, 99),
    unit=st.sampled_from([1.0, 1e-6, 0.1, 7.0, 1e6]),
    seed=st.integers(0, 999),
)
@FEW
def test_limits_are_the_textbooks_whatever_rows_of_a_class_weigh_together(
    n_rows: int, n_classes: int, hundredths: int, unit: float, seed: int
) -> None:
    log_proba, y, _ = noisy_predictions(n_rows, n_classes, seed)
    weight = unit ** (y / n_classes)
    limits = set_thresholds(log_proba, y, weight, hundredths / 100)
    for code in range(n_classes):
        expected = textbook_limit(np.exp(log_proba[y == code, code]), Fraction(hundredths, 100))
        assert limits[code] == pytest.approx(expected, rel=1e-12)


@given(st.integers(1, 40), st.floats(0.02, 0.98), st.integers(0, 999))
@FEW
def test_with_weights_no_more_than_the_allowed_mass_reaches_no_farther_than_the_limit(
    n_rows: int, coverage: float, seed: int
) -> None:
    log_proba, y, weight = noisy_predictions(n_rows, 2, seed)
    limits = set_thresholds(log_proba, y, weight, coverage)
    for code in range(2):
        proba, mass = np.exp(log_proba[y == code, code]), weight[y == code]
        allowed = (1 - coverage) * (mass.sum() + mass.mean()) if len(mass) else 0.0
        fitting = [value for value in proba if mass[proba <= value].sum() <= allowed]
        assert limits[code] == pytest.approx(max(fitting, default=0.0), rel=1e-12)


def test_limits_depend_on_weights_as_on_repeated_rows_where_there_are_many() -> None:
    log_proba, y, _ = noisy_predictions(400)
    times = np.random.default_rng(1).integers(1, 4, 400)
    repeated = np.repeat(np.arange(400), times)
    weighted = set_thresholds(log_proba, y, times.astype(np.float64), 0.9)
    plain = set_thresholds(log_proba[repeated], y[repeated], np.ones(len(repeated)), 0.9)
    for code in range(2):
        proba = np.sort(np.exp(log_proba[y == code, code]))
        places = np.searchsorted(proba, [weighted[code], plain[code]])
        assert abs(places[0] - places[1]) <= 1  # the one more row weighs 1 of them, or as much as their mean


@pytest.mark.parametrize(("n_rows", "is_told"), [(8, False), (9, True)])
def test_a_class_with_too_few_rows_to_tell_is_in_every_set(n_rows: int, is_told: bool) -> None:
    log_proba, y, weight = noisy_predictions(60, 3)
    y[:] = 1
    y[:n_rows] = 0
    limits = set_thresholds(log_proba, y, weight * 0 + 1, 0.9)
    assert (limits > 0).tolist() == [is_told, True, False]
    assert prediction_sets(log_proba, limits)[:, 2].all()


def test_sets_hold_the_classes_that_are_probable_enough() -> None:
    log_proba = np.log([[0.3, 0.1, 0.6], [0.29, 0.42, 0.29], [0.9, 0.1, 1e-300]])
    limits = np.exp(log_proba[0]) * [1, 0, 1]
    expected = [[True, True, True], [False, True, False], [True, True, False]]
    np.testing.assert_array_equal(prediction_sets(log_proba, limits), expected)


@pytest.mark.parametrize("coverage", [0.8, 0.9])
@pytest.mark.parametrize("weight_of_class", [0.2, 1.0, 5.0])
def test_new_rows_of_the_same_kind_are_in_their_sets_as_often_as_promised_and_hardly_more(
    coverage: float, weight_of_class: float
) -> None:
    rng, n_runs, n_rows = np.random.default_rng(0), 1_500, 14
    y = np.array([0] * n_rows + [1] * 40)
    weight = np.where(y == 0, weight_of_class, 1.0)
    covered = 0
    for _ in range(n_runs):
        proba = rng.beta(2, 1, len(y) + 1)
        log_proba = np.log(np.column_stack([proba, 1 - proba]))
        covered += prediction_sets(log_proba[-1:], set_thresholds(log_proba[:-1], y, weight, coverage))[0, 0]
    error = math.sqrt(coverage * (1 - coverage) / n_runs)
    assert coverage - 3 * error <= covered / n_runs <= coverage + 1 / (n_rows + 1) + 3 * error


@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_sets_of_a_part_do_not_depend_on_its_own_labels(n_classes: int) -> None:
    log_proba, y, weight = noisy_predictions(200, n_classes)
    part = np.arange(200) % 5
    before = cross_fit_sets(log_proba, y, weight, part, 0.8)
    assert not before.all()
    for number in range(5):
        judged = part == number
        other_labels = np.where(judged, (y + 1) % n_classes, y)
        after = cross_fit_sets(log_proba, other_labels, np.where(judged, 9.0, weight), part, 0.8)
        np.testing.assert_array_equal(after[judged], before[judged])
        limits = set_thresholds(log_proba[~judged], y[~judged], weight[~judged], 0.8)
        np.testing.assert_array_equal(before[judged], prediction_sets(log_proba[judged], limits))


def test_rows_of_one_part_have_all_classes_in_their_sets() -> None:
    log_proba, y, weight = noisy_predictions(100, 3)
    assert cross_fit_sets(log_proba, y, weight, np.zeros(100, dtype=np.int64), 0.8).all()
