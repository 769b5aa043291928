"""The scikit-learn classifier: arrays or frames in, classes and probabilities out.

Its `fit` calls `tabcohort.cohort.fit.fit`, which is the main path; follow its calls to see the system.
"""

from __future__ import annotations

import dataclasses
import inspect
import os
import warnings
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    _check_sample_weight,
    check_consistent_length,
    check_is_fitted,
    column_or_1d,
    validate_data,
)

from tabcohort.cohort.fit import fit
from tabcohort.cohort.presets import RUN_SETTINGS, preset_cohort
from tabcohort.cohort.progress import ProgressCallback
from tabcohort.data.columns import Column, Dropped, Number
from tabcohort.data.encoder import no_codes
from tabcohort.data.frames import as_frame, check_types, warn_of_columns
from tabcohort.data.inputs import numbers_and_codes
from tabcohort.data.labels import spelling_findings
from tabcohort.data.parse import as_series, as_text
from tabcohort.data.recognize import recognize_columns
from tabcohort.data.table import Table
from tabcohort.errors import SettingsError, TabcohortWarning, TableError, listed
from tabcohort.live.recording import TrainingRecorder
from tabcohort.model.importance import permutation_importances, sample_tested_rows
from tabcohort.model.report import ConfigReport
from tabcohort.settings import CohortSettings, Config, Rule, rules
from tabcohort.types import BoolArray, CodeArray, FloatArray, IntArray

# Settings of the config of which None is no value of its own: here it stands for "not given".
UNSET = {name for name, rule in rules(Config).items() if name not in RUN_SETTINGS and not rule.none}
PARAMETERS = {
    **{field.name: field.default for kind in (Config, CohortSettings) for field in dataclasses.fields(kind)},
    **dict.fromkeys(sorted(UNSET)),
    "configs": None,
    "executor": None,
    "types": None,
    "record": None,
    "verbose": 0,
}


def _constraints(rule: Rule) -> list[Any]:
    """Return a setting's rule as scikit-learn's constraints."""
    constraints: list[Any] = [StrOptions(set(rule.allowed_words))] if rule.allowed_words else []
    if rule.number is bool:
        constraints.append("boolean")
    elif rule.number is not None:
        closed = {(0, 0): "both", (0, 1): "left", (1, 0): "right", (1, 1): "neither"}[(rule.low_open, rule.high_open)]
        low, high = (None if np.isinf(bound) else bound for bound in (rule.low, rule.high))
        closed = {("both", True): "left", ("right", True): "neither"}.get((closed, high is None), closed)
        constraints.append(Interval(Integral if rule.number is int else Real, low, high, closed=closed))
    special: dict[str | None, list[Any]] = {
        "widths": [tuple, list],
        "class_weight": [Mapping],
        "label": [str, Real, "boolean"],
    }
    constraints += special.get(rule.special, [])
    return [*constraints, None] if rule.none else constraints


class CohortClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier for tables: a cohort of networks and boosted trees, each row tested by members that never saw it.

    If no hyperparameter of `Config` is given, it tries the candidates of `preset`; otherwise it trains the one config
    that is given. Parameters that are None have the default of `Config`.

    Args:
        parameters: the fields of `Config` and of `CohortSettings`, by name, and these five: `configs`, several configs
            to try, each a mapping of parameter names to values that replace this classifier's, of which the ensemble
            uses those that are best together; `executor`, where members run, such as a `RayExecutor`;
            `types`, the type of columns by name, to replace the type that is recognized (see `Table.from_frame`);
            `record`, a file that `fit` writes every epoch of each member to (see `TrainingRecorder`); and `verbose`, 1
            for a progress bar in `fit`, 0 for none.

    Attributes:
        classes_ (ndarray): the labels, `(n_classes,)`, sorted.
        n_features_in_ (int): number of columns in `fit`.
        feature_names_in_ (ndarray): their names, if `X` had names.
        predictor_ (Predictor): the `Predictor`; `tabcohort.save(classifier, path)` writes it to a file.
        evaluation_ (Evaluation): out-of-fold metrics with 95 % intervals.
        out_of_fold_proba_ (ndarray): out-of-fold probabilities, `(n_samples, n_classes)`; NaN for rows that no member
            tested.
        members_ (tuple[MemberReport, ...]): a report of every member, with its history.
        leaderboard_ (list[dict]): for each config that was tried, a mapping of its hyperparameters and results;
            `pandas.DataFrame(leaderboard_)` makes a table of them.
        feature_importances_: how much each column matters, out of fold, `(n_features_in_,)`.
        coef_: coefficients of a logistic model with two classes, `(1, n_columns)`.
        coef_names_: the encoded columns that the coefficients belong to, `(n_columns,)`.
        threshold_ (float | None): rows with at least this probability are predicted positive; None predicts the most
            probable class.

    Examples:
        >>> from sklearn.datasets import load_iris
        >>> X, y = load_iris(return_X_y=True)
        >>> classifier = CohortClassifier(model="logistic", learning_rate=0.05, folds=5, seeds=1).fit(X, y)
        >>> classifier.predict(X[:2])
        array([0, 0])
        >>> classifier.predict_set(X[:2]).sum(axis=1)  # one class each
        array([1, 1])
    """

    _parameter_constraints: dict[str, list[Any]] = {  # noqa: RUF012
        **{name: _constraints(rule) for kind in (Config, CohortSettings) for name, rule in rules(kind).items()},
        **{name: [*_constraints(rules(Config)[name]), None] for name in sorted(UNSET)},
        "configs": [list, tuple, None],
        "executor": [HasMethods(["start"]), None],
        "types": [Mapping, None],
        "record": [str, os.PathLike, None],
        "verbose": ["verbose"],
    }

    def __init__(self, **parameters: Any) -> None:
        unknown = [name for name in parameters if name not in PARAMETERS]
        if unknown:
            raise TypeError(f"CohortClassifier.__init__() got an unexpected keyword argument {unknown[0]!r}")
        for name, default in PARAMETERS.items():
            setattr(self, name, parameters.get(name, default))

    def fit(self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None, times: Any = None) -> Self:
        """Train a cohort, each member on some of the rows.

        Args:
            X: `(n_samples, n_features)`: a pandas or polars frame, a pyarrow table or a mapping of columns, which hold
                numbers, categories, text, truth values or dates; or an array. Cells may be missing.
            y: `(n_samples,)`, the class labels.
            sample_weight: `(n_samples,)`; a row of weight 2 counts like two rows, one of weight 0 not at all.
            groups: `(n_samples,)`; no member trains and tests on rows of the same group.
            times: `(n_samples,)`, numbers or dates; members are tested on rows later than those that train them.

        Raises:
            TabcohortError: a parameter, a cell or a class is invalid; also a `ValueError`.

        Warns:
            TabcohortWarning: columns are left out, the type of a column is doubtful, or labels differ only by spaces.
        """
        self._validate_params()
        _check_rows_match(X, y=y, sample_weight=sample_weight, groups=groups, times=times)
        numbers, codes, y, columns = self._validated(X, y)
        check_classification_targets(y)
        _warn_of_similar_labels(y)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, numbers, dtype=np.float64, ensure_non_negative=True)
            if not sample_weight.any():
                raise TableError("sample_weight must have at least one positive weight; all of them are zero")
        table = Table.from_arrays(
            (numbers, codes),
            y,
            features=columns,
            positive=self.positive,
            weight=sample_weight,
            group_ids=None if groups is None else _group_ids(_one_per_row(groups, numbers, "groups")),
            time=None if times is None else _numbers(_one_per_row(times, numbers, "times")),
        )
        configs, settings = self._configs(table)
        with self._progress() as callback:
            observer = None if self.record is None else TrainingRecorder(self.record)
            self.predictor_ = fit(table, configs, settings, callback, executor=self.executor, observer=observer)
        self._tested_rows = sample_tested_rows(self.predictor_, table)
        self._importances: FloatArray | None = None
        self._set_results(y, sample_weight)
        return self

    def _validated(self, X: Any, y: Any) -> tuple[FloatArray, CodeArray, NDArray[Any], list[Column]]:
        """Return the numbers, the codes, the labels and the columns of what was given to `fit`."""
        X, y = _as_named(X), _labels(y)
        self._is_by_name = _is_frame(X)
        if not self._is_by_name:
            X, y = self._checked_array(X, y)
            self._names = tuple(f"x{i}" for i in range(X.shape[1]))
            if X.dtype != object and not self.types:
                has_missing = np.isnan(X).any(axis=0)
                columns = [Number(name, bool(any_)) for name, any_ in zip(self._names, has_missing, strict=True)]
                return X, no_codes(len(X)), y, list(columns)
            frame = as_frame(dict(zip(self._names, X.T, strict=True)))
        else:
            _, y = validate_data(self, X, y, skip_check_array=True)
            frame, y = as_frame(X), column_or_1d(y, warn=True)
            check_consistent_length(frame, y)
            self._names = tuple(frame.columns)
        types = dict(self.types or {})
        check_types(frame.columns, types)
        recognized = recognize_columns(frame, frame.columns, types)
        warn_of_columns(recognized, types)
        kept = [column for column in recognized if not isinstance(column, Dropped)]
        return *numbers_and_codes(frame, kept), y, recognized

    def _checked_array(self, X: Any, *y: Any, reset: bool = True) -> Any:
        """Return an array, `(n_samples, n_features)`, and labels where they are given, after scikit-learn's checks.

        It is of float64, or of objects where cells are text.
        """
        is_text = _holds_text(X)
        X, dtype = (np.asarray(X, dtype=object), None) if is_text else (X, np.float64)
        return validate_data(self, X, *y, dtype=dtype, ensure_all_finite=False, reset=reset)

    @contextmanager
    def _progress(self) -> Iterator[ProgressCallback]:
        """Show how far training is while the context lasts, if `verbose` says so."""
        if not self.verbose:
            yield lambda progress: None
            return
        from rich.console import Console

        from tabcohort.reporting.progress_displays import ProgressDisplay

        with ProgressDisplay(Console(stderr=True, highlight=False, soft_wrap=True)) as display:
            yield display

    def _configs(self, table: Table) -> tuple[list[Config], CohortSettings]:
        """Return the configs to try, and the settings of the cohort."""
        own, cohort = (
            {field.name: getattr(self, field.name) for field in dataclasses.fields(kind)}
            for kind in (Config, CohortSettings)
        )
        changes = [{}] if self.configs is None else self.configs
        if not all(isinstance(change, Mapping) for change in changes):
            raise SettingsError("the parameter 'configs' must be a list of mappings such as {'dropout': 0.3}")
        is_config_given = any(own[name] != PARAMETERS[name] for name in own.keys() - RUN_SETTINGS)
        own = {name: value for name, value in own.items() if name not in UNSET or value is not None}
        configs, settings = [Config.from_dict({**own, **change}) for change in changes], CohortSettings(**cohort)
        if self.configs is None and not is_config_given:
            return preset_cohort(table, configs[0], settings)
        if settings.preset not in (None, "default") or settings.kinds != "all":
            given = "'kinds'" if settings.kinds != "all" else f"the preset {settings.preset!r}"
            raise SettingsError(
                f"{given} chooses what is trained: leave it out, or leave out 'configs' and the settings of a config"
            )
        return configs, settings

    def _set_results(self, y: NDArray[Any], sample_weight: FloatArray | None) -> None:
        """Set the fitted attributes that are taken from the predictor."""
        predictions, report = self.predictor_.out_of_fold, self.predictor_.report
        kept = np.arange(len(y)) if sample_weight is None else np.flatnonzero(sample_weight > 0)
        self.classes_ = np.unique(y[kept])
        self.out_of_fold_proba_ = np.full((len(y), len(self.classes_)), np.nan)
        self.out_of_fold_proba_[kept[predictions.rows]] = np.exp(predictions.log_proba.astype(np.float64))
        self.evaluation_, self.members_ = report.evaluation, report.members
        self.threshold_ = self.predictor_.decision_rule.threshold
        self.leaderboard_ = [{**config.config.to_dict(), **_results(config)} for config in report.configs]

    def predict_proba(self, X: Any) -> FloatArray:
        """Return the probability of every class, `(n_samples, n_classes)`, in the order of `classes_`."""
        return np.exp(self._log_proba_and_spread(X)[0])

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the predicted class of every row, `(n_samples,)`: the most probable, or above the threshold."""
        log_proba, _ = self._log_proba_and_spread(X)
        return self.classes_[self.predictor_.codes(log_proba)]

    def predict_set(self, X: Any) -> BoolArray:
        """Return which classes are in every row's prediction set, `(n_samples, n_classes)`, in the order of `classes_`.

        For at least a share `coverage` of the rows of each class, the set contains the true class. A set that is empty
        or contains several classes is an abstention.
        """
        log_proba, _ = self._log_proba_and_spread(X)
        return self.predictor_.sets(log_proba)

    def predict_uncertainty(self, X: Any) -> FloatArray:
        """Return how much the members disagree, `(n_samples,)`.

        It is the standard deviation of their probabilities of the predicted class.
        """
        log_proba, spread = self._log_proba_and_spread(X)
        return spread[np.arange(len(spread)), self.predictor_.codes(log_proba)]

    @property
    def feature_importances_(self) -> FloatArray:
        """How much the log loss grows, in nats, when a column is permuted, `(n_features_in_,)`.

        It is computed when it is first read, on up to 2,000 rows, each predicted by members that never saw it; see
        `tabcohort.model.importance`. Columns that are left out have 0.
        """
        check_is_fitted(self)
        if self._importances is None:
            by_name = permutation_importances(self.predictor_, self._tested_rows)
            self._importances = np.array([by_name.get(name, 0.0) for name in self._names])
        return self._importances

    @property
    def coef_(self) -> FloatArray:
        """Of a logistic model of two classes, the coefficient of each column of `coef_names_`, `(1, n_columns)`.

        It is the mean over the networks, per standard deviation of the column. A positive coefficient raises the
        probability of `classes_[1]`.
        """
        return self._coefficients()[1][None]

    @property
    def coef_names_(self) -> NDArray[Any]:
        """The encoded columns that `coef_` is of: "age", "age is missing", "city = Oslo"."""
        return np.array(self._coefficients()[0], dtype=object)

    def _coefficients(self) -> tuple[list[str], FloatArray]:
        check_is_fitted(self)
        coefficients = self.predictor_.coefficients_by_column()
        if coefficients is None:
            raise AttributeError(
                "only a model='logistic' of two classes and without bins has coefficients; see feature_importances_"
            )
        return coefficients

    def _log_proba_and_spread(self, X: Any) -> tuple[FloatArray, FloatArray]:
        """Return log probabilities and their spread between members, both `(n_samples, n_classes)`."""
        check_is_fitted(self)
        return self.predictor_.log_proba_and_spread(self._as_fitted(X))

    def _as_fitted(self, X: Any) -> Any:
        """Return rows as the predictor takes them: a frame's columns by name, those of an array by their places.

        Warns:
            TabcohortWarning: a frame has columns that were not there in `fit`.
        """
        X = _as_named(X)
        if self._is_by_name and _is_frame(X):
            frame = as_frame(X)
            known = set(self._names)
            extra = [name for name in frame.columns if name not in known]
            if extra:
                message = f"ignored, as the model was trained without them: {listed(extra, 10)}"
                warnings.warn(message, TabcohortWarning, stacklevel=4)
            return frame
        _refuse_masked(X, "X")
        X = self._checked_array(X, reset=False)
        is_complete = self.predictor_.schema.features == self._names  # no column is left out
        return X if X.dtype != object and is_complete else dict(zip(self._names, X.T, strict=True))

    def _html_repr(self) -> str:
        """Return scikit-learn's diagram for a notebook, and of a fitted classifier its predictor below."""
        diagram = str(super()._html_repr())
        return diagram + self.predictor_._repr_html_() if hasattr(self, "predictor_") else diagram

    def __sklearn_tags__(self) -> Any:
        """Say that cells may be missing, and text.

        Categories may be there, too, but scikit-learn's checks take the tag for that to mean that nothing else may.
        """
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = tags.input_tags.string = True
        return tags


