"""What an engine reads: numbers, indicators, lookups and rows of learned vectors, against plain NumPy."""

from __future__ import annotations

import numpy as np

from tabcohort.data.encoder import (
    CategoryEncoding,
    Encoding,
    InnerFolds,
    Statistics,
    encode,
    plain_encoding,
    standardize,
    store_rows,
)
from tabcohort.engines.reading import make_reading

NAN = np.nan
X = np.array([[1.0, 10.0, 0.0, 1.0], [NAN, 20.0, 1.0, 2.0], [3.0, 30.0, 2.0, 0.0], [4.0, 40.0, 3.0, 3.0]])
ENCODING = Encoding(
    (0, 1), (0,), (2, 3), (CategoryEncoding(4, True, 2), CategoryEncoding(4, False, 2, n_learned=2))
)  # fmt: skip
STATISTICS = Statistics(
    center=np.array([2.0, 20.0, 0.25, 0.5, 0.5, -1.0, 3.0, 0.0]),
    scale=np.array([0.5, 0.1, 2.0, 2.0, 2.0, 0.3, 0.2, 1.0]),
    fill=np.array([3.5, NAN]),
    lookup=np.array([1.0, 0.0, 0.0, 1.0, NAN, NAN, NAN, NAN, -1.0, 3.0, -2.0, 4.0, 0.0, 2.0, NAN, 0.0]),
    vector_row=np.array([-1.0, -1.0, -1.0, -1.0, 0.0, 1.0, 3.0, -1.0]),
)


def test_a_reading_is_what_encoding_and_standardizing_give() -> None:
    reading = make_reading(store_rows(X[:, :2], None, X[:, 2:].astype(np.int32)), ENCODING, STATISTICS)
    expected = standardize(encode(X, ENCODING, STATISTICS), STATISTICS)
    inputs = reading.inputs(np.array([3, 1, 0, 2, 1]))
    assert reading.n_columns == inputs.shape[1] == ENCODING.n_columns == 8
    np.testing.assert_allclose(inputs, expected[[3, 1, 0, 2, 1]], rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(inputs[1], [0.75, 0.0, 1.5, -1.0, 1.0, 0.3, -0.2, 3.0], rtol=1e-6)
    np.testing.assert_allclose(inputs[0, 3:], [0.0, 0.0, 0.0, -0.6, -1.0], rtol=1e-6)


def test_training_rows_read_the_lookup_of_their_inner_fold() -> None:
    lookups = np.stack([STATISTICS.lookup + 1.0, STATISTICS.lookup + 2.0])
    fold = np.array([0, 1, 2, 2], dtype=np.int8)
    reading = make_reading(
        store_rows(X[:, :2], None, X[:, 2:].astype(np.int32)), ENCODING, STATISTICS, InnerFolds(fold, lookups)
    )
    plain = make_reading(store_rows(X[:, :2], None, X[:, 2:].astype(np.int32)), ENCODING, STATISTICS).inputs(
        np.arange(4)
    )
    difference = reading.inputs(np.arange(4)) - plain
    np.testing.assert_allclose(difference[:, 5], 0.3 * np.array([0.0, 1.0, 2.0, 0.0]), atol=1e-6)  # the last is NaN
    np.testing.assert_allclose(difference[:, 6], 0.2 * fold, atol=1e-6)
    np.testing.assert_array_equal(difference[:, [0, 1, 2, 7]], 0.0)


def test_rows_that_are_stored_around_an_origin_are_read_as_the_same_numbers() -> None:
    far = X[:, :2] + 1e9
    statistics = Statistics(np.array([1e9 + 2, 1e9 + 25]), np.array([0.5, 0.1]))
    reading = make_reading(store_rows(far, statistics), plain_encoding(2), statistics)
    expected = (far - statistics.center) * statistics.scale
    np.testing.assert_allclose(reading.inputs(np.arange(4)), np.nan_to_num(expected), rtol=1e-6)


def test_numbers_without_statistics_are_read_as_they_are() -> None:
    reading = make_reading(store_rows(X[:, 1:2], None), plain_encoding(1), None)
    np.testing.assert_array_equal(reading.inputs(np.array([2, 0]))[:, 0], [30, 10])
    assert not len(reading.filled)
