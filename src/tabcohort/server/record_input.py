"""From the JSON of a request to the inputs of a model: what is not exactly a record of its columns is refused."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import numpy as np

from tabcohort.data import parse
from tabcohort.data.columns import MAX_MAGNITUDE, Boolean, Category, Column, Date, Number
from tabcohort.data.inputs import row_inputs
from tabcohort.data.table import Schema
from tabcohort.errors import TableError, listed, nearest
from tabcohort.server.problems import Problem
from tabcohort.types import FloatArray

MAX_ERRORS = 20  # that one answer names
MAX_NAME, MAX_NAMES = 100, 100_000  # characters of a name that is shown, and names of a record that are looked at
MAX_TEXT = 100_000  # characters of a cell
EXAMPLES = {  # of dates
    parse.YEAR_FIRST: "2023-06-20", parse.DAY_FIRST: "20.06.2023", parse.MONTH_FIRST: "06/20/2023",
    parse.COMPACT: "20230620",
}  # fmt: skip
MAX_LEVELS = 100  # that a schema lists
Record = Mapping[str, Any]


def parse_json(body: bytes) -> Any:
    """Return the value of a JSON text in UTF-8, in which no name is repeated and no number is NaN or infinite.

    Raises:
        Problem: 400, the body is not strict JSON.
    """
    try:
        text = body.decode()
        value = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_without_repeats)
        if "\\ud" in text or "\\uD" in text:
            json.dumps(value, ensure_ascii=False).encode()  # half of a surrogate pair is no text
    except UnicodeError:
        raise Problem(HTTPStatus.BAD_REQUEST, "the body must be JSON in UTF-8") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise Problem(HTTPStatus.BAD_REQUEST, f"the body is not JSON: {error.msg} in {where}") from None
    except RecursionError:
        raise Problem(HTTPStatus.BAD_REQUEST, "the body is not JSON of records: it is nested too deeply") from None
    except ValueError as error:
        reason = str(error) if type(error) is _NotStrictError else "a number is too long"
        raise Problem(HTTPStatus.BAD_REQUEST, f"the body is not strict JSON: {reason}") from None
    return value


class _NotStrictError(ValueError):
    """JSON that Python reads and the standard does not allow, or that has two readings."""


def _refuse_constant(name: str) -> Any:
    raise _NotStrictError(f"{name} is no JSON number; a missing cell is null")


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise _NotStrictError("an object has a name twice")
    return values


def records_of(body: Any, max_records: int, others: Sequence[str] = ()) -> list[Record]:
    """Return the records of a request, `{"records": [{...}, ...]}`.

    Args:
        body: the value of its JSON.
        max_records: how many there may be.
        others: names beside `records` that the request may have.

    Raises:
        Problem: 422, it has another form, or more records.
    """
    if not isinstance(body, dict) or "records" not in body:
        raise _unprocessable('the body must be an object with a list of records: {"records": [{...}]}')
    unknown = [name for name in body if name != "records" and name not in others]
    if unknown:
        raise _unprocessable(
            f"the body has {listed([repr(name[:MAX_NAME]) for name in unknown], 3)}, which is not known"
        )
    records = body["records"]
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise _unprocessable("'records' must be a list of objects, one for each row")
    if not records:
        raise _unprocessable("'records' is empty; give at least one")
    if len(records) > max_records:
        raise _unprocessable(
            f"there are {len(records):,} records, and at most {max_records:,} in one request; send several requests"
        )
    return records


class RecordReader:
    """Reads records for one model.

    Args:
        schema: of the model.
    """

    def __init__(self, schema: Schema) -> None:
        self._columns = schema.columns
        self._names = schema.features
        self._known = frozenset((*schema.features, *schema.keys, *schema.groups, schema.target))
        self._all_numbers = all(type(column) is Number for column in schema.columns)

    def inputs(self, records: Sequence[Record]) -> FloatArray:
        """Return the inputs of records, `(n_records, n_inputs)`.

        Raises:
            Problem: 422, a column is missing, unknown or of another type; all errors are named, up to a number.
        """
        if self._all_numbers:
            X = self._numbers(records)
            if X is not None:
                return X
        errors: list[dict[str, Any]] = []
        rows = []
        for number, record in enumerate(records):
            own = self._errors(record)
            errors += [{"record": number, "column": name, "detail": detail} for name, detail in own]
            if len(errors) > MAX_ERRORS:
                break
            if not errors:
                rows.append(row_inputs(record, self._columns))
        if errors:
            first = errors[0]
            more = f" (and at least {len(errors) - 1:,} more)" if len(errors) > 1 else ""
            raise _unprocessable(f"record {first['record']}: {first['detail']}{more}", errors[:MAX_ERRORS])
        return np.concatenate(rows)

    def _numbers(self, records: Sequence[Record]) -> FloatArray | None:
        """Return the inputs of records that hold numbers only; None where one is not as it must be."""
        names, known = self._names, self._known
        rows = []
        for record in records:
            try:
                row = [record[name] for name in names]
            except KeyError:
                return None
            if not (record.keys() <= known and {*map(type, row)} <= _NUMBERS):
                return None
            rows.append(row)
        try:
            X = np.array(rows, dtype=np.float64)
        except OverflowError:
            return None
        X += 0.0  # -0.0 becomes 0.0
        return None if (np.abs(X) > MAX_MAGNITUDE).any() else X

    def _errors(self, record: Record) -> list[tuple[str, str]]:
        """Return the columns of a record that are not as they must be, and why not."""
        errors = []
        for column in self._columns:
            if column.name not in record:
                errors.append((column.name, f"the column {column.name!r} is missing; a missing cell is null"))
            elif (must := _requirement(column, record[column.name])) is not None:
                errors.append((column.name, f"the column {column.name!r} must be {must}"))
        unknown = [name[:MAX_NAME] for name in itertools.islice(record, MAX_NAMES) if name not in self._known]
        for name in unknown[: max(0, MAX_ERRORS + 1 - len(errors))]:  # looking for the nearest name takes a while
            errors.append((name, f"there is no column {name!r}{nearest(name, self._names)}"))
        return errors


_NUMBERS = {float, int, type(None)}


def _requirement(column: Column, cell: Any) -> str | None:
    """Return what a cell of a column must be and is not; None for one that is as it must be."""
    if cell is None:
        return None
    if isinstance(cell, str) and len(cell) > MAX_TEXT:
        return f"text of at most {MAX_TEXT:,} characters"
    return next(check for kind, check in _CHECKS if isinstance(column, kind))(column, cell)


def _number(column: Column, cell: Any) -> str | None:
    if type(cell) not in (int, float):
        return "a number or null"
    try:
        is_small = abs(float(cell)) <= MAX_MAGNITUDE
    except OverflowError:
        is_small = False
    return None if is_small else "a number of at most 1e100"


def _category(column: Column, cell: Any) -> str | None:
    """Levels that look like whole numbers or truth values are also taken as such."""
    return None if isinstance(cell, str | bool) or type(cell) is int else "text or null"


def _boolean(column: Column, cell: Any) -> str | None:
    return None if isinstance(cell, bool) or _is_read(column, cell, str) else "true, false or null"


def _date(column: Column, cell: Any) -> str | None:
    if _is_read(column, cell, str):
        return None
    assert isinstance(column, Date)
    return f"{_describe_date(column)}, or null"


def _text(column: Column, cell: Any) -> str | None:
    return None if isinstance(cell, str) else "text or null"


def _is_read(column: Column, cell: Any, kind: type) -> bool:
    """Return whether a cell is of a kind, and the column can read it as something that it knows."""
    if not isinstance(cell, kind):
        return False
    try:
        row = row_inputs({column.name: cell}, [column])[0]
    except TableError:
        return False
    return not (column.n_codes and row[-1] == column.n_codes - 1)


_CHECKS: tuple[tuple[type[Column], Callable[[Column, Any], str | None]], ...] = (
    (Number, _number), (Category, _category), (Boolean, _boolean), (Date, _date), (Column, _text),
)  # fmt: skip


def record_schema(schema: Schema) -> dict[str, Any]:
    """Return the JSON Schema of a record of a model."""
    return {
        "type": "object",
        "properties": {column.name: _cell_schema(column) for column in schema.columns},
        "required": list(schema.features),
        "additionalProperties": False,
    }


def _cell_schema(column: Column) -> dict[str, Any]:
    if isinstance(column, Number):
        bounds = {"minimum": -MAX_MAGNITUDE, "maximum": MAX_MAGNITUDE}
        return {"type": ["number", "null"], **bounds, "description": column.describe()}
    if isinstance(column, Category):
        levels = column.levels[:MAX_LEVELS]
        return {
            "type": ["string", "integer", "boolean", "null"],
            "examples": list(levels),
            "description": column.describe(),
        }
    if isinstance(column, Boolean):
        return {"type": ["boolean", "null"], "description": "true or false"}
    if isinstance(column, Date):
        return {"type": ["string", "null"], "description": _describe_date(column)}
    return {"type": ["string", "null"], "maxLength": MAX_TEXT, "description": column.describe()}


def _describe_date(column: Date) -> str:
    """Return how a date is written, with an example."""
    time = " 22:30:00" if "hour" in column.parts else ""
    return f"a date as text ({column.order}), such as {EXAMPLES[column.order]}{time}"


def _unprocessable(detail: str, errors: Sequence[Mapping[str, Any]] = ()) -> Problem:
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail, errors)
