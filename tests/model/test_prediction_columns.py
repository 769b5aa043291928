"""Columns of predictions are what a step of Python for each row would make."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from tabcohort.errors import SettingsError
from tabcohort.model.prediction_columns import (
    joined,
    joined_column,
    list_column,
    probability_columns,
    text_column,
    warn_of_renamed,
)


@pytest.mark.parametrize("n_labels", [1, 2, 3, 9, 64, 65, 200])
@pytest.mark.parametrize("n_rows", [0, 1, 500])
def test_sets_are_the_labels_that_are_in_them(n_labels: int, n_rows: int) -> None:
    is_in = np.asfortranarray(np.random.default_rng(n_labels).random((n_rows, n_labels)) < 0.3)
    labels = tuple(range(n_labels))
    expected = [[str(label) for label in labels if row[label]] for row in is_in]
    lists, texts = list_column("set", labels, is_in), joined_column("set", labels, is_in)
    assert (lists.name, lists.dtype, lists.to_list()) == ("set", pl.List(pl.String), expected)
    assert (texts.name, texts.dtype, texts.to_list()) == ("set", pl.String, ["|".join(row) for row in expected])


def test_the_most_probable_classes_come_first_and_equal_ones_in_their_order() -> None:
    proba = np.array([[0.1, 0.6, 0.3], [0.4, 0.4, 0.2], [0.2, 0.4, 0.4]])
    columns = {column.name: column.to_list() for column in probability_columns(("a", 7, "c"), proba, 2)}
    assert columns == {
        "class 1": ["7", "a", "7"], "probability 1": [0.6, 0.4, 0.4],
        "class 2": ["c", "7", "c"], "probability 2": [0.3, 0.4, 0.4],
    }  # fmt: skip
    assert len(probability_columns(("a", 7, "c"), proba, 9)) == 6
    every = probability_columns(("a", 7, "c"), proba)
    assert [column.name for column in every] == ["probability a", "probability 7", "probability c"]
    assert np.array_equal(pl.DataFrame(every).to_numpy(), proba)
    with pytest.raises(SettingsError, match="must be at least 1; it is 0"):
        probability_columns(("a", "b", "c"), proba, 0)


def test_a_column_of_text_is_empty_where_nothing_is_said() -> None:
    column = text_column("warnings", {4: "b", 1: "a"}, 6)
    assert (column.name, column.to_list()) == ("warnings", ["", "a", "", "", "b", ""])
    assert text_column("warnings", {}, 2).to_list() == ["", ""]
    assert text_column("warnings", {}, 0).dtype == pl.String


def test_columns_of_the_input_are_renamed_where_the_predictions_have_their_name() -> None:
    frame = pl.DataFrame({"a": [1], "b": [2], "b (input)": [3]})
    predictions = [pl.Series("b", [9])]
    assert joined(frame, ["a", "b", "b (input)", "a"], (), predictions).row(0, named=True) == {
        "a": 1, "b (input) (input)": 2, "b (input)": 3, "b": 9,
    }  # fmt: skip
    with pytest.warns(UserWarning, match=r"the column 'b' is written as 'b \(input\) \(input\)'"):
        warn_of_renamed(frame, ["b", "b (input)"], (), predictions)
    assert joined(frame, None, ("a", "c"), predictions).columns == ["a", "b"]
    assert joined(frame, None, (), predictions).columns == ["row", "b"]
