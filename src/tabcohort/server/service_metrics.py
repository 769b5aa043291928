"""What a server counts, in the format of Prometheus."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from tabcohort.data.inputs import input_places
from tabcohort.model.predictor import Prediction, Predictor
from tabcohort.model.training_statistics import ColumnStatistics, training_statistics
from tabcohort.server.options import MULTIPROCESS_DIR
from tabcohort.types import FloatArray

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)
MIN_ROWS_OF_DRIFT = 30
ROWS_REMEMBERED = 10_000  # by the means that drift is computed from


class ServiceMetrics:
    """The counts of one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        own: dict[str, Any] = {"registry": self.registry, "namespace": "tabcohort"}
        self.requests = Counter("requests", "Requests by route and status.", ("route", "status"), **own)
        self.seconds = Histogram("request_seconds", "Time to answer a request.", ("route",), buckets=SECONDS, **own)
        self.in_flight = Gauge(
            "requests_in_flight", "Requests that are being answered.", multiprocess_mode="livesum", **own
        )
        self.predictions = Counter("predictions", "Predictions by predicted class.", ("model", "class_"), **own)
        self.abstentions = Counter(
            "abstentions", "Predictions whose set is not just the predicted class.", ("model",), **own
        )
        self.warned = Counter("unusual_rows", "Rows with an unusual cell.", ("model",), **own)
        self.unknown = Counter("unknown_levels", "Cells of a level not trained on.", ("model", "column"), **own)
        self.drift = Gauge(
            "drift", "Shift of a column's recent mean, in standard deviations of the training rows; of a category the "
            "share of recent rows that would have to change their level.", ("model", "column"),
            multiprocess_mode="livemostrecent", **own,
        )  # fmt: skip
        self.shadow_rows = Counter("shadow_rows", "Rows that a model in shadow answered, too.", ("model",), **own)
        self.shadow_disagreements = Counter(
            "shadow_disagreements", "Rows for which a model in shadow predicts another class.", ("model",), **own
        )
        self.shadow_difference = Counter(
            "shadow_probability_difference", "Sum over rows of the largest difference of a probability.", ("model",),
            **own,
        )  # fmt: skip
        self.shadow_errors = Counter(
            "shadow_errors", "Requests that a shadow model could not answer.", ("model",), **own
        )
        self.reloads = Counter("model_reloads", "Changed model files, by result.", ("model", "result"), **own)

    def count_request(self, route: str, status: int, seconds: float) -> None:
        """Count a request that was answered, and its time."""
        counter, histogram = self._of_request(route, status)
        counter.inc()
        histogram.observe(seconds)

    @functools.cache  # noqa: B019  one of these lives as long as the process; finding the labels takes longer than counting
    def _of_request(self, route: str, status: int) -> tuple[Counter, Histogram]:
        return self.requests.labels(route, status), self.seconds.labels(route)

    def count_reload(self, label: str, is_replaced: bool) -> None:
        """Count a model file that has changed, by whether the new version is served."""
        self.reloads.labels(label, "replaced" if is_replaced else "kept").inc()

    def text(self) -> bytes:
        """Return all counts as text; those of all processes where there are several."""
        if MULTIPROCESS_DIR not in os.environ:
            return generate_latest(self.registry)
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)

    def count_predictions(self, name: str, labels: Sequence[object], n_abstentions: int, n_warned: int) -> None:
        """Count predicted classes, abstentions and rows with unusual cells of a model."""
        for label in dict.fromkeys(labels):
            self.predictions.labels(name, str(label)).inc(labels.count(label))
        if n_abstentions:
            self.abstentions.labels(name).inc(n_abstentions)
        if n_warned:
            self.warned.labels(name).inc(n_warned)

    def count_answers(self, name: str, predictions: Sequence[Prediction]) -> None:
        """Count the predictions for single records."""
        n_abstentions = sum(prediction.abstains for prediction in predictions)
        self.count_predictions(
            name, [own.label for own in predictions], n_abstentions, sum(own.warnings != "" for own in predictions)
        )

    def compare(self, name: str, own: FloatArray, shadow: FloatArray) -> None:
        """Count how a model and that in its shadow differ, by their probabilities, `(n_rows, n_classes)`."""
        self.shadow_rows.labels(name).inc(len(own))
        self.shadow_disagreements.labels(name).inc(int((own.argmax(axis=1) != shadow.argmax(axis=1)).sum()))
        self.shadow_difference.labels(name).inc(float(np.abs(own - shadow).max(axis=1).sum()))


class DriftCounter:
    """Follows how far the columns of recent requests are from the training rows.

    Means forget: the weight of a row halves over `ROWS_REMEMBERED` rows.

    Args:
        metrics: where it is shown.
        name: of the model.
        predictor: the model.
    """

    def __init__(self, metrics: ServiceMetrics, name: str, predictor: Predictor) -> None:
        self._metrics, self._name = metrics, name
        self._lock = threading.Lock()  # tables are answered in threads
        known = training_statistics(predictor) or {}
        self._places = [
            (own, known[own.column.name]) for own in input_places(predictor.schema.columns) if own.column.name in known
        ]
        self._sums = np.zeros(sum(column.n_numbers for column in predictor.schema.columns))
        self._counts = np.zeros_like(self._sums)
        self._codes = {
            place.code: np.zeros(place.column.n_codes) for place, _ in self._places if place.code is not None
        }
        self._n_rows = 0.0

    def add(self, X: FloatArray) -> None:
        """Take the inputs of rows into account, `(n_rows, n_inputs)`."""
        with self._lock:
            self._add(X)

    def _add(self, X: FloatArray) -> None:
        keep = 0.5 ** (len(X) / ROWS_REMEMBERED)
        numbers = X[:, : len(self._sums)]
        present = ~np.isnan(numbers)
        self._sums = keep * self._sums + np.where(present, numbers, 0.0).sum(axis=0)
        self._counts = keep * self._counts + present.sum(axis=0)
        self._n_rows = keep * self._n_rows + len(X)
        for code, counts in self._codes.items():
            counts *= keep
            counts += np.bincount(X[:, code].astype(np.int64), minlength=len(counts))
        for place, _ in self._places:
            if place.code is not None and (n := int((X[:, place.code] == place.column.n_codes - 1).sum())):
                self._metrics.unknown.labels(self._name, place.column.name).inc(n)

    def show(self) -> None:
        """Set the gauges, if there are enough rows."""
        if self._n_rows < MIN_ROWS_OF_DRIFT:
            return
        for place, known in self._places:
            value = self._shift(place.numbers.start, place.code, known)
            if value is not None:
                self._metrics.drift.labels(self._name, place.column.name).set(value)

    def _shift(self, number: int, code: int | None, known: ColumnStatistics) -> float | None:
        if code is not None and known.counts is not None and known.counts.sum() > 0:
            counts = self._codes[code]
            return float(np.abs(counts / counts.sum() - known.counts / known.counts.sum()).sum() / 2)
        if known.deviation > 0 and self._counts[number] >= MIN_ROWS_OF_DRIFT:
            return float((self._sums[number] / self._counts[number] - known.mean) / known.deviation)
        return None
