"""The classifier is one of scikit-learn's own: its checks, its tools, its frames."""

from __future__ import annotations

import os

os.environ.setdefault("SCIPY_ARRAY_API", "1")  # without it scikit-learn skips a check; read when SciPy is imported

import pickle
import unittest
import warnings
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from helpers import QUICK, make_rows
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils._param_validation import InvalidParameterError
from sklearn.utils.estimator_checks import (
    check_dataframe_column_names_consistency,
    check_param_validation,
    parametrize_with_checks,
)

from tabcohort import (
    CohortClassifier,
    CohortSettings,
    Config,
    SettingsError,
    TabcohortError,
    TabcohortWarning,
    TableError,
    save,
)
from tabcohort.settings import rules

X, CODES = make_rows()
Y = np.array(["no", "yes"])[CODES]
NAMES = ["x0", "x1", "x2"]


def classifier(**settings: Any) -> CohortClassifier:
    return CohortClassifier(**{**QUICK, "folds": 3, "seeds": 1, **settings})


def run_check(check: Any, *arguments: Any) -> None:
    """Run one of scikit-learn's checks; one that skips has checked nothing, so it fails."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TabcohortWarning)  # some checks have a class with a single row
        try:
            check(*arguments)
        except unittest.SkipTest as reason:
            pytest.fail(f"the check was skipped: {reason}")


@parametrize_with_checks([CohortClassifier()])
def test_it_passes_every_check_of_scikit_learn(estimator: Any, check: Any) -> None:
    run_check(check, estimator)


@pytest.mark.parametrize("check", [check_param_validation, check_dataframe_column_names_consistency])
def test_it_passes_the_checks_that_scikit_learn_keeps_for_itself(check: Any) -> None:
    run_check(check, "CohortClassifier", classifier())


WRONG: list[Any] = [
    object(),
    "nonsense",
    -1,
    -0.5,
    1.0,
    1.5,
    0,
    2**70,
    float("nan"),
    float("inf"),
    None,
    True,
    (0,),
    [],
    {},
]


@pytest.mark.parametrize("name", rules())
def test_a_value_is_refused_by_the_estimator_and_by_settings_alike(name: str) -> None:
    """No value passes one and fails the other with something else than a sentence."""
    for value in WRONG:
        if rules()[name].accepts(value):
            continue
        with pytest.raises((InvalidParameterError, TabcohortError), match=name):
            classifier(**{name: value}).fit(X, Y)


def test_roles_that_leave_nothing_to_train_are_refused() -> None:
    with pytest.raises(SettingsError, match="'validation_fraction' and 'test_fraction' must leave rows to train"):
        classifier(validation_fraction=0.5, test_fraction=0.5).fit(X, Y)


def test_numpy_pandas_and_polars_give_the_same_predictions() -> None:
    expected = classifier().fit(X, Y).predict_proba(X)
    for frame in (pd.DataFrame(X, columns=NAMES), pl.DataFrame(X, schema=NAMES)):
        fitted = classifier().fit(frame, Y)
        assert list(fitted.feature_names_in_) == NAMES
        assert fitted.predictor_.schema.features == tuple(NAMES)
        assert (fitted.predict_proba(frame) == expected).all()
        assert (fitted.predictor_.predict_proba(frame) == expected).all()


@pytest.mark.parametrize("y", [pd.Series(Y, index=range(5, 95)), pl.Series(Y), Y.tolist()], ids=type)
def test_labels_may_come_in_any_wrapping(y: Any) -> None:
    assert (classifier().fit(X, y).predict(X) == classifier().fit(X, Y).predict(X)).all()


@pytest.mark.parametrize("labels", [[0, 1], [-1, 1], [0.5, 1.5], [False, True], ["b", "a"]], ids=str)
def test_predictions_are_labels_of_the_type_that_was_given(labels: list[Any]) -> None:
    y = np.array(labels)[CODES]
    if y.dtype.kind == "f":
        y = y.astype(object).astype(str)
    fitted = classifier(max_epochs=20).fit(X, y)
    assert fitted.classes_.tolist() == sorted(set(y.tolist()))
    assert fitted.predict(X).dtype == y.dtype
    assert fitted.score(X, y) > 0.7


def test_a_cell_that_is_missing_is_named() -> None:
    bad = X.copy()
    bad[4, 1] = np.nan
    with pytest.raises(TableError, match=r"row 5, column 'x1' is missing \(NaN\)"):
        classifier().fit(bad, Y)
    with pytest.raises(TableError, match=r"row 5, column 'x1' is missing \(NaN\)"):
        classifier().fit(X, Y).predict(bad)


def test_weights_that_are_all_zero_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"sample_weight must have at least one positive|Sample weights must contain at least"
    ):
        classifier().fit(X, Y, np.zeros(len(X)))


def test_before_fit_there_is_nothing_to_predict_with() -> None:
    with pytest.raises(NotFittedError, match="not fitted yet"):
        classifier().predict(X)


def test_a_class_weight_moves_predictions_towards_its_class() -> None:
    rare = np.where((CODES == 1) & (np.arange(len(X)) % 3 > 0), 0, CODES)
    settings: dict[str, Any] = {"model": "logistic", "max_epochs": 40}
    plain = classifier(**settings).fit(X, rare).predict_proba(X)[:, 1].mean()
    balanced = classifier(**settings, class_weight="balanced").fit(X, rare).predict_proba(X)[:, 1].mean()
    by_label = classifier(**settings, class_weight={0: 1.0, 1: 50.0}).fit(X, rare).predict_proba(X)[:, 1].mean()
    assert plain < balanced < by_label


def test_a_class_weight_of_an_unknown_class_is_refused() -> None:
    with pytest.raises(SettingsError, match="class_weight has the class 'maybe'; the target has no, yes"):
        classifier(class_weight={"maybe": 2.0}).fit(X, Y)


def test_it_reports_what_it_is_worth() -> None:
    fitted = classifier(positive="no").fit(X, Y)
    assert fitted.evaluation_.n_rows == len(X)
    assert 0 <= fitted.evaluation_.metrics["sensitivity"].value <= 1
    assert [[record.epoch for record in member.history] for member in fitted.members_] == [[1, 2, 3]] * 3
    assert fitted.predictor_.schema.classes[fitted.predictor_.schema.positive] == "no"


def test_it_works_in_a_pipeline_a_grid_and_cross_validation() -> None:
    X, codes = make_rows(n_rows=240)
    y = np.array(["no", "yes"])[codes]
    pipeline = make_pipeline(StandardScaler(), classifier(max_epochs=15))
    assert pipeline.fit(X, y).score(X, y) > 0.7
    grid = GridSearchCV(pipeline, {"cohortclassifier__dropout": [0.0, 0.3]}, cv=2, n_jobs=1, error_score="raise")
    assert grid.fit(X, y).best_score_ > 0.7
    scores = cross_val_score(classifier(max_epochs=15), X, y, cv=3, scoring="roc_auc", error_score="raise")
    assert (scores > 0.8).all()


def test_a_clone_is_unfitted_and_fits_to_the_same_bits() -> None:
    fitted = classifier(class_weight={"no": 1.0, "yes": 2.0}, hidden=[4, 4]).fit(X, Y)
    copied = clone(fitted)
    assert not hasattr(copied, "predictor_")
    assert copied.get_params() == fitted.get_params()
    assert (copied.fit(X, Y).predict_proba(X) == fitted.predict_proba(X)).all()


@pytest.mark.parametrize("model", ["logistic", "mlp", "residual"])
def test_a_fitted_classifier_can_be_pickled(model: str) -> None:
    """By scikit-learn's tools, to send it to another process; tabcohort itself reads no pickles."""
    fitted = classifier(model=model).fit(X, Y)
    copied = pickle.loads(pickle.dumps(fitted))
    assert (copied.predict_proba(X) == fitted.predict_proba(X)).all()
    assert copied.evaluation_.metrics == fitted.evaluation_.metrics


