"""The scikit-learn classifier: arrays or frames in, classes and probabilities out.

`fit` is the main path of the whole package; follow its calls to see the system.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from tabcohort.cohort import fit
from tabcohort.errors import TableError
from tabcohort.prepare import FloatArray
from tabcohort.settings import Rule, Settings, rules
from tabcohort.table import make_table

DEFAULTS = Settings()


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
    """A neural classifier that keeps rows aside to stop on and to score on.

    Every parameter is a setting of the same name: see `Settings` for what each of them means and may be.

    Attributes:
        classes_: the labels, `(n_classes,)`, sorted.
        n_features_in_, feature_names_in_: the columns it was fitted on; names when they were given.
        predictor_: the finished `Predictor`; `tabcohort.save(classifier.predictor_, path)` writes it to a file.
        evaluation_: metrics with 95 % intervals on the rows of `fit` that it was not trained on.
        history_: one record per epoch.

    Example:
        >>> from sklearn.datasets import load_iris
        >>> X, y = load_iris(return_X_y=True)
        >>> classifier = CohortClassifier(model="logistic", learning_rate=0.05).fit(X, y)
        >>> classifier.predict(X[:2])
        array([0, 0])
    """

    _parameter_constraints: dict[str, list[Any]] = {name: _constraints(rule) for name, rule in rules().items()}  # noqa: RUF012

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

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train on some of the rows, stop on others, and score on the rest.

        Args:
            X: `(n_samples, n_features)`, an array or a frame of numbers.
            y: `(n_samples,)`, the class labels.
            sample_weight: `(n_samples,)`; a row of weight 2 counts like two rows, one of weight 0 not at all.

        Raises:
            TabcohortError: a parameter, a cell or a class does not fit; also a `ValueError`.
        """
        self._validate_params()
        settings = Settings(**{each.name: getattr(self, each.name) for each in dataclasses.fields(Settings)})
        X, y = validate_data(self, X, y, dtype=np.float64, ensure_all_finite=False)
        check_classification_targets(y)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
            if not sample_weight.any():
                raise TableError("sample_weight must have at least one positive weight; all of them are zero")
        names = getattr(self, "feature_names_in_", None)
        table = make_table(X, y, features=names, positive=settings.positive, weight=sample_weight)
        self.predictor_ = fit(table, settings)
        self.classes_ = np.unique(y if sample_weight is None else y[sample_weight > 0])
        self.evaluation_ = self.predictor_.report.evaluation
        self.history_ = self.predictor_.report.history
        return self

    def predict_proba(self, X: Any) -> FloatArray:
        """Return the probability of every class, `(n_samples, n_classes)`, in the order of `classes_`."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, ensure_all_finite=False, reset=False)
        return self.predictor_.predict_proba(X)

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the most probable class of every row, `(n_samples,)`."""
        proba = self.predict_proba(X)
        return self.classes_[proba.argmax(axis=1)]
