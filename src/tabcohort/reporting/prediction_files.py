"""Predictions as CSV, Parquet and JSON: the same from the command line and from a server."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

from tabcohort.errors import TabcohortError, printable

if TYPE_CHECKING:
    import polars as pl

DIGITS = 6  # significant digits of probabilities in text
# What a spreadsheet program takes for a formula: https://owasp.org/www-community/attacks/CSV_Injection
FORMULA = r"^[=+\-@\t\r\n\u{FF1D}\u{FF0B}\u{FF0D}\u{FF20}]"
NUMBER = r"^[+-]?\d[\d.,]*(?:[eE][+-]?\d+)?\s?%?$"  # which may begin as a formula does


def columns_to_write(names: str | None, columns: Sequence[str]) -> list[str]:
    """Return the input columns that are written beside predictions: all, none, or those with these names."""
    if names is None or names == "all":
        return list(columns)
    if names == "none":
        return []
    return [names] if names in columns else names.split(",")


def write_predictions(predictions: pl.DataFrame, path: str, numbers: Sequence[str]) -> None:
    """Write predictions as Parquet, as they are, or as CSV, with these columns of numbers rounded.

    Raises:
        ModelFileError: the file cannot be written.
        TabcohortError: a column cannot be written in this format.
    """
    import polars as pl

    from tabcohort.container import replace_file

    try:
        if path.lower().endswith(".parquet"):
            data = io.BytesIO()  # Polars does not say why it cannot write Parquet to a file
            with_joined_sets(predictions).write_parquet(data)
            replace_file(path, lambda file: file.write(data.getbuffer()))
        else:
            replace_file(path, for_csv(predictions, numbers).write_csv)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise TabcohortError(f"{path!r} cannot be written: {error}") from None


def write_prediction_parts(parts: Iterable[pl.DataFrame], path: str, numbers: Sequence[str]) -> int:
    """Write predictions that come in parts, as `write_predictions` does, and return how many there are.

    Raises:
        ModelFileError: the file cannot be written.
        TabcohortError: a column cannot be written in this format.
    """
    import polars as pl
    import pyarrow as pa

    from tabcohort.container import replace_file

    n_rows = 0

    def counted() -> Iterator[pl.DataFrame]:
        nonlocal n_rows
        for part in parts:
            n_rows += len(part)
            yield part

    def write(file: BinaryIO) -> None:
        if path.lower().endswith(".parquet"):
            _write_parquet(file, counted())
        else:
            file.writelines(text.encode() for text in csv_parts(counted(), numbers))

    try:
        replace_file(path, write)
    except (pa.ArrowException, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise TabcohortError(f"{path!r} cannot be written: {error}") from None
    return n_rows


def _write_parquet(file: BinaryIO, parts: Iterable[pl.DataFrame]) -> None:
    import polars as pl
    import polars.selectors as cs
    import pyarrow as pa
    import pyarrow.parquet as pq

    writer = None
    for part in parts:
        plain = with_joined_sets(part).with_columns(cs.categorical().cast(pl.String)).to_arrow()
        if writer is None:  # a dictionary of distinct values pays for text alone
            texts = [field.name for field in plain.schema if not pa.types.is_primitive(field.type)]
            writer = pq.ParquetWriter(file, plain.schema, compression="zstd", use_dictionary=texts)
        writer.write_table(plain)
    if writer is not None:
        writer.close()


def csv_parts(parts: Iterable[pl.DataFrame], numbers: Sequence[str]) -> Iterator[str]:
    """Yield predictions that come in parts as CSV, with these columns of numbers rounded; the first has the names."""
    for number, part in enumerate(parts):
        yield for_csv(part, numbers).write_csv(include_header=number == 0)


def csv_text(predictions: pl.DataFrame, numbers: Sequence[str], is_terminal: bool) -> str:
    """Return predictions as CSV, with these columns of numbers rounded; for a terminal, control characters escaped."""
    import polars as pl

    frame = for_csv(predictions, numbers)
    if is_terminal:
        frame = pl.DataFrame(
            [
                pl.Series(printable(column.name), printable(column.to_list()), dtype=pl.String)
                if column.dtype == pl.String
                else column.alias(printable(column.name))
                for column in frame
            ]
        )
    return frame.write_csv()


def json_rows(predictions: pl.DataFrame) -> list[dict[str, Any]]:
    """Return predictions as plain JSON values, one dictionary per row; sets are lists."""
    columns = [column if column.name == "set" else _as_json(column) for column in predictions]
    return predictions.with_columns(columns).to_dicts()


def for_csv(predictions: pl.DataFrame, numbers: Sequence[str]) -> pl.DataFrame:
    """Return predictions as CSV shows them: these columns of numbers rounded, sets and lists as text."""
    import polars as pl

    frame = with_joined_sets(predictions).with_columns(pl.col(list(numbers)).round_sig_figs(DIGITS))
    return frame.with_columns([_as_text(column) for column in frame if _has_no_text(column)])


def without_formulas(predictions: pl.DataFrame) -> pl.DataFrame:
    """Return predictions with an apostrophe before texts and names that a spreadsheet program takes for formulas.

    Texts that are numbers, such as -1.5, stay as they are.
    """
    import polars as pl

    def inert(text: pl.Expr) -> pl.Expr:
        is_formula = text.str.contains(FORMULA) & ~text.str.contains(NUMBER)
        return pl.when(is_formula).then("'" + text).otherwise(text)

    columns = []
    for column in predictions:
        name = pl.select(inert(pl.lit(column.name))).item()
        if column.dtype in (pl.Categorical, pl.Enum, pl.String):
            columns.append(inert(pl.col(column.name).cast(pl.String)).alias(name))
        elif column.dtype == pl.List(pl.String):
            columns.append(pl.col(column.name).list.eval(inert(pl.element())).alias(name))
        else:
            columns.append(pl.col(column.name).alias(name))
    return predictions.select(columns)


def with_joined_sets(predictions: pl.DataFrame) -> pl.DataFrame:
    """Return predictions with each set as one cell of text, the same in CSV and Parquet."""
    import polars as pl

    if predictions["set"].dtype == pl.String:
        return predictions
    return predictions.with_columns(pl.col("set").list.join("|"))


def _has_no_text(column: pl.Series) -> bool:
    """Return whether CSV and JSON have no form for the cells of a column, such as lists and bytes."""
    import polars as pl

    return column.dtype.is_nested() or column.dtype in (pl.Binary, pl.Object, pl.Duration)


def _as_text(column: pl.Series) -> pl.Series:
    import polars as pl

    return pl.Series(column.name, [None if cell is None else str(cell) for cell in column.to_list()], dtype=pl.String)


def _as_json(column: pl.Series) -> pl.Series:
    """Return a column as numbers, truth values or text; a number that is not finite is null, as JSON has none."""
    import polars as pl

    if column.dtype.is_float():
        return column.set(~column.is_finite(), None)
    if column.dtype.is_integer() or column.dtype in (pl.Boolean, pl.String, pl.Null):
        return column
    return _as_text(column) if _has_no_text(column) else column.cast(pl.String)
