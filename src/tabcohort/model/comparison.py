"""Models compared on the same rows: their out-of-fold predictions, or a table; and the facts of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tabcohort.data.frames import as_frame
from tabcohort.data.splits import dependent_groups
from tabcohort.data.table import Table
from tabcohort.errors import TabcohortError, TableError, listed, warn_caller
from tabcohort.evaluation.compare import Comparison, Rows, compare_predictions, excludes_zero
from tabcohort.evaluation.decision import out_of_fold_codes
from tabcohort.evaluation.metrics import METRICS
from tabcohort.model.predictor import Predictor
from tabcohort.model.report_file import estimate_to_dict
from tabcohort.types import FloatArray, IntArray

PRIMARY = "log_loss"  # the metric that the conclusion is about


@dataclass(frozen=True)
class ModelComparison:
    """Models on the same rows; the first one is the baseline of the others.

    Args:
        names: of the models.
        comparison: their metrics and differences.
        is_out_of_fold: whether the rows are those of the table that all were trained on.
    """

    names: tuple[str, ...]
    comparison: Comparison
    is_out_of_fold: bool


def compare(predictors: Mapping[str, Predictor] | Sequence[Predictor], table: Any = None) -> ModelComparison:
    """Compare models with the first one on the same rows: paired differences of all metrics, with 95 % intervals.

    Args:
        predictors: the models by name, or a sequence of them, which are called "model 1", "model 2" and so on.
        table: rows with the target that no model was trained on: a frame, or a `Table` with the schema of all models.
            Without it the models' out-of-fold predictions are compared, which are of rows that the members in question
            never saw.

    Raises:
        TabcohortError: there are fewer than two models, or one is not a `Predictor`.
        TableError: without a table, the models were trained on different tables; with one, they have different targets
            or classes, or the table does not fit.

    Warns:
        TabcohortWarning: a model was trained on the table.

    Examples:
        >>> import tabcohort
        >>> sample = tabcohort.load_sample("iris")
        >>> table = tabcohort.Table.from_frame(sample.frame, sample.target)
        >>> settings = tabcohort.CohortSettings(folds=3, seeds=1)
        >>> models = {
        ...     rate: tabcohort.fit(table, tabcohort.Config(model="logistic", learning_rate=rate), settings)
        ...     for rate in (0.01, 0.0001)
        ... }
        >>> compared = tabcohort.compare({f"rate {rate}": model for rate, model in models.items()})
        >>> compared.comparison.differences[0]["log_loss"].value > 0
        True
    """
    if not isinstance(predictors, Mapping):
        predictors = {f"model {number}": model for number, model in enumerate(predictors, 1)}
    names, models = tuple(map(str, predictors)), list(predictors.values())
    if len(models) < 2 or not all(isinstance(model, Predictor) for model in models):
        kinds = listed([type(model).__name__ for model in models], 5) or "none"
        raise TabcohortError(
            f"at least two models (Predictor) are needed to compare; there are {len(models)} ({kinds})"
        )
    seed = models[0].config.seed
    predictions, rows = _out_of_fold(models, names) if table is None else _on_table(models, names, table)
    return ModelComparison(names, compare_predictions(predictions, rows, seed), table is None)


# -- predictions on the same rows --------------------------------------------------------------------------------------

Predictions = list[tuple[FloatArray, IntArray]]


def _out_of_fold(models: Sequence[Predictor], names: Sequence[str]) -> tuple[Predictions, Rows]:
    """Return the out-of-fold predictions for the rows that all models have them for, and these rows."""
    first = models[0]
    for model, name in zip(models, names, strict=True):
        if model.report.fingerprint != first.report.fingerprint:
            raise TableError(
                f"{names[0]} and {name} were trained on different tables, or with different columns, types or weights, "
                "so their out-of-fold predictions cannot be paired; give a table with the target that neither was "
                "trained on (--table TABLE)"
            )
    rows = first.out_of_fold.rows
    for model in models[1:]:
        rows = np.intersect1d(rows, model.out_of_fold.rows, assume_unique=True)
    if not len(rows):
        raise TableError(
            "the models' out-of-fold predictions have no row in common, as each tested other rows; give a table with "
            "the target (--table TABLE), or train with folds"
        )
    predictions, common = [], []
    for model in models:
        own = model.out_of_fold.as_float64()
        here = np.searchsorted(own.rows, rows)
        predictions.append(
            (own.log_proba[here], out_of_fold_codes(model.decision_rule, own, model.schema.positive)[here])
        )
        common.append(own.take(here))
    kept = common[0]
    return predictions, Rows(kept.y, kept.weight, first.schema.positive, kept.group_ids)


def _on_table(models: Sequence[Predictor], names: Sequence[str], data: Any) -> tuple[Predictions, Rows]:
    """Return the models' predictions for the rows of a table, with the classes in the first one's order."""
    first, frame = models[0].schema, None if isinstance(data, Table) else as_frame(data)
    classes = [str(label) for label in first.classes]
    predictions, tables = [], []
    for model, name in zip(models, names, strict=True):
        own = [str(label) for label in model.schema.classes]
        if model.schema.target != first.target or sorted(own) != sorted(classes):
            raise TableError(
                f"{names[0]} predicts {first.target!r} ({listed(classes, 10)}) and {name} {model.schema.target!r} "
                f"({listed(own, 10)}): only models of one target with the same classes can be compared"
            )
        table = data if frame is None else Table.for_schema(frame, model.schema)
        if model.was_trained_on(table):
            warn_caller(f"{name} was trained on this table: its figures flatter it, so the differences are not fair")
        if frame is not None:
            model.warn_of_unusual_rows(frame)
        log_proba = model.log_proba_of(table)
        code_of = np.array([classes.index(label) for label in own])
        in_order = np.empty_like(log_proba)
        in_order[:, code_of] = log_proba
        predictions.append((in_order, code_of[model.codes(log_proba)]))
        tables.append(table)
    table = tables[0]
    return predictions, Rows(table.y, table.weight, first.positive, dependent_groups(table))


# -- facts -------------------------------------------------------------------------------------------------------------


def comparison_facts(compared: ModelComparison) -> dict[str, Any]:
    """Return a comparison as plain JSON values; what is unknown is null.

    Returns:
        `baseline`, `models`: their names, the baseline first; `out_of_fold`: whether the rows are those that all were
        trained on; `n_rows`, `n_groups`; `metrics`: for each, by name, its `label`, whether `lower_is_better`, and
        `models`: for each model, in order, its `value`, `low` and `high`; `comparisons`: for each model but the first,
        its `model`, its `differences` from the baseline: for each metric, by name, `value`, `low`, `high`, whether the
        interval `excludes_zero`, and then whether it `is_better`; the `p_value` of its log loss being the baseline's,
        and the `corrected_p_value`; whether it is `told_apart` from the baseline, and the `conclusion` in words;
        `correction`: "holm" or "none", and `correction_note`: of what, and why.
    """
    own, names = compared.comparison, compared.names
    first = own.evaluations[0]
    return {
        "baseline": names[0],
        "models": list(names),
        "out_of_fold": compared.is_out_of_fold,
        "n_rows": first.n_rows,
        "n_groups": first.n_groups,
        "metrics": {
            name: {
                "label": METRICS[name].label,
                "lower_is_better": METRICS[name].lower_is_better,
                "models": [estimate_to_dict(evaluation.metrics[name]) for evaluation in own.evaluations],
            }
            for name in first.metrics
        },
        "comparisons": [_comparison(compared, place) for place in range(len(own.differences))],
        "correction": "holm" if len(names) > 2 else "none",
        "correction_note": _correction_note(len(names)),
    }


def _comparison(compared: ModelComparison, place: int) -> dict[str, Any]:
    own = compared.comparison
    differences = {
        name: {
            **estimate_to_dict(difference),
            "excludes_zero": excludes_zero(difference),
            "is_better": (difference.value < 0) == METRICS[name].lower_is_better if excludes_zero(difference) else None,
        }
        for name, difference in own.differences[place].items()
    }
    return {
        "model": compared.names[place + 1],
        "differences": differences,
        "p_value": own.p_values[place],
        "corrected_p_value": own.corrected_p_values[place],
        "told_apart": own.is_told_apart(place),
        "conclusion": _conclusion(compared, place),
    }


def _conclusion(compared: ModelComparison, place: int) -> str:
    """Return in a sentence whether a model's log loss is better or worse than the baseline's."""
    own, (baseline, model) = compared.comparison, (compared.names[0], compared.names[place + 1])
    evaluation, difference = own.evaluations[0], own.differences[place][PRIMARY]
    rows = f"{evaluation.n_rows:,} rows" if evaluation.n_rows > 1 else "1 row"
    if evaluation.n_groups < evaluation.n_rows:
        rows += f" in {evaluation.n_groups:,} groups"
    if all(part == 0 for part in vars(difference).values()):
        return f"{model} and {baseline} predict the same for these {rows}"
    if not own.is_told_apart(place):
        return f"these {rows} cannot tell {baseline} from {model}"
    size, low, high = (f"{abs(part):.4f}" for part in (difference.value, difference.low, difference.high))
    low, high = (low, high) if difference.value > 0 else (high, low)
    direction = "higher" if difference.value > 0 else "lower"
    return f"{model} has a {direction} log loss than {baseline}, by {size} ({low} to {high}), on these {rows}"


def _correction_note(n_models: int) -> str:
    every = "each interval is a 95 % interval of its own: of many that exclude 0, some do by chance"
    if n_models == 2:
        return f"no correction, as the conclusion rests on one comparison, of log loss; {every}"
    return (
        f"conclusions are of log loss, with Holm's correction for {n_models - 1} comparisons with the baseline, so "
        f"that any false one is as rare as that of a single comparison; {every}"
    )
