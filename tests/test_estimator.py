"""The classifier is one of scikit-learn's own: its checks, its tools, its frames."""

from __future__ import annotations

import os

os.environ.setdefault("SCIPY_ARRAY_API", "1")  # without it scikit-learn skips a check; read when SciPy is imported

import pickle
import unittest
import warnings
from typing import Any

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse
import sklearn
from helpers import QUICK, make_rows
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.exceptions import NotFittedError
from sklearn.feature_selection import SelectFromModel
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils import get_tags
from sklearn.utils._param_validation import InvalidParameterError
from sklearn.utils.estimator_checks import (
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
    Table,
    TableError,
    load,
    save,
)
from tabcohort.cohort.presets import preset_configs
from tabcohort.estimator import UNSET
from tabcohort.settings import rules

X, CODES = make_rows()
Y = np.array(["no", "yes"])[CODES]
TABLE = Table.from_arrays(X, Y)
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


# Few small networks: the checks train more than a hundred cohorts, of fifty networks each by default.
@parametrize_with_checks([CohortClassifier(hidden=(32,), folds=5, seeds=1)])
def test_it_passes_every_check_of_scikit_learn(estimator: Any, check: Any) -> None:
    run_check(check, estimator)


def test_it_passes_the_check_of_parameters_that_scikit_learn_keeps_for_itself() -> None:
    """Its check of column names is not for us: it wants an error for columns in another order."""
    run_check(check_param_validation, "CohortClassifier", classifier())


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
    """No value passes one and fails the other with an error that is not ours; None may mean that none is given."""
    for value in WRONG:
        if rules()[name].accepts(value) or (value is None and name in UNSET):
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


def test_cells_may_be_missing_in_training_and_in_prediction() -> None:
    holes = X.copy()
    holes[4, 1] = np.nan
    assert get_tags(classifier()).input_tags.allow_nan
    for rows in (X, holes):
        fitted = classifier().fit(rows, Y)
        assert np.isfinite(fitted.predict_proba(holes)).all()
        assert (fitted.predict_proba(np.array(holes, dtype=object)) == fitted.predict_proba(holes)).all()


def test_training_changes_no_cell() -> None:
    """Not even a missing one in the first row of those that train."""
    holes = X.copy()
    holes[::3, 1] = np.nan
    before = holes.tobytes()
    fitted = classifier().fit(holes, Y)
    assert holes.tobytes() == before
    assert fitted.predictor_.was_trained_on(Table.from_arrays(holes, Y))


def test_a_cell_that_is_no_number_is_named() -> None:
    infinite = X.copy()
    infinite[4, 1] = np.inf
    with pytest.raises(TableError, match=r"row 5, column 'x1' is infinite \(inf\)"):
        classifier().fit(infinite, Y)
    words = X.astype(object)
    words[4, 1] = "Braund, Mr. Owen Harris"
    with pytest.raises(TableError, match=r"row 5, column 'x1' holds 'Braund, Mr. Owen Harris', which is not a number"):
        classifier().fit(X, Y).predict(words)
    with pytest.raises(TableError, match=r"row 5, column 'x1' holds .*, and 98.89% .*types={'x1': 'category'}"):
        classifier().fit(words, Y)


def test_weights_that_are_all_zero_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"sample_weight must have at least one positive|Sample weights must contain at least"
    ):
        classifier().fit(X, Y, np.zeros(len(X)))


def test_before_fit_there_is_nothing_to_predict_with() -> None:
    with pytest.raises(NotFittedError, match="not fitted yet"):
        classifier().predict(X)
    assert not any(hasattr(classifier(), name) for name in ("feature_importances_", "coef_", "coef_names_"))


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
    fitted = classifier().fit(X, CODES)
    save(fitted, tmp_path / "model")
    save(fitted.predictor_, tmp_path / "predictor")
    assert (tmp_path / "model").read_bytes() == (tmp_path / "predictor").read_bytes()
    assert (load(tmp_path / "model").predict_proba(X) == fitted.predict_proba(X)).all()
    with pytest.raises(TabcohortError, match="only a Predictor or a fitted CohortClassifier can be saved, not Cohort"):
        save(classifier(), tmp_path / "model")


