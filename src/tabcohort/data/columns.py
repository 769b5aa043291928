"""The types of columns: how each becomes inputs of a model, and what it refuses.

A column gives numbers, a code, or both. Which type a column has is decided in `recognize`; from then on it is part of a
model's schema, so that later tables are read as the first one was.
"""

from __future__ import annotations

import dataclasses
import datetime
import functools
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tabcohort.data import parse
from tabcohort.errors import CellError, TableError
from tabcohort.types import FloatArray

if TYPE_CHECKING:
    import polars as pl

MAX_MAGNITUDE = 1e100  # squares of larger cells overflow
MAX_RATIO = 1e30  # of a cell to those of its column: float32 ends at 3e38
ONE_HOT_LEVELS = 8  # categories with more have target statistics and learned vectors instead
LEVELS_WITH_VECTORS = 1_000
ROWS_FOR_A_VECTOR = 5  # of the table
MICROSECONDS_PER_DAY = 86_400_000_000
PERIODS = {"month": 12.0, "weekday": 7.0, "hour": 24.0}  # parts of dates that come round again
_EPOCH, _MICROSECOND = datetime.datetime(1970, 1, 1), datetime.timedelta(microseconds=1)
_ISO_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)(?:[ T](\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?)?", re.ASCII)
CHOICES = {  # what some fields of columns may hold
    "notation": {parse.PLAIN, parse.GROUPED, parse.COMMA, parse.GROUPED_COMMA},
    "order": {parse.YEAR_FIRST, parse.DAY_FIRST, parse.MONTH_FIRST, parse.COMPACT},
    "parts": set(PERIODS),
}


@dataclass(frozen=True)
class Column:
    """A feature of a table.

    Args:
        name: of the column.
        has_missing: whether a cell was missing where the column was recognized.
        note: what was decided, for people.
    """

    kind: ClassVar[str] = ""
    name: str
    has_missing: bool = False
    note: str = ""

    @property
    def n_numbers(self) -> int:
        """Number of inputs that are numbers."""
        return 0

    @property
    def n_codes(self) -> int:
        """Codes of the input that is a category: its levels, "missing" and "unknown"; 0 where it has none."""
        return 0

    @property
    def levels(self) -> tuple[str, ...]:
        """The levels of a category, the most frequent first."""
        return ()

    @property
    def n_frequent(self) -> int:
        """How many of the levels are frequent enough for a learned vector."""
        return 0

    def numbers(self, series: pl.Series) -> FloatArray:
        """Return the numbers of cells, `(n_rows, n_numbers)`; NaN where a cell is missing.

        Raises:
            TableError: a cell is not what the column holds.
        """
        return np.empty((len(series), 0))

    def codes(self, series: pl.Series) -> FloatArray:
        """Return the code of each cell, `(n_rows,)`: a level, `n_codes - 2` for missing, `n_codes - 1` for unknown."""
        raise NotImplementedError(f"{self.kind} has no codes")

    def cell(self, value: Any) -> tuple[tuple[float, ...], float | None] | None:
        """Return the numbers and the code of one cell, if that is quick; None leaves it to `numbers` and `codes`."""
        return None

    def number_names(self) -> list[str]:
        """Return what each number is called."""
        return [self.name] * self.n_numbers

    def to_dict(self) -> dict[str, Any]:
        """Return the column as plain JSON values."""
        values = {"kind": self.kind, **dataclasses.asdict(self)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    def describe(self) -> str:
        """Return what the column is, in a few words."""
        return self.kind


@dataclass(frozen=True)
class Number(Column):
    """Numbers.

    Args:
        notation: how text writes them; see `tabcohort.data.parse`.
        missing_words: words that stand for a missing cell in this column, beside the usual ones.
    """

    kind = "number"
    notation: str = parse.PLAIN
    missing_words: tuple[str, ...] = ()

    @property
    def n_numbers(self) -> int:
        """One."""
        return 1

    def numbers(self, series: pl.Series) -> FloatArray:
        """Return the numbers of cells, `(n_rows, 1)`.

        Raises:
            TableError: a cell is not a number; the message names its row.
        """
        return self._numbers(series)[:, None]

    def _numbers(self, series: pl.Series) -> FloatArray:
        import polars as pl

        series = parse.as_series(self.name, series)
        if series.dtype.is_numeric() or series.dtype == pl.Boolean:
            return series.cast(pl.Float64).to_numpy()  # missing cells become NaN
        if series.dtype == pl.Null:
            return np.full(len(series), np.nan)
        if series.dtype != pl.String:
            raise TableError(f"the column {self.name!r} must be numbers; it is {series.dtype}")
        text = parse.without_missing_words(parse.as_text(series))
        if self.missing_words:
            text = text.set(text.is_in(list(self.missing_words)), None)
        numbers = parse.parse_numbers(text, self.notation)
        if self.notation != parse.PLAIN:
            numbers = numbers.fill_null(parse.parse_numbers(text))
        if numbers.null_count() > text.null_count():
            words = text.str.to_lowercase()
            numbers = numbers.set((words == "true").fill_null(False), 1.0).set((words == "false").fill_null(False), 0.0)
        wrong = numbers.is_null() & text.is_not_null()
        if wrong.any():
            row = int(wrong.arg_true()[0])
            n_more = int(wrong.sum()) - 1
            more = f" (and {n_more:,} more such {'cell' if n_more == 1 else 'cells'})" if n_more else ""
            raise wrong_cell(self.name, row, series[row], f"not a number{more}")
        return numbers.fill_null(np.nan).to_numpy()

    def cell(self, value: Any) -> tuple[tuple[float, ...], float | None] | None:
        """Return a number as it is, NaN for None."""
        if value is None:
            return (np.nan,), None
        if isinstance(value, (float, np.floating)) or type(value) is int or isinstance(value, np.integer):
            try:
                return (float(value),), None
            except OverflowError:  # an integer beyond every float, which gets the same error as one in a table
                return None
        return None

    def describe(self) -> str:
        """Return the notation where it is special."""
        return "number" if self.notation == parse.PLAIN else f"number ({self.notation})"


@dataclass(frozen=True)
class _LevelsColumn(Column):
    """A column with levels of its own.

    Args:
        level_names: the levels, the most frequent first.
        n_frequent_levels: how many of them are frequent enough for a learned vector.
    """

    level_names: tuple[str, ...] = ()
    n_frequent_levels: int = 0

    @property
    def levels(self) -> tuple[str, ...]:
        """The levels."""
        return self.level_names

    @property
    def n_codes(self) -> int:
        """The levels, "missing" and "unknown"."""
        return len(self.level_names) + 2

    @property
    def n_frequent(self) -> int:
        """Levels that are frequent enough for a learned vector."""
        return self.n_frequent_levels


@dataclass(frozen=True)
class Category(_LevelsColumn):
    """Levels that have no order, as text."""

    kind = "category"

    @functools.cached_property
    def _code_of(self) -> dict[str, float]:
        return {level: float(code) for code, level in enumerate(self.level_names)}

    def codes(self, series: pl.Series) -> FloatArray:
        """Return the code of each cell."""
        import polars as pl

        text, n_codes = parse.as_text(series), self.n_codes
        if not self.level_names:
            return np.where(text.is_null().to_numpy(), n_codes - 2.0, n_codes - 1.0)
        levels = pl.Series(self.level_names, dtype=pl.String)
        codes = text.replace_strict(levels, pl.Series(range(len(levels)), dtype=pl.Float64), default=n_codes - 1.0)
        return codes.set(text.is_null(), n_codes - 2.0).to_numpy().copy()

    def cell(self, value: Any) -> tuple[tuple[float, ...], float | None] | None:
        """Return the code of a word, a whole number or a truth value."""
        if value is None:
            return (), self.n_codes - 2.0
        if isinstance(value, bool) or type(value) is int:
            value = str(value).lower()
        if not isinstance(value, str):
            return None
        code = self._code_of.get(value)
        return None if code is None else ((), code)  # None: empty, written in another way, or unknown

    def describe(self) -> str:
        """Return the number of levels."""
        return f"category of {len(self.level_names):,} levels"


@dataclass(frozen=True)
class Boolean(Column):
    """Truth values: yes and no, true and false, on and off, or their first letters."""

    kind = "boolean"

    @property
    def levels(self) -> tuple[str, ...]:
        """No and yes."""
        return ("no", "yes")

    @property
    def n_codes(self) -> int:
        """No, yes, "missing" and "unknown"."""
        return 4

    def codes(self, series: pl.Series) -> FloatArray:
        """Return 0 for no and 1 for yes."""
        text = parse.without_missing_words(parse.as_text(series))
        truth = parse.parse_truth(text)
        return truth.fill_null(3.0).set(text.is_null(), 2.0).to_numpy().copy()

    def cell(self, value: Any) -> tuple[tuple[float, ...], float | None] | None:
        """Return the code of a truth value or a word for one."""
        if value is None:
            return (), 2.0
        if isinstance(value, (bool, np.bool_)):
            return (), float(value)
        if isinstance(value, str) and (value in parse.TRUE_WORDS or value in parse.FALSE_WORDS):
            return (), float(value in parse.TRUE_WORDS)
        return None


@dataclass(frozen=True)
class IntegerCode(_LevelsColumn, Number):
    """Few distinct whole numbers, which may be codes: read as a number and as a category."""

    kind = "integer code"

    @functools.cached_property
    def _code_of(self) -> dict[float, float]:
        return {float(level): float(code) for code, level in enumerate(self.level_names)}

    def codes(self, series: pl.Series) -> FloatArray:
        """Return the code of each cell."""
        import polars as pl

        numbers = pl.Series(self._numbers(series)).fill_nan(None)
        levels = pl.Series([float(level) for level in self.level_names])
        codes = numbers.replace_strict(
            levels, pl.Series(range(len(levels)), dtype=pl.Float64), default=self.n_codes - 1.0
        )
        return codes.set(numbers.is_null(), self.n_codes - 2.0).to_numpy().copy()

    def cell(self, value: Any) -> tuple[tuple[float, ...], float | None] | None:
        """Return the number and its code."""
        number = super().cell(value)
        if number is None:
            return None
        if number[0][0] != number[0][0]:
            return number[0], self.n_codes - 2.0
        return number[0], self._code_of.get(number[0][0], self.n_codes - 1.0)

    def describe(self) -> str:
        """Return the number of distinct values."""
        return f"integer code of {len(self.level_names):,} values"


@dataclass(frozen=True)
class Date(Column):
    """Dates or date-times: the days that have passed, and the parts that vary, as points on a circle.

    Args:
        order: how text writes them; see `tabcohort.data.parse`.
        parts: of "month", "weekday" and "hour" those that vary.
    """

    kind = "date"
    order: str = parse.YEAR_FIRST
    parts: tuple[str, ...] = ()

    @property
    def n_numbers(self) -> int:
        """The days, and sine and cosine of each part."""
        return 1 + 2 * len(self.parts)

    def times(self, series: pl.Series) -> pl.Series:
        """Return the cells as date-times in UTC.

        Raises:
            TableError: a cell is not a date; the message names its row.
        """
        import polars as pl

        if series.dtype.is_temporal() and series.dtype not in (pl.Time, pl.Duration):
            return as_utc(series)
        if series.null_count() == len(series) or (series.dtype.is_float() and series.is_nan().all()):
            return pl.Series(series.name, [None] * len(series), dtype=pl.Datetime("us"))
        if not (series.dtype == pl.String or (series.dtype.is_numeric() and self.order == parse.COMPACT)):
            raise TableError(f"the column {self.name!r} must be dates; it is {series.dtype}")
        text = parse.without_missing_words(parse.as_text(series))
        times = parse.parse_dates(text, self.order)
        if self.order != parse.YEAR_FIRST and times.null_count() > text.null_count():
            times = times.fill_null(parse.parse_dates(text, parse.YEAR_FIRST))
        wrong = (times.is_null() & text.is_not_null()).arg_true()
        if len(wrong):
            row = int(wrong[0])
            raise wrong_cell(self.name, row, series[row], f"not a date ({self.order})")
        return times

    def numbers(self, series: pl.Series) -> FloatArray:
        """Return the days since 1970, and sine and cosine of each part."""
        import polars as pl

        times = self.times(series)
        columns = [times.dt.timestamp("us").cast(pl.Float64) / MICROSECONDS_PER_DAY]
        for part in self.parts:
            angle = part_of(times, part) * (2 * np.pi / PERIODS[part])
            columns += [angle.sin(), angle.cos()]
        return np.column_stack([column.fill_null(np.nan).to_numpy() for column in columns])

    def cell(self, value: Any) -> tuple[tuple[float, ...], float | None] | None:
        """Return the days and parts of a date or date-time as ISO 8601 writes it, without a time zone."""
        if value is None:
            return (np.nan,) * self.n_numbers, None
        match = _ISO_TIME.fullmatch(value) if isinstance(value, str) and self.order != parse.COMPACT else None
        if match is None:
            return None
        year, month, day, hours, minutes, seconds, fraction = match.groups("0")
        date, clock = (int(year), int(month), int(day)), (int(hours), int(minutes), int(seconds))
        try:
            time = datetime.datetime(*date, *clock, int(fraction.ljust(6, "0")))
        except ValueError:  # there is no such day or hour
            return None
        # Polars divides by a number by multiplying with its reciprocal, and the bits must be the same.
        numbers = [float((time - _EPOCH) // _MICROSECOND) * (1 / MICROSECONDS_PER_DAY)]
        hour = time.hour + time.minute * (1 / 60)
        values = {"month": time.month - 1.0, "weekday": float(time.weekday()), "hour": hour}
        for part in self.parts:
            angle = values[part] * (2 * np.pi / PERIODS[part])
            numbers += [math.sin(angle), math.cos(angle)]
        return tuple(numbers), None

    def number_names(self) -> list[str]:
        """Return the names of the days and of the parts."""
        return [self.name, *(f"{self.name} {part} {side}" for part in self.parts for side in ("sine", "cosine"))]

    def describe(self) -> str:
        """Return what is made of it."""
        return f"date ({', '.join(('days', *self.parts))})"


def as_utc(series: pl.Series) -> pl.Series:
    """Return dates or date-times as date-times in UTC, in microseconds."""
    import polars as pl

    if isinstance(series.dtype, pl.Datetime) and series.dtype.time_zone:
        series = series.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    return series.cast(pl.Datetime("us"))


def part_of(times: pl.Series, part: str) -> pl.Series:
    """Return a part of date-times as Float64: "month" from 0, "weekday" from 0 for Monday, "hour" with fractions."""
    import polars as pl

    if part == "month":
        return times.dt.month().cast(pl.Float64) - 1
    if part == "weekday":
        return times.dt.weekday().cast(pl.Float64) - 1
    return times.dt.hour().cast(pl.Float64) + times.dt.minute().cast(pl.Float64) / 60


@dataclass(frozen=True)
class Text(Column):
    """Free text: its length, and which of its frequent words occur.

    Args:
        words: the frequent words, in lower case.
    """

    kind = "text"
    words: tuple[str, ...] = ()

    @property
    def n_numbers(self) -> int:
        """The length, and one for each word."""
        return 1 + len(self.words)

    def numbers(self, series: pl.Series) -> FloatArray:
        """Return the length of each text, NaN where it is missing, and 1 for each word that occurs."""
        import polars as pl

        text = parse.as_text(series)
        found = words_of(text)
        columns = [text.str.len_chars().cast(pl.Float64).fill_null(np.nan).to_numpy()]
        columns += [found.list.contains(word).fill_null(False).cast(pl.Float64).to_numpy() for word in self.words]
        return np.column_stack(columns)

    def cell(self, value: Any) -> tuple[tuple[float, ...], float | None] | None:
        """Return the length and the words of plain letters, digits and signs, but not of what may be a number."""
        if value is None:
            return (np.nan, *(0.0 for _ in self.words)), None
        if not (isinstance(value, str) and value.isascii() and value.isprintable()):
            return None
        text = value.strip()
        if text in ("", "-0") or re.search(r"\.0+$", text):
            return None
        found = set(re.findall("[a-z]+", text.lower()))
        return (float(len(text)), *(float(word in found) for word in self.words)), None

    def number_names(self) -> list[str]:
        """Return the names of length and words."""
        return [f"{self.name} (length)", *(f"{self.name} has {word!r}" for word in self.words)]

    def describe(self) -> str:
        """Return the words."""
        return f"text (length, {len(self.words)} words)"


def words_of(text: pl.Series) -> pl.Series:
    """Return the words of each text, runs of letters in lower case, as lists."""
    return text.str.to_lowercase().str.extract_all(r"\p{L}+")


@dataclass(frozen=True)
class Dropped(Column):
    """A column that is left out; the note says why."""

    kind = "dropped"

    def describe(self) -> str:
        """Return why."""
        return f"left out: {self.note}"


COLUMN_TYPES: dict[str, type[Column]] = {
    column_type.kind: column_type for column_type in (Number, IntegerCode, Category, Boolean, Date, Text, Dropped)
}


def column_from_dict(values: Mapping[str, Any]) -> Column:
    """Return the column that `to_dict` described.

    Raises:
        ValueError: there is no such type, or a value is not one of its own.
    """
    fields: dict[str, Any] = {name: tuple(item) if isinstance(item, list) else item for name, item in values.items()}
    kind = COLUMN_TYPES.get(str(fields.pop("kind", None)))
    if kind is None:
        raise ValueError(f"there is no type of column {values.get('kind')!r}")
    known = {field.name: field.type for field in dataclasses.fields(kind)}
    if set(fields) != set(known):
        raise ValueError(f"a column of type {kind.kind!r} has {sorted(known)}, not {sorted(fields)}")
    for name, value in fields.items():
        expected = {"str": str, "bool": bool, "int": int}.get(str(known[name]), tuple)
        are_words = isinstance(value, tuple) and all(isinstance(item, str) for item in value)
        is_expected = are_words if expected is tuple else type(value) is expected
        if is_expected and name in CHOICES:
            is_expected = set(value if expected is tuple else [value]) <= CHOICES[name]
        if not is_expected:
            raise ValueError(f"the {name} of a column cannot be {value!r}")
    column = kind(**fields)
    levels: set[Any] = set(column.levels)
    if isinstance(column, IntegerCode):
        levels = {number for level in levels if (number := _whole(level)) is not None}
    if len(levels) != len(column.levels) or not 0 <= column.n_frequent <= len(column.levels):
        raise ValueError(f"the column {column.name!r} has impossible levels")
    return column


def _whole(level: str) -> int | None:
    """Return a level of an integer code as a number, None if it is none."""
    try:
        number = float(level)
        return int(number) if number == int(number) else None
    except (ValueError, OverflowError):
        return None


def wrong_cell(name: str, row: int, cell: Any, what: str) -> CellError:
    """Return the error of a cell that a column cannot read.

    Args:
        name: of the column.
        row: of the cell, counted from 0.
        cell: what it holds.
        what: it is, such as "not a number".
    """
    where, advice = f"row {row + 1}, column {name!r}", "fix it, or leave the cell empty"
    shown = shortened(str(cell))
    return CellError(f"{where} holds {shown}, which is {what}: {advice}", f"{where} holds what is {what}: {advice}")


def shortened(text: str) -> str:
    """Return text quoted, cut after 40 characters, control characters escaped."""
    return repr(text if len(text) <= 40 else text[:37] + "...")
