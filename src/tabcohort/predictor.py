"""The finished model: a network, the schema of its table, and what is known of how good it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tabcohort.columns import check_finite_cells, feature_matrix, feature_row
from tabcohort.errors import TableError
from tabcohort.evaluate import Evaluation, evaluate, log_probabilities
from tabcohort.forward import Forward
from tabcohort.prepare import FloatArray
from tabcohort.program import Network
from tabcohort.settings import Settings
from tabcohort.table import Label, Schema, Table
from tabcohort.training import EpochRecord


@dataclass(frozen=True)
class Prediction:
    """The answer for one record: the predicted class and the probability of every class."""

    label: Label
    probability: dict[Label, float]


@dataclass(frozen=True)
class TrainingReport:
    """What happened in training, as a model file keeps it.

    Args:
        history: one record per epoch.
        best_epoch: the epoch whose weights the model has.
        stop_reason: "patience", "max_epochs" or "interrupted".
        n_train, n_stop, n_score: how many rows had each role.
        evaluation: the metrics on the scoring rows.
        engine, device: what ran the epochs.
        fingerprint: SHA-256 of the table that was trained on.
    """

    history: tuple[EpochRecord, ...]
    best_epoch: int
    stop_reason: str
    n_train: int
    n_stop: int
    n_score: int
    evaluation: Evaluation
    engine: str
    device: str
    fingerprint: str


class Predictor:
    """Answers for rows that it is given by column names, or as arrays in the order of its features.

    A row's answer is the same to the bit alone, beside any other rows, and on any number of threads; PyTorch is not
    needed for it.

    Args:
        network: the trained network; its numbers are not to be changed any more.
        schema: the columns it was trained on.
        settings: how it was trained.
        report: what happened in training.
    """

    def __init__(self, network: Network, schema: Schema, settings: Settings, report: TrainingReport) -> None:
        self.network = network
        self.schema = schema
        self.settings = settings
        self.report = report
        self._forward = Forward(network)

    def logits(self, data: Any) -> FloatArray:
        """Return logits, `(n_rows, 1)` for two classes and `(n_rows, n_classes)` for more.

        Args:
            data: a frame (pandas, polars, a mapping of columns) whose columns are found by name, or an array.

        Raises:
            TableError: a column is missing, or a cell is not a finite number.
        """
        X = feature_matrix(data, self.schema.features)
        check_finite_cells(X, self.schema.features)
        return self._forward.logits(X)

    def predict_proba(self, data: Any) -> FloatArray:
        """Return the probability of every class, `(n_rows, n_classes)`, in the order of `schema.classes`."""
        return np.exp(log_probabilities(self.logits(data)))

    def predict(self, data: Any) -> NDArray[Any]:
        """Return the most probable class of every row, `(n_rows,)`."""
        return np.array(self.schema.classes)[self.predict_proba(data).argmax(axis=1)]

    def predict_row(self, record: Mapping[str, Any]) -> Prediction:
        """Return the class and the probabilities of one record, given by column names.

        Raises:
            TableError: a column is missing, or its value is not a finite number.
        """
        proba = self.predict_proba(feature_row(record, self.schema.features))[0]
        label = self.schema.classes[int(proba.argmax())]
        return Prediction(label, {name: float(p) for name, p in zip(self.schema.classes, proba, strict=True)})

    def __repr__(self) -> str:
        accuracy = self.report.evaluation.metrics["accuracy"]
        return (
            f"<Predictor of {self.schema.target!r} from {len(self.schema.features)} columns, {self.settings.model}, "
            f"accuracy {accuracy.low:.3f} to {accuracy.high:.3f} on {self.report.n_score:,} rows it never saw>"
        )

    def farthest_cell(self, data: Any) -> tuple[int, str, float] | None:
        """Return the cell that is farthest from what the training rows held: a wrong unit, often.

        Returns:
            Its row, counted from 0, its column, and its distance from the training rows' mean in their standard
            deviations; None where there are no rows.
        """
        X = feature_matrix(data, self.schema.features)
        if not len(X):
            return None
        statistics = self.network.statistics()
        assert statistics is not None  # every network that settings name begins with `standardize`
        distance = np.abs((X - statistics.centre) * statistics.scale)
        row, column = np.unravel_index(np.argmax(distance), distance.shape)
        return int(row), self.schema.features[column], float(distance[row, column])

    def was_trained_on(self, table: Table) -> bool:
        """Return whether some rows of this very table trained this model."""
        return table.fingerprint() == self.report.fingerprint

    def evaluate(self, table: Table) -> Evaluation:
        """Measure this model on a table that it should not have been trained on.

        Args:
            table: made by `table_of_schema(frame, predictor.schema)`, so that columns and classes are the model's.

        Raises:
            TableError: the table has another schema.
        """
        if table.schema != self.schema:
            raise TableError("the table is not of this model's schema; make it by table_of_schema(frame, model.schema)")
        return evaluate(self.logits(table.X), table.y, table.weight, self.schema.positive, self.settings.seed)

    def strongest_weights(self) -> dict[str, float] | None:
        """Return a linear two-class model's weight of each standardised feature, strongest first; None for others.

        A weight above zero speaks for the positive class.
        """
        operations = [each for each in self.network.program.operations if each.kind == "linear"]
        if self.settings.model != "logistic" or len(self.schema.classes) != 2:
            return None
        weights = self.network.named()[f"{operations[0].path}.weight"][0]
        if self.schema.positive == 0:  # the logit is of the second class
            weights = -weights
        order = np.argsort(-np.abs(weights), kind="stable")
        return {self.schema.features[i]: float(weights[i]) for i in order}
