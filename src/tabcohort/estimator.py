"""The scikit-learn classifier: arrays or frames in, classes and probabilities out.

Its `fit` calls `tabcohort.cohort.fit.fit`, which is the main path; follow its calls to see the system.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from tabcohort.cohort.fit import fit
from tabcohort.data.table import make_table
from tabcohort.errors import SettingsError, TableError
from tabcohort.model.report import SettingReport
from tabcohort.settings import CohortSettings, Rule, Settings, rules
from tabcohort.types import FloatArray

DEFAULTS, COHORT_DEFAULTS = Settings(), CohortSettings()


def _constraints(rule: Rule) -> list[Any]:
    """Return a setting's rule in scikit-learn's words."""
    found: list[Any] = [StrOptions(set(rule.words))] if rule.words else []
    if rule.number is bool:
        found.append("boolean")
    elif rule.number is not None:
        closed = {(0, 0): "both", (0, 1): "left", (1, 0): "right", (1, 1): "neither"}[(rule.low_open, rule.high_open)]
        low, high = (None if np.isinf(bound) else bound for bound in (rule.low, rule.high))
        closed = {("both", True): "left", ("right", True): "neither"}.get((closed, high is None), closed)
        found.append(Interval(Integral if rule.number is int else Real, low, high, closed=closed))
    special: dict[str | None, list[Any]] = {
        "widths": [tuple, list],
        "class_weight": [Mapping],
        "label": [str, Real, "boolean"],
    }
    found += special.get(rule.special, [])
    return [*found, None] if rule.none else found


class CohortClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A neural classifier: a cohort of networks, each row judged by those that never saw it.

    Every parameter but `settings` is a setting of the same name: see `Settings` (of the networks) and `CohortSettings`
    (from `folds` on) for what each of them means and may be.

    Args:
        settings: what else to try: mappings of setting names to values that replace this classifier's own, each one
            trained like the others; the ensemble takes those that are best together. None tries the classifier's own.

    Attributes:
        classes_: the labels, `(n_classes,)`, sorted.
        n_features_in_, feature_names_in_: the columns it was fitted on; names when they were given.
        predictor_: the finished `Predictor`; `tabcohort.save(classifier.predictor_, path)` writes it to a file.
        evaluation_: metrics with 95 % intervals; each row was judged by networks that never saw it.
        out_of_fold_proba_: what they said, `(n_samples, n_classes)`; NaN for rows that no network was judged on.
        members_: a report of every network, with its history.
        settings_table_: a row for each of the settings that were tried: a mapping of what they are and how they did.
        threshold_: the probability from which on a row is called positive; None where the most probable class is.

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
        **{name: _constraints(rule) for name, rule in {**rules(Settings), **rules(CohortSettings)}.items()},
        "settings": [list, tuple, None],
    }

    def __init__(
        self,
        *,
        model: str = DEFAULTS.model,
        hidden: tuple[int, ...] = DEFAULTS.hidden,
        activation: str = DEFAULTS.activation,
        dropout: float = DEFAULTS.dropout,
        batch_norm: bool = DEFAULTS.batch_norm,
        class_weight: str | Mapping[Any, float] | None = DEFAULTS.class_weight,
        label_smoothing: float = DEFAULTS.label_smoothing,
        optimizer: str = DEFAULTS.optimizer,
        learning_rate: float = DEFAULTS.learning_rate,
        momentum: float = DEFAULTS.momentum,
        beta1: float = DEFAULTS.beta1,
        beta2: float = DEFAULTS.beta2,
        epsilon: float = DEFAULTS.epsilon,
        weight_decay: float = DEFAULTS.weight_decay,
        clip_norm: float | None = DEFAULTS.clip_norm,
        schedule: str = DEFAULTS.schedule,
        schedule_factor: float = DEFAULTS.schedule_factor,
        schedule_patience: int = DEFAULTS.schedule_patience,
        schedule_every: int = DEFAULTS.schedule_every,
        batch_size: int | str = DEFAULTS.batch_size,
        mixup_alpha: float = DEFAULTS.mixup_alpha,
        mixup_probability: float = DEFAULTS.mixup_probability,
        max_epochs: int = DEFAULTS.max_epochs,
        patience: int | None = DEFAULTS.patience,
        monitor: str = DEFAULTS.monitor,
        stop_fraction: float = DEFAULTS.stop_fraction,
        score_fraction: float = DEFAULTS.score_fraction,
        positive: str | float | bool | None = DEFAULTS.positive,
        seed: int = DEFAULTS.seed,
        engine: str = DEFAULTS.engine,
        device: str = DEFAULTS.device,
        folds: int | None = COHORT_DEFAULTS.folds,
        seeds: int | None = COHORT_DEFAULTS.seeds,
        halving: bool = COHORT_DEFAULTS.halving,
        budget_seconds: float | None = COHORT_DEFAULTS.budget_seconds,
        coverage: float = COHORT_DEFAULTS.coverage,
        threshold: float | str | None = COHORT_DEFAULTS.threshold,
        threads: int | None = COHORT_DEFAULTS.threads,
        settings: Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        self.model = model
        self.hidden = hidden
        self.activation = activation
        self.dropout = dropout
        self.batch_norm = batch_norm
        self.class_weight = class_weight
        self.label_smoothing = label_smoothing
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.beta1 = beta1
        self.beta2 = beta2
        self.epsilon = epsilon
        self.weight_decay = weight_decay
        self.clip_norm = clip_norm
        self.schedule = schedule
        self.schedule_factor = schedule_factor
        self.schedule_patience = schedule_patience
        self.schedule_every = schedule_every
        self.batch_size = batch_size
        self.mixup_alpha = mixup_alpha
        self.mixup_probability = mixup_probability
        self.max_epochs = max_epochs
        self.patience = patience
        self.monitor = monitor
        self.stop_fraction = stop_fraction
        self.score_fraction = score_fraction
        self.positive = positive
        self.seed = seed
        self.engine = engine
        self.device = device
        self.folds = folds
        self.seeds = seeds
        self.halving = halving
        self.budget_seconds = budget_seconds
        self.coverage = coverage
        self.threshold = threshold
        self.threads = threads
        self.settings = settings

    def fit(self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None, times: Any = None) -> Self:
        """Train a cohort, each network on some of the rows.

        Args:
            X: `(n_samples, n_features)`, an array or a frame of numbers.
            y: `(n_samples,)`, the class labels.
            sample_weight: `(n_samples,)`; a row of weight 2 counts like two rows, one of weight 0 not at all.
            groups: `(n_samples,)`; rows of one group are never both learned from and judged on.
            times: `(n_samples,)`, numbers or dates; networks are judged on rows later than those that train them.

        Raises:
            TabcohortError: a parameter, a cell or a class does not fit; also a `ValueError`.
        """
        self._validate_params()
        tried, cohort = self._settings()
        X, y = validate_data(self, X, y, dtype=np.float64, ensure_all_finite=False)
        check_classification_targets(y)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
            if not sample_weight.any():
                raise TableError("sample_weight must have at least one positive weight; all of them are zero")
        table = make_table(
            X,
            y,
            features=getattr(self, "feature_names_in_", None),
            positive=self.positive,
            weight=sample_weight,
            key=None if groups is None else _codes(_a_value_each(groups, X, "groups")),
            time=None if times is None else _numbers(_a_value_each(times, X, "times")),
        )
        self.predictor_ = fit(table, tried, cohort)
        kept = np.arange(len(y)) if sample_weight is None else np.flatnonzero(sample_weight > 0)
        self.classes_ = np.unique(y[kept])
        judged, report = self.predictor_.judged, self.predictor_.report
        self.out_of_fold_proba_ = np.full((len(y), len(self.classes_)), np.nan)
        self.out_of_fold_proba_[kept[judged.rows]] = np.exp(judged.log_proba.astype(np.float64))
        self.evaluation_, self.members_ = report.evaluation, report.members
        self.threshold_ = self.predictor_.decision.threshold
        self.settings_table_ = [{**each.settings.to_dict(), **_how_they_did(each)} for each in report.settings]
        return self

    def _settings(self) -> tuple[list[Settings], CohortSettings]:
        """Return the settings to try, and those of the cohort, that the parameters name."""
        own, cohort = (
            {each.name: getattr(self, each.name) for each in dataclasses.fields(kind)}
            for kind in (Settings, CohortSettings)
        )
        changes = [{}] if self.settings is None else self.settings
        if not all(isinstance(each, Mapping) for each in changes):
            raise SettingsError("the parameter 'settings' must be a list of mappings such as {'dropout': 0.3}")
        return [Settings.from_dict({**own, **each}) for each in changes], CohortSettings(**cohort)

    def predict_proba(self, X: Any) -> FloatArray:
        """Return the probability of every class, `(n_samples, n_classes)`, in the order of `classes_`."""
        return np.exp(self._answers(X)[0])

    def predict(self, X: Any) -> NDArray[Any]:
        """Return what every row is called, `(n_samples,)`: the most probable class, or what the threshold says."""
        log_proba, _ = self._answers(X)
        return self.classes_[self.predictor_.codes(log_proba)]

    def predict_set(self, X: Any) -> NDArray[np.bool_]:
        """Return which classes are in every row's set, `(n_samples, n_classes)`, in the order of `classes_`.

        Of the rows of each class, a share of at least `coverage` has a set that holds it. A set of none or of several
        classes is an abstention.
        """
        log_proba, _ = self._answers(X)
        return self.predictor_.sets(log_proba)

    def predict_uncertainty(self, X: Any) -> FloatArray:
        """Return how far the networks are from agreeing, `(n_samples,)`.

        It is the standard deviation of their probabilities of the class that the row is called.
        """
        log_proba, spread = self._answers(X)
        return spread[np.arange(len(spread)), self.predictor_.codes(log_proba)]

    def _answers(self, X: Any) -> tuple[FloatArray, FloatArray]:
        """Return log probabilities and their spread between networks, both `(n_samples, n_classes)`."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, ensure_all_finite=False, reset=False)
        return self.predictor_.answers(X)


def _a_value_each(values: Any, X: FloatArray, name: str) -> NDArray[Any]:
    found = np.asarray(values)
    if found.shape != (len(X),):
        raise TableError(f"{name} must have one value per row, of shape {(len(X),)}; the shape is {found.shape}")
    return found


def _codes(groups: NDArray[Any]) -> NDArray[np.int64]:
    """Return a code for each group, `(n_samples,)`; a row whose group is missing is in nobody else's."""
    missing = np.array([each is None or each != each for each in groups.tolist()])
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


def _how_they_did(each: SettingReport) -> dict[str, Any]:
    return {
        "log_loss": each.log_loss.value,
        "log_loss_low": each.log_loss.low,
        "log_loss_high": each.log_loss.high,
        "weight": each.weight,
        "dropped_after": each.dropped_after,
        "failed": each.failed,
        **{f"out_of_fold_{name}": value for name, value in each.metrics.items() if name != "log_loss"},
    }