def test_its_predictor_can_be_saved(tmp_path: Any) -> None:
    save(classifier().fit(X, CODES).predictor_, tmp_path / "model")
    assert (tmp_path / "model").is_file()


def test_every_setting_is_a_parameter_with_the_same_default() -> None:
    defaults = {name: getattr(one, name) for one in (Config(), CohortSettings()) for name in rules(one)}
    assert CohortClassifier().get_params() == {**defaults, "settings": None}


# The cohort


def test_out_of_fold_probabilities_are_those_that_the_evaluation_is_of() -> None:
    fitted = classifier(positive="no").fit(X, Y)
    proba = fitted.out_of_fold_proba_
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-6)
    accuracy = float((fitted.classes_[proba.argmax(axis=1)] == Y).mean())
    assert fitted.evaluation_.metrics["accuracy"].value == pytest.approx(accuracy, abs=1e-12)
    assert (proba != fitted.predict_proba(X)).all(), "these are by networks that the rows trained"


def test_rows_of_weight_zero_have_no_out_of_fold_probability() -> None:
    weight = np.ones(len(X))
    weight[[3, 50]] = 0
    fitted = classifier().fit(X, Y, sample_weight=weight)
    assert np.flatnonzero(np.isnan(fitted.out_of_fold_proba_).any(axis=1)).tolist() == [3, 50]
    without = classifier().fit(np.delete(X, [3, 50], axis=0), np.delete(Y, [3, 50]))
    np.testing.assert_array_equal(np.delete(fitted.out_of_fold_proba_, [3, 50], axis=0), without.out_of_fold_proba_)


