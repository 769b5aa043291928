"""What a frame holds for a table: features, labels and row numbers, and what must not be learned from."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from tabcohort import TabcohortWarning, Table, TableError
from tabcohort.data.frames import frame_parts, target_labels

N_ROWS = 30


def frame_of(**columns: Any) -> pl.DataFrame:
    """Return 30 rows with the feature a (0, 1, 2, ... as text) and the target y (yes, no)."""
    defaults = {"a": [str(i) for i in range(N_ROWS)], "y": ["yes", "no"] * (N_ROWS // 2)}
    return pl.DataFrame({**defaults, **columns}, strict=False)


def with_cell(cell: str, row: int = 5, n_rows: int = N_ROWS) -> pl.DataFrame:
    """Return a frame whose column a holds this cell in this row, counted from 1."""
    cells = [str(i) for i in range(n_rows)]
    cells[row - 1] = cell
    return pl.DataFrame({"a": cells, "y": ["yes", "no"] * (n_rows // 2)})


def test_the_parts_of_a_frame_are_of_its_rows_with_a_target() -> None:
    data = frame_of(y=[None, *["yes", "no"] * 14, ""], when=range(N_ROWS), note=["text"] * N_ROWS, b=range(0, 60, 2))
    with pytest.warns(TabcohortWarning, match="^2 rows without a 'y' are left out$"):
        parts = frame_parts(data, "y", time="when", drop=["note"])
    assert parts.features == ["a", "b"]
    np.testing.assert_array_equal(parts.X, np.column_stack([np.arange(1, 29), np.arange(2, 58, 2)]))
    assert parts.labels.tolist() == ["yes", "no"] * 14
    np.testing.assert_array_equal(parts.row_numbers, np.arange(2, 30))
    np.testing.assert_array_equal(parts.time, np.arange(1, 29))
    assert parts.group_ids is None


def test_rows_are_counted_in_the_source_even_when_rows_without_a_target_are_left_out() -> None:
    data = with_cell("NaN", row=7).with_columns(y=pl.Series([None, None, *["yes", "no"] * 14]))
    with (
        pytest.warns(TabcohortWarning, match="2 rows without a 'y' are left out"),
        pytest.raises(TableError, match="row 7, column 'a' is missing"),
    ):
        Table.from_frame(data, "y")


# -- the target ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", [[None, None], ["", " "]])
def test_rows_without_a_target_are_left_out_and_counted(missing: list[Any]) -> None:
    with pytest.warns(TabcohortWarning, match="^2 rows without a 'y' are left out$"):
        table = Table.from_frame(frame_of(y=["yes", "no"] * 14 + missing), "y")
    assert table.X[:, 0].tolist() == list(range(28))
    assert table.schema.classes == ("no", "yes")


def test_a_target_of_nan_is_a_missing_target() -> None:
    with pytest.warns(TabcohortWarning, match="2 rows without a 'y' are left out"):
        table = Table.from_frame(frame_of(y=[1.0, 2.0] * 14 + [float("nan")] * 2), "y")
    assert len(table.schema.classes) == 2


def test_a_continuous_target_suggests_bins() -> None:
    words = r"'y' holds 30 different numbers .* looks like a measurement: .* into bins"
    with pytest.raises(TableError, match=words):
        Table.from_frame(frame_of(y=[str(i + 0.5) for i in range(N_ROWS)]), "y")


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


def test_spaces_around_labels_make_no_classes() -> None:
    table = Table.from_frame(frame_of(y=[" yes", "yes ", "no"] * 10), "y")
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


@pytest.mark.parametrize("names", [{"keys": ["y"]}, {"drop": ["y"]}, {"groups": ["y"]}, {"time": "y"}])
def test_the_target_cannot_be_something_else_too(names: dict[str, Any]) -> None:
    with pytest.raises(
        TableError, match=r"^'y' is the target, so it cannot be a key, a group or a time, or be left out$"
    ):
        Table.from_frame(frame_of(), "y", **names)


@pytest.mark.parametrize(
    "names",
    [
        {"target": "diagnosys"},
        {"keys": ["diagnosys"]},
        {"drop": ["diagnosys"]},
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


def test_a_column_that_is_the_target_in_other_words_is_left_out() -> None:
    data = frame_of(coded=["1", "0"] * 15, nearly=["1", "0"] * 14 + ["0", "1"])
    with pytest.warns(TabcohortWarning, match="^the column 'coded' is a copy of the target 'y' and is left out$"):
        table = Table.from_frame(data, "y")
    assert table.schema.features == ("a", "nearly")


def numbered(n_rows: int) -> pl.DataFrame:
    rows = range(n_rows)
    return pl.DataFrame({"id": rows, "x": [i * 0.5 for i in rows], "y": [("no", "yes")[i % 2] for i in rows]})


def test_a_column_of_another_whole_number_in_every_row_is_warned_of() -> None:
    words = r"^the column 'id' is a different whole number in every row; .*\(--key\) so that it is not a feature$"
    with pytest.warns(TabcohortWarning, match=words) as warned:
        table = Table.from_frame(numbered(50), "y")
    assert len(warned) == 1
    assert table.schema.features == ("id", "x")
    assert Table.from_frame(numbered(49), "y").schema.features == ("id", "x")


def test_all_columns_of_text_are_named_at_once_with_what_leaves_them_out() -> None:
    data = frame_of(colour=["red", "blue", "green"] * 10, **{"where from": ["here", "there", "far"] * 10})
    words = re.escape(
        "the columns 'colour', 'where from' are text: only numbers can be features so far: convert it, name it a key "
        "(--key), or leave it out (--drop): --drop colour --drop 'where from'"
    )
    with pytest.raises(TableError, match=f"^{words}$"):
        Table.from_frame(data, "y")


def test_all_columns_with_decimal_commas_are_named_at_once() -> None:
    data = frame_of(a=["1,5", "2,5", "3"] * 10, b=["0,1", "0,2", "0,3"] * 10, colour=["red", "blue", "green"] * 10)
    words = "the text of 'a', 'b' looks like numbers with decimal commas; write decimal points (1.5)"
    with pytest.raises(TableError, match=f"^{re.escape(words)}$"):
        Table.from_frame(data, "y")
    with pytest.raises(TableError, match=r"^the text of 'a' looks like numbers with decimal commas"):
        Table.from_frame(data.drop("b"), "y")
