"""What text in cells means: missing, a number in one of several notations, a truth value, or a date."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tabcohort.data.forked import require_polars_threads
from tabcohort.errors import TableError

if TYPE_CHECKING:
    import polars as pl

_MISSING = ("na", "n/a", "#n/a", "#na", "<na>", "nan", "-nan", "null", "none", "nil", "nat", "missing")
MISSING_WORDS = frozenset(("", "?", "-", "--", ".", *_MISSING))
TRUE_WORDS, FALSE_WORDS = frozenset(("true", "t", "yes", "y", "on")), frozenset(("false", "f", "no", "n", "off"))
NO_SINGLE_VALUES = (dict, list, tuple, set, frozenset, bytes, np.ndarray)
# Notations of numbers: 1234.5; $1,234.5 or 95 %; 1234,5; 1.234,5. Where no point groups digits, 7.925 is no 7925.
PLAIN, GROUPED, COMMA, GROUPED_COMMA = "plain", "grouped", "decimal comma", "grouped, decimal comma"
N_SAMPLED = 2_000  # cells that a notation is recognised by, before all are parsed
_CURRENCY, _SPACE = "[$€£¥₹]", r"[\s\u00a0\u202f]"
_BEFORE, _AFTER = rf"^[+−-]?{_CURRENCY}?{_SPACE}?[+−-]?", rf"(?:{_SPACE}?(?:%|{_CURRENCY}))?$"
_GROUPS = "|".join(rf"[1-9]\d{{0,2}}(?:{separator}\d{{3}})+" for separator in ("['’]", _SPACE))
_GROUPED = rf"{_BEFORE}(?:{_GROUPS}|[1-9]\d{{0,2}}(?:,\d{{3}})+|\d*)(?:\.\d*)?(?:[eE][+-]?\d+)?{_AFTER}"
_COMMA = rf"{_BEFORE}(?:{_GROUPS}|[1-9]\d{{0,2}}(?:\.\d{{3}})+|\d*)(?:,\d+)?{_AFTER}"
_UNGROUPED_COMMA = rf"{_BEFORE}(?:{_GROUPS}|\d*)(?:,\d+)?{_AFTER}"
_PATTERNS = {GROUPED: _GROUPED, COMMA: _UNGROUPED_COMMA, GROUPED_COMMA: _COMMA}
_SYMBOLS = r"[\s\u00a0\u202f'’$€£¥₹%]"


def as_series(name: str, column: ArrayLike | pl.Series) -> pl.Series:
    """Return one column of a frame, an array or a list as a polars series; text beside other things becomes text."""
    import polars as pl

    if np.ma.is_masked(column):
        raise TableError(f"the column {name!r} has masked cells; fill them with NaN: column.filled(numpy.nan)")
    if isinstance(column, pl.Series):
        return _as_plain(column)
    dtype: Any = getattr(column, "dtype", None)
    if getattr(dtype, "kind", None) in tuple("Mmiufb") and not isinstance(dtype, np.dtype):
        try:  # pandas' own types, such as times in a zone
            series: Any = pl.from_pandas(cast("Any", column), nan_to_null=False)
            return _as_plain(pl.Series(name, series))
        except (TypeError, ValueError, NotImplementedError):  # one that polars does not know
            pass
    cells = np.asarray(column)
    if cells.ndim != 1:
        raise TableError(f"the column {name!r} must have one value per row; it is of shape {cells.shape}")
    if not len(cells):
        return pl.Series(name, [], dtype=pl.Null)
    if cells.dtype == object:
        return _as_series_of_objects(name, cells)
    if cells.dtype.kind == "U" and isinstance(column, list) and all(isinstance(cell, str) for cell in column):
        return _as_plain(pl.Series(name, column))  # NumPy's text ends before NUL characters
    if cells.dtype.kind in "Mm":
        cells = cells.astype(f"{cells.dtype.kind}8[us]")
    elif cells.dtype.kind == "f" and cells.dtype.itemsize not in (4, 8):
        cells = cells.astype(np.float64)
    return _as_plain(pl.Series(name, cells))


def _as_series_of_objects(name: str, cells: NDArray[np.object_]) -> pl.Series:
    """Return truth values, dates or durations as such, and everything else as text."""
    import polars as pl

    values = [None if cell is None or _is_nan(cell) else cell for cell in cells]
    kinds = {type(value) for value in values if value is not None}
    if any(issubclass(kind, NO_SINGLE_VALUES) for kind in kinds):
        return pl.Series(name, values, dtype=pl.Object)
    if kinds and kinds <= {bool, np.bool_}:
        return pl.Series(name, [None if value is None else bool(value) for value in values], dtype=pl.Boolean)
    if len(kinds) == 1 and issubclass(next(iter(kinds)), (datetime.date, datetime.timedelta)):
        try:
            return _as_plain(pl.Series(name, values))
        except (TypeError, ValueError, pl.exceptions.PolarsError):  # times in several zones, for example
            pass
    return pl.Series(name, [None if value is None else str(value) for value in values], dtype=pl.String)


def _as_plain(series: pl.Series) -> pl.Series:
    """Return categories as text and durations as seconds."""
    import polars as pl

    if series.dtype == pl.Duration:
        return series.dt.total_seconds(fractional=True)
    return series.cast(pl.String) if series.dtype in (pl.Categorical, pl.Enum) else series


def _is_nan(cell: Any) -> bool:
    """Return whether a cell is NaN, NaT or pandas' NA, whose comparison with itself is not true."""
    try:
        return not bool(cell == cell)
    except (TypeError, ValueError):  # pandas' NA has no truth value
        return True


