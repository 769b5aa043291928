"""Columns of predictions are what a step of Python for each row would make."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from tabcohort.errors import SettingsError
from tabcohort.model.prediction_columns import (
    joined,
    joined_column,
    list_column,
    most_probable,
    probability_columns,
    text_column,
    warn_of_renamed,
)
from tabcohort.types import Label


@pytest.mark.parametrize("n_labels", [1, 2, 3, 9, 64, 65, 200])
@pytest.mark.parametrize("n_rows", [0, 1, 500])
def test_sets_are_the_labels_that_are_in_them(n_labels: int, n_rows: int) -> None:
    is_in = np.asfortranarray(np.random.default_rng(n_labels).random((n_rows, n_labels)) < 0.3)
    labels = tuple(range(n_labels))
    expected = [[str(label) for label in labels if row[label]] for row in is_in]
    lists, texts = list_column("set", labels, is_in), joined_column("set", labels, is_in)
    assert (lists.name, lists.dtype, lists.to_list()) == ("set", pl.List(pl.String), expected)
    assert (texts.name, texts.dtype, texts.to_list()) == ("set", pl.String, ["|".join(row) for row in expected])


@pytest.mark.parametrize(
    "labels", [("a", "b", "c"), (3, 7, 9), (0.5, 1.5, 2.5)], ids=["text", "whole numbers", "float"]
)
def test_the_most_probable_classes_come_first_and_equal_ones_in_their_order(labels: tuple[Label, ...]) -> None:
    proba = np.array([[0.1, 0.6, 0.3], [0.4, 0.4, 0.2], [0.2, 0.4, 0.4]])
    columns = {column.name: column.to_list() for column in probability_columns(labels, proba, 2)}
    one, two, three = pl.Series(labels).to_list()
    assert columns == {
        "class 1": [two, one, two], "probability 1": [0.6, 0.4, 0.4],
        "class 2": [three, two, three], "probability 2": [0.3, 0.4, 0.4],
    }  # fmt: skip
    assert len(probability_columns(labels, proba, 9)) == 6
    every = probability_columns(labels, proba)
    assert [column.name for column in every] == [f"probability {label}" for label in labels]
    assert np.array_equal(pl.DataFrame(every).to_numpy(), proba)


@pytest.mark.parametrize("top", [0, -1, 1.5, True, "3"])
def test_the_number_of_most_probable_classes_is_a_whole_number_from_1(top: Any) -> None:
    with pytest.raises(SettingsError, match=f"must be a whole number from 1; it is {top!r}"):
        probability_columns(("a", "b"), np.full((1, 2), 0.5), top)


@pytest.mark.parametrize("n_rows", [0, 40])
@pytest.mark.parametrize("k", [1, 3, 50, 51, 60])
def test_many_of_the_most_probable_classes_are_those_of_a_stable_sort(n_rows: int, k: int) -> None:
    proba = np.random.default_rng(k).integers(0, 9, size=(n_rows, 60)) / 9  # many are equal, and many are 0
    assert np.array_equal(most_probable(proba, k), np.argsort(-proba, axis=1, kind="stable")[:, :k])


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
