"""Which type each column of a frame has, what is left out, and why."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tabcohort.data import parse
from tabcohort.data.columns import (
    LEVELS_WITH_VECTORS,
    ROWS_FOR_A_VECTOR,
    Boolean,
    Category,
    Column,
    Date,
    Dropped,
    IntegerCode,
    Number,
    Text,
    as_utc,
    part_of,
    shortened,
    words_of,
)
from tabcohort.data.copies import without_copies
from tabcohort.errors import TableError, listed

if TYPE_CHECKING:
    import polars as pl

MIN_ROWS_FOR_AN_ID = 20  # below, any column may have other values in each row
SHARE_FOR_AN_ID = 0.95  # of the rows with another value
NAMES_OF_IDS = re.compile(
    r"(?i:(^|[\s_.-])(id|ids|key|uuid|guid|index|idx|row|rownum|nr|no|number)$|^(id|row)[\s_.-])|[a-z]I[Dd]$"
)
MAX_CODES = 1_000  # distinct whole numbers that may be codes
MAX_CODE_SHARE = 0.03  # of the rows, that their number may be
MIN_RAGGEDNESS = 0.5  # median distance of a count's logarithm from the mean of its neighbours'
MAX_LEVELS = 50_000
MAX_LEVEL_LENGTH = 1_000  # characters
MAX_WHOLE = 2**53  # up to which floats distinguish whole numbers
MIN_RELATIVE_RANGE = 1e-12  # a column that varies less is standardized to zero
UNREAD_NUMBERS = r"^(?:0[xX][0-9a-fA-F]+|[+-]?\d{1,3}(?:_\d{3})+(?:\.\d+)?|\([$€£]?[\d.,]+\)|[+-]?[０-９]+)$"
SHARE_OF_NUMBERS = 0.95  # of the cells of a column, from which on the others are mistakes
MAX_MISSING_WORDS = 3  # distinct words in a column of numbers that may stand for missing cells
N_WORDS, ROWS_FOR_A_WORD = 24, 10  # of free text
MIN_PARTS = 3  # different months, weekdays or hours that make a part worth having


@dataclass(frozen=True)
class Problem:
    """A column that cannot be read.

    Args:
        name: of the column.
        message: what is wrong, and where.
        kind: the type to give it.
    """

    name: str
    message: str
    kind: str

    @property
    def remedy(self) -> str:
        """The option of the command line that handles it."""
        return f"--{self.kind} {shlex.quote(self.name)}"


def recognize_columns(
    frame: pl.DataFrame, names: Sequence[str], kinds: Mapping[str, str] | None = None
) -> list[Column]:
    """Return the type of each column, in the order of `names`; what is to be left out is `Dropped`.

    Args:
        frame: the rows.
        names: the columns to look at.
        kinds: "number", "category", "boolean", "date", "text", "integer code" or "drop" for columns whose type is
            given.

    Raises:
        TableError: columns cannot be read; the message names all of them, and options that handle them.
    """
    columns, problems = columns_and_problems(frame, names, kinds)
    if problems:
        raise TableError(_message(problems))
    return columns


def columns_and_problems(
    frame: pl.DataFrame, names: Sequence[str], kinds: Mapping[str, str] | None = None
) -> tuple[list[Column], list[Problem]]:
    """Return the columns that can be read, as `recognize_columns` does, and the problems of the others."""
    kinds = kinds or {}
    columns: list[Column] = []
    problems = []
    series = frame.to_dict()  # Polars searches for a column by name from the first one on
    for name in names:
        try:
            column = recognize(series[name], kinds.get(name))
        except _UnreadableColumnError as error:
            problems.append(error.problem)
        else:
            columns.append(column)
    return without_copies(series, columns, kinds), problems


class _UnreadableColumnError(TableError):
    def __init__(self, problem: Problem) -> None:
        super().__init__(_message([problem]))
        self.problem = problem


def _message(problems: Sequence[Problem]) -> str:
    options = " ".join(problem.remedy for problem in problems)
    types = {problem.name: problem.kind for problem in problems}
    remedy = f"add {options} (in Python, types={types})"
    if len(problems) == 1:
        return f"{problems[0].message}; fix it, or {remedy}"
    messages = listed([problem.message for problem in problems], 20, "; ")
    return f"{len(problems)} columns cannot be read: {messages}; fix them, or {remedy}"


def recognize(series: pl.Series, kind: str | None = None) -> Column:
    """Return the type of a column.

    Args:
        series: its cells.
        kind: the type, where it is given; the rest is then found in the cells.
    """
    import polars as pl

    name = series.name
    if series.dtype == pl.Duration:
        series = parse.as_series(name, series)
    if parse.has_no_single_values(series):
        if kind == "drop":
            return Dropped(name, note="as requested")
        raise _UnreadableColumnError(
            Problem(name, f"the column {name!r} holds {series.dtype}, no single values", "drop")
        )
    if kind is not None:
        return _OF_KIND[kind](series)
    if len(series) == series.null_count():
        return Dropped(name, True, note="all cells are missing")
    if series.dtype.is_temporal() and series.dtype != pl.Time:
        return _date_or_constant(series, parse.YEAR_FIRST)
    if series.dtype in (pl.Categorical, pl.Enum):
        return _constant(series) or _category(parse.as_text(series))
    if series.dtype == pl.Boolean:
        return _constant(series) or Boolean(name, series.null_count() > 0)
    if series.dtype.is_numeric():
        if series.dtype.is_integer() and not bool((series.cast(pl.Int128).abs() <= MAX_WHOLE).all()):
            return _from_text(parse.as_text(series))  # a float would lose the last digits
        return _from_numbers(series.cast(pl.Float64).fill_nan(None), parse.PLAIN, ())
    return _from_text(parse.as_text(series))


def _constant(series: pl.Series) -> Dropped | None:
    """Return the column as one to leave out, if all cells are the same."""
    if series.null_count() == 0 and series.n_unique() == 1:
        return Dropped(series.name, note=f"all cells are {shortened(str(parse.as_text(series)[0]))}")
    return None


# -- numbers ---------------------------------------------------------------------------------------------------------


def _from_numbers(numbers: pl.Series, notation: str, missing_words: tuple[str, ...]) -> Column:
    """Return the type of a column of numbers: a number, a date, an integer code, or nothing to learn from."""
    known = numbers.drop_nulls()
    name, has_missing = numbers.name, len(known) < len(numbers)
    if not len(known):
        return Dropped(name, True, note="all cells are missing")
    constant = _constant(numbers)
    if constant is not None:
        return constant
    distinct = np.unique(known.to_numpy())
    with np.errstate(over="ignore", invalid="ignore"):  # cells, and their range, may be infinite
        is_alike = distinct[-1] - distinct[0] < MIN_RELATIVE_RANGE * np.abs(distinct).max()
    if len(distinct) > 1 and is_alike:
        return Dropped(name, has_missing, note=f"its cells differ from {distinct[0]:g} by less than rounding does")
    is_whole = bool(np.isfinite(distinct).all() and (distinct == np.floor(distinct)).all())
    number = Number(name, has_missing, notation=notation, missing_words=missing_words)
    if not is_whole:
        return number
    if _are_compact_dates(distinct):
        return _date(numbers, parse.COMPACT)
    if len(distinct) == len(numbers) >= MIN_ROWS_FOR_AN_ID and _is_counter(numbers.to_numpy(), distinct, name):
        return Dropped(
            name, note=f"an identifier: a different whole number in every row (--number {shlex.quote(name)})"
        )
    if _may_be_codes(known.to_numpy(), distinct):
        return _integer_code(numbers, notation, missing_words)
    return number


def _are_compact_dates(distinct: Any) -> bool:
    """Return whether whole numbers are dates such as 20241231."""
    import polars as pl

    if distinct[0] < 19_000_101 or distinct[-1] > 21_001_231:
        return False
    text = pl.Series(distinct.astype(np.int64)).cast(pl.String)
    return parse.date_order(text) == parse.COMPACT and parse.parse_dates(text, parse.COMPACT).null_count() == 0


def _is_counter(numbers: Any, distinct: Any, name: str) -> bool:
    """Return whether different whole numbers look like an identifier: they count rows, are sorted, or are named so."""
    steps = np.diff(numbers)
    counts = distinct[-1] - distinct[0] == len(distinct) - 1
    return bool(counts or (steps > 0).all() or (steps < 0).all() or NAMES_OF_IDS.search(name))


def _may_be_codes(known: Any, distinct: Any) -> bool:
    """Return whether few distinct whole numbers may be codes: there are gaps between them, or they are ragged.

    Counts and measurements fill their range, and their frequencies rise and fall smoothly; those of codes do not.
    """
    if not 3 <= len(distinct) <= min(MAX_CODES, max(10, MAX_CODE_SHARE * len(known)), len(known) / ROWS_FOR_A_VECTOR):
        return False
    if (np.diff(distinct) == 1).mean() < 0.5:
        return True
    logs = np.log1p(np.unique(known, return_counts=True)[1])
    return len(logs) >= 5 and bool(np.median(np.abs(logs[1:-1] - (logs[:-2] + logs[2:]) / 2)) > MIN_RAGGEDNESS)


def _integer_code(numbers: pl.Series, notation: str, missing_words: tuple[str, ...]) -> IntegerCode:
    counts = numbers.drop_nulls().alias("level").value_counts(name="n")
    levels, n_frequent = _levels(parse.as_text(counts["level"]), counts["n"])
    return IntegerCode(
        numbers.name, numbers.null_count() > 0, "few distinct whole numbers: read as a number and as a category",
        notation=notation, missing_words=missing_words, level_names=levels, n_frequent_levels=n_frequent,
    )  # fmt: skip


def _levels(distinct: pl.Series, n_rows: pl.Series) -> tuple[tuple[str, ...], int]:
    """Return the levels, the most frequent first, and how many have rows enough for a learned vector."""
    counts = distinct.to_frame("level").with_columns(n_rows.alias("n")).sort("n", "level", descending=[True, False])
    counts = counts.filter(counts["level"].str.len_chars() <= MAX_LEVEL_LENGTH)
    levels = counts["level"].head(MAX_LEVELS).to_list()
    return tuple(levels), min(int((counts["n"] >= ROWS_FOR_A_VECTOR).sum()), LEVELS_WITH_VECTORS)


# -- text ------------------------------------------------------------------------------------------------------------


def _from_text(text: pl.Series) -> Column:
    """Return the type of a column of text."""
    name = text.name
    distinct = text.drop_nulls().unique(maintain_order=True)
    missing_words = parse.missing_words(distinct)
    cells = text.set(text.is_in(missing_words), None) if missing_words else text
    distinct = distinct.filter(~distinct.is_in(missing_words))
    known = cells.drop_nulls()
    if not len(known):
        return Dropped(name, True, note="all cells are missing")
    column = _as_numbers(cells, distinct) or _as_dates(text, known)
    if column is not None:
        return column
    if len(distinct) <= 20 and parse.is_truth(distinct.to_list()):
        return Boolean(name, len(known) < len(text))
    column = _as_words(text)
    return (
        replace(column, note=_note_on_digits(distinct)) if isinstance(column, Category) and not column.note else column
    )


def _note_on_digits(distinct: pl.Series) -> str:
    """Return why text of digits is no number, or what looks like numbers and is not read as such; empty otherwise."""
    if distinct.str.contains(r"^[+-]?\d+$").all():
        if distinct.str.contains(r"^0\d").any():
            return "whole numbers with leading zeros are codes: read as a category"
        if distinct.str.contains(r"^[+-]?\d{16,}$").any():
            return "whole numbers of 16 digits and more are codes: read as a category"
    if distinct.str.contains(UNREAD_NUMBERS).all():
        first = shortened(distinct[0])
        return f"{first} and the like may be numbers, written in a way that is not read: a category"
    return ""


def _as_numbers(cells: pl.Series, distinct: pl.Series) -> Column | None:
    """Return the type of a column whose text is numbers; None where it is something else.

    Args:
        cells: the column, with null for words that say a cell is missing.
        distinct: its known values.
    """
    if _note_on_digits(distinct):
        return None
    notation = parse.notation_of(cells)
    is_word = parse.parse_numbers(distinct, notation).is_null()
    if is_word.all():
        return None
    words = distinct.filter(is_word).sort()
    numbers, n_known = parse.parse_numbers(cells, notation), len(cells) - cells.null_count()
    n_wrong = numbers.null_count() - cells.null_count()
    is_unlikely = len(words) > MAX_MISSING_WORDS or n_wrong > 0.5 * n_known or len(distinct) < 20
    if n_wrong > (1 - SHARE_OF_NUMBERS) * n_known and is_unlikely:
        return None
    if len(words) > MAX_MISSING_WORDS or (n_wrong == 1 and n_known > 1):
        raise _UnreadableColumnError(_mistake(cells, numbers))
    column = _from_numbers(numbers, notation, tuple(words.to_list()))
    if len(words) and not isinstance(column, Dropped):
        column = replace(
            column, note=f"{', '.join(map(repr, words))} ({n_wrong:,} cell{'s' * (n_wrong != 1)}) read as missing"
        )
    return column


def _mistake(cells: pl.Series, numbers: pl.Series) -> Problem:
    """Return the problem of a column of numbers in which some cells are not."""
    is_wrong = numbers.is_null() & cells.is_not_null()
    row = int(is_wrong.arg_true()[0])
    share = 1 - is_wrong.sum() / (len(cells) - cells.null_count())
    message = (
        f"row {row + 1}, column {cells.name!r} holds {shortened(cells[row])}, "
        f"and {100 * share:.4g}% of its cells are numbers"
    )
    return Problem(cells.name, message, "category")


def _as_dates(text: pl.Series, known: pl.Series) -> Column | None:
    """Return the column as dates; None where it is something else.

    Raises:
        _UnreadableColumnError: days and months are mixed up.
    """
    order = parse.date_order(known)
    if order is None:
        return None
    if order == parse.MIXED:
        message = f"the dates of {text.name!r} have the day first in some rows and the month first in others"
        raise _UnreadableColumnError(Problem(text.name, message, "category"))
    note = ""
    if order == parse.AMBIGUOUS:
        order = _likely_order(known)
        written = "month/day/year" if order == parse.MONTH_FIRST else "day.month.year"
        note = f"days and months cannot be told apart; read as {written}"
    cells = parse.without_missing_words(text)
    times = parse.parse_dates(cells, order)
    wrong = (times.is_null() & cells.is_not_null()).arg_true()
    if len(wrong):
        row = int(wrong[0])
        message = f"row {row + 1}, column {text.name!r} holds {shortened(text[row])}, and most others are dates"
        raise _UnreadableColumnError(Problem(text.name, message, "category"))
    column = _date_or_constant(times, order)
    return replace(column, note=note) if note and isinstance(column, Date) else column


def _date_or_constant(times: pl.Series, order: str) -> Column:
    return _constant(times) or _date(times, order)


def _date(cells: pl.Series, order: str) -> Date:
    """Return a column of dates with the parts that vary."""
    import polars as pl

    times = parse.parse_dates(parse.as_text(cells), order) if not cells.dtype.is_temporal() else as_utc(cells)
    times = times.cast(pl.Datetime("us")).drop_nulls()
    parts = [part for part in ("month", "weekday", "hour") if part_of(times, part).floor().n_unique() >= MIN_PARTS]
    days = times.dt.date().n_unique()
    if "month" in parts and (times.max() - times.min()).days < 500:  # type: ignore[operator, union-attr]
        parts.remove("month")  # within little more than a year the days say it
    if days < 2 * MIN_PARTS and "weekday" in parts:
        parts.remove("weekday")
    return Date(cells.name, cells.null_count() > 0, order=order, parts=tuple(parts))


def _as_words(text: pl.Series) -> Column:
    """Return a category, an identifier or free text."""
    name, counts = text.name, _level_counts(text)
    n_distinct, n_known = len(counts), len(text) - text.null_count()
    if n_distinct == 1 and n_known == len(text):
        return Dropped(name, note=f"all cells are {shortened(text[0])}")
    n_single_words = counts.filter(~counts["level"].str.contains(r"\s"))["n"].sum()
    is_single_word = n_single_words / n_known > 0.8
    if n_distinct > SHARE_FOR_AN_ID * n_known and n_known >= MIN_ROWS_FOR_AN_ID and is_single_word:
        share = "every row" if n_distinct == n_known else f"{n_distinct / n_known:.0%} of the rows"
        return Dropped(
            name, n_known < len(text), f"an identifier: different text in {share} (--text {shlex.quote(name)})"
        )
    if is_single_word or n_distinct <= max(20, n_known / 2):
        return _category_of(text, counts)
    return _text(text)


def _level_counts(text: pl.Series) -> pl.DataFrame:
    """Return each distinct `level` of text, and the number `n` of cells that have it."""
    return text.drop_nulls().alias("level").value_counts(name="n")


def _category(text: pl.Series) -> Category:
    return _category_of(text, _level_counts(text))


def with_level_counts(column: Column, counts: pl.DataFrame) -> Column:
    """Return a column with the levels of all rows, where it was recognized in some of them.

    Args:
        column: a category or an integer code; others are unchanged.
        counts: each `level` as text, and the number `n` of rows that have it.
    """
    if not isinstance(column, Category | IntegerCode):
        return column
    levels, n_frequent = _levels(counts["level"], counts["n"])
    note = column.note
    if isinstance(column, Category) and len(counts) > MAX_LEVELS:
        note = f"the {MAX_LEVELS:,} most frequent of {len(counts):,} levels"
    return replace(column, note=note, level_names=levels, n_frequent_levels=n_frequent)


def _category_of(text: pl.Series, counts: pl.DataFrame) -> Category:
    levels, n_frequent = _levels(counts["level"], counts["n"])
    n_distinct = len(counts)
    note = f"the {MAX_LEVELS:,} most frequent of {n_distinct:,} levels" if n_distinct > MAX_LEVELS else ""
    if n_distinct > len(levels) and not note:
        note = f"cells of more than {MAX_LEVEL_LENGTH:,} characters are no levels"
    return Category(text.name, text.null_count() > 0, note, level_names=levels, n_frequent_levels=n_frequent)


def _text(text: pl.Series) -> Text:
    """Return free text with its frequent words; a word that nearly every row has says nothing."""
    found = words_of(text).list.unique().explode().drop_nulls()
    counts = found.alias("word").value_counts(name="n").sort("n", "word", descending=[True, False])
    counts = counts.filter((counts["n"] >= ROWS_FOR_A_WORD) & (counts["n"] <= 0.95 * len(text)))
    return Text(text.name, text.null_count() > 0, words=tuple(counts["word"].head(N_WORDS).to_list()))


# -- types that are given --------------------------------------------------------------------------------------------


def _number(series: pl.Series) -> Column:
    """Return a column of numbers, whatever it looks like; in text, cells that are no numbers are missing.

    Raises:
        TableError: no cell is a number.
    """
    import polars as pl

    if series.dtype != pl.String:
        cells = series.fill_nan(None) if series.dtype.is_float() else series
        return Number(series.name, cells.null_count() > 0)
    known = parse.without_missing_words(parse.as_text(series)).drop_nulls()
    notation = parse.notation_of(known)
    words = known.filter(parse.parse_numbers(known, notation).is_null())
    if len(words) == len(known) > 0:
        raise TableError(f"the column {series.name!r} is to be numbers, and holds none, but {shortened(words[0])}")
    has_missing = len(known) - len(words) < len(series)
    return Number(series.name, has_missing, notation=notation, missing_words=tuple(words.unique().sort().to_list()))


def _given_boolean(series: pl.Series) -> Column:
    text = parse.without_missing_words(parse.as_text(series))
    wrong = (parse.parse_truth(text).is_null() & text.is_not_null()).arg_true()
    if len(wrong):
        row = int(wrong[0])
        raise TableError(
            f"row {row + 1}, column {series.name!r} holds {shortened(str(series[row]))}; the column is to be boolean: "
            "yes or no, true or false, on or off, 1 or 0"
        )
    return Boolean(series.name, text.null_count() > 0)


def _given_date(series: pl.Series) -> Column:
    import polars as pl

    if series.dtype == pl.Time:
        raise TableError(f"the column {series.name!r} holds times of day, not dates; use --category or --text")
    text = parse.without_missing_words(parse.as_text(series))
    order = parse.YEAR_FIRST if series.dtype.is_temporal() else parse.date_order(text)
    if order is None or order == parse.MIXED:
        raise TableError(f"the column {series.name!r} is to be dates, and its cells are none that can be read")
    if order == parse.AMBIGUOUS:
        order = _likely_order(text)
    return _date(series if series.dtype.is_temporal() else parse.parse_dates(text, order), order)


def _likely_order(text: pl.Series) -> str:
    """Return the order of dates whose days and months cannot be told apart: with points the day comes first."""
    return parse.DAY_FIRST if text.str.contains(".", literal=True).any() else parse.MONTH_FIRST


def _given_code(series: pl.Series) -> Column:
    number = _number(series)
    assert isinstance(number, Number)
    values = number.numbers(series)[:, 0]
    known = values[~np.isnan(values)]
    if not np.isfinite(known).all() or (known % 1).any():
        raise TableError(f"the column {series.name!r} is to be integer codes, and holds fractions")
    import polars as pl

    cells = pl.Series(series.name, values).fill_nan(None)
    return _integer_code(cells, number.notation, number.missing_words)


_OF_KIND: dict[str, Callable[[Any], Column]] = {
    "number": _number,
    "category": lambda series: _category(parse.as_text(series)),
    "boolean": _given_boolean,
    "date": _given_date,
    "text": lambda series: _text(parse.as_text(series)),
    "integer code": _given_code,
    "drop": lambda series: Dropped(series.name, note="as requested"),
}
KINDS = tuple(_OF_KIND)
