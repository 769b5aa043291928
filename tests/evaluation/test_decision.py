"""Decision rules: thresholds against all thresholds there are."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, f1_score
from test_out_of_fold import noisy_predictions

from tabcohort.errors import SettingsError, TabcohortWarning
from tabcohort.evaluation.decision import (
    OBJECTIVES,
    ThresholdObjective,
    check_objective,
    choose_decision_rule,
    choose_threshold,
    cross_fit_threshold,
    parse_objective,
    predicted_codes,
)
from tabcohort.evaluation.prediction_sets import set_thresholds
from tabcohort.types import FloatArray, IntArray

FEW = hypothesis_settings(max_examples=80, deadline=None)
CHOSEN = ["balanced_accuracy", "f1", "sensitivity>=0.8", "sensitivity>=1", "cost=10:1", "cost=1:3"]

# -- objectives ------------------------------------------------------------------------------------------------------


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
def test_an_objective_is_what_a_person_wrote(text: str | float, expected: ThresholdObjective) -> None:
    assert parse_objective(text) == expected


@pytest.mark.parametrize("text", ["balanced_accuracy", "balanced-accuracy", "Balanced_Accuracy", "f1", "F1"])
def test_an_objective_may_be_a_word(text: str) -> None:
    objective = parse_objective(text)
    assert objective.kind == text.lower().replace("-", "_")
    assert math.isnan(objective.value)


@pytest.mark.parametrize(
    "text",
    [
        "", "0", "1", 0.0, 1.0, "1.5", "-0.5", -0.5, True, "nan", "inf", "half", "accuracy", "f2",
        "sensitivity", "sensitivity>=0", "sensitivity>=1.01", "sensitivity>=95%", "sensitivity<=0.9",
        "specificity>=0.9", "cost=10", "cost=0:1", "cost=1:0", "cost=-1:1", "cost=10:1:1", "cost=1e999:1",
        "cost=1e300:1e-300", "cost=1e-300:1e300", "0.5 0.5x",
    ],
)  # fmt: skip
def test_what_is_no_objective_is_an_error_that_says_what_is(text: str | float) -> None:
    with pytest.raises(SettingsError) as error:
        parse_objective(text)
    assert str(error.value) == f"the threshold must be {OBJECTIVES}; it is {text!r}"


@pytest.mark.parametrize("example", ["balanced_accuracy", "f1", "sensitivity>=0.95", "cost=10:1"])
def test_the_examples_of_the_message_are_objectives(example: str) -> None:
    assert f"'{example}'" in OBJECTIVES
    parse_objective(example)


def test_an_objective_is_for_two_classes() -> None:
    assert check_objective("f1", 2) == parse_objective("f1")
    with pytest.raises(SettingsError, match=r"^a threshold is for two classes; there are 3$"):
        check_objective("f1", 3)
    with pytest.raises(SettingsError, match=r"^the threshold must be a probability .*; it is 'recall'$"):
        check_objective("recall", 3)


# -- thresholds ------------------------------------------------------------------------------------------------------


def utility_of(objective: ThresholdObjective, y_pred: IntArray, y: IntArray, weight: FloatArray) -> float:
    """How well an objective is reached, by scikit-learn's measures; the more the better."""
    (_, alarms), (missed, hits) = confusion_matrix(y, y_pred, labels=[0, 1], sample_weight=weight)
    if objective.kind == "balanced_accuracy":
        return float(balanced_accuracy_score(y, y_pred, sample_weight=weight))
    if objective.kind == "f1":
        return float(f1_score(y, y_pred, sample_weight=weight, zero_division=0.0))
    if objective.kind == "sensitivity":
        return -float(alarms) if hits / (hits + missed) >= objective.value - 1e-12 else -math.inf
    return -float(objective.value * missed + alarms)


def all_thresholds(proba: FloatArray) -> FloatArray:
    """Return one threshold for each way to predict the rows: midway, or at the row where none is midway."""
    edges = np.concatenate([[0.0], np.unique(proba), [1.0]])
    middle = (edges[:-1] + edges[1:]) / 2
    return middle if proba.max() < 1 else middle[:-1]