# scikit-learn reads the names of an estimator's parameters from its constructor's signature.
CohortClassifier.__init__.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
    [
        inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD),
        *(
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default)
            for name, default in PARAMETERS.items()
        ),
    ]
)


def _is_frame(X: Any) -> bool:
    """Return whether this is a frame of pandas or polars, or a pyarrow table."""
    return hasattr(X, "columns")


def _as_named(X: Any) -> Any:
    """Return a mapping of columns as a frame, and everything else as it is."""
    return as_frame(X) if isinstance(X, Mapping) else X


def _holds_text(X: Any) -> bool:
    """Return whether an array or nested lists hold single values, some of them no numbers."""
    array = np.asarray(X)
    if array.dtype.kind not in "OUS" or array.ndim != 2:
        return False
    try:
        array.astype(np.float64)
    except (TypeError, ValueError):
        return not any(isinstance(cell, Container) and not isinstance(cell, str) for cell in array.flat)
    return False


def _labels(y: Any) -> Any:
    """Return labels as an array of a plain type, also those of pandas' nullable types.

    Raises:
        TableError: a label is missing.
    """
    if y is None or hasattr(y, "columns"):
        return y
    labels = np.asarray(y)
    if labels.dtype != object or labels.ndim != 1:
        return labels
    missing = as_series("y", labels).is_null()
    if missing.any():
        row = int(missing.arg_true()[0]) + 1
        raise TableError(f"row {row} has no label in y (missing); leave out rows without one: X[y.notna()]")
    kinds = {type(label) for label in labels.tolist()}
    return np.array(labels.tolist()) if kinds in ({int}, {bool}) else labels


