"""The rows that are most like a record."""

from __future__ import annotations

import numpy as np
import polars as pl

from tabcohort import Predictor
from tabcohort.data.inputs import table_inputs
from tabcohort.server.nearest import NearestRows
from tabcohort.server.record_input import RecordReader


def test_a_row_is_nearest_to_itself(mixed: Predictor, visits: pl.DataFrame) -> None:
    nearest = NearestRows(mixed, visits)
    X = table_inputs(visits, mixed.schema.columns)
    for row in (0, 3, 17):  # row 3 has missing cells
        table = nearest.table(X[row], 4)
        assert table["names"][0] == "outcome"
        assert table["rows"][0]["number"] == row + 1
        assert table["rows"][0]["distance"] == 0
        assert table["rows"][0]["cells"][1] == visits[row, mixed.schema.features[0]]
        distances = [own["distance"] for own in table["rows"]]
        assert distances == sorted(distances)
        assert len(distances) == 4


def test_the_distance_is_a_mean_over_columns_from_0_to_1(mixed: Predictor, visits: pl.DataFrame) -> None:
    nearest = NearestRows(mixed, visits)
    X = table_inputs(visits, mixed.schema.columns)
    distance = nearest.distances(X[0])
    assert ((distance >= 0) & (distance <= 1)).all()
    changed = visits.with_columns(city=pl.lit("Atlantis"))
    other = nearest.distances(table_inputs(changed, mixed.schema.columns)[0])
    assert np.isclose(other[0], 1 / len(mixed.schema.features))


def test_numbers_are_compared_in_standard_deviations(predictor: Predictor) -> None:
    frame = pl.DataFrame({"x0": [0.0, 1.0, 2.0], "x1": [5.0, 5.0, 5.0], "x2": [0.0, None, 100.0]})
    nearest = NearestRows(predictor, frame)
    scale = np.std([0.0, 1.0, 2.0])
    distance = nearest.distances(np.array([0.0, 5.0, 0.0]))
    assert np.isclose(distance[1], (1 / (2 * scale) + 0 + 1) / 3)
    assert np.isclose(distance[2], (min(2 / (2 * scale), 1) + 0 + 1) / 3)
    assert nearest.table(np.array([0.0, 5.0, 0.0]), 1)["names"] == ["x0", "x1", "x2"]  # without a target


def test_ranges_hold_most_rows(predictor: Predictor) -> None:
    x = np.arange(1_001.0)
    frame = pl.DataFrame({"x0": x, "x1": np.ones(1_001), "x2": np.where(x < 500, np.nan, x)})
    ranges = NearestRows(predictor, frame).ranges()
    assert ranges == {"x0": (10.0, 990.0), "x2": (505.0, 995.0)}


def test_a_row_is_a_record_that_is_read_as_the_row_is(mixed: Predictor, visits: pl.DataFrame) -> None:
    nearest, reader = NearestRows(mixed, visits), RecordReader(mixed.schema)
    X = table_inputs(visits, mixed.schema.columns)
    for row in (0, 3, 17):  # row 3 has missing cells
        record = nearest.record(X[row])
        assert set(record) == set(mixed.schema.features)
        np.testing.assert_array_equal(reader.inputs([record])[0], X[row])
