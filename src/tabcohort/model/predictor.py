"""The finished model: networks that answer together, the schema of their table, and how good they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tabcohort.data.columns import check_finite_cells, feature_matrix, feature_row
from tabcohort.data.table import Schema, Table
from tabcohort.engines.compiled.inference import Forward
from tabcohort.errors import TableError
from tabcohort.evaluation.calibration import Calibrator
from tabcohort.evaluation.decision import in_sets, predicted_codes, shares_of_sets
from tabcohort.evaluation.intervals import Evaluation, evaluate
from tabcohort.evaluation.metrics import log_of, log_probabilities
from tabcohort.evaluation.out_of_fold import Decision, Judged, decide, measure, measure_sets
from tabcohort.model.report import CohortReport
from tabcohort.network.program import Network
from tabcohort.settings import CohortSettings, Settings
from tabcohort.types import FloatArray, IntArray, Label

LOGITS_AT_A_TIME = 2**20


@dataclass(frozen=True)
class Prediction:
    """The answer for one record.

    Args:
        label: what it is called.
        probability: of every class.
        spread: standard deviation, between the members, of the probability of `label`.
        classes: the set that holds the true class at the model's coverage; none or several are an abstention.
    """

    label: Label
    probability: dict[Label, float]
    spread: float
    classes: tuple[Label, ...]


class Predictor:
    """Answers for rows that it is given by column names, or as arrays in the order of its features.

    A row's answer is the same to the bit alone, beside any other rows, and on any number of threads; PyTorch is not
    needed for it.

    Args:
        networks: the trained networks; their numbers are not to be changed any more.
        members: the place in `report.members` of each network.
        schema: the columns it was trained on.
        calibrator: what corrects the mean of the networks' probabilities.
        decision: how probabilities become answers.
        judged: the out-of-fold predictions.
        report: what happened in training.
    """

    def __init__(
        self,
        networks: Sequence[Network],
        members: Sequence[int],
        schema: Schema,
        calibrator: Calibrator,
        decision: Decision,
        judged: Judged,
        report: CohortReport,
    ) -> None:
        self.networks = tuple(networks)
        self.members = tuple(members)
        self.schema = schema
        self.calibrator = calibrator
        self.decision = decision
        self.judged = judged
        self.report = report
        of_setting = [report.members[number].setting for number in members]
        shares = np.array([report.settings[each].weight / of_setting.count(each) for each in of_setting])
        self.shares = shares / shares.sum()
        self._forward = Forward(self.networks)

    @property
    def settings(self) -> Settings:
        """The settings with the greatest share in the ensemble."""
        return max(self.report.settings, key=lambda each: each.weight).settings

    def member_logits(self, data: Any) -> FloatArray:
        """Return every network's own logits, `(n_rows, n_networks, 1)` for two classes, `(..., n_classes)` for more.

        Args:
            data: a frame (pandas, polars, a mapping of columns) whose columns are found by name, or an array.

        Raises:
            TableError: a column is missing, or a cell is not a finite number.
        """
        return self._forward.logits(self._checked(data))

    def answers(self, data: Any) -> tuple[FloatArray, FloatArray]:
        """Return log probabilities, and the spread of each probability between the members, both `(n_rows, n_classes)`.

        The spread is the standard deviation of what the members say, each corrected like their mean.
        """
        return self._answers(self._checked(data))

    def log_proba(self, data: Any) -> FloatArray:
        """Return the log probability of every class, `(n_rows, n_classes)`, in the order of `schema.classes`."""
        return self.answers(data)[0]

    def predict_proba(self, data: Any) -> FloatArray:
        """Return the probability of every class, `(n_rows, n_classes)`, in the order of `schema.classes`."""
        return np.exp(self.log_proba(data))

    def predict(self, data: Any) -> NDArray[Any]:
        """Return what every row is called, `(n_rows,)`: the most probable class, or what the threshold says."""
        return np.array(self.schema.classes)[self.codes(self.log_proba(data))]

    def predict_set(self, data: Any) -> NDArray[np.bool_]:
        """Return which classes are in every row's set, `(n_rows, n_classes)`; none or several are an abstention."""
        return self.sets(self.log_proba(data))

    def predict_uncertainty(self, data: Any) -> FloatArray:
        """Return the spread of every row, `(n_rows,)`: how far the members are from agreeing.

        It is the standard deviation, between members, of their probability of the class that the row is called: what
        more data could settle, beside the probability itself, which also holds what no data can.
        """
        log_proba, spread = self.answers(data)
        return spread[np.arange(len(spread)), self.codes(log_proba)]

    def predict_row(self, record: Mapping[str, Any]) -> Prediction:
        """Return the answer for one record, given by column names.

        Raises:
            TableError: a column is missing, or its value is not a finite number.
        """
        row = self._checked(feature_row(record, self.schema.features))
        log_proba, spread = self._answers(row)
        code, classes = int(self.codes(log_proba)[0]), self.schema.classes
        probability = {name: float(p) for name, p in zip(classes, np.exp(log_proba[0]), strict=True)}
        in_set = self.sets(log_proba)[0]
        of_set = tuple(name for name, is_in in zip(classes, in_set, strict=True) if is_in)
        return Prediction(classes[code], probability, float(spread[0, code]), of_set)

    def codes(self, log_proba: FloatArray) -> IntArray:
        """Return the code of what each row is called, `(n_rows,)`, of its log probabilities."""
        return predicted_codes(log_proba, self.schema.positive, self.decision.threshold)

    def sets(self, log_proba: FloatArray) -> NDArray[np.bool_]:
        """Return which classes are in each row's set, `(n_rows, n_classes)`, by its log probabilities."""
        return in_sets(log_proba, self.decision.limits)

    def decided(self, aim: str | float | None, coverage: float | None = None) -> Predictor:
        """Return this model with another threshold and coverage, chosen and measured on its out-of-fold predictions.

        Raises:
            SettingsError: the aim is none, the coverage is not in (0, 1), or there are not two classes.
        """
        coverage = self.decision.coverage if coverage is None else coverage
        CohortSettings(coverage=coverage)  # which checks it
        decision = decide(self.judged, self.schema.positive, aim, coverage)
        evaluation = measure(self.judged, decision, self.schema.positive, self.settings.seed)
        report = replace(self.report, evaluation=evaluation, sets=measure_sets(self.judged, coverage))
        return Predictor(
            self.networks, self.members, self.schema, self.calibrator, decision, self.judged, report
        )  # fmt: skip

    def __repr__(self) -> str:
        accuracy = self.report.evaluation.metrics["accuracy"]
        return (
            f"<Predictor of {self.schema.target!r} from {len(self.schema.features)} columns, {len(self.networks)} "
            f"networks, accuracy {accuracy.low:.3f} to {accuracy.high:.3f} on {len(self.judged.y):,} rows, out of fold>"
        )

    def farthest_cells(self, data: Any) -> tuple[IntArray, FloatArray]:
        """Return each row's cell that is farthest from what the training rows held: a wrong unit, often.

        Returns:
            The place of its column in `schema.features`, `(n_rows,)`, and its distance from the training rows' mean in
            their standard deviations, `(n_rows,)`.
        """
        X = feature_matrix(data, self.schema.features)
        statistics = self.networks[0].statistics()
        assert statistics is not None  # every network that settings name begins with `standardize`
        distance = np.abs((X - statistics.centre) * statistics.scale)
        column = distance.argmax(axis=1)
        return column, distance[np.arange(len(X)), column]

    def was_trained_on(self, table: Table) -> bool:
        """Return whether some rows of this very table trained this model."""
        return table.fingerprint() == self.report.fingerprint

    def evaluate(self, table: Table, log_proba: FloatArray | None = None) -> Evaluation:
        """Measure this model on a table that it should not have been trained on.

        Args:
            table: made by `table_of_schema(frame, predictor.schema)`, so that columns and classes are the model's.
            log_proba: what the model says of its rows, `(n_rows, n_classes)`, where that is known already.

        Raises:
            TableError: the table has another schema.
        """
        self._check_schema(table)
        log_proba = self.log_proba(table.X) if log_proba is None else log_proba
        called = self.codes(log_proba)
        return evaluate(log_proba, table.y, table.weight, self.schema.positive, self.settings.seed, called, table.key)

    def evaluate_sets(self, table: Table, log_proba: FloatArray | None = None) -> dict[str, float]:
        """Return how often the sets hold the truth, and how many classes they have, on a table that trained nothing.

        Args:
            table, log_proba: as for `evaluate`.

        Raises:
            TableError: the table has another schema.
        """
        self._check_schema(table)
        log_proba = self.log_proba(table.X) if log_proba is None else log_proba
        return shares_of_sets(self.sets(log_proba), table.y, table.weight)

    def strongest_weights(self) -> dict[str, float] | None:
        """Return a linear two-class model's weight of each standardised feature, strongest first; None for others.

        It is the mean over the networks. A weight above zero speaks for the positive class.
        """
        models = {self.report.settings[self.report.members[number].setting].settings.model for number in self.members}
        if models != {"logistic"} or len(self.schema.classes) != 2:
            return None
        weights = np.zeros(len(self.schema.features))
        for share, network in zip(self.shares, self.networks, strict=True):
            path = next(each.path for each in network.program.operations if each.kind == "linear")
            weights += share * network.named()[f"{path}.weight"][0]
        if self.schema.positive == 0:  # the logit is of the second class
            weights = -weights
        order = np.argsort(-np.abs(weights), kind="stable")
        return {self.schema.features[i]: float(weights[i]) for i in order}

    def _check_schema(self, table: Table) -> None:
        if table.schema != self.schema:
            raise TableError("the table is not of this model's schema; make it by table_of_schema(frame, model.schema)")

    def _checked(self, data: Any) -> FloatArray:
        X = feature_matrix(data, self.schema.features)
        check_finite_cells(X, self.schema.features)
        return X

    def _answers(self, X: FloatArray) -> tuple[FloatArray, FloatArray]:
        n_classes = len(self.schema.classes)
        log_proba, spread = np.empty((len(X), n_classes)), np.empty((len(X), n_classes))
        at_a_time = max(1, LOGITS_AT_A_TIME // (len(self.networks) * n_classes))
        for start in range(0, len(X), at_a_time):
            rows = slice(start, start + at_a_time)
            logits = self._forward.logits(X[rows])
            own = log_probabilities(logits.reshape(-1, logits.shape[2])).reshape(*logits.shape[:2], n_classes)
            # One after another, so that a row's sum does not depend on how many rows there are.
            mean = np.add.accumulate(np.exp(own) * self.shares[:, None], axis=1)[:, -1]
            log_proba[rows] = self.calibrator.apply(log_of(mean))
            spread[rows] = self._spread(own)
        return log_proba, spread

    def _spread(self, own: FloatArray) -> FloatArray:
        """Return the standard deviation over the networks, the second axis, of what they say, corrected."""
        if len(self.shares) == 1:
            return np.zeros_like(own[:, 0])
        proba = np.exp(self.calibrator.apply(own))
        shares = self.shares[:, None]
        mean = np.add.accumulate(proba * shares, axis=1)[:, -1:]
        return np.sqrt(np.add.accumulate(np.square(proba - mean) * shares, axis=1)[:, -1])
