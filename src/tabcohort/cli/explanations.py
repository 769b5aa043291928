"""The options of `explain`, and the reasons of `predict --explain`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tabcohort.errors import SettingsError, TableError

if TYPE_CHECKING:
    import polars as pl
    from rich.console import Console

    from tabcohort.model.predictor import Predictor
    from tabcohort.model.shapley import ExplanationBudget


def check_options(options: argparse.Namespace) -> None:
    """Raise before any work is done if the options of `explain` contradict each other.

    Raises:
        SettingsError: they do.
    """
    if options.row is not None and options.table is None:
        raise SettingsError("--row is a row of a table; name the table after the model")
    if options.table is None and options.background is None:
        raise SettingsError(
            "an explanation compares a record with other rows, and a model file holds none: name the table of the "
            "training rows, --background TABLE"
        )
    if options.row is not None and options.row < 1:
        raise SettingsError(f"--row counts from 1; it is {options.row}")
    check_top(options)


def check_top(options: argparse.Namespace) -> None:
    """Raise `SettingsError` if `--top` is no possible number."""
    if options.top is not None and options.top < 1:
        raise SettingsError(f"--top must be at least 1; it is {options.top}")


def chosen_row(options: argparse.Namespace, frame: pl.DataFrame | None) -> Any:
    """Return the row to explain: one of the table, or a record.

    Raises:
        SettingsError: the table has no such row, or the record is not JSON.
    """
    if options.record is not None:
        return _record(options.record)
    assert frame is not None  # `check_options` ensures it
    if options.row > len(frame):
        raise SettingsError(f"there is no row {options.row:,}; the table has {len(frame):,} rows, counted from 1")
    return frame[options.row - 1 : options.row]


def _record(text: str) -> dict[str, Any]:
    """Return a record from its text.

    Raises:
        SettingsError: it is not a JSON object of single values.
    """
    form = 'such as \'{"age": 51, "city": "Oslo"}\''
    try:
        record = json.loads(text)
    except ValueError as error:
        raise SettingsError(f"the record must be a JSON object, {form}; it cannot be read: {error}") from None
    if not isinstance(record, dict):
        raise SettingsError(f"the record must be a JSON object, {form}; it is {type(record).__name__}")
    nested = [name for name, value in record.items() if isinstance(value, list | dict)]
    if nested:
        raise SettingsError(f"a record has one value for each column, {form}; {nested[0]!r} has several")
    return record


def groups_of(texts: Sequence[str], columns: Sequence[str]) -> list[list[str]]:
    """Return the names of columns that move together, from a text with commas for each set of them.

    Raises:
        TableError: a single column is named.
    """
    groups = [[text] if text in columns else text.split(",") for text in texts]
    for group in groups:
        if len(group) == 1:
            raise TableError(f"{group[0]!r} is one column; name those that move together with commas between")
    return groups


def budget_of(options: argparse.Namespace) -> ExplanationBudget:
    """Return how much is computed.

    Raises:
        SettingsError: a number is out of its range.
    """
    from tabcohort.model.shapley import ExplanationBudget

    given = {"tolerance": options.tolerance, "max_rounds": options.max_rounds}
    return ExplanationBudget(**{name: value for name, value in given.items() if value is not None})


def reasons_of_rows(
    predictor: Predictor, frame: pl.DataFrame, background: pl.DataFrame | None, n: int, messages: Console
) -> list[str]:
    """Return the reasons of each row as text: for the positive class of two, of more for the predicted one.

    Args:
        predictor: the model.
        frame: the rows.
        background: rows to compare with; the rows themselves when omitted.
        n: reasons of each row.
        messages: the console of standard error.
    """
    from tabcohort.model.explain import reasons
    from tabcohort.reporting.explanation import ExplanationLog

    explanations = predictor.explain_rows(frame, background, callback=ExplanationLog(messages))
    return [reasons(own, predictor.class_to_explain(own), n) for own in explanations]
