"""Columns that repeat another one, or the target, cell by cell: they are dropped."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from tabcohort.data import parse
from tabcohort.data.columns import Column, Dropped

if TYPE_CHECKING:
    import polars as pl

N_COMPARED = 200  # cells that two columns must share before all of them are compared
CELLS_AT_ONCE = 1_000_000  # that are made text together


def without_copies(cells: Mapping[str, pl.Series], columns: Sequence[Column], kinds: Iterable[str]) -> list[Column]:
    """Return the columns, those that repeat an earlier one cell by cell marked as dropped.

    All cells are compared only of columns that begin alike.

    Args:
        cells: of the columns, by their names.
        columns: of the table.
        kinds: names of columns whose types are given; they are kept.
    """
    given = frozenset(kinds)
    compared = [column for column in columns if not isinstance(column, Dropped) and column.name not in given]
    starts = _digests({column.name: cells[column.name].head(N_COMPARED) for column in compared})
    alike: dict[tuple[str, bytes], list[str]] = defaultdict(list)
    for column in compared:
        alike[column.kind, starts[column.name]].append(column.name)
    twins: dict[str, str] = {}
    for names in alike.values():
        earlier: dict[bytes, str] = {}
        for name, digest in _digests({name: cells[name] for name in names}).items() if len(names) > 1 else ():
            twins[name] = earlier.setdefault(digest, name)
    return [
        Dropped(column.name, column.has_missing, f"a copy of {twin!r}")
        if (twin := twins.get(column.name, column.name)) != column.name
        else column
        for column in columns
    ]


def _digests(columns: Mapping[str, pl.Series]) -> dict[str, bytes]:
    """Return for each column a digest of its cells as text, in their order.

    Columns of one type are read together: calls cost more than cells where there are 100,000 columns of 1,000 rows.
    """
    import polars as pl

    alike: dict[object, list[str]] = defaultdict(list)
    for name, cells in columns.items():
        dtype = cells.dtype
        alike[dtype if dtype.is_numeric() or dtype == pl.String else name].append(name)
    n_at_once = max(1, CELLS_AT_ONCE // max(1, max(map(len, columns.values()), default=0)))
    digests: dict[str, bytes] = {}
    for same in alike.values():
        for start in range(0, len(same), n_at_once):
            some = same[start : start + n_at_once]
            text = parse.as_text(pl.concat([columns[name] for name in some], rechunk=True))
            hashes = text.hash().to_numpy().reshape(len(some), -1)
            digests |= {
                name: hashlib.blake2b(own.tobytes(), digest_size=16).digest()
                for name, own in zip(some, hashes, strict=True)
            }
    return {name: digests[name] for name in columns}


def without_copies_of_target(
    frame: pl.DataFrame, columns: Sequence[Column], target: str, labels: NDArray[Any]
) -> list[Column]:
    """Return the columns, those that are the target under other names marked as dropped."""
    import polars as pl

    truth = pl.Series("truth", labels)
    n_classes = truth.n_unique()
    kept: list[Column] = []
    series = frame.to_dict()
    for column in columns:
        cells = series[column.name]
        is_copy = (
            not isinstance(column, Dropped)
            and cells.n_unique() == n_classes
            and pl.DataFrame([cells.alias("copy"), truth]).n_unique() == n_classes
        )
        note = f"a copy of the target {target!r}"
        kept.append(Dropped(column.name, column.has_missing, note) if is_copy else column)
    return kept