@st.composite
def predicted_rows(draw: st.DrawFn) -> tuple[FloatArray, IntArray, FloatArray]:
    """Probabilities, many equal, some of them 0 or 1; classes, at least one row of each; weights."""
    n_rows, grid = draw(st.integers(2, 25)), draw(st.sampled_from([3, 10, 1000]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    y = rng.integers(2, size=n_rows)
    y[:2] = [0, 1]
    return rng.integers(grid + 1, size=n_rows) / grid, y, rng.integers(1, 4, size=n_rows).astype(np.float64)


@given(predicted_rows(), st.sampled_from(CHOSEN))
@FEW
def test_no_threshold_serves_an_objective_better_and_of_the_best_it_is_nearest_to_a_half(
    rows: tuple[FloatArray, IntArray, FloatArray], text: str
) -> None:
    (proba, y, weight), objective = rows, parse_objective(text)
    threshold = choose_threshold(objective, proba, y == 1, weight)
    assert 0 <= threshold <= 1
    utility = utility_of(objective, (proba >= threshold).astype(np.int64), y, weight)
    candidates = all_thresholds(proba)
    utilities = np.array([utility_of(objective, (proba >= value).astype(np.int64), y, weight) for value in candidates])
    assert utility == pytest.approx(utilities.max(), abs=1e-9)
    best = candidates[utilities >= utilities.max() - 1e-9]
    assert abs(threshold - 0.5) == pytest.approx(np.abs(best - 0.5).min(), abs=1e-12)


@given(predicted_rows(), st.floats(0.01, 1.0))
@FEW
def test_the_sensitivity_is_kept_on_the_rows_that_the_threshold_was_chosen_on(
    rows: tuple[FloatArray, IntArray, FloatArray], least: float
) -> None:
    proba, y, weight = rows
    threshold = choose_threshold(ThresholdObjective("sensitivity", least), proba, y == 1, weight)
    hits = weight[(y == 1) & (proba >= threshold)].sum()
    assert hits / weight[y == 1].sum() >= least - 1e-9


@given(predicted_rows(), st.sampled_from(CHOSEN))
@FEW
def test_a_row_of_weight_two_counts_like_two_rows(rows: tuple[FloatArray, IntArray, FloatArray], text: str) -> None:
    proba, y, weight = rows
    times = weight.astype(np.int64)
    repeated = [np.repeat(values, times) for values in (proba, y == 1, np.ones(len(proba)))]
    objective = parse_objective(text)
    assert choose_threshold(objective, *repeated) == choose_threshold(objective, proba, y == 1, weight)


def test_a_probability_is_its_own_threshold_whatever_the_rows() -> None:
    nothing = np.empty(0)
    assert choose_threshold(ThresholdObjective("probability", 0.37), nothing, nothing.astype(bool), nothing) == 0.37


@pytest.mark.parametrize("text", CHOSEN)
@pytest.mark.parametrize("value", [True, False])
def test_rows_of_one_class_have_a_threshold_too(text: str, value: bool) -> None:
    proba = np.array([0.2, 0.6, 0.9])
    threshold = choose_threshold(parse_objective(text), proba, np.full(3, value), np.ones(3))
    if text != "f1" or value:
        np.testing.assert_array_equal(proba >= threshold, value)


@pytest.mark.parametrize("text", CHOSEN)
@pytest.mark.parametrize("upper", [0.7, 1.0 - 2**-53, 1.0])
def test_a_threshold_is_between_neighbours_in_double_precision(text: str, upper: float) -> None:
    proba = np.array([np.nextafter(upper, 0), upper])
    threshold = choose_threshold(parse_objective(text), proba, np.array([False, True]), np.ones(2))
    assert (proba >= threshold).tolist() == [False, True]


def test_rows_of_probability_one_are_predicted_positive_by_every_threshold_also_by_the_one_that_is_chosen() -> None:
    objective, truth = parse_objective("cost=1:100"), np.array([False, True, False])
    threshold = choose_threshold(objective, np.array([0.2, 0.6, 1.0]), truth, np.ones(3))
    assert threshold == pytest.approx(0.4)  # the false alarm cannot be helped, the other row can
    assert choose_threshold(objective, np.ones(3), truth, np.ones(3)) == 0.5


# -- predicted classes -----------------------------------------------------------------------------------------------


def test_without_a_threshold_the_most_probable_class_is_predicted() -> None:
    log_proba = np.log([[0.2, 0.5, 0.3], [0.6, 0.3, 0.1]])
    np.testing.assert_array_equal(predicted_codes(log_proba, None, None), [1, 0])
    np.testing.assert_array_equal(predicted_codes(log_proba[:, :2], 1, None), [1, 0])


@pytest.mark.parametrize("positive", [0, 1])
def test_from_the_threshold_on_a_row_is_predicted_positive(positive: int) -> None:
    of_positive = np.array([0.1, 0.25, 0.3, 0.9])
    proba = np.column_stack([of_positive, 1 - of_positive][:: 1 if positive == 0 else -1])
    codes = predicted_codes(np.log(proba), positive, 0.25)
    np.testing.assert_array_equal(codes == positive, [False, True, True, True])


@pytest.mark.parametrize("text", CHOSEN)
@pytest.mark.parametrize("positive", [0, 1])
def test_the_predicted_classes_of_a_fold_do_not_depend_on_its_own_labels(text: str, positive: int) -> None:
    predictions, objective = noisy_predictions(120, n_folds=4), parse_objective(text)
    log_proba, y, weight = predictions.log_proba, predictions.y, predictions.weight
    before = cross_fit_threshold(objective, predictions, positive)
    for inside, outside in predictions.folds():
        flipped = replace(predictions, y=np.where(inside, 1 - y, y))
        np.testing.assert_array_equal(cross_fit_threshold(objective, flipped, positive)[inside], before[inside])
        proba, is_positive = np.exp(log_proba[outside, positive]), y[outside] == positive
        threshold = choose_threshold(objective, proba, is_positive, weight[outside])
        np.testing.assert_array_equal(before[inside], predicted_codes(log_proba[inside], positive, threshold))


def test_rows_of_one_fold_are_predicted_the_most_probable_class_unless_a_probability_is_named() -> None:
    predictions = noisy_predictions(50)
    predictions = replace(predictions, fold_ids=np.full(50, 2))
    codes = cross_fit_threshold(ThresholdObjective("f1"), predictions, 1)
    np.testing.assert_array_equal(codes, predictions.log_proba.argmax(axis=1))
    codes = cross_fit_threshold(ThresholdObjective("probability", 0.9), predictions, 1)
    np.testing.assert_array_equal(codes, np.exp(predictions.log_proba[:, 1]) >= 0.9)


# -- the rule --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("positive", [0, 1])
@pytest.mark.parametrize("objective", [*CHOSEN, 0.3, None])
def test_a_rule_has_the_thresholds_of_all_rows(objective: str | float | None, positive: int) -> None:
    predictions = noisy_predictions(80, n_folds=4)
    log_proba, y, weight = predictions.log_proba, predictions.y, predictions.weight
    rule = choose_decision_rule(predictions, positive, objective, 0.8)
    assert rule.coverage == 0.8
    np.testing.assert_array_equal(rule.set_thresholds, set_thresholds(log_proba, y, weight, 0.8))
    if objective is None:
        assert (rule.objective, rule.threshold) == (None, None)
    else:
        proba = np.exp(log_proba[:, positive])
        expected = choose_threshold(parse_objective(objective), proba, y == positive, weight)
        assert (rule.objective, rule.threshold) == (str(objective), expected)


def test_a_rule_is_chosen_in_double_precision() -> None:
    predictions = noisy_predictions(80, n_folds=4)
    kept = replace(predictions, log_proba=predictions.log_proba.astype(np.float32))
    one, other = (choose_decision_rule(rows, 1, "f1", 0.8) for rows in (kept, kept.as_float64()))
    assert repr(one) == repr(other)
    assert one.set_thresholds.dtype == np.float64


def test_without_folds_a_threshold_is_not_chosen_but_a_probability_is_kept() -> None:
    predictions = noisy_predictions(50)
    words = r"^a threshold for f1 cannot be chosen and measured on the same rows; the most probable class is predicted$"
    with pytest.warns(TabcohortWarning, match=words):
        rule = choose_decision_rule(predictions, 1, "f1", 0.9)
    assert (rule.objective, rule.threshold) == (None, None)
    rule = choose_decision_rule(predictions, 1, 0.25, 0.9)
    assert (rule.objective, rule.threshold) == ("0.25", 0.25)


def test_a_rule_for_three_classes_has_no_threshold() -> None:
    predictions = noisy_predictions(60, 3, n_folds=3)
    assert choose_decision_rule(predictions, None, None, 0.9).threshold is None
    with pytest.raises(SettingsError, match=r"^a threshold is for two classes; there are 3$"):
        choose_decision_rule(predictions, 0, "f1", 0.9)
