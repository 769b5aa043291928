"""What a frame holds for a table: features, labels and row numbers, and what must not be learned from."""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from tabcohort import TabcohortWarning, Table, TableError
from tabcohort.data.columns import Boolean, Category, Dropped, Number
from tabcohort.data.frames import ColumnChoices, as_frame, column_of_times, frame_parts, target_labels

N_ROWS = 30


def frame_of(**columns: Any) -> pl.DataFrame:
    """Return 30 rows with the feature a (0.5, 1.5, 2.5, ... as text) and the target y (yes, no)."""
    defaults = {"a": [str(i + 0.5) for i in range(N_ROWS)], "y": ["yes", "no"] * (N_ROWS // 2)}
    return pl.DataFrame({**defaults, **columns}, strict=False)


def with_cell(cell: str, row: int = 5, n_rows: int = N_ROWS) -> pl.DataFrame:
    """Return a frame whose column a holds this cell in this row, counted from 1."""
    cells = [str(i + 0.5) for i in range(n_rows)]
    cells[row - 1] = cell
    return pl.DataFrame({"a": cells, "y": ["yes", "no"] * (n_rows // 2)})


def test_the_parts_of_a_frame_are_of_its_rows_with_a_target() -> None:
    data = frame_of(
        y=[None, *["yes", "no"] * 14, ""], when=range(N_ROWS), note=["text"] * N_ROWS, b=[i / 2 for i in range(N_ROWS)],
        heavy=[2] * N_ROWS,
    )  # fmt: skip
    choices = ColumnChoices(time="when", weight="heavy", types={"note": "drop"})
    with pytest.warns(TabcohortWarning, match="^2 rows with no value in 'y' are left out$"):
        parts = frame_parts(data, "y", choices)
    assert parts.columns == [Number("a"), Number("b")]
    assert parts.dropped == [Dropped("note", note="as requested")]
    np.testing.assert_array_equal(parts.numbers, np.column_stack([np.arange(1.5, 29), np.arange(0.5, 14.5, 0.5)]))
    np.testing.assert_array_equal(parts.weight, np.full(28, 2.0))
    assert parts.labels.tolist() == ["yes", "no"] * 14
    np.testing.assert_array_equal(parts.row_numbers, np.arange(2, 30))
    np.testing.assert_array_equal(parts.time, np.arange(1, 29))
    assert parts.group_ids is None


def test_rows_are_counted_in_the_source_even_when_rows_without_a_target_are_left_out() -> None:
    data = with_cell("inf", row=7).with_columns(y=pl.Series([None, None, *["yes", "no"] * 14]))
    with (
        pytest.warns(TabcohortWarning, match="2 rows with no value in 'y' are left out"),
        pytest.raises(TableError, match="row 7, column 'a' is infinite"),
    ):
        Table.from_frame(data, "y")


# -- the target ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", [[None, None], ["", " "]])
def test_rows_without_a_target_are_left_out_and_counted(missing: list[Any]) -> None:
    with pytest.warns(TabcohortWarning, match="^2 rows with no value in 'y' are left out$"):
        table = Table.from_frame(frame_of(y=["yes", "no"] * 14 + missing), "y")
    assert table.X[:, 0].tolist() == [i + 0.5 for i in range(28)]
    assert table.schema.classes == ("no", "yes")


def test_a_target_of_nan_is_a_missing_target() -> None:
    with pytest.warns(TabcohortWarning, match="2 rows with no value in 'y' are left out"):
        table = Table.from_frame(frame_of(y=[1.0, 2.0] * 14 + [float("nan")] * 2), "y")
    assert len(table.schema.classes) == 2


def test_a_continuous_target_suggests_bins() -> None:
    words = r"'y' holds 30 different numbers .* looks like a measurement: .* into bins"
    with pytest.raises(TableError, match=words):
        Table.from_frame(frame_of(y=[str(i + 0.5) for i in range(N_ROWS)]), "y")


def test_a_continuous_target_with_missing_values_suggests_bins() -> None:
    words = r"'y' holds 25 different numbers .* looks like a measurement: .* into bins"
    for _ in range(20):  # distinct values come in any order
        with pytest.raises(TableError, match=words):
            Table.from_frame(frame_of(y=["", None, "", None, ""] + [str(i + 0.5) for i in range(25)]), "y")


def test_the_bins_that_a_continuous_target_is_advised_to_have_are_classes() -> None:
    data = frame_of(y=[i + 0.5 for i in range(N_ROWS)]).to_pandas()
    words = r"30 different numbers from 0\.5 to 29\.5 .* into bins where the table is made"
    with pytest.raises(TableError, match=words) as refusal:
        Table.from_frame(pl.from_pandas(data), "y")
    advice = re.search(r"frame\[.*\)", str(refusal.value))
    assert advice is not None
    exec(advice.group(), {"frame": data, "pandas": pd})
    assert Table.from_frame(pl.from_pandas(data), "y").schema.classes == ("high", "low", "middle")


def test_a_target_of_lists_is_refused() -> None:
    words = r"^the target 'y' \(List\(Int64\)\) is not classes: make it text or whole numbers$"
    with pytest.raises(TableError, match=words):
        Table.from_frame(frame_of(y=[[1], [2]] * 15), "y")


def test_a_class_with_a_single_row_is_refused_by_name() -> None:
    words = r"the class 'may' of 'y' has a single row, which can only be trained on, so .*leave it out"
    with pytest.raises(TableError, match=words):
        Table.from_frame(frame_of(y=["yes"] * 14 + ["no"] * 15 + ["may"]), "y")


def test_many_whole_numbers_as_a_target_are_said_to_be_a_count_before_a_class_with_a_single_row() -> None:
    rows = [*range(0, 400, 10), *range(0, 400, 10), 777]
    words = (
        r"^the target 'y' holds 41 different whole numbers from 0 to 777 and looks like a count or measurement: a "
        r"classifier needs classes, so divide the column 'y' into bins .*; the class '777' of 'y' has a single row"
    )
    with pytest.raises(TableError, match=words):
        Table.from_frame(pl.DataFrame({"y": rows, "a": [i / 7 for i in range(len(rows))]}), "y")
    words = "^every row has a different value in 'y': this is an identifier or a measurement, not a class$"
    with pytest.raises(TableError, match=words):
        Table.from_frame(frame_of(y=range(0, 10 * N_ROWS, 10)), "y")


def test_what_labels_tell_is_warned_of_once_each() -> None:
    with pytest.warns(TabcohortWarning) as warned:
        Table.from_frame(frame_of(y=["yes", "Yes", "n/a"] * 10), "y")
    assert [str(warning.message).split(" (")[0] for warning in warned] == [
        "'y' has levels that differ only in case, space or Unicode form",
        "'y' has classes that may stand for a missing target",
    ]  # fmt: skip
    assert {warning.filename for warning in warned} == {__file__}


def test_spaces_around_labels_make_no_classes() -> None:
    words = (
        r"^labels of 'y' that differ only in spaces or code points are read as one: ' yes' as 'yes', 'yes ' as 'yes'$"
    )
    with pytest.warns(TabcohortWarning, match=words) as warned:
        table = Table.from_frame(frame_of(y=[" yes", "yes ", "no"] * 10), "y")
    assert warned[0].filename == __file__
    assert table.schema.classes == ("no", "yes")
    assert np.bincount(table.y).tolist() == [10, 20]


@pytest.mark.parametrize(
    ("cells", "labels"),
    [
        (["0.0", "1.00", "-2"], ["0", "1", "-2"]),
        ([0.0, 1.0, None], ["0", "1", ""]),
        (["1.0", "a"], ["1.0", "a"]),
        (["1.0", "1.5"], ["1.0", "1.5"]),
        ([True, False], ["true", "false"]),
    ],
)
def test_labels_are_text_in_which_whole_numbers_have_no_point(cells: list[Any], labels: list[str]) -> None:
    values, has_target = target_labels(pl.DataFrame({"y": cells}), "y")
    assert values.tolist() == labels
    assert has_target.tolist() == [label != "" for label in labels]


# -- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "names", [{"keys": ["y"]}, {"types": {"y": "drop"}}, {"groups": ["y"]}, {"time": "y"}, {"weight": "y"}]
)
def test_the_target_cannot_be_something_else_too(names: dict[str, Any]) -> None:
    words = "^'y' is the target, so it cannot be a key, a group, a time or a weight, have a type or be left out$"
    with pytest.raises(TableError, match=words):
        Table.from_frame(frame_of(), "y", **names)


@pytest.mark.parametrize(
    "names",
    [
        {"target": "diagnosys"},
        {"keys": ["diagnosys"]},
        {"types": {"diagnosys": "drop"}},
        {"weight": "diagnosys"},
        {"groups": ["diagnosys"]},
        {"time": "diagnosys"},
    ],
)
def test_a_column_that_is_not_there_offers_the_nearest_name(names: dict[str, Any]) -> None:
    data = frame_of(diagnosis=["p", "q"] * 15)
    words = "there is no column 'diagnosys' (did you mean 'diagnosis'?); the table has a, y, diagnosis"
    with pytest.raises(TableError, match=f"^{re.escape(words)}$"):
        Table.from_frame(data, **{"target": "y", **names})


# -- columns that must not be learned from ---------------------------------------------------------------------------


def numbered(n_rows: int) -> pl.DataFrame:
    """Return rows with a column that counts them."""
    rows = range(n_rows)
    return pl.DataFrame({"id": rows, "x": [i * 0.5 for i in rows], "y": [("no", "yes")[i % 2] for i in rows]})


def test_a_column_of_another_whole_number_in_every_row_is_left_out_with_the_option_that_keeps_it() -> None:
    words = r"^left out: 'id' \(an identifier: a different whole number in every row \(--number id\)\)$"
    with pytest.warns(TabcohortWarning, match=words) as warned:
        table = Table.from_frame(numbered(20), "y")
    assert len(warned) == 1
    assert table.schema.features == ("x",)
    assert Table.from_frame(numbered(18), "y").schema.features == ("id", "x")
    assert Table.from_frame(numbered(20), "y", types={"id": "number"}).schema.features == ("id", "x")


def test_columns_of_text_are_categories() -> None:
    data = frame_of(colour=["red", "blue", "green"] * 10, **{"where from": ["here", "there", "far"] * 10})
    columns = Table.from_frame(data, "y").schema.columns
    assert columns[0] == Number("a")
    assert columns[1:] == (
        Category("colour", level_names=("blue", "green", "red"), n_frequent_levels=3),
        Category("where from", level_names=("far", "here", "there"), n_frequent_levels=3),
    )


def test_columns_with_decimal_commas_are_numbers() -> None:
    data = frame_of(a=["1,5", "2,5", "3"] * 10, b=["0,1", "0,2", "0,3"] * 10)
    table = Table.from_frame(data, "y")
    assert table.X[:3].tolist() == [[1.5, 0.1], [2.5, 0.2], [3.0, 0.3]]


def test_a_weight_that_is_missing_is_named_by_its_row() -> None:
    words = "^row 3 of those with a target has no weight in 'heavy'; every row needs one$"
    with pytest.raises(TableError, match=words):
        Table.from_frame(frame_of(heavy=["1", "2", "", *["1"] * 27]), "y", weight="heavy")


def test_a_type_that_does_not_exist_offers_the_nearest() -> None:
    words = r"^there is no type 'categry' \(did you mean 'category'\?\); the types are number, category, "
    with pytest.raises(TableError, match=words):
        Table.from_frame(frame_of(), "y", types={"a": "categry"})


def test_a_column_that_is_for_something_else_has_no_type() -> None:
    words = "^'a' is a key, a group, a time or a weight, and so no feature of type 'number'$"
    with pytest.raises(TableError, match=words):
        Table.from_frame(frame_of(), "y", keys=["a"], types={"a": "number"})


def test_decisions_worth_knowing_are_warned_of_once_each_and_not_where_a_type_is_given() -> None:
    codes = ["101", "205", "311"] * 10
    words = "^few distinct whole numbers, read as numbers and as categories: 'code', 'other'$"
    with pytest.warns(TabcohortWarning, match=words) as warned:
        Table.from_frame(frame_of(code=codes, other=codes[::-1]), "y")
    assert len(warned) == 1
    Table.from_frame(frame_of(code=codes), "y", types={"code": "integer code"})


# -- from anything to a frame ----------------------------------------------------------------------------------------


COLUMNS = {"a": [1.5, 2.5], "b": ["x", None], "c": [True, False]}


@pytest.mark.parametrize(
    "make", [pl.DataFrame, pd.DataFrame, pa.table, dict], ids=["polars", "pandas", "arrow", "dict"]
)
def test_a_frame_of_any_library_is_the_same_frame(make: Any) -> None:
    frame = as_frame(make(COLUMNS))
    assert frame.equals(pl.DataFrame(COLUMNS))
    assert frame.schema == pl.DataFrame(COLUMNS).schema


@pytest.mark.parametrize("data", [np.ones((2, 2)), [[1, 2]], "table.csv", None])
def test_what_is_no_frame_is_refused_by_its_type(data: Any) -> None:
    words = (
        "a table is made of a pandas or polars frame, a pyarrow table or a mapping of columns, not of "
        f"{type(data).__name__}; for arrays there is Table.from_arrays(X, y), and for files Table.from_file(path, "
        "target)"
    )
    with pytest.raises(TableError, match=f"^{re.escape(words)}$"):
        as_frame(data)


def test_names_are_made_text_and_must_differ() -> None:
    assert as_frame(pd.DataFrame([[1, 2]])).columns == ["0", "1"]
    nested = pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_tuples([("a", "mean"), ("a", 2)]))
    assert as_frame(nested).columns == ["a_mean", "a_2"]
    words = "^two columns are called '1'; give every column a name of its own$"
    with pytest.raises(TableError, match=words):
        as_frame(pd.DataFrame([[1, 2]], columns=[1, "1"]))


def test_columns_of_a_mapping_have_as_many_rows() -> None:
    with pytest.raises(TableError, match=r"^all columns must have the same number of rows; they have \[1, 2\]$"):
        as_frame({"a": [1, 2], "b": [1]})


def test_booleans_are_booleans_whatever_their_library() -> None:
    data = frame_of(flag=[True, False, True] * 10)
    for frame in (data, data.to_pandas(), data.with_columns(flag=pl.col("flag").cast(pl.String))):
        assert Table.from_frame(frame, "y").schema.columns[1] == Boolean("flag")


# -- times -----------------------------------------------------------------------------------------------------------

DAYS = [f"2024-{1 + i % 12:02d}-{1 + i // 12:02d}" for i in range(N_ROWS)]
TIMES: dict[str, tuple[Any, list[Any]]] = {
    "whole numbers": (list(range(N_ROWS, 0, -1)), list(range(N_ROWS, 0, -1))),
    "few whole numbers": ([100, 300, 200] * 10, [100, 300, 200] * 10),
    "fractions": ([i / 4 for i in range(N_ROWS)], list(range(N_ROWS))),
    "numbers as text": ([f" {i} " for i in range(N_ROWS)], list(range(N_ROWS))),
    "compact days": ([int(day.replace("-", "")) for day in DAYS], DAYS),
    "days as text": (DAYS, DAYS),
    "moments as text": ([f"{day} 12:00:00" for day in DAYS], DAYS),
    "moments in a zone": ([f"{day}T12:00:00Z" for day in DAYS], DAYS),
    "days": ([date.fromisoformat(day) for day in DAYS], DAYS),
    "moments": ([datetime.fromisoformat(day) for day in DAYS], DAYS),
    "day first": ([f"{day[8:]}/{day[5:7]}/2024" for day in DAYS[:-1]] + ["31/12/2024"], [*DAYS[:-1], "2024-12-31"]),
    "one day": (["2024-01-02"] * N_ROWS, ["2024-01-02"] * N_ROWS),
}


@pytest.mark.parametrize("kind", TIMES)
def test_times_have_the_order_of_numbers_and_days_and_are_no_features(kind: str) -> None:
    cells, order = TIMES[kind]
    table = Table.from_frame(frame_of(a=np.arange(N_ROWS) / 8, when=cells), "y", time="when")
    assert table.schema.features == ("a",)
    assert table.time is not None
    assert table.time.dtype == np.float64
    np.testing.assert_array_equal(np.argsort(table.time, kind="stable"), np.argsort(order, kind="stable"))
    assert Table.from_frame(frame_of(), "y").time is None


NO_TIMES: dict[str, tuple[list[Any], int, str]] = {
    "missing": ([*DAYS[:4], None, *DAYS[5:]], 5, "None"),
    "no date": ([*DAYS[:4], "soon", *DAYS[5:]], 5, "'soon'"),
    "nan": ([1.0, float("nan"), *range(28)], 2, "nan"),
    "infinite": ([1.0, 2.0, float("inf"), *range(27)], 3, "inf"),
    "empty": (["1", "2", "", *map(str, range(27))], 3, "''"),
    "day or month": (["3/4/2024"] * N_ROWS, 1, "'3/4/2024'"),
    "no such day": (["2024-13-32"] * N_ROWS, 1, "'2024-13-32'"),
    "words": (["soon"] * N_ROWS, 1, "'soon'"),
    "other dates": ([*DAYS[:4], "13/1/2024", *DAYS[5:]], 5, "'13/1/2024'"),
}


@pytest.mark.parametrize("kind", NO_TIMES)
def test_a_time_that_is_none_is_named_by_its_row(kind: str) -> None:
    cells, row, cell = NO_TIMES[kind]
    words = re.escape(
        f"row {row} of those with a target has the time {cell} in 'when'; every row needs a number or a date such as "
        "2024-12-31"
    )
    with pytest.raises(TableError, match=f"^{words}$"):
        column_of_times("when", pl.Series("when", cells, strict=False))
    with pytest.raises(TableError, match=f"^{words}$"):
        Table.from_frame(frame_of(when=cells), "y", time="when")


@pytest.mark.parametrize(("cell", "dtype"), [(True, "Boolean"), ([1], "List(Int64)"), (None, "Null")])
def test_a_column_of_something_else_is_no_time(cell: Any, dtype: str) -> None:
    words = f"the time 'when' ({dtype}) must be numbers or dates such as 2024-12-31"
    with pytest.raises(TableError, match=f"^{re.escape(words)}$"):
        Table.from_frame(frame_of(when=[cell] * N_ROWS), "y", time="when")
