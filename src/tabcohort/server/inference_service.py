"""One place where a model predicts, its shadow model is compared, and both are counted and recorded."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tabcohort.model.prediction_columns import PredictionForm
from tabcohort.model.predictor import Prediction
from tabcohort.server.micro_batcher import MicroBatcher
from tabcohort.server.model_store import ModelStore, ServedModel
from tabcohort.server.options import ServerOptions
from tabcohort.server.prediction_log import LogError, PredictionLog, entries_of
from tabcohort.server.problems import overloaded
from tabcohort.server.record_input import Record
from tabcohort.server.service_metrics import DriftCounter, ServiceMetrics
from tabcohort.server.table_bodies import CHUNK_ROWS
from tabcohort.types import FloatArray

if TYPE_CHECKING:
    import polars as pl

MAX_BATCHED_RECORDS = 256  # records of a request; one with more is answered in a thread of its own
LOG_RETRY_SECONDS = 60
MAX_SHADOWED = 1_000  # rows of a request that a model in shadow answers, too


class ModelVersion(NamedTuple):
    """A version of a model with what answers for it.

    Args:
        model: the loaded model.
        batcher: of single requests.
        drift: of its columns.
    """

    model: ServedModel
    batcher: MicroBatcher[Prediction]
    drift: DriftCounter


class InferenceService:
    """Predicts with the models of a store: batched, counted, recorded and compared with shadow models.

    Args:
        store: the models.
        options: of the server.
        metrics: that predictions are counted in.
        log: that they are recorded in, if there is one.
    """

    def __init__(
        self, store: ModelStore, options: ServerOptions, metrics: ServiceMetrics, log: PredictionLog | None = None
    ) -> None:
        self.store, self.options, self.metrics, self.log = store, options, metrics, log
        self._versions: dict[str, ModelVersion] = {}

    def current(self, name: str) -> ModelVersion:
        """Return the version of a model that answers now.

        Raises:
            Problem: 404, there is no such model.
        """
        model = self.store.get(name)
        known = self._versions.get(name)
        if known is None or known.model is not model:
            drift = DriftCounter(self.metrics, name, model.predictor)
            answer = functools.partial(self._predict, model, drift)
            known = self._versions[name] = ModelVersion(
                model, MicroBatcher(answer, self.options.max_queued_records), drift
            )
        return known

    async def predict(self, version: ModelVersion, X: FloatArray) -> Sequence[Prediction]:
        """Return the prediction for each of a few records, batched with those of other requests."""
        return await version.batcher(X)

    async def answer(
        self, version: ModelVersion, records: Sequence[Record], X: FloatArray, request_id: str
    ) -> Sequence[Prediction]:
        """Return the predictions of a request for a few records, which are batched, recorded and compared.

        Args:
            version: of the model.
            records: as they were asked for.
            X: their inputs, `(n_records, n_inputs)`.
            request_id: for the log.

        Raises:
            Problem: 503, too many records wait, or the predictions cannot be recorded.
        """
        predictions = await self.predict(version, X)
        self.finish(version.model, records, X, predictions, request_id)
        return predictions

    def finish(
        self,
        model: ServedModel,
        records: Sequence[Record],
        X: FloatArray,
        predictions: Sequence[Prediction],
        request_id: str,
    ) -> None:
        """Record the predictions of a request, and compare them with those of the shadow model; see `answer`.

        Raises:
            Problem: 503, they cannot be recorded.
        """
        self.record(request_id, model, records, X, predictions)
        self.compare(model, records, predictions)

    def predict_many(self, version: ModelVersion, X: FloatArray) -> list[Prediction]:
        """Return the prediction for each of many records; to be called in a thread."""
        return self._predict(version.model, version.drift, X)

    def _predict(self, model: ServedModel, drift: DriftCounter, X: FloatArray) -> list[Prediction]:
        predictions = model.predictor.predict_inputs(X)
        drift.add(X)
        self.metrics.count_answers(model.name, predictions)
        return predictions

    def record(
        self,
        request_id: str,
        model: ServedModel,
        records: Sequence[Record],
        X: FloatArray,
        predictions: Sequence[Prediction],
        first_row: int = 0,
    ) -> None:
        """Write the predictions of a request into the log, if there is one.

        Args:
            request_id: of the request.
            model: that predicted.
            records: as they were asked for; they are used only where the log keeps records.
            X: their inputs, `(n_records, n_inputs)`.
            predictions: for them.
            first_row: the place of the first of them in the request.

        Raises:
            Problem: 503, they cannot be written, and so must not be given.
        """
        if self.log is None:
            return
        hashes = [self.log.hash_of(row) for row in X]
        entries = entries_of(request_id, model.name, model.fingerprint, predictions, hashes, first_row)
        if self.log.policy.keeps_records:
            features = model.predictor.schema.features
            for entry, record in zip(entries, records, strict=True):
                entry["record"] = {name: record[name] for name in features}
        try:
            self.log.append(entries)
        except LogError as error:
            print(f"tabcohort: {error}", file=sys.stderr, flush=True)
            detail = "the prediction cannot be recorded, and so is not given"
            raise overloaded(detail, LOG_RETRY_SECONDS) from None

    def compare(self, model: ServedModel, records: Sequence[Record], predictions: Sequence[Prediction]) -> None:
        """Let the shadow model of a model predict for the same records, and count how they differ.

        Whatever goes wrong is counted, and never reaches the request.
        """
        shadow = self.store.shadow_of(model.name)
        if shadow is None:
            return
        names = shadow.predictor.schema.features
        try:
            X = shadow.reader.inputs([{name: record[name] for name in names} for record in records[:MAX_SHADOWED]])
            theirs = shadow.predictor.predict_inputs(X)
        except Exception:
            self.metrics.shadow_errors.labels(model.name).inc()
            return
        probabilities = [
            np.array([list(prediction.probability.values()) for prediction in answers])
            for answers in (predictions[: len(theirs)], theirs)
        ]
        self.metrics.compare(model.name, *probabilities)

    def predict_table(
        self, version: ModelVersion, frame: pl.DataFrame, X: FloatArray, columns: Sequence[str], request_id: str
    ) -> Iterator[pl.DataFrame]:
        """Yield the predictions for a table's rows, some thousand rows at a time.

        Args:
            version: of the model.
            frame: the rows.
            X: their inputs, `(n_rows, n_inputs)`.
            columns: of the frame that come first.
            request_id: for the log.
        """
        model = version.model
        for start in range(0, len(frame), CHUNK_ROWS):
            rows, part = X[start : start + CHUNK_ROWS], frame[start : start + CHUNK_ROWS]
            predictions = model.predictor.predict_encoded(rows, part, PredictionForm(columns))
            version.drift.add(rows)
            labels, sets = predictions["predicted"].to_list(), predictions["set"].to_list()
            n_abstentions = sum(classes != [label] for label, classes in zip(labels, sets, strict=True))
            n_warned = int((predictions["warnings"] != "").sum())
            self.metrics.count_predictions(model.name, labels, n_abstentions, n_warned)
            if self.log is not None:
                records = _records(part, model) if self.log.policy.keeps_records else []
                self.record(request_id, model, records, rows, model.predictor.predict_inputs(rows), start)
            yield predictions


def _records(frame: pl.DataFrame, model: ServedModel) -> list[dict[str, Any]]:
    """Return the rows of a frame as JSON can hold them: what is no finite number is missing."""
    columns = [
        column.set(~column.is_finite(), None) if column.dtype.is_float() else column
        for column in frame.select(model.predictor.schema.features)
    ]
    return frame.select(columns).to_dicts()
