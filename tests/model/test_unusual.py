"""Cells that training rows did not have: unknown levels, great distances and gaps."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import polars as pl

from tabcohort import CohortSettings, Config, Table, fit
from tabcohort.data.columns import Category, Column, IntegerCode, Number, Text
from tabcohort.model.unusual import OUTLIER, unusual_cells

NAN = np.nan
COLUMNS: list[Column] = [
    Number("age"),
    Text("note", words=("rare",)),
    Number("dose", has_missing=True),
    IntegerCode("ward", level_names=("1", "2")),
    Category("city", level_names=("Oslo", "Rome")),
]
ROWS = {  # age, length of the note, its word, dose, ward, and the codes of ward and city
    "": (40, 9, 0, 1, 2, 1, 0),
    "missing 'age'": (NAN, 9, 0, NAN, 1, 0, 1),
    "unknown level of 'ward'; unknown level of 'city'": (40, 9, 0, 1, 7, 3, 3),
    "missing 'note'; missing 'ward'; missing 'city'": (40, NAN, 0, 1, NAN, 2, 2),
}


def test_each_row_is_told_what_is_unusual_in_it() -> None:
    X = np.array(list(ROWS.values()), dtype=float)
    cells = unusual_cells(X, COLUMNS, np.zeros((len(X), 5)))
    assert cells.warnings() == {row: text for row, text in enumerate(ROWS) if text}
    assert {name: rows.tolist() for name, rows in cells.unknown.items()} == {
        "ward": [False, False, True, False], "city": [False, False, True, False]
    }  # fmt: skip
    assert list(cells.missing) == ["age", "note", "ward", "city"]
    assert cells.far == {}


def test_the_distance_of_a_cell_is_that_of_its_first_number() -> None:
    """A rare word of a text is far from its mean wherever it occurs."""
    X = np.array([ROWS[""]] * 3, dtype=float)
    distance = np.zeros((3, 5))
    distance[0, 0], distance[1, 2], distance[2, 4] = OUTLIER + 1, OUTLIER + 1, OUTLIER
    cells = unusual_cells(X, COLUMNS, distance)
    assert cells.warnings() == {0: "far from the training rows in 'age'"}


def test_rows_that_are_not_there_have_no_warnings() -> None:
    cells = unusual_cells(np.empty((0, 7)), COLUMNS, np.empty((0, 5)))
    assert cells.warnings() == {}
    assert (cells.unknown, cells.far, cells.missing) == ({}, {}, {})


def test_whatever_predicts_warns_of_the_same_cells() -> None:
    frame = pl.DataFrame({"age": [20.0 + i % 40 for i in range(120)], "city": ["Oslo", "Rome", "Bonn"] * 40})
    table = Table.from_frame(frame.with_columns(y=np.array(["no", "yes"])[np.arange(120) // 7 % 2]), "y")
    predictor = fit(table, Config(max_epochs=1), CohortSettings(folds=3, seeds=1))
    record = {"age": 4000.0, "city": "Lima"}
    one = pl.DataFrame([record])
    for predict in (
        lambda: predictor.predict_frame(one), lambda: predictor.predict(one), lambda: predictor.predict_proba(one),
        lambda: predictor.predict_row(record), lambda: predictor.predict(one.to_pandas()),
    ):  # fmt: skip
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            predict()
        far, unknown = (str(warning.message) for warning in caught)
        assert far.startswith("row 1, column 'age' holds 4000.0, ")
        assert unknown == "levels that the model was not trained on, read as unknown: 'city' (1 row)"
        assert {Path(warning.filename).name for warning in caught} == {"test_unusual.py"}
