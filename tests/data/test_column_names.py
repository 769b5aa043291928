"""The names of columns: refused, warned of, or left as they are."""

from __future__ import annotations

import warnings

import polars as pl
import pytest

from tabcohort import TabcohortWarning, TableError
from tabcohort.data.column_names import (
    is_number,
    name_columns,
    require_few_columns,
    warn_of_look_alikes,
    without_empty_rows,
    without_unnamed_columns,
)


def test_names_are_trimmed_and_columns_without_one_are_numbered() -> None:
    assert name_columns([" a", "", "b ", "  "], "t.csv") == [
        "a", "column 2 without a name", "b", "column 4 without a name",
    ]  # fmt: skip


def test_two_columns_of_one_name_are_refused() -> None:
    with pytest.raises(TableError, match=r"'t\.csv' has two columns called 'a'; give every column a name of its own$"):
        name_columns(["a", "b", " a"], "t.csv")
    with pytest.raises(TableError, match=r"two columns called '1'; .* \(the first line must have the names"):
        name_columns(["1", "2", "1"], "t.csv")


@pytest.mark.parametrize(
    "names", [["1", "2.5"], ["5.1", "3.5", "1.4", "0.2", "setosa"], ["-1e3", "0", "7", "8"], ["2019"]]
)
def test_names_that_are_numbers_may_be_a_row(names: list[str]) -> None:
    with pytest.warns(
        TabcohortWarning, match=rf"'t\.csv': the names of the columns are numbers \('{names[0]}'.*row is lost"
    ):
        assert name_columns(names, "t.csv") == names


@pytest.mark.parametrize("names", [["a", "1"], ["country", "2019", "2020"], ["", "0", "1"], ["x1", "nan"]])
def test_some_numbers_among_names_are_names(names: list[str]) -> None:
    assert len(name_columns(names, "t.csv")) == len(names)


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (["Age", "x", "age"], "'Age' and 'age'"),
        (["body mass", "bodymass"], "'body mass' and 'bodymass'"),
        (["caf\u00e9", "cafe\u0301"], r"'caf\\xe9' and 'cafe\\u0301'"),
        (["x2", "x\u00b2"], r"'x2' and 'x\\xb2'"),
    ],
)
def test_names_that_look_alike_are_both_named(names: list[str], shown: str) -> None:
    with pytest.warns(TabcohortWarning, match=rf"'t\.csv': the columns {shown} have almost the same name"):
        warn_of_look_alikes(names, "t.csv")


def test_other_names_do_not_look_alike() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_look_alikes(["a", "b", "a_b", "ab", "größe", "grosse_"], "t.csv")


def test_a_table_may_have_200_000_columns() -> None:
    require_few_columns(200_000, "t.csv")
    with pytest.raises(TableError, match=r"'t\.csv' has 200,001 columns, but at most 200,000 can be read; drop some"):
        require_few_columns(200_001, "t.csv")


@pytest.mark.parametrize(
    ("cells", "what"), [(["0", "1"], "counts the rows"), ([1, 2], "counts the rows"), ([None, None], "has no values")]
)
def test_a_column_without_a_name_may_be_left_out(cells: list[object], what: str) -> None:
    frame = pl.DataFrame({"column 1 without a name": cells, "a": ["x", "y"]})
    with pytest.warns(TabcohortWarning, match=rf"'t\.csv': column 1 without a name {what} and is left out"):
        assert without_unnamed_columns(frame, [False, True], "t.csv").columns == ["a"]


def test_many_columns_without_a_name_are_left_out_at_once_with_one_warning() -> None:
    unnamed = [f"column {number} without a name" for number in range(1, 51)]
    frame = pl.DataFrame({name: [None, None] for name in unnamed} | {"a": [1, 2]})
    message = "column 5 without a name and 45 more have no values and are left out"
    with pytest.warns(TabcohortWarning, match=message) as caught:
        assert without_unnamed_columns(frame, [False] * 50 + [True], "t.csv").columns == ["a"]
    assert len(caught) == 1


def test_a_column_without_a_name_but_with_values_is_refused() -> None:
    frame = pl.DataFrame({"a": ["x", "y"], "column 2 without a name": ["1", "3"]})
    with pytest.raises(TableError, match=r"'t\.csv': column 2 without a name; give it one, or take the column out"):
        without_unnamed_columns(frame, [True, False], "t.csv")


def test_rows_without_a_value_are_left_out() -> None:
    frame = pl.DataFrame({"a": [1, None, None], "b": ["x", None, "z"]})
    with pytest.warns(TabcohortWarning, match=r"'t\.csv': 1 row is empty and is left out"):
        assert without_empty_rows(frame, "t.csv").rows() == [(1, "x"), (None, "z")]


@pytest.mark.parametrize(
    ("text", "is_one"), [("1", True), ("-2.5e3", True), ("inf", True), ("nan", False), ("x", False), ("", False)]
)
def test_numbers_are_told_from_words(text: str, is_one: bool) -> None:
    assert is_number(text) == is_one
