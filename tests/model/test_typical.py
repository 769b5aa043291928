"""A typical record, and the ranges of most training rows."""

from __future__ import annotations

import numpy as np
import polars as pl
from helpers import fit_quickly, make_rows, mixed_frame

from tabcohort import Predictor, Table
from tabcohort.data.columns import Date
from tabcohort.model.typical import common_ranges, typical_record


def test_a_typical_record_has_the_middle_of_numbers_and_the_most_frequent_levels() -> None:
    frame = mixed_frame(90).with_columns(y=pl.Series(["a", "b", "b"] * 30))
    model = fit_quickly(Table.from_frame(frame, "y", types={"code": "category"}))
    record = typical_record(model)
    assert list(record) == list(model.schema.features)
    assert record["city"] == frame["city"].drop_nulls().mode()[0] or record["city"] in frame["city"].to_list()
    assert abs(record["size"] - frame["size"].mean()) < 0.1
    assert isinstance(record["flag"], bool)
    assert record["day"][:2] == "20"
    assert record["note"] is None
    assert model.predict_row(record).label in ("a", "b")


def test_ranges_are_two_standard_deviations_around_the_mean(predictor: Predictor) -> None:
    X, _ = make_rows()
    low, high = common_ranges(predictor)["x1"]
    assert np.isclose((low + high) / 2, X[:, 1].mean(), atol=0.05)
    assert np.isclose(high - low, 4 * X[:, 1].std(), rtol=0.05)


def test_ranges_are_quantiles_where_the_model_has_them() -> None:
    rng = np.random.default_rng(0)
    X = rng.exponential(size=(400, 2))
    model = fit_quickly(Table.from_arrays(X, np.where(X[:, 0] > 1, "yes", "no")), bins=8)
    low, high = common_ranges(model)["x0"]
    assert 0 < low < np.quantile(X[:, 0], 0.25)
    assert np.quantile(X[:, 0], 0.75) < high < X[:, 0].max()


def test_a_model_of_weighted_rows_knows_neither() -> None:
    X, codes = make_rows()
    table = Table.from_arrays(X, np.array(["no", "yes"])[codes], weight=np.linspace(1, 2, len(X)))
    model = fit_quickly(table)
    assert typical_record(model) == {"x0": None, "x1": None, "x2": None}
    assert common_ranges(model) == {}


def test_a_number_that_is_0_or_1_and_a_category_that_is_mostly_missing_are_typical_as_they_are() -> None:
    rng = np.random.default_rng(0)
    flag = (rng.random(400) < 0.1).astype(float)
    cabin = [None if i % 4 else "ab"[i % 8 // 4] for i in range(400)]
    frame = pl.DataFrame({"flag": flag, "cabin": cabin, "y": np.where(rng.random(400) < 0.5, "yes", "no")})
    model = fit_quickly(Table.from_frame(frame, "y", types={"flag": "number", "cabin": "category"}))
    assert typical_record(model) == {"flag": 0.0, "cabin": None}
    assert common_ranges(model) == {"flag": (0.0, 1.0)}


def test_a_typical_time_has_an_hour() -> None:
    frame = mixed_frame(90).select("when").with_columns(y=pl.Series(["a", "b", "b"] * 30))
    model = fit_quickly(Table.from_frame(frame, "y"))
    (column,) = model.schema.columns
    assert isinstance(column, Date)
    assert "hour" in column.parts
    assert typical_record(model)["when"].endswith(" 12:00:00")
