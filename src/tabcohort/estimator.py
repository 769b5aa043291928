"""The scikit-learn classifier: arrays or frames in, classes and probabilities out.

Its `fit` calls `tabcohort.cohort.fit.fit`, which is the main path; follow its calls to see the system.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    _check_sample_weight,
    check_consistent_length,
    check_is_fitted,
    column_or_1d,
    validate_data,
)

from tabcohort.cohort.fit import fit
from tabcohort.data.columns import Column, Dropped, Number
from tabcohort.data.frames import as_frame, warn_of_columns
from tabcohort.data.inputs import table_inputs
from tabcohort.data.recognize import recognize_columns
from tabcohort.data.table import Table
from tabcohort.errors import SettingsError, TableError
from tabcohort.model.report import ConfigReport
from tabcohort.settings import CohortSettings, Config, Rule, rules
from tabcohort.types import BoolArray, FloatArray, IntArray

PARAMETERS = {
    **{field.name: field.default for kind in (Config, CohortSettings) for field in dataclasses.fields(kind)},
    "configs": None,
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
    """A classifier for tables: a cohort of networks, each row tested on those that never saw it.

    Args:
        configs: what else to try: mappings of parameter names to values that replace this classifier's own, each one
            trained like the others; the ensemble takes those that are best together. None tries the classifier's own.
        parameters: the settings of a network (see `Config`) and of the cohort (see `CohortSettings`), by name.

    Attributes:
        classes_: the labels, `(n_classes,)`, sorted.
        n_features_in_, feature_names_in_: the columns it was fitted on; names when they were given.
        predictor_: the `Predictor`; `tabcohort.save(classifier.predictor_, path)` writes it to a file.
        evaluation_: metrics with 95 % intervals; each row was tested on networks that never saw it.
        out_of_fold_proba_: their probabilities, `(n_samples, n_classes)`; NaN for rows that no network was tested on.
        members_: a report of every network, with its history.
        leaderboard_: for each config that was tried, a mapping of its settings and how it did.
        threshold_: the probability from which on a row is predicted positive; None predicts the most probable class.

    Example:
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
        "configs": [list, tuple, None],
    }

    def __init__(self, **parameters: Any) -> None:
        unknown = [name for name in parameters if name not in PARAMETERS]
        if unknown:
            raise TypeError(f"CohortClassifier.__init__() got an unexpected keyword argument {unknown[0]!r}")
        for name, default in PARAMETERS.items():
            setattr(self, name, parameters.get(name, default))

    def fit(self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None, times: Any = None) -> Self:
        """Train a cohort, each network on some of the rows.

        Args:
            X: `(n_samples, n_features)`, an array of numbers, or a frame whose columns are numbers, categories, text,
                truth values or dates; cells may be missing.
            y: `(n_samples,)`, the class labels.
            sample_weight: `(n_samples,)`; a row of weight 2 counts like two rows, one of weight 0 not at all.
            groups: `(n_samples,)`; rows of one group never train and test the same network.
            times: `(n_samples,)`, numbers or dates; networks are tested on rows later than those that train them.

        Raises:
            TabcohortError: a parameter, a cell or a class does not fit; also a `ValueError`.
        """
        self._validate_params()
        configs, settings = self._configs()
        check_same_index(X, y=y, sample_weight=sample_weight, groups=groups, times=times)
        inputs, y, columns = self._validated(X, y)
        check_classification_targets(y)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, inputs, dtype=np.float64, ensure_non_negative=True)
            if not sample_weight.any():
                raise TableError("sample_weight must have at least one positive weight; all of them are zero")
        table = Table.from_arrays(
            inputs,
            y,
            features=columns,
            positive=self.positive,
            weight=sample_weight,
            group_ids=None if groups is None else _group_ids(_one_per_row(groups, inputs, "groups")),
            time=None if times is None else _numbers(_one_per_row(times, inputs, "times")),
        )
        self.predictor_ = fit(table, configs, settings)
        self._set_results(y, sample_weight)
        return self

    def _validated(self, X: Any, y: Any) -> tuple[FloatArray, NDArray[Any], list[Column]]:
        """Return the inputs, the labels and the columns of what was given to `fit`."""
        if not hasattr(X, "columns"):
            refuse_masked(X)
            try:
                inputs, labels = validate_data(self, X, y, dtype=np.float64, ensure_all_finite=False)
            except ValueError:
                if np.asarray(X).dtype.kind not in "OUS" or np.ndim(X) != 2:
                    raise
            else:
                has_missing = np.isnan(inputs).any(axis=0)
                self._names: tuple[str, ...] | None = None
                return inputs, labels, [Number(f"x{i}", bool(missing)) for i, missing in enumerate(has_missing)]
        _, labels = validate_data(self, X, y, skip_check_array=True)
        labels = column_or_1d(labels, warn=True)
        frame = as_frame(X if hasattr(X, "columns") else {f"x{i}": column for i, column in enumerate(np.asarray(X).T)})
        check_consistent_length(frame, labels)
        self._names = tuple(frame.columns)
        columns = recognize_columns(frame, frame.columns)
        warn_of_columns(columns)
        return table_inputs(frame, [column for column in columns if not isinstance(column, Dropped)]), labels, columns

    def _configs(self) -> tuple[list[Config], CohortSettings]:
        """Return the configs to try, and the settings of the cohort."""
        own, cohort = (
            {field.name: getattr(self, field.name) for field in dataclasses.fields(kind)}
            for kind in (Config, CohortSettings)
        )
        changes = [{}] if self.configs is None else self.configs
        if not all(isinstance(change, Mapping) for change in changes):
            raise SettingsError("the parameter 'configs' must be a list of mappings such as {'dropout': 0.3}")
        return [Config.from_dict({**own, **change}) for change in changes], CohortSettings(**cohort)

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
        """Return the predicted class of every row, `(n_samples,)`: the most probable, or by the threshold."""
        log_proba, _ = self._log_proba_and_spread(X)
        return self.classes_[self.predictor_.codes(log_proba)]

    def predict_set(self, X: Any) -> BoolArray:
        """Return which classes are in every row's prediction set, `(n_samples, n_classes)`, in the order of `classes_`.

        Of the rows of each class, a share of at least `coverage` has a set that holds it. A set of no class, or of
        several, is an abstention.
        """
        log_proba, _ = self._log_proba_and_spread(X)
        return self.predictor_.sets(log_proba)

    def predict_uncertainty(self, X: Any) -> FloatArray:
        """Return how much the networks disagree, `(n_samples,)`.

        It is the standard deviation of their probabilities of the predicted class.
        """
        log_proba, spread = self._log_proba_and_spread(X)
        return spread[np.arange(len(spread)), self.predictor_.codes(log_proba)]

    def _log_proba_and_spread(self, X: Any) -> tuple[FloatArray, FloatArray]:
        """Return log probabilities and their spread between networks, both `(n_samples, n_classes)`."""
        check_is_fitted(self)
        if self._names is None:
            X = validate_data(self, X, dtype=np.float64, ensure_all_finite=False, reset=False)
        elif not hasattr(X, "columns"):
            validate_data(self, X, skip_check_array=True, reset=False)
            X = dict(zip(self._names, np.asarray(X).T, strict=True))
        return self.predictor_.log_proba_and_spread(X)

    def __sklearn_tags__(self) -> Any:
        """Say that cells may be missing, words, and levels of categories."""
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = tags.input_tags.string = tags.input_tags.categorical = True
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