def as_text(series: pl.Series) -> pl.Series:
    """Return cells as trimmed text: a whole number without a decimal point, null where a cell is empty.

    Raises:
        TableError: cells are lists or the like, or polars hangs in this process.
    """
    import polars as pl

    require_polars_threads()
    if has_no_single_values(series):
        raise TableError(f"the column {series.name!r} must have single values; it holds {series.dtype}")
    if series.dtype.is_float():
        series = series.fill_nan(None)
    has_decimals = series.dtype.is_float() or series.dtype in (pl.String, pl.Categorical, pl.Enum)

    def trimmed(cells: pl.Series) -> pl.Series:
        text = cells.str.strip_chars().str.normalize("NFC")
        if has_decimals:
            text = text.str.replace(r"^([+-]?\d+)\.0+$", "$1").str.replace("^-0$", "0")
        return text.set(text == "", None)

    return by_distinct(trimmed, series.cast(pl.String))


def has_no_single_values(series: pl.Series) -> bool:
    """Return whether the cells of a column are lists, records or bytes."""
    import polars as pl

    return series.dtype.is_nested() or series.dtype in (pl.Binary, pl.Object)


def without_missing_words(text: pl.Series) -> pl.Series:
    """Return text with null where a cell says that it is missing."""
    words = missing_words(text.unique())
    return text.set(text.is_in(words), None) if words else text


def missing_words(distinct: pl.Series) -> list[str]:
    """Return those of some words that say that a cell is missing."""
    return distinct.filter(distinct.str.to_lowercase().is_in(list(MISSING_WORDS))).to_list()


def by_distinct(function: Callable[[pl.Series], pl.Series], text: pl.Series) -> pl.Series:
    """Return what a function makes of cells one by one; where many are equal it is called with the distinct ones."""
    distinct = text.unique().drop_nulls()
    if len(distinct) > len(text) / 4:
        return function(text)
    made = function(distinct)
    if made.dtype == distinct.dtype and made.equals(distinct, null_equal=True):
        return text
    return text.replace_strict(distinct, made, default=None, return_dtype=made.dtype)


# -- numbers ---------------------------------------------------------------------------------------------------------


def parse_numbers(text: pl.Series, notation: str = PLAIN) -> pl.Series:
    """Return text in a notation as Float64; null where it is not a number in it."""
    import polars as pl

    if notation == PLAIN:
        return text.cast(pl.Float64, strict=False)
    cleaned = text.set(~text.str.contains(_PATTERNS[notation]), None)
    cleaned = cleaned.str.replace_all(_SYMBOLS, "").str.replace("−", "-", literal=True)
    if notation == GROUPED:
        cleaned = cleaned.str.replace_all(",", "", literal=True)
    else:
        cleaned = cleaned.str.replace_all(".", "", literal=True).str.replace(",", ".", literal=True)
    numbers = cleaned.cast(pl.Float64, strict=False)
    hundredths = pl.Series(numbers.to_numpy() / 100).fill_nan(None)  # polars multiplies by 0.01, which rounds twice
    return numbers.zip_with(~text.str.contains("%", literal=True).fill_null(False), hundredths)


def notation_of(text: pl.Series) -> str:
    """Return the notation in which most cells are numbers; of equally good ones the plainest.

    Three digits after every comma are thousands: 1,234 is one thousand two hundred thirty-four.
    """
    some = text.drop_nulls().head(N_SAMPLED)
    n_parsed: dict[str, int] = {}
    for notation in (PLAIN, GROUPED, COMMA, GROUPED_COMMA):
        n_parsed[notation] = len(some) - parse_numbers(some, notation).null_count()
        if n_parsed[notation] == len(some):
            return notation
    return max(n_parsed, key=n_parsed.__getitem__)


# -- truth values ----------------------------------------------------------------------------------------------------


