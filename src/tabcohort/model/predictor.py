"""The finished model: networks and trees that predict together, the schema of their table, and how good they are."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tabcohort.data.forked import require_polars_threads
from tabcohort.data.inputs import (
    cells_of,
    check_cells,
    is_record,
    require_column,
    row_inputs,
    table_inputs,
)
from tabcohort.data.splits import dependent_groups
from tabcohort.data.table import Schema, Table
from tabcohort.engines.compiled.inference import Inference
from tabcohort.errors import ModelFileError, TabcohortWarning, TableError, listed, warn_caller
from tabcohort.evaluation.calibration import Calibrator
from tabcohort.evaluation.decision import DecisionRule, choose_decision_rule, predicted_codes
from tabcohort.evaluation.evaluate import Evaluation, evaluate, evaluate_out_of_fold, evaluate_sets_out_of_fold
from tabcohort.evaluation.metrics import log_probabilities, safe_log
from tabcohort.evaluation.out_of_fold import OutOfFoldPredictions
from tabcohort.evaluation.prediction_sets import SetEvaluation, evaluate_sets, prediction_sets
from tabcohort.model.explain import Explanation, players_of
from tabcohort.model.explainer import Ensemble, Explainer, ExplanationProgress
from tabcohort.model.prediction_columns import (
    PredictionForm,
    joined,
    probability_columns,
    probability_names,
    text_column,
    warn_of_renamed,
)
from tabcohort.model.report import CohortReport
from tabcohort.model.shapley import ROWS_BUDGET, ExplanationBudget
from tabcohort.model.unusual import UnusualCells, UsualCells, warn_of_cells
from tabcohort.network.program import Network
from tabcohort.network.trees import Trees
from tabcohort.notebook import html_note, html_table
from tabcohort.randomness import Purpose, make_rng
from tabcohort.settings import CohortSettings, Config
from tabcohort.types import BoolArray, FloatArray, IntArray, Label

if TYPE_CHECKING:
    import polars as pl

MAX_LOGITS_AT_ONCE = 2**20
FEW_BACKGROUND_ROWS = 10
MAX_SHOWN = 8  # classes and features, in a notebook


@dataclass(frozen=True)
class Prediction:
    """The prediction for one record.

    Args:
        label: the predicted class.
        probability: of every class.
        spread: standard deviation, between the members, of the probability of `label`.
        classes: the prediction set, which contains the true class with the model's coverage.
        warnings: what is unusual in the record, in the words of `predict_frame`; empty if nothing is.
    """

    label: Label
    probability: dict[Label, float]
    spread: float
    classes: tuple[Label, ...]
    warnings: str = ""

    @property
    def abstains(self) -> bool:
        """Whether the prediction set is anything but the predicted class alone: a person should decide."""
        return self.classes != (self.label,)


class Predictor:
    """A trained model: predicts for rows given by column names, or as arrays in the order of its features.

    A row's prediction is the same to the bit, whatever rows are predicted with it and however many threads run. PyTorch
    is not needed.

    Args:
        models: the trained networks and trees; do not change their arrays.
        members: the index of each of them in `report.members`.
        schema: the columns it was trained on.
        calibrator: calibrates the mean of their probabilities.
        decision_rule: how probabilities become predicted classes and prediction sets.
        out_of_fold: the ensemble's out-of-fold predictions.
        report: what happened in training.
    """

    def __init__(
        self,
        models: Sequence[Network | Trees],
        members: Sequence[int],
        schema: Schema,
        calibrator: Calibrator,
        decision_rule: DecisionRule,
        out_of_fold: OutOfFoldPredictions,
        report: CohortReport,
    ) -> None:
        self.models = tuple(models)
        self.members = tuple(members)
        self.schema = schema
        self.calibrator = calibrator
        self.decision_rule = decision_rule
        self.out_of_fold = out_of_fold
        self.report = report
        configs = [report.members[number].config for number in members]
        weights = np.array([report.configs[config].weight / configs.count(config) for config in configs])
        self.weights = weights / weights.sum()
        self._inference = Inference(self.models)

    @property
    def config(self) -> Config:
        """The config with the greatest weight in the ensemble."""
        return max(self.report.configs, key=lambda config: config.weight).config

    # -- predictions -------------------------------------------------------------------------------------------------

    def member_logits(self, data: Any) -> FloatArray:
        """Return every member's own logits, `(n_rows, n_members, 1)` for two classes, `(..., n_classes)` for more.

        Args:
            data: a frame (pandas, polars, a mapping of columns) whose columns are found by name, or an array.

        Raises:
            TableError: a column is missing, or a cell is not a finite number.
        """
        return self._inference.logits(self._inputs(data))

    def log_proba_and_spread(self, data: Any) -> tuple[FloatArray, FloatArray]:
        """Return log probabilities, and the spread of each probability between members, both `(n_rows, n_classes)`.

        The spread is the standard deviation of the members' probabilities, each calibrated like their mean.

        Warns:
            TabcohortWarning: cells are far from those of the training rows, or have levels that these did not; so do
                all methods that predict.
        """
        X = self._inputs(data)
        self._usual.warn(X, data)
        return self._log_proba_and_spread(X)

    def log_proba(self, data: Any) -> FloatArray:
        """Return the log probability of every class, `(n_rows, n_classes)`, in the order of `schema.classes`."""
        return self.log_proba_and_spread(data)[0]

    def predict_proba(self, data: Any) -> FloatArray:
        """Return the probability of every class, `(n_rows, n_classes)`, in the order of `schema.classes`."""
        return np.exp(self.log_proba(data))

    def predict(self, data: Any) -> NDArray[Any]:
        """Return the predicted class of every row, `(n_rows,)`: the most probable, or the one above the threshold."""
        return np.array(self.schema.classes)[self.codes(self.log_proba(data))]

    def predict_set(self, data: Any) -> BoolArray:
        """Return which classes are in every row's prediction set, `(n_rows, n_classes)`."""
        return self.sets(self.log_proba(data))

    def predict_uncertainty(self, data: Any) -> FloatArray:
        """Return how much the members disagree about every row, the spread, `(n_rows,)`.

        It is the standard deviation, between members, of the probability of the predicted class: the part of the
        uncertainty that more training rows could reduce, while the probability itself also has the part that they
        cannot.
        """
        log_proba, spread = self.log_proba_and_spread(data)
        return spread[np.arange(len(spread)), self.codes(log_proba)]

    def predict_row(self, record: Mapping[str, Any]) -> Prediction:
        """Return the prediction for one record, given by column names.

        Raises:
            TableError: a column is missing, or its value is not a finite number.

        Warns:
            TabcohortWarning: as `log_proba_and_spread` does.
        """
        row = row_inputs(record, self.schema.columns)
        check_cells(row, self.schema.columns)
        self._usual.warn(row, record)
        return self.predict_inputs(row)[0]

    def predict_inputs(self, X: FloatArray) -> list[Prediction]:
        """Return the prediction for each of several records, given by their inputs, without warnings.

        Args:
            X: `(n_rows, n_inputs)`, as `tabcohort.data.inputs.row_inputs` gives them for one record.

        Raises:
            TableError: a number is infinite or beyond 1e100.
        """
        check_cells(X, self.schema.columns)
        log_proba, spread = self._log_proba_and_spread(X)
        codes, sets, classes = self.codes(log_proba).tolist(), self.sets(log_proba), self.schema.classes
        unusual = self._usual.unusual_if_any(X)
        texts = {} if unusual is None else unusual.warnings()
        return [
            Prediction(
                label=classes[code],
                probability=dict(zip(classes, proba, strict=True)),
                spread=spreads[code],
                classes=self._labels_in(in_set),
                warnings=texts.get(row, ""),
            )
            for row, (code, proba, spreads, in_set) in enumerate(
                zip(codes, np.exp(log_proba).tolist(), spread.tolist(), sets, strict=True)
            )
        ]

    def predict_frame(
        self,
        frame: pl.DataFrame,
        columns: Sequence[str] | None = None,
        reasons: Sequence[str] | None = None,
        top: int | None = None,
    ) -> pl.DataFrame:
        """Return predictions as a frame, a row for each row of a polars frame.

        Its last columns are `predicted`, `probability <class>` for each class, `spread` (see `predict_uncertainty`),
        `set`, the list of classes in the prediction set, and `warnings`, what is unusual in the row.

        Args:
            frame: the rows.
            columns: names of columns of the frame that come first, unchanged; when omitted, its keys, or the row number
                if it has none. If a name is also a column of the predictions, " (input)" is appended.
            reasons: a text for each row, such as `tabcohort.model.explain.reasons` gives, for a last column `reasons`.
            top: number of the most probable classes whose `class <k>` and `probability <k>` are written, instead of a
                column for each class.

        Raises:
            TableError: a column is missing, or a cell is not what its column holds.
            SettingsError: `top` is no whole number of at least 1.

        Warns:
            TabcohortWarning: columns are ignored or renamed, or cells are unlike those of the training rows.
        """
        require_polars_threads()
        for name in columns or ():
            require_column(frame.columns, name)
        X = self._inputs(frame)
        self._warn_of_ignored_columns(frame)
        return self.predict_encoded(X, frame, PredictionForm(columns, top), reasons)

    def predict_part(self, frame: pl.DataFrame, form: PredictionForm) -> pl.DataFrame:
        """Return predictions for a part of many rows: those of `predict_frame`, and nothing is warned of.

        Args:
            frame: the rows.
            form: what is shown; all of its columns are in the frame.
        """
        X = self._inputs(frame)
        predictions = self._prediction_columns(X, self._usual.unusual_if_any(X), form)
        return joined(frame, form.columns, self.schema.keys, predictions)

    def predict_encoded(
        self, X: FloatArray, frame: pl.DataFrame, form: PredictionForm, reasons: Sequence[str] | None = None
    ) -> pl.DataFrame:
        """Return predictions as `predict_frame` does, for rows whose inputs are known already.

        Args:
            X: the inputs of the frame's rows, `(n_rows, n_inputs)`, as `table_inputs` gives them.
            frame: the rows.
            form: as for `predict_part`.
            reasons: as for `predict_frame`.
        """
        cells = self._usual.warn(X, frame)
        if cells is not None:
            warn_of_cells("missing cells in columns where no training row had one", cells.missing)
        predictions = self._prediction_columns(X, cells, form, reasons)
        warn_of_renamed(frame, form.columns, self.schema.keys, predictions)
        return joined(frame, form.columns, self.schema.keys, predictions)

    def _prediction_columns(
        self, X: FloatArray, cells: UnusualCells | None, form: PredictionForm, reasons: Sequence[str] | None = None
    ) -> list[pl.Series]:
        """Return the columns of the predictions for rows with these inputs.

        Args:
            X: `(n_rows, n_inputs)`.
            cells: that are unusual, if there are any.
            form: as for `predict_part`.
            reasons: a text for each row.
        """
        import polars as pl

        log_proba, spread = self._log_proba_and_spread(X)
        codes, classes = self.codes(log_proba), self.schema.classes
        columns = [
            pl.Series("predicted", classes).gather(codes),
            *probability_columns(classes, np.exp(log_proba), form.top),
            pl.Series("spread", spread[np.arange(len(X)), codes]),
            form.sets_as("set", classes, self.sets(log_proba)),
            text_column("warnings", {} if cells is None else cells.warnings(), len(X)),
        ]
        return columns if reasons is None else [*columns, pl.Series("reasons", reasons, dtype=pl.String)]

    def probability_names(self, top: int | None = None) -> list[str]:
        """Return the names of the columns of `predict_frame` that hold probabilities.

        Args:
            top: as for `predict_frame`.

        Raises:
            SettingsError: it is no whole number of at least 1.
        """
        return probability_names(self.schema.classes, top)

    def codes(self, log_proba: FloatArray) -> IntArray:
        """Return the code of each row's predicted class, `(n_rows,)`, from its log probabilities."""
        return predicted_codes(log_proba, self.schema.positive, self.decision_rule.threshold)

    def sets(self, log_proba: FloatArray) -> BoolArray:
        """Return which classes are in each row's prediction set, `(n_rows, n_classes)`, from its log probabilities."""
        return prediction_sets(log_proba, self.decision_rule.set_thresholds)

    # -- the decision rule, and evaluation ---------------------------------------------------------------------------

    def with_decision_rule(self, objective: str | float | None, coverage: float | None = None) -> Predictor:
        """Return this model with another threshold and coverage, chosen and measured on its out-of-fold predictions.

        Args:
            objective: a probability, or what the threshold must achieve (see `tabcohort.evaluation.decision`); None
                predicts the most probable class.
            coverage: of prediction sets; unchanged when omitted.

        Raises:
            SettingsError: the objective is invalid, the coverage is not in (0, 1), or there are not two classes.
        """
        coverage = self.decision_rule.coverage if coverage is None else coverage
        CohortSettings(coverage=coverage)  # which checks it
        rule = choose_decision_rule(self.out_of_fold, self.schema.positive, objective, coverage)
        evaluation = evaluate_out_of_fold(self.out_of_fold, rule, self.schema.positive, self.config.seed)
        sets = evaluate_sets_out_of_fold(self.out_of_fold, coverage)
        report = replace(self.report, evaluation=evaluation, sets=sets)
        return self._with_report(report, rule)

    def with_learning_curve(self, facts: Mapping[str, Any]) -> Predictor:
        """Return this model with a learning curve in its report.

        Args:
            facts: what `tabcohort.cohort.learning_curve.learning_curve_facts` gives.
        """
        return self._with_report(replace(self.report, learning_curve=facts), self.decision_rule)

    def _with_report(self, report: CohortReport, rule: DecisionRule) -> Predictor:
        return Predictor(self.models, self.members, self.schema, self.calibrator, rule, self.out_of_fold, report)

    def was_trained_on(self, table: Table) -> bool:
        """Return whether this model was trained on exactly this table."""
        return table.fingerprint() == self.report.fingerprint

    def evaluate(self, table: Table, log_proba: FloatArray | None = None) -> Evaluation:
        """Measure this model on a table that it was not trained on.

        Args:
            table: made by `Table.for_schema(frame, predictor.schema)`, so that columns and classes are the model's.
            log_proba: the model's log probabilities for its rows, `(n_rows, n_classes)`, if they are known already.

        Raises:
            TableError: the table has another schema.
        """
        log_proba = self.log_proba_of(table) if log_proba is None else log_proba
        y_pred, group_ids = self.codes(log_proba), dependent_groups(table)
        return evaluate(log_proba, table.y, table.weight, self.schema.positive, self.config.seed, y_pred, group_ids)

    def evaluate_sets(self, table: Table, log_proba: FloatArray | None = None) -> SetEvaluation:
        """Measure this model's prediction sets on a table that it was not trained on.

        Args:
            table: as for `evaluate`.
            log_proba: as for `evaluate`.

        Raises:
            TableError: the table has another schema.
        """
        log_proba = self.log_proba_of(table) if log_proba is None else log_proba
        return evaluate_sets(self.sets(log_proba), table.y, table.weight)

    # -- what the model looks at -------------------------------------------------------------------------------------

    def explain(
        self,
        data: Any,
        background: Any = None,
        *,
        together: Sequence[Sequence[str]] = (),
        budget: ExplanationBudget | None = None,
        seed: int | None = None,
        callback: Callable[[ExplanationProgress], None] | None = None,
    ) -> Explanation:
        """Return what each column's cell contributes to the prediction for one row.

        Args:
            data: a record, given by column names, or a frame or array of one row.
            background: rows that the row is compared with, such as those of training: a frame or an array.
            together: names of columns that move together, as one; a sequence of names for each set of them.
            budget: how much is computed; see `ExplanationBudget`.
            seed: of the sample of background rows and of the permutations; the model's own when omitted.
            callback: called with an `ExplanationProgress` after each round of permutations.

        Raises:
            TableError: there is no background, more than one row, a column is missing, or a cell is not what its column
                holds.
            SettingsError: the seed is not a whole number.

        Warns:
            TabcohortWarning: as `log_proba_and_spread` does, and where there are few background rows.
        """
        if background is None:
            raise TableError("an explanation compares a row with others: give some, such as background=training_rows")
        if is_record(data):
            row = row_inputs(data, self.schema.columns)
            check_cells(row, self.schema.columns)
            cells = [[data[column.name]] for column in self.schema.columns]
        else:
            row, cells = self._inputs(data), cells_of(data, self.schema.columns)
        if len(row) != 1:
            raise TableError(f"explain takes one row, and there are {len(row):,}; for more there is explain_rows")
        self._usual.warn(row, data)
        explainer = self.explainer(background, together, budget, seed)
        return explainer.explain_rows(row, cells, callback)[0]

    def explain_rows(
        self,
        data: Any,
        background: Any = None,
        *,
        together: Sequence[Sequence[str]] = (),
        budget: ExplanationBudget | None = None,
        seed: int | None = None,
        callback: Callable[[ExplanationProgress], None] | None = None,
    ) -> list[Explanation]:
        """Return what each column's cell contributes to each row's prediction.

        With the same background, a row's explanation does not depend on the other rows.

        Args:
            data: a frame or array.
            background: as for `explain`; the rows themselves when omitted.
            together: as for `explain`.
            budget: as for `explain`; the smaller `ROWS_BUDGET` when omitted.
            seed: as for `explain`.
            callback: as for `explain`.

        Raises:
            TableError: as `explain` does.

        Warns:
            TabcohortWarning: there are few background rows.
        """
        X = self._inputs(data)
        background = data if background is None else background
        explainer = self.explainer(background, together, budget or ROWS_BUDGET, seed)
        return explainer.explain_rows(X, cells_of(data, self.schema.columns), callback)

    @property
    def explained_class(self) -> Label | None:
        """The class that is explained if none is named: the positive class of two; None is the predicted class."""
        classes, positive = self.schema.classes, self.schema.positive
        return classes[positive] if len(classes) == 2 and positive is not None else None

    def class_to_explain(self, explanation: Explanation) -> Label:
        """Return the class that is explained if none is named: the positive class of two, or the predicted class."""
        code = int(self.codes(log_probabilities(explanation.output[None]))[0])
        return self.schema.classes[code] if self.explained_class is None else self.explained_class

    @property
    def ensemble(self) -> Ensemble:
        """The function from rows to the scores that are explained."""
        return Ensemble(self.models, self._inference, self.weights, self.calibrator, self.schema.positive)

    def ensemble_of(self, places: Sequence[int]) -> Ensemble:
        """Return the function from rows to the scores of some members, with their weights and calibrator here.

        Args:
            places: of the members in `models`, at least one.
        """
        models, weights = tuple(self.models[place] for place in places), self.weights[list(places)]
        return Ensemble(models, Inference(models), weights / weights.sum(), self.calibrator, self.schema.positive)

    def explainer(
        self,
        background: Any,
        together: Sequence[Sequence[str]] = (),
        budget: ExplanationBudget | None = None,
        seed: int | None = None,
    ) -> Explainer:
        """Return an explainer for many calls with the same background.

        Args:
            background: as for `explain`.
            together: as for `explain`.
            budget: as for `explain`.
            seed: as for `explain`.

        Raises:
            TableError: as `explain` does.
            SettingsError: as `explain` does.
        """
        budget = budget or ExplanationBudget()
        players = players_of(self.schema.columns, together)
        X, seed = self._inputs(background), self.config.seed if seed is None else Config(seed=seed).seed  # checked
        if len(X) < 2:
            raise TableError(
                f"the background has {len(X)} row{'s' * (len(X) != 1)}; at least 2 are needed: name the table of the "
                "training rows, or another like it"
            )
        if len(X) < FEW_BACKGROUND_ROWS:
            warn_caller(
                f"the background has only {len(X)} rows, so contributions depend strongly on them; give at least "
                f"{FEW_BACKGROUND_ROWS}"
            )
        if len(X) > budget.max_background:
            rng = make_rng(seed, Purpose.PERMUTATIONS)
            X = X[np.sort(rng.choice(len(X), budget.max_background, replace=False))]
        return Explainer(self.ensemble, self.schema, X, players, budget, seed)

    def coefficients(self) -> dict[str, float] | None:
        """Return a linear two-class model's coefficient of each standardized feature, largest first; None for others.

        It is the mean over the networks. A positive coefficient speaks for the positive class.
        """
        by_column = self.coefficients_by_column()
        if by_column is None:
            return None
        names, coefficients = by_column
        if self.schema.positive == 0:  # the logit is of the second class
            coefficients = -coefficients
        order = np.argsort(-np.abs(coefficients), kind="stable")
        return {names[i]: float(coefficients[i]) for i in order}

    def coefficients_by_column(self) -> tuple[list[str], FloatArray] | None:
        """Return the names of a linear two-class model's encoded columns, and their coefficients, `(n_columns,)`.

        These are the mean over the networks, per standard deviation of a column. A positive coefficient speaks for the
        second class. None for other models.
        """
        kinds = {self.report.configs[self.report.members[number].config].config.model for number in self.members}
        networks = [model for model in self.models if isinstance(model, Network)]
        if kinds != {"logistic"} or len(self.schema.classes) != 2 or not all(n.program.is_linear for n in networks):
            return None
        names = self.schema.column_names(networks[0].encoding)
        coefficients = np.zeros(len(names))
        for weight, network in zip(self.weights, networks, strict=True):
            path = next(op.path for op in network.program.operations if op.kind == "linear")
            coefficients += weight * network.named()[f"{path}.weight"][0]
        return names, coefficients

    def outlier_cells(self, data: Any) -> tuple[IntArray, FloatArray]:
        """Return each row's cell that is farthest from what the training rows held: often a wrong unit.

        The distance of a date is that of its days, and of a text that of its length.

        Returns:
            The place of its number among those of all columns (see `input_names`), `(n_rows,)`, and its distance from
            the training rows' mean in their standard deviations, `(n_rows,)`; 0 where there are no numbers.
        """
        return self._usual.outlier_cells(table_inputs(data, self.schema.columns))

    def unusual_cells(self, data: Any) -> UnusualCells:
        """Return which rows have cells that are unlike those of the training rows, as predictions warn of them.

        Args:
            data: a frame (pandas, polars, a mapping of columns), or an array.

        Raises:
            TableError: a column is missing, or a cell is not what its column holds.
        """
        return self._usual.unusual(self._inputs(data))

    def __repr__(self) -> str:
        accuracy = self.report.evaluation.metrics["accuracy"]
        return (
            f"<Predictor of {self.schema.target!r} from {len(self.schema.features)} features, {len(self.models)} "
            f"members, out-of-fold accuracy {accuracy.low:.3f} to {accuracy.high:.3f} on "
            f"{len(self.out_of_fold.y):,} rows>"
        )

    def _repr_html_(self) -> str:
        """Return what the model is, and its out-of-fold metrics, for a notebook."""
        schema, rule = self.schema, self.decision_rule
        classes = listed(schema.classes, MAX_SHOWN)
        if schema.positive is not None:
            classes += f" (positive: {schema.classes[schema.positive]})"
        rows = [
            ("predicts", schema.target),
            ("classes", classes),
            ("features", f"{len(schema.features):,}: {listed(schema.features, MAX_SHOWN)}"),
            ("members", f"{len(self.members):,}, trained on {self.report.n_rows:,} rows"),
        ]
        if rule.threshold is not None:
            rows.append(("threshold", f"{rule.threshold:.4f} ({rule.objective})"))
        note = html_note("Each row was predicted by members that never saw it (out-of-fold).")
        metrics = self.report.evaluation._repr_html_()
        return f"<div><strong>Predictor</strong>{html_table((), rows)}{metrics}{note}</div>"

    def _inputs(self, data: Any) -> FloatArray:
        X = table_inputs(data, self.schema.columns)
        check_cells(X, self.schema.columns)
        return X

    @functools.cached_property
    def _usual(self) -> UsualCells:
        """Where the cells of the training rows of the first member lie."""
        statistics, n_numbers = self.models[0].statistics(), self.schema.n_numbers
        assert statistics is not None  # networks of configs have `standardize`, and trees have their own
        return UsualCells(self.schema.columns, statistics.center[:n_numbers], statistics.scale[:n_numbers])

    def warn_of_unusual_rows(self, frame: pl.DataFrame) -> None:
        """Warn of rows with cells unlike those of the training rows, as the methods that predict do.

        Args:
            frame: the rows, with the model's columns.

        Raises:
            TableError: a column is missing, or a cell is not what its column holds.

        Warns:
            TabcohortWarning: there are such cells.
        """
        self._usual.warn(self._inputs(frame), frame)

    def _labels_in(self, in_set: BoolArray) -> tuple[Label, ...]:
        return tuple(label for label, is_in in zip(self.schema.classes, in_set, strict=True) if is_in)

    def log_proba_of(self, table: Table) -> FloatArray:
        """Return the log probability of every class for the rows of a table, `(n_rows, n_classes)`.

        Raises:
            TableError: the table has another schema.
        """
        if table.schema != self.schema:
            raise TableError(
                "the table does not have this model's schema; make it by Table.for_schema(frame, model.schema)"
            )
        return self._log_proba_and_spread(table.X)[0]

    def _log_proba_and_spread(self, X: FloatArray) -> tuple[FloatArray, FloatArray]:
        n_classes = len(self.schema.classes)
        log_proba, spread = np.empty((len(X), n_classes)), np.empty((len(X), n_classes))
        n_at_once = max(1, MAX_LOGITS_AT_ONCE // (len(self.models) * n_classes))
        for start in range(0, len(X), n_at_once):
            rows = slice(start, start + n_at_once)
            logits = _checked(self._inference.logits(X[rows]), start)
            by_member = log_probabilities(logits.reshape(-1, logits.shape[2])).reshape(*logits.shape[:2], n_classes)
            mean = self._mean(np.exp(by_member))
            log_proba[rows] = self.calibrator.apply(safe_log(np.minimum(mean, 1.0)))  # their sum may round above 1
            spread[rows] = self._spread(by_member)
        return log_proba, spread

    def _spread(self, by_member: FloatArray) -> FloatArray:
        """Return the standard deviation over the members, the second axis, of their calibrated probabilities."""
        if len(self.weights) == 1:
            return np.zeros_like(by_member[:, 0])
        proba = np.exp(self.calibrator.apply(by_member))
        return np.sqrt(self._mean(np.square(proba - self._mean(proba)[:, None])))

    def _mean(self, values: FloatArray) -> FloatArray:
        """Return the weighted mean over the members, the second axis.

        Summed one after another, so that a row's sum does not depend on how many rows there are.
        """
        total: FloatArray = values[:, 0] * self.weights[0]
        for place in range(1, len(self.weights)):
            total += values[:, place] * self.weights[place]
        return total

    def _warn_of_ignored_columns(self, frame: pl.DataFrame) -> None:
        known = {*self.schema.features, *self.schema.keys, *self.schema.groups, self.schema.target}
        ignored = [name for name in frame.columns if name not in known]
        if ignored:
            message = f"ignored, as the model was trained without them: {listed(ignored, 10)}"
            warnings.warn(message, TabcohortWarning, stacklevel=3)


def _checked(logits: FloatArray, n_before: int) -> FloatArray:
    """Return logits of rows, which come after others, if all are finite.

    Raises:
        ModelFileError: the numbers of a model are so large that its results overflow.
    """
    is_finite = np.isfinite(logits)
    if not is_finite.all():
        row = n_before + int(np.flatnonzero(~is_finite.all(axis=(1, 2)))[0]) + 1
        raise ModelFileError(
            f"the model has no prediction for row {row}: its weights are so large that the result overflows; train it "
            "again"
        )
    return logits
