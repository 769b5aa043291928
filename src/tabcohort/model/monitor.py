"""Whether a model can still be relied on for new rows: their columns, its predictions, and what it promised."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tabcohort.data import parse
from tabcohort.data.columns import Column
from tabcohort.data.frames import as_frame, target_labels
from tabcohort.data.groups import group_codes, group_ids_of
from tabcohort.data.inputs import check_cells, require_column, require_columns
from tabcohort.data.splits import dependent_groups
from tabcohort.data.table import Schema, Table
from tabcohort.errors import TableError, listed
from tabcohort.evaluation.holm import holm
from tabcohort.evaluation.metrics import METRICS
from tabcohort.model.drift_findings import describe
from tabcohort.model.drift_tests import (
    Cells,
    DriftTest,
    calibration_tests,
    column_tests,
    coverage_test,
    like_out_of_fold,
    prediction_tests,
    quality_tests,
)
from tabcohort.model.predictor import Predictor
from tabcohort.model.report_file import estimate_to_dict
from tabcohort.model.training_statistics import training_statistics
from tabcohort.randomness import Purpose, make_rng
from tabcohort.types import IntArray

if TYPE_CHECKING:
    import polars as pl

LEVEL = 0.05  # the probability of any false alarm at all
MAX_ROWS = 20_000  # whose predictions are tested
ROWS_AT_ONCE = 2_000  # whose logits of every member are in memory
HOLDS_TOO_LITTLE = "the model file does not hold what a test of it needs: give reference rows (--against TABLE)"
HAS_WEIGHTS = "the training rows had different weights, which new rows have not"
_NOT_PREDICTED = ("predictions and quality", "rows that lack columns or hold unreadable cells cannot be predicted for")


def monitor(predictor: Predictor, data: Any, against: Any = None, ignore: Collection[str] = ()) -> dict[str, Any]:
    """Return whether new rows are like the training rows, and the model as good on them as promised.

    Every test counts for one alarm: their p-values are corrected by Holm's method, so that rows that are like the
    training rows raise an alarm in at most 5 % of all calls. Of rows that are in groups, one of each group is tested.

    Args:
        predictor: the model.
        data: the new rows, as a frame; with the target, quality and calibration are tested, too.
        against: rows that the new ones are to be like, as a frame: the training table, or another one. Without it,
            columns are tested as far as the model holds what a test needs.
        ignore: names of columns that are not tested, such as dates, which move on.

    Returns:
        Plain JSON values; what is unknown is null. `alarm`: whether there is any; `findings`: each in words;
        `n_rows`, and `n_tested_rows`, one of each group; `reference`: "model" or "table", and `n_reference_rows`;
        `schema`: `missing_columns`, `new_columns`, `unreadable`: `column` and `message`; `unusual`: `n_rows` with
        cells unlike those of the training rows, and their number by column in `unknown`, `far` and `missing`;
        `tests`: of each its `subject`, `kind`, `test`, `p_value`, `corrected_p_value`, `measure`, `size`, `reference`,
        `new` and whether it is an `alarm`; `not_tested`: `subject` and `reason`; `quality`: null without the target,
        or `n_rows` and, for each metric by name, `label`, `promised` and `measured` with their intervals; `level` and
        `correction`.

    Raises:
        TableError: there are no rows, an ignored column is not there, or a reference row is not what the model needs.
    """
    frame = as_frame(data)
    if not len(frame):
        raise TableError("the new table has no rows; there is nothing to monitor")
    for name in ignore:
        require_column(predictor.schema.features, name)
    reading = _read(predictor.schema, frame)
    reference = None if against is None else _read_reference(predictor.schema, as_frame(against))
    tests, not_tested = _column_tests(predictor, reading, reference, ignore)
    quality, more = None, [_NOT_PREDICTED]
    if reading.is_complete:
        predictions, more = _prediction_tests(predictor, reading)
        measured, quality, reasons = _quality(predictor, frame)
        tests, more = [*tests, *predictions, *measured], [*more, *reasons]
    corrected = holm([test.drift.p_value for test in tests])
    alarms = [bool(p_value <= LEVEL) for p_value in corrected]
    findings = [
        *(f"the column {name!r} is missing" for name in reading.missing),
        *(f"the column {name!r} cannot be read as before: {message}" for name, message in reading.unreadable.items()),
        *(describe(test) for test, is_alarm in zip(tests, alarms, strict=True) if is_alarm),
    ]
    return {
        "alarm": bool(findings),
        "findings": findings,
        "n_rows": len(frame),
        "n_tested_rows": len(reading.rows),
        "reference": "model" if reference is None else "table",
        "n_reference_rows": predictor.report.n_rows if reference is None else len(reference.frame),
        "schema": {
            "missing_columns": reading.missing,
            "new_columns": reading.new,
            "unreadable": [{"column": name, "message": message} for name, message in reading.unreadable.items()],
        },
        "unusual": _unusual(predictor, frame) if reading.is_complete else None,
        "tests": [
            _test_facts(test, float(p_value), is_alarm)
            for test, p_value, is_alarm in zip(tests, corrected, alarms, strict=True)
        ],
        "not_tested": [{"subject": subject, "reason": reason} for subject, reason in [*not_tested, *more]],
        "quality": quality,
        "level": LEVEL,
        "correction": "holm",
    }


# -- rows --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Reading:
    """Rows, read as the columns of a schema as far as that is possible.

    Args:
        frame: the rows.
        rows: the numbers of independent ones, one of each group, ascending.
        cells: of these, by the name of the column.
        unreadable: what is wrong with the columns that cannot be read, by name.
        missing, new: names of columns that are not there, and of those that the schema does not know.
    """

    frame: pl.DataFrame
    rows: IntArray
    cells: Mapping[str, Cells]
    unreadable: Mapping[str, str]
    missing: list[str]
    new: list[str]

    @property
    def is_complete(self) -> bool:
        """Whether a model can predict for these rows."""
        return not self.missing and not self.unreadable


def _read(schema: Schema, frame: pl.DataFrame) -> _Reading:
    """Read each column by itself, so that one that cannot be read does not hide the others."""
    known = {*schema.features, *schema.keys, *schema.groups, schema.target, *(own.name for own in schema.dropped)}
    cells, unreadable, available = {}, {}, frame.to_dict()
    rows = _independent_rows(schema, frame)
    for column in schema.columns:
        if column.name in available:
            try:
                cells[column.name] = _read_cells(column, available[column.name], rows)
            except TableError as error:
                unreadable[column.name] = str(error)
    missing = [name for name in schema.features if name not in available]
    return _Reading(frame, rows, cells, unreadable, missing, [name for name in frame.columns if name not in known])


def _read_reference(schema: Schema, frame: pl.DataFrame) -> _Reading:
    """Read reference rows, all of which must be what the model needs.

    Raises:
        TableError: there are none, a column is missing, or a cell is not what its column holds.
    """
    if not len(frame):
        raise TableError("the reference table has no rows; there is nothing to compare with")
    require_columns(schema.features, frame.columns)
    reading = _read(schema, frame)
    for message in reading.unreadable.values():
        raise TableError(f"in the reference table, {message}")
    return reading


def _read_cells(column: Column, series: pl.Series, rows: IntArray) -> Cells:
    series = parse.as_series(column.name, series)
    numbers = column.numbers(series) if column.n_numbers else None
    if numbers is not None:
        check_cells(numbers, [column])
    return Cells.of(column, numbers, column.codes(series) if column.n_codes else None, rows)


def _independent_rows(schema: Schema, frame: pl.DataFrame) -> IntArray:
    """Return the numbers of rows of which no two have a key or group in common, ascending."""
    keys = schema.keys if set(schema.keys) <= set(frame.columns) else ()
    groups = [name for name in schema.groups if name in frame.columns]
    group_ids = group_ids_of(group_codes(frame, keys, groups).values())
    if group_ids is None:
        return np.arange(len(frame))
    return np.sort(np.unique(group_ids, return_index=True)[1])


# -- tests -------------------------------------------------------------------------------------------------------------

NotTested = list[tuple[str, str]]  # what, and why


def _column_tests(
    predictor: Predictor, new: _Reading, reference: _Reading | None, ignore: Collection[str]
) -> tuple[list[DriftTest], NotTested]:
    """Return the tests of all columns, and what of them was not tested."""
    kept = training_statistics(predictor) if reference is None else None
    tests: list[DriftTest] = []
    untested: dict[str, list[str]] = {}
    for column in predictor.schema.columns:
        name = column.name
        if name in ignore or name not in new.cells:
            continue
        against = reference.cells[name] if reference is not None else None if kept is None else kept[name]
        found, parts = column_tests(column, new.cells[name], against)
        tests += found
        for part in parts:
            untested.setdefault(part, []).append(name)
    reason = HOLDS_TOO_LITTLE if reference is not None or kept is not None else f"{HAS_WEIGHTS}; {HOLDS_TOO_LITTLE}"
    not_tested = [(f"{part} of {listed(map(repr, names), 10)}", reason) for part, names in untested.items()]
    return tests, [*not_tested, *((repr(name), "it is ignored, as was asked for") for name in ignore)]


def _prediction_tests(predictor: Predictor, new: _Reading) -> tuple[list[DriftTest], NotTested]:
    """Return the tests of the predictions of at most 20,000 rows, drawn at random, and why there are none."""
    if np.ptp(predictor.out_of_fold.weight) > 0:
        return [], [("predictions", HAS_WEIGHTS)]
    rows, seed = new.rows, predictor.config.seed
    if len(rows) > MAX_ROWS:
        rows = np.sort(make_rng(seed, Purpose.SAMPLE, 1).choice(rows, MAX_ROWS, replace=False))
    parts = [
        like_out_of_fold(predictor, new.frame[rows[start : start + ROWS_AT_ONCE]], seed, place)
        for place, start in enumerate(range(0, len(rows), ROWS_AT_ONCE))
    ]
    return prediction_tests(predictor, np.concatenate(parts)), []


def _quality(predictor: Predictor, frame: pl.DataFrame) -> tuple[list[DriftTest], dict[str, Any] | None, NotTested]:
    """Return the tests of quality, calibration and coverage, the metrics, and why there are none."""
    schema, report = predictor.schema, predictor.report
    if schema.target not in frame.columns:
        return [], None, [("quality", f"the table has no {schema.target!r}")]
    if not target_labels(frame, schema.target)[1].any():
        return [], None, [("quality", f"no row has a {schema.target!r}")]
    table = Table.for_schema(frame, schema)
    log_proba = predictor.log_proba_of(table)
    measured, sets = predictor.evaluate(table, log_proba), predictor.evaluate_sets(table, log_proba)
    promised = report.evaluation
    tests = [
        *quality_tests(promised, measured),
        *calibration_tests(predictor, log_proba, table.y, dependent_groups(table)),
        coverage_test(report.sets, sets, promised.n_groups, measured.n_groups),
    ]
    metrics = {
        name: {
            "label": METRICS[name].label,
            "promised": estimate_to_dict(promised.metrics[name]),
            "measured": estimate_to_dict(estimate),
        }
        for name, estimate in measured.metrics.items()
    }
    return tests, {"n_rows": measured.n_rows, "n_groups": measured.n_groups, "metrics": metrics}, []


# -- facts -------------------------------------------------------------------------------------------------------------


def _unusual(predictor: Predictor, frame: pl.DataFrame) -> dict[str, Any]:
    """Return how many rows have cells unlike those of the training rows, and in which columns."""
    cells = predictor.unusual_cells(frame)
    parts: dict[str, Mapping[str, Any]] = {"unknown": cells.unknown, "far": cells.far, "missing": cells.missing}
    return {
        "n_rows": len(cells.warnings()),
        **{part: {name: int((own > 0).sum()) for name, own in columns.items()} for part, columns in parts.items()},
    }


def _test_facts(test: DriftTest, corrected: float, is_alarm: bool) -> dict[str, Any]:
    values = {name: None if value != value else value for name, value in vars(test.drift).items()}
    return {
        "subject": test.subject, "kind": test.kind, **values, "corrected_p_value": corrected, "alarm": is_alarm,
    }  # fmt: skip