def test_sets_hold_the_class_as_often_as_was_asked_for() -> None:
    X, codes = make_rows(n_rows=600)
    for coverage in (0.7, 0.95):
        fitted = classifier(coverage=coverage, max_epochs=15).fit(X[:300], codes[:300])
        sets = fitted.predict_set(X[300:])
        assert sets.shape == (300, 2)
        assert sets[np.arange(300), codes[300:]].mean() == pytest.approx(coverage, abs=0.06)


def test_networks_agree_less_on_rows_between_the_classes() -> None:
    X, codes = make_rows(n_rows=300)
    fitted = classifier(max_epochs=15, seeds=2).fit(X, codes)
    spread, confidence = fitted.predict_uncertainty(X), fitted.predict_proba(X).max(axis=1)
    assert (spread >= 0).all()
    assert spread[confidence < 0.7].mean() > 2 * spread[confidence > 0.95].mean()


def test_a_threshold_is_chosen_for_an_aim_and_used() -> None:
    X, codes = make_rows(n_rows=300)
    fitted = classifier(max_epochs=10, threshold="sensitivity>=0.99").fit(X, codes)
    assert fitted.threshold_ is not None
    assert 0 < fitted.threshold_ < 0.5
    positive = fitted.predict_proba(X)[:, 1] >= fitted.threshold_
    np.testing.assert_array_equal(fitted.predict(X), positive.astype(int))
    assert classifier().fit(X, codes).threshold_ is None


def test_settings_are_tried_side_by_side_and_told_of_in_a_table() -> None:
    X, codes = make_rows(n_rows=200)
    tried = [{"learning_rate": 0.02}, {"learning_rate": 1e-6}]
    fitted = classifier(max_epochs=10, settings=tried).fit(X, codes)
    table = pd.DataFrame(fitted.leaderboard_)
    assert table["learning_rate"].tolist() == [0.02, 1e-6]
    assert table["weight"].sum() == pytest.approx(1)
    assert table["weight"].idxmax() == table["log_loss"].idxmin() == 0
    assert (table["log_loss_low"] < table["log_loss"]).all()
    assert len(fitted.members_) == 6


@pytest.mark.parametrize("wrong", [[0.1], ["dropout"]])
def test_settings_that_are_no_mappings_are_refused(wrong: Any) -> None:
    with pytest.raises(SettingsError, match="the parameter 'settings' must be a list of mappings such as"):
        classifier(settings=wrong).fit(X, Y)


def test_groups_are_never_both_learned_from_and_judged_on() -> None:
    """Rows of one group are copies but for noise: with groups the score is that of a coin, without them perfect."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(40), 6)
    X = rng.normal(size=(40, 5))[groups] + 1e-3 * rng.normal(size=(240, 5))
    y = rng.permutation(np.arange(40) % 2)[groups]
    settings: dict[str, Any] = {"max_epochs": 60, "hidden": (32,), "patience": None}
    leaking = classifier(**settings).fit(X, y).evaluation_.metrics["accuracy"].value
    honest = classifier(**settings).fit(X, y, groups=groups).evaluation_.metrics["accuracy"].value
    assert leaking > 0.9
    assert honest < 0.75


def test_times_judge_networks_on_later_rows_only() -> None:
    X, codes = make_rows(n_rows=200)
    days = np.array("2024-01-01", dtype="datetime64[D]") + np.arange(200)
    for times in (np.arange(200.0), days, days.astype(str).astype(object)):
        fitted = classifier().fit(X, codes, times=times)
        judged = ~np.isnan(fitted.out_of_fold_proba_).any(axis=1)
        assert not judged[:100].any(), "the first half only trains"
        assert judged[150:].all()


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"groups": [1, 2]}, r"groups must have one value per row, of shape \(90,\); the shape is \(2,\)"),
        ({"times": np.full(90, np.nan)}, "row 1 has no time; every row needs one"),
        ({"times": np.array(["soon"] * 90, dtype=object)}, "times must be numbers or dates: "),
    ],
)
def test_groups_and_times_that_do_not_fit_are_refused(how: dict[str, Any], words: str) -> None:
    with pytest.raises(TableError, match=words):
        classifier().fit(X, Y, **how)
