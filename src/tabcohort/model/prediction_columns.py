"""The columns of a frame of predictions, made without a step of Python for each row."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tabcohort.errors import TabcohortWarning
from tabcohort.types import BoolArray, Label

if TYPE_CHECKING:
    import polars as pl

SetColumn = Callable[[str, Sequence[Label], BoolArray], "pl.Series"]  # its name, the labels, and which are in each row


def list_column(name: str, labels: Sequence[Label], is_in: BoolArray) -> pl.Series:
    """Return a column of lists of text: the labels that are in each row, `(n_rows, n_labels)`."""
    import polars as pl
    import pyarrow as pa

    texts = pl.Series([str(label) for label in labels], dtype=pl.String).gather(np.nonzero(is_in)[1])
    ends = np.append(0, np.cumsum(np.count_nonzero(is_in, axis=1)))
    return pl.Series(name, pa.LargeListArray.from_arrays(ends, texts.to_arrow()), dtype=pl.List(pl.String))


def joined_column(name: str, labels: Sequence[Label], is_in: BoolArray) -> pl.Series:
    """Return a column of text: the labels that are in each row, `(n_rows, n_labels)`, joined by "|".

    Few sets are distinct, and so each of these is joined once.
    """
    import polars as pl

    packed = np.packbits(is_in, axis=1)
    padded = np.pad(packed, ((0, 0), (0, -packed.shape[1] % 8)))
    words = np.ascontiguousarray(padded).view(np.uint64)
    keys = words[:, 0] if words.shape[1] == 1 else words.view([("", np.uint64)] * words.shape[1])[:, 0]
    _, rows, places = np.unique(keys, return_index=True, return_inverse=True)
    texts = [str(label) for label in labels]
    distinct = ["|".join(text for text, is_label in zip(texts, is_in[row], strict=True) if is_label) for row in rows]
    return pl.Series(name, distinct, dtype=pl.String).gather(places)


def text_column(name: str, texts: Mapping[int, str], n_rows: int) -> pl.Series:
    """Return a column of text, which is empty in all rows but some."""
    import polars as pl

    column = pl.repeat("", n_rows, dtype=pl.String, eager=True)
    return (column.scatter(list(texts), list(texts.values())) if texts else column).alias(name)


def joined(
    frame: pl.DataFrame, names: Sequence[str] | None, keys: Sequence[str], predictions: Sequence[pl.Series]
) -> pl.DataFrame:
    """Return predictions after columns of the input; " (input)" is appended to names that the predictions have, too.

    Args:
        frame: the input.
        names: of the columns; when None, the keys that it has, or the row number if it has none.
        keys: of the schema.
        predictions: the columns that follow.
    """
    import polars as pl

    chosen = _names_beside(frame, names, keys, predictions)
    series = frame.to_dict()
    columns = [series[name].alias(written) for name, written in chosen.items()]
    if names is None and not columns:
        columns = [pl.Series("row", range(1, len(frame) + 1), dtype=pl.Int64)]
    return pl.DataFrame([*columns, *predictions])


def warn_of_renamed(
    frame: pl.DataFrame, names: Sequence[str] | None, keys: Sequence[str], predictions: Sequence[pl.Series]
) -> None:
    """Warn of the columns that `joined` renames."""
    for name, written in _names_beside(frame, names, keys, predictions).items():
        if name != written:
            message = f"the column {name!r} is written as {written!r}: the predictions have a column of its name"
            warnings.warn(message, TabcohortWarning, stacklevel=4)


def _names_beside(
    frame: pl.DataFrame, names: Sequence[str] | None, keys: Sequence[str], predictions: Sequence[pl.Series]
) -> dict[str, str]:
    """Return the names of the columns of the input that are written, and those that they are written as."""
    chosen = [name for name in keys if name in frame.columns] if names is None else names
    predicted = {column.name for column in predictions}
    taken, written = {*chosen, *predicted}, {}
    for name in dict.fromkeys(chosen):
        written[name] = name
        if name in predicted:
            while written[name] in taken:
                written[name] += " (input)"
            taken.add(written[name])
    return written