def _warn_of_similar_labels(y: NDArray[Any]) -> None:
    """Warn of classes whose labels differ by spelling only."""
    if y.dtype.kind in "OUS":
        for finding in spelling_findings("y", list(map(str, np.unique(y)))):
            warnings.warn(str(finding), TabcohortWarning, stacklevel=3)


def _refuse_masked(values: Any, name: str) -> None:
    """Raise `TableError` for an array with masked cells, which would be used as if they were not masked."""
    if np.ma.is_masked(values):
        raise TableError(f"{name} has masked cells; fill them, {name}.filled(numpy.nan), or leave out their rows")


def _has_index(values: Any) -> bool:
    """Return whether this is a frame or series of pandas, whose rows have labels."""
    return hasattr(getattr(values, "index", None), "equals")


def _check_rows_match(X: Any, **others: Any) -> None:
    """Raise `TableError` for masked cells, and if rows have other labels (index) in X than in what goes with it."""
    _refuse_masked(X, "X")
    for name, other in others.items():
        _refuse_masked(other, name)
        if not (_has_index(X) and _has_index(other)) or len(X) != len(other):
            continue
        if not X.index.equals(other.index):
            raise TableError(
                f"the rows of X and {name} have different labels (index), so they are not in the same order; align "
                f"them, {name}.loc[X.index], or if the order is right give an array, {name}.to_numpy()"
            )