def refuse_masked(X: Any) -> None:
    """Raise `TableError` for an array with masked cells, which would be used as if they were not masked."""
    if np.ma.is_masked(X):
        raise TableError("X has masked cells; fill them with NaN: X.filled(numpy.nan)")


def check_same_index(X: Any, **others: Any) -> None:
    """Raise `TableError` if rows are labelled differently in X and in what goes with it: they would not fit."""
    index = getattr(X, "index", None)
    for name, other in others.items():
        own = getattr(other, "index", None)
        if hasattr(index, "equals") and hasattr(own, "equals") and len(own) == len(index) and not index.equals(own):
            raise TableError(
                f"the rows of X and {name} have different labels (index), so they are not in the same order; align "
                f"them, {name}.loc[X.index], or give arrays: {name}.to_numpy()"
            )


def _one_per_row(values: Any, X: FloatArray, name: str) -> NDArray[Any]:
    array = np.asarray(values)
    if array.shape != (len(X),):
        raise TableError(f"{name} must have one value per row, of shape {(len(X),)}; the shape is {array.shape}")
    return array


def _group_ids(groups: NDArray[Any]) -> IntArray:
    """Return a code for each group, `(n_samples,)`; a row whose group is missing has a group of its own."""
    missing = np.array([group is None or group != group for group in groups.tolist()])
    codes = np.arange(len(groups)) + len(groups)
    codes[~missing] = np.unique(groups[~missing].astype(str), return_inverse=True)[1]
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
