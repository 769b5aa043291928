"""Decision rules: thresholds against all thresholds there are."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy.stats import binom
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, f1_score
from test_out_of_fold import noisy_predictions

from tabcohort.errors import SettingsError, TabcohortWarning
from tabcohort.evaluation.decision import (
    CONFIDENCE,
    OBJECTIVES,
    LabelledRows,
    ThresholdObjective,
    can_promise,
    check_objective,
    choose_decision_rule,
    choose_threshold,
    cross_fit_threshold,
    out_of_fold_codes,
    parse_objective,
    predicted_codes,
    rows_of,
)
from tabcohort.evaluation.prediction_sets import set_thresholds
from tabcohort.types import FloatArray, IntArray

FEW = hypothesis_settings(max_examples=80, deadline=None)
BEST = ["balanced_accuracy", "f1", "cost=10:1", "cost=1:3"]
RATES = ["sensitivity>=0.8", "sensitivity>=1", "specificity>=0.8", "precision>=0.7"]
CHOSEN = [*BEST, *RATES]

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
        ("specificity >= .9", ThresholdObjective("specificity", 0.9)),
        ("Precision>=0.75", ThresholdObjective("precision", 0.75)),
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
        "specificity>=0", "precision>=2", "recall>=0.9", "cost=10", "cost=0:1", "cost=1:0", "cost=-1:1",
        "cost=10:1:1", "cost=1e999:1",
        "cost=1e300:1e-300", "cost=1e-300:1e300", "0.5 0.5x",
    ],
)  # fmt: skip
def test_what_is_no_objective_is_an_error_that_says_what_is(text: str | float) -> None:
    with pytest.raises(SettingsError) as error:
        parse_objective(text)
    assert str(error.value) == f"the threshold must be {OBJECTIVES}; it is {text!r}"


@pytest.mark.parametrize(
    "example", ["balanced_accuracy", "f1", "sensitivity>=0.95", "specificity>=0.95", "precision>=0.9", "cost=10:1"]
)
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
    (_, alarms), (missed, _) = confusion_matrix(y, y_pred, labels=[0, 1], sample_weight=weight)
    if objective.kind == "balanced_accuracy":
        return float(balanced_accuracy_score(y, y_pred, sample_weight=weight))
    if objective.kind == "f1":
        return float(f1_score(y, y_pred, sample_weight=weight, zero_division=0.0))
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


def rows_from(
    proba: FloatArray, y: IntArray, weight: FloatArray | None = None, group_ids: IntArray | None = None
) -> LabelledRows:
    """Return rows to choose a threshold on, of weight 1 and independent when omitted."""
    n_rows = len(proba)
    return LabelledRows(
        proba,
        np.asarray(y) == 1,
        np.ones(n_rows) if weight is None else weight,
        np.arange(n_rows) if group_ids is None else group_ids,
    )


@given(predicted_rows(), st.sampled_from(BEST))
@FEW
def test_no_threshold_serves_an_objective_better_and_of_the_best_it_is_nearest_to_a_half(
    rows: tuple[FloatArray, IntArray, FloatArray], text: str
) -> None:
    (proba, y, weight), objective = rows, parse_objective(text)
    threshold = choose_threshold(objective, rows_from(proba, y, weight))
    assert 0 <= threshold <= 1
    utility = utility_of(objective, (proba >= threshold).astype(np.int64), y, weight)
    candidates = all_thresholds(proba)
    utilities = np.array([utility_of(objective, (proba >= value).astype(np.int64), y, weight) for value in candidates])
    assert utility == pytest.approx(utilities.max(), abs=1e-9)
    best = candidates[utilities >= utilities.max() - 1e-9]
    assert abs(threshold - 0.5) == pytest.approx(np.abs(best - 0.5).min(), abs=1e-12)


@given(predicted_rows(), st.sampled_from(BEST))
@FEW
def test_a_row_of_weight_two_counts_like_two_rows(rows: tuple[FloatArray, IntArray, FloatArray], text: str) -> None:
    proba, y, weight = rows
    times, objective = weight.astype(np.int64), parse_objective(text)
    repeated = rows_from(np.repeat(proba, times), np.repeat(y, times))
    assert choose_threshold(objective, repeated) == choose_threshold(objective, rows_from(proba, y, weight))


def test_a_probability_is_its_own_threshold_whatever_the_rows() -> None:
    nothing = np.empty(0)
    assert choose_threshold(ThresholdObjective("probability", 0.37), rows_from(nothing, nothing)) == 0.37


@pytest.mark.parametrize("text", CHOSEN)
@pytest.mark.parametrize("value", [True, False])
def test_rows_of_one_class_have_a_threshold_too(text: str, value: bool) -> None:
    proba = np.array([0.2, 0.6, 0.9])
    threshold = choose_threshold(parse_objective(text), rows_from(proba, np.full(3, int(value))))
    if value or not text.startswith(("f1", "precision")):
        np.testing.assert_array_equal(proba >= threshold, value)


@pytest.mark.parametrize("text", BEST)
@pytest.mark.parametrize("upper", [0.7, 1.0 - 2**-53, 1.0])
def test_a_threshold_is_between_neighbours_in_double_precision(text: str, upper: float) -> None:
    proba = np.array([np.nextafter(upper, 0), upper])
    threshold = choose_threshold(parse_objective(text), rows_from(proba, np.array([0, 1])))
    assert (proba >= threshold).tolist() == [False, True]


def test_rows_of_probability_one_are_predicted_positive_by_every_threshold_also_by_the_one_that_is_chosen() -> None:
    objective, truth = parse_objective("cost=1:100"), np.array([0, 1, 0])
    threshold = choose_threshold(objective, rows_from(np.array([0.2, 0.6, 1.0]), truth))
    assert threshold == pytest.approx(0.4)  # the false alarm cannot be helped, the other row can
    assert choose_threshold(objective, rows_from(np.ones(3), truth)) == 0.5
    rows = rows_from(np.array([0.2, 0.6, 1.0]), 1 - truth)
    assert choose_threshold(parse_objective("cost=100:1"), rows) == pytest.approx(0.1)  # the first row is not missed


# -- rates with a margin ---------------------------------------------------------------------------------------------


def rates_at(threshold: float, proba: FloatArray, y: IntArray) -> dict[str, float]:
    """Return the rates that may be asked for, at a threshold."""
    (right, alarms), (missed, hits) = confusion_matrix(y, proba >= threshold, labels=[0, 1])
    return {
        "sensitivity": hits / (hits + missed),
        "specificity": right / (right + alarms),
        "precision": hits / max(1, hits + alarms),
    }


@pytest.mark.parametrize("least", [0.5, 0.8, 0.95, 0.99])
@pytest.mark.parametrize("n_positive", [3, 20, 90, 400])
def test_as_many_positives_are_missed_as_a_tolerance_limit_allows(least: float, n_positive: int) -> None:
    """A threshold below the (k + 1)-th positive holds where a binomial count of misses exceeds k often enough."""
    rng = np.random.default_rng(n_positive)
    y = np.repeat([0, 1], [200, n_positive])
    proba = rng.uniform(size=len(y))
    allowed = [k for k in range(n_positive) if binom.cdf(k, n_positive, 1 - least) <= 1 - CONFIDENCE]
    rows, objective = rows_from(proba, y), ThresholdObjective("sensitivity", least)
    missed = int((proba[y == 1] < choose_threshold(objective, rows)).sum())
    assert missed <= max(allowed, default=0)
    if missed < max(allowed, default=0):  # one more would be missed without a false alarm less
        last = np.sort(proba[y == 1])[max(allowed)]
        threshold = choose_threshold(objective, rows)
        assert not ((proba[y == 0] >= threshold) & (proba[y == 0] < last)).any()
    assert can_promise(objective, rows) == bool(allowed)


@pytest.mark.parametrize("text", ["sensitivity>=0.9", "specificity>=0.9", "precision>=0.8"])
def test_new_rows_have_the_rate_that_was_asked_for_in_about_nine_tables_of_ten(text: str) -> None:
    objective, n_tables = parse_objective(text), 120
    population = noisy_predictions(40_000, seed=1, has_weights=False)
    proba = np.exp(population.log_proba[:, 1])
    measured, holds, cross_fitted = [], [], []
    for seed in range(n_tables):
        sample = noisy_predictions(300, seed=100 + seed, n_folds=5, has_weights=False)
        threshold = choose_threshold(objective, rows_of(sample, 1))
        measured.append(rates_at(threshold, proba, population.y)[objective.kind])
        holds.append(measured[-1] >= objective.value)
        y_pred = cross_fit_threshold(objective, sample, 1)
        own = rates_at(0.5, y_pred.astype(np.float64), sample.y)[objective.kind]
        cross_fitted.append(own >= objective.value)
    assert 0.84 <= np.mean(holds) <= 0.99
    assert np.mean(cross_fitted) >= 0.9
    assert np.mean(measured) <= objective.value + 0.06  # and not by predicting everything


@pytest.mark.parametrize(("kind", "others"), [("sensitivity", 0), ("specificity", 1), ("precision", 1)])
def test_a_rate_costs_as_few_errors_of_the_other_kind_as_its_margin_allows(kind: str, others: int) -> None:
    sample = noisy_predictions(400, seed=3, has_weights=False)
    rows = rows_of(sample, 1)
    least = {"sensitivity": 0.85, "specificity": 0.85, "precision": 0.8}[kind]
    threshold = choose_threshold(ThresholdObjective(kind, least), rows)
    own = ((rows.proba >= threshold) != rows.is_positive)[sample.y == others].sum()
    for stricter in (least + 0.02, least + 0.05):
        other = choose_threshold(ThresholdObjective(kind, stricter), rows)
        assert ((rows.proba >= other) != rows.is_positive)[sample.y == others].sum() >= own


@pytest.mark.parametrize("kind", ["sensitivity", "specificity", "precision"])
def test_too_few_rows_cannot_promise_a_rate_and_the_threshold_goes_as_far_as_they_do(kind: str) -> None:
    proba, y = np.array([0.1, 0.3, 0.4, 0.6, 0.7, 0.9]), np.array([0, 0, 1, 0, 1, 1])
    objective, rows = ThresholdObjective(kind, 0.9), rows_from(proba, y)
    assert not can_promise(objective, rows)
    best = {"sensitivity": 1.0, "specificity": 1.0, "precision": 0.75}  # 3 of 4 says a little more than 2 of 2
    assert rates_at(choose_threshold(objective, rows), proba, y)[kind] == best[kind]
    many = rows_from(np.repeat(proba, 20), np.repeat(y, 20))
    assert can_promise(objective, many)
    assert can_promise(parse_objective("f1"), rows)


def test_equal_rows_of_one_group_promise_no_more_than_one_of_them() -> None:
    proba, y = np.array([0.1, 0.3, 0.4, 0.6, 0.7, 0.9]), np.array([0, 0, 1, 0, 1, 1])
    objective = ThresholdObjective("sensitivity", 0.9)
    copies = rows_from(np.repeat(proba, 20), np.repeat(y, 20), group_ids=np.repeat(np.arange(6), 20))
    assert not can_promise(objective, copies)
    assert choose_threshold(objective, copies) == choose_threshold(objective, rows_from(proba, y))


def test_the_scale_of_the_weights_plays_no_part() -> None:
    sample = noisy_predictions(300, seed=5)
    for text in RATES:
        rows = rows_of(sample, 1)
        scaled = replace(rows, weight=rows.weight * 1e-3)
        objective = parse_objective(text)
        assert choose_threshold(objective, rows) == choose_threshold(objective, scaled)
        assert can_promise(objective, rows) == can_promise(objective, scaled)


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
        of_others = LabelledRows(
            np.exp(log_proba[outside, positive]),
            y[outside] == positive,
            weight[outside],
            predictions.group_ids[outside],
        )
        threshold = choose_threshold(objective, of_others)
        np.testing.assert_array_equal(before[inside], predicted_codes(log_proba[inside], positive, threshold))


def test_a_rule_with_an_objective_predicts_each_fold_by_the_others_and_one_without_the_most_probable_class() -> None:
    predictions = noisy_predictions(120, n_folds=4)
    rule = choose_decision_rule(predictions, 1, "cost=10:1", 0.9)
    by_threshold = cross_fit_threshold(parse_objective("cost=10:1"), predictions, 1)
    most_probable = predictions.log_proba.argmax(axis=1)
    assert (by_threshold != most_probable).any()
    np.testing.assert_array_equal(out_of_fold_codes(rule, predictions, 1), by_threshold)
    np.testing.assert_array_equal(out_of_fold_codes(rule, predictions, None), most_probable)
    np.testing.assert_array_equal(out_of_fold_codes(replace(rule, objective=None), predictions, 1), most_probable)


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
        rows = LabelledRows(np.exp(log_proba[:, positive]), y == positive, weight, predictions.group_ids)
        expected = choose_threshold(parse_objective(objective), rows)
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
