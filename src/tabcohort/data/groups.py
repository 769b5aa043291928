"""Groups: rows that share the value of a key or group column, and so may be alike and stay together."""

from __future__ import annotations

import shlex
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tabcohort.errors import TabcohortWarning, TableError
from tabcohort.types import IntArray

if TYPE_CHECKING:
    import polars as pl


def group_codes(frame: pl.DataFrame, keys: Sequence[str], groups: Sequence[str]) -> dict[tuple[str, ...], IntArray]:
    """Return for the key columns together, and for each group column, a code per row that is equal where they are.

    A row without a value has a code of its own.

    Args:
        frame: the rows.
        keys: columns that identify a row together.
        groups: columns of which each connects rows.

    Raises:
        TableError: a column holds neither text, numbers nor dates.
    """
    columns = [names for names in (tuple(keys), *((name,) for name in groups)) if names]
    return {names: _codes(frame, names) for names in columns} if len(frame) else {}


def group_ids_of(codes: Iterable[IntArray]) -> IntArray | None:
    """Return the group of each row, `(n_rows,)`, numbered from 0; None where none of these codes connects rows."""
    connecting = [ids for ids in codes if ids.max() + 1 < len(ids)]
    return connected_groups(*connecting) if connecting else None


def connected_groups(first: IntArray, *others: IntArray) -> IntArray:
    """Return the group of each row, `(n_rows,)`, numbered from 0: any of these codes connects rows, also indirectly.

    Args:
        first, others: codes from 0, each of shape `(n_rows,)`.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not others:
        return np.unique(first, return_inverse=True)[1]
    # The codes are the nodes of a graph; a row connects its first code to each other code that it has.
    offsets = np.cumsum([int(first.max()) + 1, *(int(codes.max()) + 1 for codes in others)])
    nodes = np.concatenate([codes + offset for codes, offset in zip(others, offsets[:-1], strict=True)])
    ends = (np.tile(first, len(others)), nodes)
    edges = coo_array((np.ones(len(nodes), dtype=bool), ends), shape=(offsets[-1], offsets[-1]))
    component = connected_components(edges, directed=False)[1][first]
    return np.unique(component, return_inverse=True)[1]  # a code that no row has is a component, too


def _codes(frame: pl.DataFrame, names: Sequence[str]) -> IntArray:
    """Return a code per row, from 0 without gaps, that is equal where all of these columns are."""
    import polars as pl

    for name in names:
        if frame[name].dtype.is_nested() or frame[name].dtype in (pl.Binary, pl.Object):
            raise TableError(f"the key {name!r} ({frame[name].dtype}) must be text, numbers or dates")
    text = frame.select(pl.struct(pl.col(name).cast(pl.String) for name in names).alias("key"))["key"]
    codes = text.rank("dense").to_numpy().astype(np.int64) - 1
    missing = frame.select(pl.any_horizontal(pl.col(name).is_null() for name in names)).to_series().to_numpy()
    codes[missing] = len(frame) + np.arange(missing.sum())
    return np.unique(codes, return_inverse=True)[1]


def group_hashes(frame: pl.DataFrame, names: Sequence[str], otherwise: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return a 64-bit hash of the values of columns together, `(n_rows,)`: the same in any batch of rows.

    Args:
        frame: the rows.
        names: of the columns.
        otherwise: the hash of each row that lacks a value, `(n_rows,)`.
    """
    import polars as pl

    text = frame.select(pl.col(name).cast(pl.String) for name in names)
    has_value = text.select(pl.all_horizontal(pl.all().is_not_null())).to_series().to_numpy()
    return np.where(has_value, text.select(pl.struct(pl.all()).hash(0)).to_series().to_numpy(), otherwise)


def warn_of_groups(frame: pl.DataFrame, codes: Mapping[tuple[str, ...], IntArray]) -> None:
    """Warn of the columns that connect rows, and of parts of a key that would."""
    for names, ids in codes.items():
        n_groups = int(ids.max()) + 1
        if n_groups == len(frame):
            _warn_of_parts_that_repeat(frame, names)
            continue
        n_missing = len(frame) - len(frame.drop_nulls(names))
        missing = f", and {n_missing:,} rows without one are independent" if n_missing else ""
        warnings.warn(
            f"{len(frame):,} rows have {n_groups:,} different values of {', '.join(names)}; "
            f"rows of one value stay together{missing}",
            TabcohortWarning,
            stacklevel=4,
        )


def _warn_of_parts_that_repeat(frame: pl.DataFrame, keys: Sequence[str]) -> None:
    """Warn of key columns that identify rows only together: rows that share one may train and test the same member."""
    repeated = [name for name in keys if frame[name].drop_nulls().n_unique() < len(frame) - frame[name].null_count()]
    if repeated:
        options = " ".join(f"--group {shlex.quote(name)}" for name in repeated)
        warnings.warn(
            f"the keys {', '.join(keys)} identify rows only together, so rows that share one of them may both train "
            f"and test a member; to keep these together, name it a group ({options})",
            TabcohortWarning,
            stacklevel=5,
        )
