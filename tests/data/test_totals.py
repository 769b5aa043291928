"""Statistics from sums over a table, beside those that are fitted on the rows themselves."""

from __future__ import annotations

import numpy as np
import pytest

from tabcohort.data.encoder import (
    N_INNER_FOLDS,
    CategoryEncoding,
    Encoding,
    TrainingRows,
    fit_encoding,
    fit_statistics,
    statistics_of_sums,
)
from tabcohort.data.totals import Rows, Totals, row_sums, standardization
from tabcohort.types import IntArray

N_CODES = (5, 14)
ENCODING = Encoding((0, 1, 2), (1,), (3, 4), (CategoryEncoding(5, True, 4), CategoryEncoding(14, False, 2, 6)))


def rows_of(n_rows: int = 500, seed: int = 0) -> Rows:
    rng = np.random.default_rng(seed)
    numbers = rng.normal([0.0, 1e6, 3.0], [1.0, 2.0, 0.0], (n_rows, 3))
    numbers[rng.random(n_rows) < 0.2, 1] = np.nan
    codes = np.stack([rng.integers(0, n, n_rows) for n in N_CODES], axis=1).astype(np.int32)
    y, fold = rng.integers(0, 2, n_rows), rng.integers(1, N_INNER_FOLDS + 1, n_rows).astype(np.int8)
    return Rows(numbers, codes, y, rng.integers(1, 4, n_rows).astype(float), fold)


def part_of(rows: Rows, places: IntArray) -> Rows:
    return Rows(*(getattr(rows, name)[places] for name in ("numbers", "codes", "y", "weight", "fold")))


def totals_of(rows: Rows, shift: float = 0.1) -> Totals:
    """Return sums that are made in several steps."""
    totals = Totals.zero(np.nanmean(rows.numbers, axis=0) + shift, N_CODES, 2)
    for part in np.array_split(np.arange(len(rows.y)), 7):
        totals.add(part_of(rows, part), N_CODES)
    return totals


def sums_of(whole: Totals, rows: Rows) -> Totals:
    """Return sums over some of the rows, counted from the same shift."""
    few = Totals.zero(whole.shift, N_CODES, 2)
    few.add(rows, N_CODES)
    return few


def test_sums_less_those_of_some_rows_give_the_statistics_of_the_others() -> None:
    rows, whole = rows_of(), totals_of(rows_of())
    excluded = np.arange(3, 500, 4)
    kept = np.setdiff1d(np.arange(500), excluded)
    totals = whole.minus(sums_of(whole, part_of(rows, excluded)))
    ours, theirs = standardization(totals, whole), fit_statistics(rows.numbers, rows.weight[kept], kept)
    np.testing.assert_allclose(ours.center, theirs.center, rtol=1e-12)
    np.testing.assert_allclose(ours.scale, theirs.scale, rtol=1e-9)
    assert ours.scale[2] == 0
    assert totals.weight == pytest.approx(rows.weight[kept].sum())


def test_a_number_that_varies_only_in_the_excluded_rows_is_constant() -> None:
    rows = rows_of()
    rows.numbers[:, 2] = np.where(np.arange(500) < 20, 7.0, 3.0)
    whole = totals_of(rows)
    assert standardization(whole, whole).scale[2] > 0
    assert standardization(whole.minus(sums_of(whole, part_of(rows, np.arange(20)))), whole).scale[2] == 0


def test_the_encoding_is_that_of_the_training_rows() -> None:
    rows, whole = rows_of(), totals_of(rows_of())
    excluded = np.arange(3, 500, 4)
    kept = np.setdiff1d(np.arange(500), excluded)
    training = TrainingRows(kept, rows.weight[kept], rows.y[kept], 2, np.ones(len(kept), dtype=bool))
    theirs, inner = fit_encoding(rows.numbers, rows.codes, ENCODING, training)
    totals = whole.minus(sums_of(whole, part_of(rows, excluded)))
    fold = np.where(np.isin(np.arange(500), excluded), 0, rows.fold).astype(np.int8)
    ours, our_inner = statistics_of_sums(ENCODING, row_sums(totals, whole, ENCODING, {1: theirs.fill[1]}), fold)
    for name in ("center", "scale", "lookup", "fill", "vector_row"):
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), rtol=1e-9, atol=1e-12)
    assert inner is not None
    assert our_inner is not None
    assert our_inner.lookups.shape == inner.lookups.shape


def test_an_inner_fold_s_lookup_does_not_see_its_rows() -> None:
    rows, whole = rows_of(), totals_of(rows_of())
    _, inner = statistics_of_sums(ENCODING, row_sums(whole, whole, ENCODING, {}), rows.fold)
    rows.y[rows.fold == 2] = 1 - rows.y[rows.fold == 2]
    changed = totals_of(rows)
    _, other = statistics_of_sums(ENCODING, row_sums(changed, changed, ENCODING, {}), rows.fold)
    assert inner is not None
    assert other is not None
    np.testing.assert_allclose(inner.lookups[1], other.lookups[1])
    assert not np.allclose(inner.lookups[0], other.lookups[0], equal_nan=True)
