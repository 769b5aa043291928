"""The names of a file's columns: trimmed, each only once, and what about them looks like a mistake."""

from __future__ import annotations

import unicodedata
import warnings
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tabcohort.errors import CellError, TabcohortWarning, TableError, listed

if TYPE_CHECKING:
    import polars as pl

MAX_COLUMNS = 200_000
MAX_NAMES = 5  # in a message
MAX_NAME_LENGTH = 1_000  # characters
SHARE_OF_NUMBERS = 0.5  # names with a decimal point, from which on the line of names is taken for a row


def name_columns(written: Sequence[str], source: str) -> list[str]:
    """Return names for columns as they are written in a file; one without a name is called by its number.

    Raises:
        TableError: there are too many columns, or two of one name.
    """
    require_few_columns(len(written), source)
    require_short_names(written, source)
    trimmed = [name.strip() for name in written]
    has_numbers = _looks_like_a_row(trimmed)
    repeated = next((name for name, count in Counter(filter(None, trimmed)).items() if count > 1), None)
    if repeated is not None:
        hint = " (the first line must have the names of the columns)" if has_numbers else ""
        advice = f"give every column a name of its own{hint}"
        raise CellError(
            f"{source!r} has two columns called {repeated!r}; {advice}", f"{source!r} has a name twice; {advice}"
        )
    if has_numbers:
        shown = listed(map(repr, trimmed), 3)
        warnings.warn(
            f"{source!r}: the names of the columns are numbers ({shown}); if the file has no line of names, its first "
            "row is lost: add that line",
            TabcohortWarning,
            stacklevel=2,
        )
    return [name or f"column {number} without a name" for number, name in enumerate(trimmed, start=1)]


def require_few_columns(n_columns: int, source: str) -> None:
    """Raise `TableError` when a table has more columns than can be trained on."""
    if n_columns > MAX_COLUMNS:
        raise TableError(f"{source!r} has {n_columns:,} columns, but at most {MAX_COLUMNS:,} can be read; drop some")


def require_short_names(names: Sequence[str], source: str) -> None:
    """Raise `TableError` when the name of a column is so long that it must be something else."""
    for number, name in enumerate(names, start=1):
        if len(name) > MAX_NAME_LENGTH:
            raise TableError(
                f"{source!r}: the name of column {number} has {len(name):,} characters, but a name may have at most "
                f"{MAX_NAME_LENGTH:,}; give it a shorter one"
            )


def warn_of_look_alikes(names: Sequence[str], source: str) -> None:
    """Warn of names that differ only in case, spaces or the code points that spell them."""
    seen: dict[str, str] = {}
    for name in names:
        plain = "".join(unicodedata.normalize("NFKC", name).casefold().split())
        other = seen.setdefault(plain, name)
        if other != name:
            spelled = [ascii(given) if repr(given) == repr(other) or not given.isascii() else repr(given)
                       for given in (other, name)]  # fmt: skip
            warnings.warn(
                f"{source!r}: the columns {spelled[0]} and {spelled[1]} have almost the same name; give each a name "
                "that can be told apart",
                TabcohortWarning,
                stacklevel=2,
            )


def without_unnamed_columns(frame: pl.DataFrame, named: Sequence[bool], source: str) -> pl.DataFrame:
    """Return the frame without the columns that have no name and either no value or only count the rows.

    Args:
        named: which columns have a name in the file, one for each.

    Raises:
        TableError: a column without a name has other values.
    """
    empty: list[str] = []
    counting: list[str] = []
    for column, has_name in zip(frame.iter_columns(), named, strict=True):
        if has_name:
            continue
        name = column.name
        if len(frame) and column.null_count() == len(frame):
            empty.append(name)
        elif _counts_rows(column):
            counting.append(name)
        else:
            raise TableError(f"{source!r}: {name}; give it one, or take the column out")
    for names, of_one, of_several in (
        (empty, "has no values and is", "have no values and are"),
        (counting, "counts the rows and is", "count the rows and are"),
    ):
        if names:
            what = of_one if len(names) == 1 else of_several
            message = f"{source!r}: {listed(names, MAX_NAMES)} {what} left out"
            warnings.warn(message, TabcohortWarning, stacklevel=2)
    return frame.drop(empty + counting)


def without_empty_rows(frame: pl.DataFrame, source: str) -> pl.DataFrame:
    """Return the frame without the rows in which no column has a value."""
    import polars as pl

    if not frame.width or frame[:, 0].null_count() == 0:
        return frame
    kept = frame.filter(~pl.all_horizontal(pl.all().is_null()))
    n_empty = len(frame) - len(kept)
    if n_empty:
        rows = "1 row is empty and is" if n_empty == 1 else f"{n_empty} rows are empty and are"
        warnings.warn(f"{source!r}: {rows} left out", TabcohortWarning, stacklevel=2)
    return kept


def _counts_rows(column: pl.Series) -> bool:
    """Return whether the cells are 0, 1, 2, ... or 1, 2, 3, ..., as numbers or text."""
    import polars as pl

    numbers = column.cast(pl.Float64, strict=False)
    return any(numbers.equals(pl.Series(range(first, first + len(column)), dtype=pl.Float64)) for first in (0, 1))


def is_number(text: str) -> bool:
    """Return whether text is a finite number or infinity, in the plain notation."""
    try:
        return float(text) == float(text)
    except ValueError:
        return False


def _looks_like_a_row(names: Sequence[str]) -> bool:
    """Return whether names are numbers: all of them, or half with a decimal point, as in a row with labels."""
    numbers = [name for name in names if is_number(name)]
    fractions = [name for name in numbers if "." in name]
    return bool(names) and (len(numbers) == len(names) or len(fractions) > SHARE_OF_NUMBERS * len(names))