def _one_per_row(values: Any, X: FloatArray, name: str) -> NDArray[Any]:
    array = np.asarray(values)
    if array.shape != (len(X),):
        raise TableError(f"{name} must have one value per row, of shape {(len(X),)}; the shape is {array.shape}")
    return array


def _group_ids(groups: NDArray[Any]) -> IntArray:
    """Return a code for each group, `(n_samples,)`; a row whose group is missing has a group of its own."""
    text = as_text(as_series("groups", groups))
    missing = text.is_null().to_numpy()
    codes = np.arange(len(groups)) + len(groups)
    codes[~missing] = np.unique(text.drop_nulls().to_numpy().astype(str), return_inverse=True)[1]
    return codes


def _numbers(times: NDArray[Any]) -> FloatArray:
    """Return times as numbers.

    Raises:
        TableError: they are neither numbers nor dates, or one is missing.
    """
    try:
        if times.dtype.kind in "OUS":
            times = times.astype("datetime64[us]")
        numbers = times.astype(np.int64).astype(np.float64) if times.dtype.kind == "M" else times.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise TableError(f"times must be numbers or dates: {error}") from None
    missing = np.isnat(times) if times.dtype.kind == "M" else ~np.isfinite(numbers)
    if missing.any():
        raise TableError(f"row {int(np.flatnonzero(missing)[0]) + 1} has no time; every row needs one")
    return numbers


def _results(report: ConfigReport) -> dict[str, Any]:
    return {
        "log_loss": report.log_loss.value,
        "log_loss_low": report.log_loss.low,
        "log_loss_high": report.log_loss.high,
        "weight": report.weight,
        "dropped_after": report.dropped_after,
        "failed": report.failed,
        **{f"out_of_fold_{name}": value for name, value in report.metrics.items() if name != "log_loss"},
    }