def parse_truth(text: pl.Series) -> pl.Series:
    """Return words such as yes and no as 1.0 and 0.0; null where a cell is neither."""
    import polars as pl

    words = text.str.to_lowercase()
    truth = pl.Series(text.name, np.full(len(text), np.nan)).fill_nan(None)
    truth = truth.set(words.is_in([*TRUE_WORDS, "1", "1.0"]).fill_null(False), 1.0)
    return truth.set(words.is_in([*FALSE_WORDS, "0", "0.0"]).fill_null(False), 0.0)


def is_truth(levels: list[str]) -> bool:
    """Return whether distinct words are truth values: two words, or several spellings of more than a letter.

    "t", "f", "y" and "n" together may as well be four codes.
    """
    words = {level.lower() for level in levels}
    if len(words) == 2:
        return len(words & TRUE_WORDS) == 1 and len(words & FALSE_WORDS) == 1
    long_true, long_false = TRUE_WORDS - {"t", "y"}, FALSE_WORDS - {"f", "n"}
    is_known = words <= long_true | long_false | {"0", "1"}
    return is_known and bool(words & long_true) and bool(words & long_false)


# -- dates -----------------------------------------------------------------------------------------------------------

YEAR_FIRST, DAY_FIRST, MONTH_FIRST, COMPACT = "year first", "day first", "month first", "compact"
_TIME = r"(?:[ T](\d{1,2}):(\d{2})(?::(\d{2})(?:\.(\d+))?)?)?\s*(Z|[+-]\d{2}:?\d{2})?$"
_DATE = r"^(\d{4}|\d{1,2})[-/.](\d{1,2})[-/.](\d{4}|\d{1,2})" + _TIME
_COMPACT = r"^((?:19|20)\d{2})(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])$"
AMBIGUOUS = "ambiguous"  # both 3/4 and 4/3 are possible in all cells
MIXED = "mixed"  # some cells can only be day first and others only month first


def date_order(text: pl.Series) -> str | None:
    """Return in which order dates are written: a constant of this module, or None where most cells are no dates."""
    import polars as pl

    some = text.drop_nulls().head(N_SAMPLED)
    if not len(some):
        return None
    if some.str.contains(_COMPACT).all():
        return COMPACT
    if not some.str.contains(_DATE).mean() > 0.9:  # type: ignore[operator]
        return None
    groups = text.drop_nulls().unique().str.extract_groups(_DATE).struct
    first, second, third = (groups.field(str(place)) for place in (1, 2, 3))
    if (first.str.len_chars() == 4).mean() > 0.9:  # type: ignore[operator]
        return YEAR_FIRST
    if not (third.str.len_chars() == 4).mean() > 0.9:  # type: ignore[operator]
        return None
    year_is_last = third.str.len_chars() == 4
    first_is_day = bool(((first.cast(pl.Int64) > 12) & year_is_last).any())
    second_is_day = bool(((second.cast(pl.Int64) > 12) & year_is_last).any())
    if first_is_day and second_is_day:
        return MIXED
    if not first_is_day and not second_is_day:
        return AMBIGUOUS
    return DAY_FIRST if first_is_day else MONTH_FIRST


def parse_dates(text: pl.Series, order: str) -> pl.Series:
    """Return text as date-times in UTC; null where a cell is no date in this order."""
    return by_distinct(lambda cells: _parse_each_date(cells, order), text)


def _parse_each_date(text: pl.Series, order: str) -> pl.Series:
    import polars as pl

    pattern = f"{_COMPACT[:-1]}$" if order == COMPACT else _DATE
    groups = text.str.extract_groups(pattern).struct
    places = {DAY_FIRST: (3, 2, 1), MONTH_FIRST: (3, 1, 2)}.get(order, (1, 2, 3))
    year, month, day_of_month = (groups.field(str(place)) for place in places)
    parts = [year.str.zfill(4), month.str.zfill(2), day_of_month.str.zfill(2)]
    day = parts[0] + "-" + parts[1] + "-" + parts[2]
    if order == COMPACT:
        return day.str.to_datetime("%Y-%m-%d", strict=False, time_unit="us").alias(text.name)
    clock = [groups.field(str(place)).fill_null("00").str.zfill(2) for place in (4, 5, 6)]
    fraction = groups.field("7").fill_null("0")
    written = day + " " + clock[0] + ":" + clock[1] + ":" + clock[2] + "." + fraction
    times = written.str.to_datetime("%Y-%m-%d %H:%M:%S%.f", strict=False, time_unit="us")
    zone = groups.field("8").fill_null("Z").str.replace("Z", "+00:00", literal=True).str.replace(":", "", literal=True)
    minutes = zone.str.slice(1, 2).cast(pl.Int64) * 60 + zone.str.slice(3, 2).cast(pl.Int64)
    signed = minutes * zone.str.starts_with("-").cast(pl.Int64).replace({0: -1, 1: 1})
    return (times + (signed * 60_000_000).cast(pl.Duration("us"))).alias(text.name)