def test_every_setting_is_a_parameter_with_the_same_default_or_not_given() -> None:
    defaults = {name: getattr(one, name) for one in (Config(), CohortSettings()) for name in rules(one)}
    parameters = CohortClassifier().get_params()
    assert parameters.keys() == {*defaults, "configs", "executor", "types", "record", "verbose"}
    not_given = {name for name, value in defaults.items() if parameters[name] is None and value is not None}
    assert not_given >= {"model", "hidden", "dropout", "bins", "learning_rate"}
    assert all(parameters[name] == value for name, value in defaults.items() if name not in not_given)
    assert not not_given & {"seed", "engine", "device", "monitor", "coverage", "preset", "halving"}


# Presets


def test_without_a_setting_of_a_network_the_configs_of_the_preset_are_tried() -> None:
    fitted = CohortClassifier(preset="fast", folds=3, seeds=1, seed=4, class_weight="balanced").fit(X, Y)
    expected = preset_configs("fast", Config(seed=4, class_weight="balanced"))
    assert [config.config for config in fitted.predictor_.report.configs] == expected
    assert len(fitted.members_) == 3 * len(expected)


def test_with_a_setting_of_a_network_only_its_config_is_tried() -> None:
    fitted = classifier(model="logistic").fit(X, Y)
    assert [config.config.model for config in fitted.predictor_.report.configs] == ["logistic"]


@pytest.mark.parametrize("given", [{"model": "mlp"}, {"dropout": 0.1}, {"hidden": (256, 128)}])
def test_a_setting_that_is_given_counts_also_if_it_is_the_default_one(given: dict[str, Any]) -> None:
    """In a grid search over dropout, 0.1 was a portfolio and 0.2 one network."""
    for one in (CohortClassifier(**given), clone(CohortClassifier(**given)), CohortClassifier().set_params(**given)):
        assert one._configs(TABLE) == ([Config()], CohortSettings())
    assert len(CohortClassifier(preset=None)._configs(TABLE)[0]) == 1
    assert len(CohortClassifier()._configs(TABLE)[0]) > 1


def test_a_setting_of_a_network_is_one_that_is_not_of_the_run() -> None:
    assert len(CohortClassifier(seed=3, engine="torch", class_weight="balanced")._configs(TABLE)[0]) > 1
    for given in ({"hidden": (8,)}, {"bins": 4}, {"patience": None}, {"clip_norm": 1.0}):
        assert CohortClassifier(**given)._configs(TABLE)[0] == [Config(**given)]


@pytest.mark.parametrize("parameters", [{"hidden": (8,)}, {"configs": [{"dropout": 0.2}]}])
def test_a_preset_and_a_setting_of_a_network_exclude_each_other(parameters: dict[str, Any]) -> None:
    with pytest.raises(
        SettingsError, match="the preset 'best' chooses what is trained: leave it out, or leave out 'conf"
    ):
        CohortClassifier(preset="best", **parameters).fit(X, Y)


# Frames


