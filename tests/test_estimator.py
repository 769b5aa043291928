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


def classifier(**parameters: Any) -> CohortClassifier:
    return CohortClassifier(**{**QUICK, "folds": 3, "seeds": 1, **parameters})


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
def test_a_value_is_refused_by_the_estimator_and_by_the_config_alike(name: str) -> None:
    """No value passes one and fails the other with an error that is not ours."""
    for value in WRONG:
        if rules()[name].accepts(value):
            continue
        with pytest.raises((InvalidParameterError, TabcohortError), match=name):
            classifier(**{name: value}).fit(X, Y)


def test_fractions_that_leave_nothing_to_train_are_refused() -> None:
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
def test_labels_may_come_in_any_container(y: Any) -> None:
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
    parameters: dict[str, Any] = {"model": "logistic", "max_epochs": 40}
    plain = classifier(**parameters).fit(X, rare).predict_proba(X)[:, 1].mean()
    balanced = classifier(**parameters, class_weight="balanced").fit(X, rare).predict_proba(X)[:, 1].mean()
    by_label = classifier(**parameters, class_weight={0: 1.0, 1: 50.0}).fit(X, rare).predict_proba(X)[:, 1].mean()
    assert plain < balanced < by_label


def test_a_class_weight_of_an_unknown_class_is_refused() -> None:
    with pytest.raises(SettingsError, match="class_weight has the class 'maybe'; the target has no, yes"):
        classifier(class_weight={"maybe": 2.0}).fit(X, Y)


def test_it_reports_how_good_it_is() -> None:
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
    assert CohortClassifier().get_params() == {**defaults, "configs": None}


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


def test_a_threshold_is_chosen_for_an_objective_and_used() -> None:
    X, codes = make_rows(n_rows=300)
    fitted = classifier(max_epochs=10, threshold="sensitivity>=0.99").fit(X, codes)
    assert fitted.threshold_ is not None
    assert 0 < fitted.threshold_ < 0.5
    positive = fitted.predict_proba(X)[:, 1] >= fitted.threshold_
    np.testing.assert_array_equal(fitted.predict(X), positive.astype(int))
    assert classifier().fit(X, codes).threshold_ is None


def test_configs_are_tried_side_by_side_and_listed_in_a_leaderboard() -> None:
    X, codes = make_rows(n_rows=200)
    configs = [{"learning_rate": 0.02}, {"learning_rate": 1e-6}]
    fitted = classifier(max_epochs=10, configs=configs).fit(X, codes)
    table = pd.DataFrame(fitted.leaderboard_)
    assert table["learning_rate"].tolist() == [0.02, 1e-6]
    assert table["weight"].sum() == pytest.approx(1)
    assert table["weight"].idxmax() == table["log_loss"].idxmin() == 0
    assert (table["log_loss_low"] < table["log_loss"]).all()
    assert len(fitted.members_) == 6


@pytest.mark.parametrize("wrong", [[0.1], ["dropout"]])
def test_configs_that_are_no_mappings_are_refused(wrong: Any) -> None:
    with pytest.raises(SettingsError, match="the parameter 'configs' must be a list of mappings such as"):
        classifier(configs=wrong).fit(X, Y)


def test_groups_are_never_both_trained_and_tested_on() -> None:
    """Rows of one group are copies but for noise: with groups the score is that of a coin, without them perfect."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(40), 6)
    X = rng.normal(size=(40, 5))[groups] + 1e-3 * rng.normal(size=(240, 5))
    y = rng.permutation(np.arange(40) % 2)[groups]
    parameters: dict[str, Any] = {"max_epochs": 60, "hidden": (32,), "patience": None}
    leaking = classifier(**parameters).fit(X, y).evaluation_.metrics["accuracy"].value
    honest = classifier(**parameters).fit(X, y, groups=groups).evaluation_.metrics["accuracy"].value
    assert leaking > 0.9
    assert honest < 0.75


def test_with_times_networks_are_tested_on_later_rows_only() -> None:
    X, codes = make_rows(n_rows=200)
    days = np.array("2024-01-01", dtype="datetime64[D]") + np.arange(200)
    for times in (np.arange(200.0), days, days.astype(str).astype(object)):
        fitted = classifier().fit(X, codes, times=times)
        tested = ~np.isnan(fitted.out_of_fold_proba_).any(axis=1)
        assert not tested[:100].any(), "the first half only trains"
        assert tested[150:].all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"groups": [1, 2]}, r"groups must have one value per row, of shape \(90,\); the shape is \(2,\)"),
        ({"times": np.full(90, np.nan)}, "row 1 has no time; every row needs one"),
        ({"times": np.array(["soon"] * 90, dtype=object)}, "times must be numbers or dates: "),
    ],
)
def test_groups_and_times_that_do_not_fit_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(TableError, match=message):
        classifier().fit(X, Y, **arguments)


def test_a_row_whose_group_is_missing_has_a_group_of_its_own() -> None:
    X, codes = make_rows()
    groups = np.array([f"g{i // 3}" for i in range(90)], dtype=object)
    groups[:3] = None, float("nan"), None
    fitted = classifier().fit(X, codes, groups=groups)
    expected = np.concatenate([[30, 31, 32], np.repeat(np.arange(1, 30), 3)])
    _, sizes = np.unique(fitted.predictor_.out_of_fold.group_ids, return_counts=True)
    assert sorted(sizes.tolist()) == sorted(np.unique(expected, return_counts=True)[1].tolist())
    assert fitted.evaluation_.n_groups == 32


def test_an_unknown_parameter_is_refused_as_by_any_function() -> None:
    with pytest.raises(TypeError, match=r"^CohortClassifier.__init__\(\) got an unexpected keyword argument 'droput'$"):
        CohortClassifier(droput=0.1)


def test_the_leaderboard_has_the_config_its_loss_and_its_metrics() -> None:
    fitted = classifier(positive="no", dropout=0.2).fit(X, Y)
    (row,) = fitted.leaderboard_
    (report,) = fitted.predictor_.report.configs
    assert {name: row[name] for name in report.config.to_dict()} == report.config.to_dict()
    assert (row["log_loss"], row["log_loss_low"], row["weight"]) == (report.log_loss.value, report.log_loss.low, 1.0)
    assert (row["dropped_after"], row["failed"]) == (None, None)
    assert row["out_of_fold_accuracy"] == report.metrics["accuracy"]
    assert "out_of_fold_log_loss" not in row
