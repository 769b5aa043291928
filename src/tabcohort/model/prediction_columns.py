"""The columns of a frame of predictions, made without a step of Python for each row."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tabcohort.errors import SettingsError, TabcohortWarning
from tabcohort.types import BoolArray, FloatArray, IntArray, Label

if TYPE_CHECKING:
    import polars as pl

MAX_PASSES = 50  # over all classes, to find the most probable ones; a sort is faster than more
SetColumn = Callable[[str, Sequence[Label], BoolArray], "pl.Series"]  # its name, the labels, and which are in each row


def list_column(name: str, labels: Sequence[Label], is_in: BoolArray) -> pl.Series:
    """Return a column of lists of text: the labels that are in each row, `(n_rows, n_labels)`."""
    import polars as pl

    distinct, places = _distinct_sets(labels, is_in)
    return pl.Series(name, distinct, dtype=pl.List(pl.String)).gather(places)


def joined_column(name: str, labels: Sequence[Label], is_in: BoolArray) -> pl.Series:
    """Return a column of text: the labels that are in each row, `(n_rows, n_labels)`, joined by "|"."""
    import polars as pl

    distinct, places = _distinct_sets(labels, is_in)
    return pl.Series(name, list(map("|".join, distinct)), dtype=pl.String).gather(places)


def _distinct_sets(labels: Sequence[Label], is_in: BoolArray) -> tuple[list[list[str]], IntArray]:
    """Return the distinct sets of labels, and which of them each row has, `(n_rows,)`.

    Of few classes few sets are distinct, so that this takes no step of Python for each row.

    Args:
        labels: of the classes.
        is_in: which are in the set of each row, `(n_rows, n_labels)`.
    """
    packed = np.packbits(is_in, axis=1)
    padded = np.pad(packed, ((0, 0), (0, -packed.shape[1] % 8)))
    words = np.ascontiguousarray(padded).view(np.uint64)
    keys = words[:, 0] if words.shape[1] == 1 else words.view([("", np.uint64)] * words.shape[1])[:, 0]
    _, rows, places = np.unique(keys, return_index=True, return_inverse=True)
    texts = [str(label) for label in labels]
    return [[texts[code] for code in np.flatnonzero(is_in[row])] for row in rows], places


@dataclass(frozen=True)
class PredictionForm:
    """What a frame of predictions shows.

    Args:
        columns: names of columns of the input that come first; its keys, or the row number if it has none, when None.
        top: how many of the most probable classes of each row have their label and probability; when None, there is a
            column with the probability of each class instead.
        sets_as: makes the column of prediction sets.
    """

    columns: Sequence[str] | None = None
    top: int | None = None
    sets_as: SetColumn = list_column


def probability_columns(labels: Sequence[Label], proba: FloatArray, top: int | None = None) -> list[pl.Series]:
    """Return the columns of probabilities: `probability <class>` of each class, or `class 1`, `probability 1`, ...

    Equally probable classes come in the order of the labels.

    Args:
        labels: of the classes.
        proba: `(n_rows, n_classes)`.
        top: see `PredictionForm`; there are at most `n_classes`.

    Raises:
        SettingsError: `top` is no whole number of at least 1.
    """
    import polars as pl

    names = probability_names(labels, top)
    if top is None:
        return list(map(pl.Series, names, proba.T))
    classes, columns = pl.Series(labels), list[pl.Series]()
    for place, codes in enumerate(most_probable(proba, len(names)).T, 1):
        columns.append(classes.gather(codes).alias(f"class {place}"))
        columns.append(pl.Series(names[place - 1], proba[np.arange(len(proba)), codes]))
    return columns


def most_probable(proba: FloatArray, k: int) -> IntArray:
    """Return the codes of the k most probable classes of each row, `(n_rows, k)`; the first of equally probable ones.

    Args:
        proba: `(n_rows, n_classes)`.
        k: at most `n_classes`.
    """
    if k > MAX_PASSES:
        return np.argsort(-proba, axis=1, kind="stable")[:, :k]
    remaining, every_row = proba.copy(), np.arange(len(proba))
    codes = np.empty((len(proba), k), dtype=np.int64)
    for place in range(k):
        codes[:, place] = remaining.argmax(axis=1)
        remaining[every_row, codes[:, place]] = -1.0
    return codes


def probability_names(labels: Sequence[Label], top: int | None = None) -> list[str]:
    """Return the names of the columns of numbers that `probability_columns` returns.

    Raises:
        SettingsError: `top` is no whole number of at least 1.
    """
    if top is None:
        return [f"probability {label}" for label in labels]
    if not isinstance(top, int) or isinstance(top, bool) or top < 1:
        raise SettingsError(f"top, the number of most probable classes, must be a whole number from 1; it is {top!r}")
    return [f"probability {place}" for place in range(1, min(top, len(labels)) + 1)]


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