def mixed_frame(n_rows: int = 90) -> pd.DataFrame:
    """Return a column of every type that pandas has; the first one predicts `Y`."""
    numbers = np.arange(n_rows)
    return pd.DataFrame(
        {
            "number": make_rows(n_rows)[0][:, 0],
            "integer": pd.array([None if i % 7 == 0 else i * i for i in numbers], dtype="Int64"),
            "float": pd.array([None if i % 6 == 0 else i * 0.37 % 1 for i in numbers], dtype="Float64"),
            "category": pd.Categorical(np.array(["a", "b", "c"])[numbers % 3], categories=list("abcd")),
            "code": pd.Categorical(numbers % 4 + 10),
            "string": pd.array([None if i % 9 == 0 else "xyz"[i % 3] for i in numbers], dtype="string"),
            "text": np.array(["u", "v"], dtype=object)[numbers // 2 % 2],
            "truth": numbers % 5 > 1,
            "boolean": pd.array([None if i % 11 == 0 else bool(i % 2) for i in numbers // 3], dtype="boolean"),
            "day": pd.date_range("2024-01-01", periods=n_rows, freq="36h"),
            "moment": pd.date_range("2020-01-01", periods=n_rows, freq="17D", tz="Europe/Rome"),
            "duration": pd.to_timedelta(numbers * 77 % 1000, unit="s"),
        }
    )


KINDS = {
    "number": "number", "integer": "number", "float": "number", "category": "category", "code": "category",
    "string": "category", "text": "category", "truth": "boolean", "boolean": "boolean", "day": "date",
    "moment": "date", "duration": "number",
}  # fmt: skip


def kinds_of(fitted: CohortClassifier) -> dict[str, str]:
    return {column.name: column.kind for column in fitted.predictor_.schema.columns}


def test_a_frame_may_hold_what_pandas_can_hold() -> None:
    frame = mixed_frame()
    fitted = classifier().fit(frame, Y)
    assert kinds_of(fitted) == KINDS
    assert fitted.predictor_.schema.columns[4].levels == ("10", "11", "12", "13")
    proba = fitted.predict_proba(frame)
    assert (fitted.predict_proba(frame.iloc[:1]) == proba[:1]).all()
    assert (fitted.predictor_.predict_proba(frame) == proba).all()
    changed = frame.assign(category=frame["category"].astype(str), truth=frame["truth"].astype(object))
    assert (fitted.predict_proba(changed) == proba).all(), "a changed dtype"
    few = frame.iloc[:2].assign(category=frame["category"].iloc[:2].cat.remove_unused_categories())
    assert (fitted.predict_proba(few) == proba[:2]).all(), "other categories"


def test_polars_pyarrow_and_a_mapping_of_columns_are_as_good_as_pandas() -> None:
    pandas = mixed_frame().drop(columns="code")  # polars has no categories of numbers
    polars = pl.from_pandas(pandas)
    expected = classifier().fit(pandas, Y).predict_proba(pandas)
    for frame in (polars, polars.to_arrow(), {name: pandas[name] for name in pandas}):
        fitted = classifier().fit(frame, Y)
        assert list(fitted.feature_names_in_) == list(pandas)
        assert (fitted.predict_proba(frame) == expected).all()
        assert (fitted.predict_proba(pandas) == expected).all()


def test_an_array_of_words_is_read_as_a_frame_without_names() -> None:
    words = mixed_frame()[["number", "category", "text", "integer", "boolean"]].to_numpy()
    fitted = classifier().fit(words, Y)
    assert list(kinds_of(fitted).items()) == [
        ("x0", "number"), ("x1", "category"), ("x2", "category"), ("x3", "number"), ("x4", "boolean")
    ]  # fmt: skip
    assert not hasattr(fitted, "feature_names_in_")
    proba = fitted.predict_proba(words)
    assert (classifier().fit(words.tolist(), Y).predict_proba(words[:, :].tolist()) == proba).all()
    with pytest.raises(ValueError, match="X has 4 features, but CohortClassifier is expecting 5 features"):
        fitted.predict(words[:, :4])


def test_columns_that_are_left_out_are_needed_neither_in_a_frame_nor_in_an_array() -> None:
    frame = pd.DataFrame(X, columns=NAMES).assign(constant=1.0)[["x0", "constant", "x1", "x2"]]
    with pytest.warns(TabcohortWarning, match="left out: 'constant'"):
        fitted = classifier().fit(frame, Y)
    assert fitted.n_features_in_ == 4
    proba = fitted.predict_proba(frame)
    assert (fitted.predict_proba(frame.drop(columns="constant")) == proba).all()
    with pytest.warns(UserWarning, match="X does not have valid feature names, but CohortClassifier was fitted with"):
        assert (fitted.predict_proba(frame.to_numpy()) == proba).all()
    assert fitted.feature_importances_.tolist().index(0.0) == 1


def test_columns_are_matched_by_name_in_any_order_and_others_ignored() -> None:
    frame = mixed_frame()
    fitted = classifier().fit(frame, Y)
    expected = fitted.predict_proba(frame)
    assert (fitted.predict_proba(frame[frame.columns[::-1]]) == expected).all()
    for more in (frame.assign(answer=Y), pl.from_pandas(frame.drop(columns="code")).with_columns(
        code=pl.Series(frame["code"].astype(str)), answer=pl.lit(1)
    )):  # fmt: skip
        with pytest.warns(TabcohortWarning, match=r"^ignored, as the model was trained without them: answer$"):
            assert (fitted.predict_proba(more) == expected).all()


def test_a_column_that_is_missing_is_named_beside_the_nearest_one() -> None:
    fitted = classifier().fit(mixed_frame(), Y)
    with (
        pytest.warns(TabcohortWarning, match="trained without them: catgory"),
        pytest.raises(TableError, match=r"the table lacks 'category' \(is it called 'catgory'\?\): 12 columns"),
    ):
        fitted.predict(mixed_frame().rename(columns={"category": "catgory"}))


def test_levels_that_were_not_there_in_fit_are_counted_in_one_warning() -> None:
    fitted = classifier().fit(mixed_frame(), Y)
    other = mixed_frame().assign(category=["Quito", "Lima", *mixed_frame()["category"][2:]])
    for predict in (fitted.predict_proba, fitted.predict, fitted.predict_set, fitted.predict_uncertainty):
        with pytest.warns(TabcohortWarning, match="trained on, read as unknown: 'category' .2 rows.$") as warned:
            predict(other)
        assert [warning.filename for warning in warned] == [__file__]


def test_a_frame_after_an_array_is_taken_by_places_with_a_warning() -> None:
    fitted = classifier().fit(X, Y)
    with pytest.warns(UserWarning, match="X has feature names, but CohortClassifier was fitted without feature names"):
        assert (fitted.predict_proba(pd.DataFrame(X, columns=list("abc"))) == fitted.predict_proba(X)).all()


def test_names_of_several_levels_and_names_that_are_numbers_are_fine() -> None:
    levels = pd.MultiIndex.from_tuples([("a", 1), ("a", 2), ("b", 1)])
    for names, expected in ((levels, ["a_1", "a_2", "b_1"]), ([3, 1, 2], ["3", "1", "2"])):
        frame = pd.DataFrame(X, columns=names)
        fitted = classifier().fit(frame, Y)
        assert list(fitted.predictor_.schema.features) == expected
        assert (fitted.predict_proba(frame[frame.columns[::-1]]) == fitted.predict_proba(frame)).all()


def test_a_table_is_made_of_any_of_these_frames_and_of_nothing_else() -> None:
    frame = mixed_frame().assign(answer=Y)
    table = Table.from_frame(frame, "answer")
    assert {column.name: column.kind for column in table.schema.columns} == KINDS
    assert Table.for_schema(pl.from_pandas(frame), table.schema).X.tobytes() == table.X.tobytes()
    for wrong in (X, pl.DataFrame(X).lazy(), "patients.csv"):
        with pytest.raises(
            TableError,
            match=r"^a table is made of a pandas or polars frame, .*, not of (ndarray|LazyFrame|str); "
            r"for arrays there is Table.from_arrays\(X, y\), and for files Table.from_file\(path, target\)$",
        ):
            Table.from_frame(wrong, "answer")


def test_types_may_be_given() -> None:
    frame = pd.DataFrame({"x": X[:, 0], "zip": np.arange(90) % 5})
    assert kinds_of(classifier().fit(frame, Y)) == {"x": "number", "zip": "number"}
    types = {"zip": "category"}
    assert kinds_of(classifier(types=types).fit(frame, Y)) == {"x": "number", "zip": "category"}
    assert kinds_of(classifier(types={"x1": "category"}).fit(frame.to_numpy(), Y)) == {"x0": "number", "x1": "category"}
    with pytest.raises(TableError, match=r"there is no column 'zap' \(did you mean 'zip'\?\)"):
        classifier(types={"zap": "category"}).fit(frame, Y)
    with pytest.raises(TableError, match=r"there is no type 'categori' \(did you mean 'category'\?\)"):
        classifier(types={"zip": "categori"}).fit(frame, Y)


def test_all_columns_that_cannot_be_read_are_named_in_one_error() -> None:
    frame = pd.DataFrame({"x": X[:, 0], "a": ["?!", *map(str, range(89))], "b": [[1]] * 90})
    with pytest.raises(TableError, match=r"^2 columns cannot be read: .*'a' holds '\?!'.*the column 'b'"):
        classifier().fit(frame, Y)
    fitted = classifier(types={"a": "category", "b": "drop"}).fit(frame.assign(a=list("pqr") * 30), Y)
    with pytest.raises(TableError, match=r"the column 'a' must have single values; it holds Object"):
        fitted.predict(frame.assign(a=frame["b"]))


@pytest.mark.parametrize("kind", [scipy.sparse.csr_matrix, scipy.sparse.coo_array])
def test_sparse_matrices_are_refused_with_what_to_do(kind: Any) -> None:
    with pytest.raises(
        TypeError, match=r"Sparse data was passed for X, but dense data is required. Use '.toarray\(\)'"
    ):
        classifier().fit(kind(X), Y)
    with pytest.raises(TypeError, match="Sparse data was passed"):
        classifier().fit(X, Y).predict(kind(X))


@pytest.mark.parametrize("name", ["X", "y", "sample_weight", "groups"])
def test_masked_cells_are_refused(name: str) -> None:
    arguments: dict[str, Any] = {"X": X, "y": CODES, "sample_weight": np.ones(90), "groups": np.arange(90)}
    masked = np.ma.masked_array(arguments[name], mask=np.zeros_like(arguments[name], dtype=bool))
    classifier().fit(**{**arguments, name: masked})
    masked[3] = np.ma.masked
    with pytest.raises(TableError, match=f"{name} has masked cells; fill them, {name}.filled"):
        classifier().fit(**{**arguments, name: masked})


def test_masked_cells_are_refused_in_prediction_and_in_a_column() -> None:
    masked = np.ma.masked_less(X, 0)
    with pytest.raises(TableError, match="X has masked cells"):
        classifier().fit(X, Y).predict(masked)
    with pytest.raises(TableError, match=r"the column 'a' has masked cells; fill them with NaN: column.filled"):
        classifier().fit({"a": masked[:, 0], "b": X[:, 1]}, Y)


@pytest.mark.parametrize("name", ["y", "sample_weight", "groups", "times"])
def test_rows_in_another_order_than_those_of_x_are_refused(name: str) -> None:
    frame = pd.DataFrame(X, columns=NAMES)
    arguments: dict[str, Any] = {"y": pd.Series(Y), name: pd.Series(Y if name == "y" else np.arange(1, 91))}
    shuffled = arguments[name].sample(frac=1, random_state=0)
    words = rf"the rows of X and {name} have different labels \(index\).*{name}.loc\[X.index\].*{name}.to_numpy\(\)"
    with pytest.raises(TableError, match=words):
        classifier().fit(frame, **{**arguments, name: shuffled})
    order = shuffled.index
    classifier().fit(frame.loc[order], **{key: value.loc[order] for key, value in arguments.items()})


# Labels


@pytest.mark.parametrize(
    ("y", "expected"),
    [
        (pd.Series(CODES, dtype="Int64"), [0, 1]),
        (pd.Series(CODES, dtype="boolean"), [False, True]),
        (pd.Series(Y, dtype="string"), ["no", "yes"]),
        (pd.Series(Y, dtype="category"), ["no", "yes"]),
        (pl.Series(Y).cast(pl.Categorical), ["no", "yes"]),
        (pl.Series(CODES == 1), [False, True]),
    ],
    ids=lambda value: str(getattr(value, "dtype", "")),
)
def test_labels_of_any_type_come_back_as_plain_ones(y: Any, expected: list[Any]) -> None:
    fitted = classifier().fit(X, y)
    assert fitted.classes_.tolist() == expected
    assert type(fitted.classes_.tolist()[0]) is type(expected[0])
    assert (fitted.predict_proba(X) == classifier().fit(X, Y).predict_proba(X)).all()


@pytest.mark.parametrize("missing", [None, pd.NA, float("nan")])
def test_a_label_that_is_missing_is_named(missing: Any) -> None:
    y = Y.astype(object)
    y[6] = missing
    with pytest.raises(TableError, match=r"row 7 has no label in y \(missing\)"):
        classifier().fit(pd.DataFrame(X, columns=NAMES), y)


@pytest.mark.parametrize("other", [" yes", "Yes", "yes "])
def test_labels_that_differ_by_spelling_only_are_noted(other: str) -> None:
    y = Y.astype(object)
    y[1::4] = other
    with pytest.warns(TabcohortWarning, match=r"'y' has levels that differ only in case, space or Unicode form"):
        assert len(classifier().fit(X, y).classes_) == 3


# Progress


def test_training_is_silent_unless_asked(capfd: pytest.CaptureFixture[str]) -> None:
    classifier().fit(X, Y)
    assert capfd.readouterr() == ("", "")


def test_with_verbose_training_shows_how_far_it_is(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tabcohort.reporting.progress_displays.SECONDS_BETWEEN_LINES", 0.0)
    classifier(verbose=1).fit(X, Y)
    out, messages = capfd.readouterr()
    assert (out, "3/3 members trained" in messages) == ("", True)


# Tools of scikit-learn


def test_mixed_frames_go_through_its_tools() -> None:
    frame = mixed_frame()
    scores = cross_validate(classifier(max_epochs=15), frame, pd.Series(Y), cv=3, error_score="raise")
    assert scores["test_score"].mean() > 0.6
    grid = GridSearchCV(classifier(), {"model": ["logistic", "mlp"]}, cv=2, error_score="raise").fit(frame, Y)
    assert grid.best_estimator_.n_features_in_ == 12


@pytest.mark.parametrize("output", ["default", "pandas", "polars"])
def test_a_column_transformer_may_come_before_it(output: str) -> None:
    transformer = make_column_transformer(
        (StandardScaler(), ["number"]), (OneHotEncoder(sparse_output=False), ["category"]), remainder="drop"
    )
    pipeline = make_pipeline(transformer, classifier(max_epochs=15)).set_output(transform=output)
    assert pipeline.fit(mixed_frame(), Y).score(mixed_frame(), Y) > 0.7
    assert hasattr(pipeline[-1], "feature_names_in_") == (output != "default")


def test_sample_weights_are_routed_to_it() -> None:
    weight = np.where(np.arange(90) < 60, 1.0, 0.0)
    with sklearn.config_context(enable_metadata_routing=True):
        pipeline = make_pipeline(
            StandardScaler().set_fit_request(sample_weight=False),
            classifier().set_fit_request(sample_weight=True, groups=True).set_score_request(sample_weight=True),
        )
        pipeline.fit(X, Y, sample_weight=weight, groups=np.arange(90) // 2)
        scores = cross_validate(pipeline, X, Y, params={"sample_weight": weight + 1, "groups": None}, cv=2)
    assert np.isfinite(scores["test_score"]).all()
    assert np.isnan(pipeline[-1].out_of_fold_proba_).any(axis=1).tolist() == (weight == 0).tolist()
    assert pipeline[-1].evaluation_.n_groups == 30


def test_a_classifier_of_a_frame_survives_pickle_and_joblib(tmp_path: Any) -> None:
    frame = mixed_frame()
    fitted = classifier().fit(frame, Y)
    joblib.dump(fitted, tmp_path / "model.joblib")
    for copied in (pickle.loads(pickle.dumps(fitted)), joblib.load(tmp_path / "model.joblib")):
        assert (copied.predict_proba(frame) == fitted.predict_proba(frame)).all()
        assert (copied.feature_importances_ == fitted.feature_importances_).all()


# What matters


def test_importances_tell_columns_that_predict_from_those_that_do_not() -> None:
    X, codes = make_rows(n_rows=300)
    frame = pd.DataFrame(X, columns=NAMES).assign(word=np.where(codes == 1, "a", "b"), other=list("pqr") * 100)
    frame.loc[::3, "word"] = "c"
    fitted = classifier(max_epochs=30).fit(frame, codes)
    importances = dict(zip(frame, fitted.feature_importances_, strict=True))
    assert importances["word"] > 0.05
    assert importances["x0"] > 0.05
    assert all(abs(importances[name]) < 0.03 for name in ("x1", "x2", "other"))
    assert SelectFromModel(fitted, prefit=True).get_support().tolist() == [True, False, False, True, False]


def test_coefficients_are_those_of_the_second_class_by_column() -> None:
    frame = pd.DataFrame(X, columns=NAMES).assign(word=list("pqr") * 30)
    for positive in ("no", "yes"):
        fitted = classifier(model="logistic", max_epochs=20, positive=positive).fit(frame, Y)
        assert fitted.coef_.shape == (1, 6)
        assert fitted.coef_names_.tolist() == ["x0", "x1", "x2", "word = p", "word = q", "word = r"]
        assert fitted.coef_[0, 0] > 0.1, "speaks for yes"
        by_name = {name: value if positive == "yes" else -value for name, value in zip(
            fitted.coef_names_, fitted.coef_[0], strict=True
        )}  # fmt: skip
        assert fitted.predictor_.coefficients() == by_name


def test_only_a_logistic_model_of_two_classes_has_coefficients() -> None:
    with pytest.raises(AttributeError, match="only a model='logistic' of two classes and without bins has coeffic"):
        classifier().fit(X, Y).coef_  # noqa: B018
    X3, codes = make_rows(n_classes=3)
    with pytest.raises(AttributeError, match="only a model='logistic' of two classes and without bins has coeffic"):
        classifier(model="logistic").fit(X3, codes).coef_names_  # noqa: B018


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
    for times in (np.arange(200.0), days, days.astype(str).astype(object), pd.Series(days)):
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
    groups[:3] = None, float("nan"), pd.NA
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
    assert len(pd.DataFrame(fitted.leaderboard_)) == len(pl.DataFrame(fitted.leaderboard_)) == 1
    (report,) = fitted.predictor_.report.configs
    assert {name: row[name] for name in report.config.to_dict()} == report.config.to_dict()
    assert (row["log_loss"], row["log_loss_low"], row["weight"]) == (report.log_loss.value, report.log_loss.low, 1.0)
    assert (row["dropped_after"], row["failed"]) == (None, None)
    assert row["out_of_fold_accuracy"] == report.metrics["accuracy"]
    assert "out_of_fold_log_loss" not in row


def test_a_notebook_shows_the_diagram_and_of_a_fitted_classifier_how_good_it_is() -> None:
    own = classifier()
    assert "sk-top-container" in own._repr_html_()
    assert "95 % interval" not in own._repr_html_()
    shown = own.fit(X, Y)._repr_mimebundle_()["text/html"]
    assert shown.index("sk-top-container") < shown.index("95 % interval")
    with sklearn.config_context(display="text"):
        assert not hasattr(own, "_repr_html_")
        assert set(own._repr_mimebundle_()) == {"text/plain"}
