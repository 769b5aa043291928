"""Frames and arrays become numbers and class codes, and every cell that cannot is named."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from tabcohort import Config, TabcohortWarning, Table, TableError
from tabcohort.data.columns import column_of_numbers, feature_matrix
from tabcohort.data.splits import train_validation_test_split

N = 30


def frame(**columns: Any) -> pl.DataFrame:
    """Return 30 rows with the feature a (0, 1, 2, ... as text) and the target y (yes, no)."""
    return pl.DataFrame({"a": [str(i) for i in range(N)], "y": ["yes", "no"] * (N // 2), **columns}, strict=False)


def with_cell(cell: str, row: int = 5, n_rows: int = N) -> pl.DataFrame:
    """Return a frame whose column a holds this cell in this row, counted from 1."""
    cells = [str(i) for i in range(n_rows)]
    cells[row - 1] = cell
    return pl.DataFrame({"a": cells, "y": ["yes", "no"] * (n_rows // 2)})


@pytest.mark.parametrize(
    ("cell", "held"),
    [
        ("NaN", "is missing (NaN)"),
        ("", "is missing (NaN)"),
        ("NA", "is missing (NaN)"),
        ("inf", "is infinite (inf)"),
        ("-inf", "is infinite (inf)"),
        ("1e400", "is infinite (inf)"),
        ("1e101", "holds 1e+101"),
        ("-1e101", "holds -1e+101"),
    ],
)
def test_a_cell_that_is_not_finite_is_named_by_row_and_column(cell: str, held: str) -> None:
    with pytest.raises(TableError, match=re.escape(f"row 5, column 'a' {held}: every cell must be a number")):
        Table.from_frame(with_cell(cell), "y")


def test_more_cells_that_are_not_finite_are_counted() -> None:
    X = np.ones((4, 2))
    X[1, 1] = X[2, 0] = X[3, 1] = np.nan
    with pytest.raises(
        TableError,
        match=r"row 2, column 'x1' is missing \(NaN\); such cells are in 'x0' \(1\), 'x1' \(2\): every cell must",
    ):
        Table.from_arrays(X, np.array([0, 1, 0, 1]))


def test_rows_are_counted_in_the_source_even_when_rows_without_a_target_are_left_out() -> None:
    table = with_cell("NaN", row=7).with_columns(y=pl.Series([None, None, *["yes", "no"] * 14]))
    with (
        pytest.warns(TabcohortWarning, match="2 rows without a 'y' are left out"),
        pytest.raises(TableError, match="row 7, column 'a' is missing"),
    ):
        Table.from_frame(table, "y")


@pytest.mark.parametrize(("cell", "value"), [("1e-400", 0.0), ("-0.0", 0.0), ("+5", 5.0), (" 7 ", 7.0), ("2.5", 2.5)])
def test_ordinary_spellings_of_numbers_are_parsed(cell: str, value: float) -> None:
    assert Table.from_frame(with_cell(cell), "y").X[4, 0] == value


def test_text_after_thousands_of_numbers_is_named_by_its_row() -> None:
    with pytest.raises(TableError, match="row 5201, column 'a' holds 'oops', which is not a number"):
        Table.from_frame(with_cell("oops", row=5201, n_rows=6000), "y")


def test_a_long_cell_is_cut_in_the_message() -> None:
    with pytest.raises(TableError, match=rf"holds '{'z' * 37}\.\.\.', which is not a number \(1 such cell\)"):
        Table.from_frame(with_cell("z" * 5000), "y")


def test_a_column_of_text_says_how_to_leave_it_out() -> None:
    with pytest.raises(TableError, match=r"the column 'a' is text \(row 1 holds 'red'\): only numbers .*--key.*--drop"):
        Table.from_frame(frame(a=["red", "blue", "green"] * 10), "y")


@pytest.mark.parametrize("cells", [["1,5", "-2,25", ",5"], ["1,5", "1,234", "NA"], ["0,1", "", "+3,0"]])
def test_a_column_with_decimal_commas_is_advised_to_have_points(cells: list[str]) -> None:
    words = re.escape(
        f"the column 'a' is text (row 1 holds '{cells[0]}'): it looks like numbers with decimal commas, so write "
        "decimal points (1.5)"
    )
    with pytest.raises(TableError, match=f"^{words}$"):
        Table.from_frame(frame(a=cells * 10), "y")


def test_a_column_of_whole_numbers_and_decimal_commas_is_advised_too() -> None:
    words = r"row 2, column 'a' holds '2,5', which is not a number \(10 such cells\): .* write decimal points \(1.5\)$"
    with pytest.raises(TableError, match=words):
        Table.from_frame(frame(a=["2", "2,5", "3"] * 10), "y")


def test_all_columns_with_decimal_commas_are_named_at_once() -> None:
    data = frame(a=["1,5", "2,5", "3"] * 10, b=["0,1", "0,2", "0,3"] * 10, colour=["red", "blue", "green"] * 10)
    words = "the text of 'a', 'b' looks like numbers with decimal commas, so write decimal points (1.5)"
    with pytest.raises(TableError, match=f"^{re.escape(words)}$"):
        Table.from_frame(data, "y")
    with pytest.raises(TableError, match=r"^the text of 'a' looks like numbers with decimal commas"):
        Table.from_frame(data.drop("b"), "y")


@pytest.mark.parametrize("cells", [["1,234", "5,678", "9,012"], ["1,5", "2,5", "red"], ["1,5,2", "2,5", "3,5"]])
def test_thousands_and_other_text_with_commas_are_no_decimals(cells: list[str]) -> None:
    """To read 1,234 as 1.234 would be worse than to refuse it."""
    with pytest.raises(TableError, match=r"the column 'a' is text .*: only numbers can predict so far"):
        Table.from_frame(frame(a=cells * 10), "y")


def test_a_column_of_lists_says_how_to_leave_it_out() -> None:
    with pytest.raises(TableError, match=r"the column 'a' \(List\(Int64\)\) is not numbers: only numbers .*--drop"):
        Table.from_frame(frame(a=[[1]] * N), "y")


def test_booleans_are_one_and_zero() -> None:
    assert Table.from_frame(frame(a=["True", "FALSE", " true"] * 10), "y").X[:3, 0].tolist() == [1, 0, 1]
    assert Table.from_frame(frame(a=[True, False, True] * 10), "y").X[:3, 0].tolist() == [1, 0, 1]
    assert np.isnan(column_of_numbers("a", pl.Series(["true", None]))[1])


def test_integers_then_floats_are_all_floats() -> None:
    cells = [str(i) for i in range(5000)] + ["0.5"]
    assert column_of_numbers("a", pl.Series(cells))[[4999, 5000]].tolist() == [4999, 0.5]


@pytest.mark.parametrize(
    "column",
    [
        [1, None],
        ["1", None],
        [True, None],
        [Decimal(1), None],
        np.array([1, None], dtype=object),
        np.array(["1", None], dtype=object),
        np.array([1, np.nan], dtype=object),
        pd.Series([1, None], dtype="Int64"),
        pd.Series(["1", None]),
        pd.Series(["1", None], dtype="string"),
        pd.Series([1, pd.NA], dtype=object),
        pd.Series(["1", None], dtype="category"),
        pd.Series([1, None], index=[7, 3]),
        pl.Series([1, None], dtype=pl.UInt8),
        pl.Series(["1", None], dtype=pl.Categorical),
    ],
    ids=lambda column: f"{type(column).__module__} {getattr(column, 'dtype', '')} {list(column)}",
)
def test_numbers_and_missing_cells_are_found_in_any_wrapping(column: Any) -> None:
    numbers = column_of_numbers("a", column)
    assert numbers.dtype == np.float64
    assert numbers[0] == 1
    assert np.isnan(numbers[1])


def test_text_and_numbers_side_by_side_are_parsed_alike() -> None:
    assert column_of_numbers("a", np.array(["1", 2.5, 3], dtype=object)).tolist() == [1, 2.5, 3]


def test_dates_are_the_same_number_from_pandas_and_polars_or_refused() -> None:
    """A date from one library must not be a thousand times the same date from another."""
    days = ["2020-01-01", "2020-01-02"]
    columns = [pd.Series(pd.to_datetime(days)), pl.Series(days).str.to_date(), pl.Series(days).str.to_datetime()]
    found: list[Any] = []
    for column in columns:
        try:
            found.append(column_of_numbers("a", column).tolist())
        except TableError:
            found.append("refused")
    assert found == [found[0]] * 3


def test_one_class_is_refused() -> None:
    with pytest.raises(TableError, match=r"'y' must have at least two classes; it has 1 class only, 'yes', in 30 row"):
        Table.from_frame(frame(y=["yes"] * N), "y")


def test_a_table_without_rows_is_refused() -> None:
    with pytest.raises(TableError, match="must have at least two classes; it has no class in 0 row"):
        Table.from_frame(frame().head(0), "y")


def test_a_class_with_a_single_row_is_refused_by_name() -> None:
    with pytest.raises(
        TableError, match=r"the class 'may' of 'y' has a single row, which can only train: .*leave it out"
    ):
        Table.from_frame(frame(y=["yes"] * 14 + ["no"] * 15 + ["may"]), "y")


def test_arrays_with_a_class_of_a_single_row_are_warned_of() -> None:
    with pytest.warns(TabcohortWarning, match="the class 2 of 'target' has a single row"):
        Table.from_arrays(np.ones((5, 2)), np.array([0, 0, 1, 1, 2]))


@pytest.mark.parametrize("missing", [[None, None], ["", " "]])
def test_rows_without_a_target_are_left_out_and_counted(missing: list[Any]) -> None:
    with pytest.warns(TabcohortWarning, match="^2 rows without a 'y' are left out$"):
        table = Table.from_frame(frame(y=["yes", "no"] * 14 + missing), "y")
    assert table.X[:, 0].tolist() == list(range(28))
    assert table.schema.classes == ("no", "yes")


def test_a_target_of_nan_is_a_missing_target() -> None:
    with pytest.warns(TabcohortWarning, match="2 rows without a 'y' are left out"):
        table = Table.from_frame(frame(y=[1.0, 2.0] * 14 + [float("nan")] * 2), "y")
    assert len(table.schema.classes) == 2


def test_a_continuous_target_suggests_bins() -> None:
    with pytest.raises(TableError, match=r"'y' holds 30 different numbers .* looks like a measurement: .* into bins"):
        Table.from_frame(frame(y=[str(i + 0.5) for i in range(N)]), "y")


def test_the_bins_that_a_continuous_target_is_advised_to_have_are_classes() -> None:
    data = frame(y=[i + 0.5 for i in range(N)]).to_pandas()
    words = r"30 different numbers from 0\.5 to 29\.5 .* into bins where the table is made"
    with pytest.raises(TableError, match=words) as refusal:
        Table.from_frame(pl.from_pandas(data), "y")
    advice = re.search(r"frame\[.*\)", str(refusal.value))
    assert advice is not None
    exec(advice.group(), {"frame": data, "pandas": pd})
    assert Table.from_frame(pl.from_pandas(data), "y").schema.classes == ("high", "low", "middle")


def test_a_target_of_distinct_values_is_an_identifier() -> None:
    with pytest.raises(TableError, match="every row has another value in 'y': this is an identifier, not a class"):
        Table.from_frame(frame(y=[f"p{i}" for i in range(N)]), "y")


def test_a_target_of_lists_is_refused() -> None:
    with pytest.raises(TableError, match=r"'y' \(List\(Int64\)\)"):
        Table.from_frame(frame(y=[[1], [2]] * 15), "y")


def test_spaces_around_labels_make_no_classes() -> None:
    table = Table.from_frame(frame(y=[" yes", "yes ", "no"] * 10), "y")
    assert table.schema.classes == ("no", "yes")
    assert np.bincount(table.y).tolist() == [10, 20]


def test_the_positive_class_is_named_or_the_last_of_two() -> None:
    assert Table.from_frame(frame(), "y").schema.positive == 1
    assert Table.from_frame(frame(), "y", positive="no").schema.positive == 0
    assert Table.from_frame(frame(y=[0, 1] * 15), "y", positive=0).schema.positive == 0
    assert Table.from_frame(frame(y=["a", "b", "c"] * 10), "y").schema.positive is None
    with pytest.raises(TableError, match="the positive class 'maybe' is not in 'y', whose classes are 'no', 'yes'"):
        Table.from_frame(frame(), "y", positive="maybe")


def test_keys_and_dropped_columns_do_not_predict() -> None:
    table = Table.from_frame(
        frame(id=[f"p{i}" for i in range(N)], note=["text"] * N, b=[1] * N), "y", keys=["id"], drop=["note"]
    )
    assert table.schema.features == ("a", "b")
    assert table.schema.keys == ("id",)


@pytest.mark.parametrize("names", [{"keys": ["y"]}, {"drop": ["y"]}])
def test_the_target_cannot_be_a_key_or_left_out(names: dict[str, list[str]]) -> None:
    with pytest.raises(TableError, match="'y' is the target"):
        Table.from_frame(frame(), "y", **names)


@pytest.mark.parametrize("names", [{"target": "diagnosys"}, {"keys": ["diagnosys"]}, {"drop": ["diagnosys"]}])
def test_a_column_that_is_not_there_offers_the_nearest_name(names: dict[str, Any]) -> None:
    data = frame(diagnosis=["p", "q"] * 15)
    words = "there is no column 'diagnosys' (did you mean 'diagnosis'?); the table has a, y, diagnosis"
    with pytest.raises(TableError, match=re.escape(words)):
        Table.from_frame(data, **{"target": "y", **names})


def test_a_table_without_features_is_refused() -> None:
    with pytest.raises(TableError, match=r"there is no column to predict from \(0 features\)"):
        Table.from_frame(frame(), "y", drop=["a"])


def test_shapes_that_do_not_match_are_refused() -> None:
    with pytest.raises(TableError, match=re.escape("X must be (n_rows, n_features) and y (n_rows,); they are (3, 2)")):
        Table.from_arrays(np.ones((3, 2)), np.ones(2))
    with pytest.raises(TableError, match=re.escape("they are (3, 2) and (3, 1)")):
        Table.from_arrays(np.ones((3, 2)), np.ones((3, 1)))


def test_rows_of_weight_zero_are_left_out() -> None:
    table = Table.from_arrays(np.arange(5.0)[:, None], np.array([0, 0, 1, 1, 2]), weight=np.array([1.0, 2, 1, 1, 0]))
    assert table.X[:, 0].tolist() == [0, 1, 2, 3]
    assert table.schema.classes == (0, 1)


def test_there_is_one_weight_and_one_key_per_row() -> None:
    X, y = np.ones((4, 2)), np.array([0, 1, 0, 1])
    with pytest.raises(TableError, match=re.escape("one weight per row, of shape (4,); the shape is (3,)")):
        Table.from_arrays(X, y, weight=np.ones(3))
    with pytest.raises(TableError, match=re.escape("one key per row, of shape (4,); the shape is (4, 1)")):
        Table.from_arrays(X, y, key=np.zeros((4, 1), np.int64))


@pytest.mark.parametrize("weight", [-1.0, np.nan, np.inf])
def test_a_weight_that_is_no_weight_is_refused(weight: float) -> None:
    with pytest.raises(TableError, match="row 3 has the weight"):
        Table.from_arrays(np.ones((4, 2)), np.array([0, 1, 0, 1]), weight=np.array([1, 1, weight, 1]))


FRAMES: dict[str, Callable[[dict[str, list[Any]]], Any]] = {
    "pandas": pd.DataFrame,
    "pandas with another index": lambda columns: pd.DataFrame(columns, index=[9, 4]),
    "polars": pl.DataFrame,
    "mapping": dict,
}


@pytest.mark.parametrize("kind", FRAMES)
def test_columns_are_found_by_name_in_any_order(kind: str) -> None:
    data = FRAMES[kind]({"extra": ["x", "y"], "b": [1, 2], "a": ["3", "4"]})
    assert feature_matrix(data, ("a", "b")).tolist() == [[3, 1], [4, 2]]


@pytest.mark.parametrize("kind", FRAMES)
def test_a_missing_column_offers_the_nearest_name(kind: str) -> None:
    data = FRAMES[kind]({"mean_radius": [1, 2], "b": [1, 2]})
    with pytest.raises(
        TableError, match=r"lacks 'mean radius' \(did you mean 'mean_radius'\?\): 2 columns are needed; it has mean_"
    ):
        feature_matrix(data, ("b", "mean radius"))


def test_whole_numbers_may_name_columns() -> None:
    assert feature_matrix(pd.DataFrame([[1, 2]]), ("1", "0")).tolist() == [[2, 1]]


def test_columns_of_different_length_are_refused() -> None:
    with pytest.raises(TableError, match=r"column 'b' has 1 row.*'a' has 2"):
        feature_matrix({"a": [1, 2], "b": [1]}, ("a", "b"))


@pytest.mark.parametrize("shape", [(2, 3), (2,), (2, 2, 2)])
def test_an_array_of_another_width_is_refused(shape: tuple[int, ...]) -> None:
    words = f"the model needs 2 columns, as an array of shape (n, 2); it was given shape {shape}"
    with pytest.raises(TableError, match=re.escape(words)):
        feature_matrix(np.ones(shape), ("a", "b"))


@pytest.mark.parametrize("data", [[["red", "blue"]], [{"a": 1}], [[1, 2], [3]], [[1, 1j]]])
def test_what_is_no_array_of_numbers_is_refused(data: Any) -> None:
    with pytest.raises(TableError, match="the rows must be a frame, or an array of numbers: "):
        feature_matrix(data, ("a", "b"))


def test_the_fingerprint_changes_with_one_cell_label_name_or_weight() -> None:
    X, y = np.arange(12.0).reshape(6, 2), np.array([0, 1] * 3)
    other_X, other_y = X.copy(), y.copy()
    other_X[3, 1] = np.nextafter(other_X[3, 1], 100)
    other_y[[0, 1]] = 1, 0
    tables = [
        Table.from_arrays(X, y),
        Table.from_arrays(other_X, y),
        Table.from_arrays(X, other_y),
        Table.from_arrays(X, y, features=["x0", "x2"]),
        Table.from_arrays(X, y, target="other"),
        Table.from_arrays(X, y, positive=0),
        Table.from_arrays(X, y, weight=np.array([1.0, 1, 1, 1, 1, 2])),
        Table.from_arrays(X, y.astype(str)),
    ]
    assert len({table.fingerprint() for table in tables}) == len(tables)
    assert Table.from_arrays(X.copy(), y.copy()).fingerprint() == tables[0].fingerprint()


def test_the_fingerprint_does_not_depend_on_the_memory_layout() -> None:
    X, y = np.arange(12.0).reshape(6, 2), np.array([0, 1] * 3)
    assert Table.from_arrays(np.asfortranarray(X), y).fingerprint() == Table.from_arrays(X, y).fingerprint()


# Names, labels and keys


@pytest.mark.parametrize("features", [["a"], ["a", "b", "c"], ["a", "a"], []])
def test_features_need_as_many_different_names(features: list[str]) -> None:
    with pytest.raises(TableError, match="X has 2 columns and needs as many different names; it has "):
        Table.from_arrays(np.ones((4, 2)), np.array([0, 1, 0, 1]), features=features)


@pytest.mark.parametrize("labels", [[0.0, 1, np.nan, 1], ["a", "b", None, "b"], ["a", "b", float("nan"), "b"]])
def test_a_label_that_is_missing_is_refused_by_its_row(labels: list[Any]) -> None:
    y = np.array(labels, dtype=float if labels[0] == 0 else object)
    words = r"^row 3 has no 'target' \(None or NaN\); leave out rows without a target$"
    with pytest.raises(TableError, match=words):
        Table.from_arrays(np.ones((4, 2)), y)
    with pytest.raises(TableError, match=words):  # also where a row before it is left out
        Table.from_arrays(np.ones((4, 2)), y, weight=np.array([0.0, 1, 1, 1]))


def test_labels_that_are_measurements_are_refused() -> None:
    X, y = np.ones((60, 1)), np.linspace(0, 1, 60)
    with pytest.raises(TableError, match="'target' holds 60 different numbers from 0 to 1 and looks like a meas"):
        Table.from_arrays(X, y)
    assert Table.from_arrays(X, np.tile([0.5, 1.5], 30)).schema.classes == (0.5, 1.5)
    assert len(Table.from_arrays(X, np.repeat(np.arange(30.0), 2)).schema.classes) == 30


def with_keys(order: Any = slice(None)) -> Table:
    """Return the table of 40 patients with three visits each."""
    draw = np.random.default_rng(0)
    data = pl.DataFrame(
        {
            "patient": [f"p{i // 3}" for i in range(120)],
            "x": draw.normal(size=120),
            "y": np.array(["no", "yes"])[draw.integers(2, size=120)],
        }
    )
    with pytest.warns(TabcohortWarning, match="^120 rows have 40 different values of patient; rows of one value get"):
        return Table.from_frame(data[order], "y", keys=["patient"])


def test_a_key_that_repeats_is_warned_of_and_kept() -> None:
    table = with_keys()
    assert table.key is not None
    patients = [f"p{i // 3}" for i in range(120)]
    assert len(set(table.key)) == 40 == len(set(zip(patients, table.key, strict=True)))


def test_the_split_by_a_key_does_not_depend_on_the_order_of_the_rows() -> None:
    shuffled = np.random.default_rng(1).permutation(120)
    table, other = with_keys(), with_keys(shuffled)
    one, two = (train_validation_test_split(t.X, t.y, t.weight, Config(), t.key) for t in (table, other))
    for name in ("train", "stop", "score"):
        np.testing.assert_array_equal(table.X[getattr(one, name)], other.X[getattr(two, name)])
    assert not set(table.key[one.train]) & set(table.key[one.score])


def test_two_keys_together_are_one_key() -> None:
    data = frame(a=[str(i / 8) for i in range(N)], site=["s", "t"] * 15, number=[str(i // 4) for i in range(N)])
    with pytest.warns(TabcohortWarning, match="^30 rows have 16 different values of site, number"):
        table = Table.from_frame(data, "y", keys=["site", "number"])
    assert table.key is not None
    assert table.key[0] == table.key[2] != table.key[1]


def test_a_key_of_its_own_for_every_row_is_none() -> None:
    assert Table.from_frame(frame(id=[f"p{i}" for i in range(N)]), "y", keys=["id"]).key is None
    assert Table.from_frame(frame(), "y").key is None


def test_keys_of_rows_that_are_left_out_are_left_out() -> None:
    weight, key = np.array([1.0, 1, 0, 1, 1]), np.array([0, 0, 1, 2, 2])
    table = Table.from_arrays(np.ones((5, 1)), np.array([0, 1, 0, 1, 0]), weight=weight, key=key)
    assert table.key is not None
    assert table.key.tolist() == [0, 0, 2, 2]


def test_a_key_that_cannot_be_compared_is_refused() -> None:
    with pytest.raises(TableError, match=r"the key 'id' \(List\(Int64\)\) must be text, numbers or dates"):
        Table.from_frame(frame(id=[[1]] * N), "y", keys=["id"])


def test_rows_without_any_target_leave_nothing_to_measure_on() -> None:
    data = frame(y=[""] * N)
    with (
        pytest.warns(TabcohortWarning, match="30 rows without a 'y' are left out"),
        pytest.raises(TableError, match=r"^no row has a 'y': there is nothing to measure on$"),
    ):
        Table.for_schema(data, Table.from_frame(frame(), "y").schema)


def test_a_class_that_the_model_does_not_know_is_refused() -> None:
    words = "^the model knows no class 'may' of 'y'; its classes are 'no', 'yes'$"
    with pytest.raises(TableError, match=words):
        Table.for_schema(frame(y=["yes", "no", "may"] * 10), Table.from_frame(frame(), "y").schema)


# Columns that should not predict


def test_a_column_that_says_the_target_in_other_words_is_left_out() -> None:
    data = frame(coded=["1", "0"] * 15, nearly=["1", "0"] * 14 + ["0", "1"])
    with pytest.warns(TabcohortWarning, match="^the column 'coded' says the same as the target 'y' and is left out$"):
        table = Table.from_frame(data, "y")
    assert table.schema.features == ("a", "nearly")


def numbered(n_rows: int) -> pl.DataFrame:
    rows = range(n_rows)
    return pl.DataFrame({"id": rows, "x": [i * 0.5 for i in rows], "y": [("no", "yes")[i % 2] for i in rows]})


def test_a_column_of_another_whole_number_in_every_row_is_warned_of() -> None:
    with pytest.warns(
        TabcohortWarning, match=r"^the column 'id' is another whole number in every row; .*\(--key\)"
    ) as all:
        table = Table.from_frame(numbered(50), "y")
    assert len(all) == 1
    assert table.schema.features == ("id", "x")
    assert Table.from_frame(numbered(49), "y").schema.features == ("id", "x")


def test_all_columns_of_text_are_named_at_once_with_what_leaves_them_out() -> None:
    data = frame(colour=["red", "blue", "green"] * 10, **{"where from": ["here", "there"] * 15})
    data = data.with_columns(pl.Series("where from", ["here", "there", "far"] * 10))
    words = "the columns 'colour', 'where from' are text: only numbers can predict so far"
    with pytest.raises(TableError, match=f"^{words}.*: --drop colour --drop 'where from'$"):
        Table.from_frame(data, "y")


def test_the_columns_of_all_missing_cells_are_counted() -> None:
    cells: list[Any] = [None, *range(29)]
    with pytest.raises(
        TableError, match=r"row 1, column 'b' is missing \(NaN\); such cells are in 'b' \(1\), 'c' \(30\): "
    ):
        Table.from_frame(frame(b=cells, c=[None] * N), "y")


def test_rows_whose_key_is_missing_are_nobody_elses() -> None:
    frame = pl.DataFrame({"pid": ["a", "a", None, None, "b", "c"], "x": range(6), "y": ["n", "y"] * 3})
    with pytest.warns(TabcohortWarning, match="6 rows have 5 different values of pid"):
        table = Table.from_frame(frame, "y", keys=["pid"])
    assert table.key is not None
    assert table.key[0] == table.key[1]
    assert len(set(table.key.tolist())) == 5


# Groups and times


def features_of(**columns: Any) -> pl.DataFrame:
    """Return a frame with a feature that is no row number, and these columns."""
    return frame(a=[str(i / 8) for i in range(N)], **columns)


def test_rows_of_one_group_have_one_key_and_the_group_does_not_predict() -> None:
    with pytest.warns(TabcohortWarning, match="^30 rows have 10 different values of site; rows of one value get one"):
        table = Table.from_frame(features_of(site=[f"s{i // 3}" for i in range(N)]), "y", groups=["site"])
    assert (table.schema.features, table.schema.keys) == (("a",), ())
    assert table.key is not None
    assert len(set(zip(np.arange(N) // 3, table.key, strict=True))) == len(set(table.key)) == 10


@pytest.mark.filterwarnings("ignore:30 rows have")
def test_rows_that_a_key_or_any_group_ties_have_one_key_however_indirectly() -> None:
    """Patients 0 and 1 share a doctor, 1 and 2 a ward: all of them are one family; the others stay apart."""
    patient = [i // 2 for i in range(N)]
    doctor = [0 if i in (1, 2) else 100 + patient[i] for i in range(N)]
    ward = [0 if i in (3, 4) else 100 + patient[i] for i in range(N)]
    data = features_of(patient=patient, doctor=doctor, ward=ward)
    table = Table.from_frame(data, "y", keys=["patient"], groups=["doctor", "ward"])
    assert table.key is not None
    connected_groups = [table.key[patient.index(each)] for each in range(N // 2)]
    assert connected_groups[0] == connected_groups[1] == connected_groups[2]
    assert len(set(connected_groups)) == N // 2 - 2
    assert all(table.key[2 * each] == table.key[2 * each + 1] for each in range(N // 2))
    assert table.schema.keys == ("patient",)
    assert table.schema.features == ("a",)


@pytest.mark.filterwarnings("ignore:30 rows have")
def test_a_table_for_a_model_is_tied_by_the_keys_and_groups_that_it_has() -> None:
    data = features_of(patient=[i // 3 for i in range(N)], ward=[i // 15 for i in range(N)])
    schema = Table.from_frame(data, "y", keys=["patient"], groups=["ward"]).schema
    assert (schema.keys, schema.groups) == (("patient",), ("ward",))

    def n_different(frame: pl.DataFrame) -> int | None:
        key = Table.for_schema(frame, schema).key
        return None if key is None else len(set(key))

    assert n_different(data) == 2
    assert n_different(data.drop("ward")) == 10
    assert n_different(data.drop("ward", "patient")) is None
    assert n_different(data.drop("ward").with_columns(patient=pl.arange(N))) is None


def test_rows_without_a_group_are_counted() -> None:
    site = [None if i < 6 else f"s{i // 3}" for i in range(N)]
    words = "^30 rows have 14 different values of site; rows of one value get one role, and 6 rows without one a role"
    with pytest.warns(TabcohortWarning, match=words):
        Table.from_frame(features_of(site=site), "y", groups=["site"])


@pytest.mark.parametrize("labels", [["0", "1"], ["0.0", "1.0"], ["0", "1.00"], [0, 1], [0.0, 1.0]])
def test_whole_numbers_with_a_point_are_the_same_classes(labels: list[Any]) -> None:
    schema = Table.from_frame(frame(y=["0", "1"] * (N // 2)), "y").schema
    assert schema.classes == ("0", "1")
    data = frame(y=labels * (N // 2))
    np.testing.assert_array_equal(Table.for_schema(data, schema).y, [0, 1] * (N // 2))
    assert Table.from_frame(data, "y", positive=0).schema == replace(schema, positive=0)
    assert Table.from_frame(frame(y=["1.0", "a"] * (N // 2)), "y").schema.classes == ("1.0", "a")


def test_groups_of_one_row_each_tie_nothing() -> None:
    assert Table.from_frame(features_of(site=[f"s{i}" for i in range(N)]), "y", groups=["site"]).key is None


DAYS = [f"2024-{1 + i % 12:02d}-{1 + i // 12:02d}" for i in range(N)]
TIMES: dict[str, tuple[Any, list[Any]]] = {
    "whole numbers": (list(range(N, 0, -1)), list(range(N, 0, -1))),
    "fractions": ([i / 4 for i in range(N)], list(range(N))),
    "numbers as text": ([f" {i} " for i in range(N)], list(range(N))),
    "days as text": (DAYS, DAYS),
    "moments as text": ([f"{day} 12:00:00" for day in DAYS], DAYS),
    "moments in a zone": ([f"{day}T12:00:00Z" for day in DAYS], DAYS),
    "days": (pl.Series(DAYS).str.to_date(), DAYS),
    "moments": (pl.Series(DAYS).str.to_datetime("%Y-%m-%d"), DAYS),
}


@pytest.mark.parametrize("kind", TIMES)
def test_times_have_the_order_of_numbers_and_days_and_do_not_predict(kind: str) -> None:
    cells, order = TIMES[kind]
    table = Table.from_frame(features_of(when=cells), "y", time="when")
    assert table.schema.features == ("a",)
    assert table.time is not None
    assert table.time.dtype == np.float64
    np.testing.assert_array_equal(np.argsort(table.time, kind="stable"), np.argsort(order, kind="stable"))
    assert Table.from_frame(features_of(), "y").time is None


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ([*DAYS[:4], None, *DAYS[5:]], "row 5 of those with a target has the time None in 'when'; every row needs"),
        ([*DAYS[:4], "soon", *DAYS[5:]], "row 5 of those with a target has the time 'soon' in 'when'; every row needs"),
        ([1.0, float("nan"), *range(28)], "row 2 of those with a target has the time nan in 'when'"),
        ([1.0, 2.0, float("inf"), *range(27)], "row 3 of those with a target has the time inf in 'when'"),
        (["1", "2", "", *map(str, range(27))], "row 3 of those with a target has the time '' in 'when'"),
        (["3/4/2024"] * N, "row 1 of those with a target has the time '3/4/2024' in 'when'; every row needs"),
        (["2024-13-32"] * N, "row 1 of those with a target has the time '2024-13-32' in 'when'"),
        (["soon"] * N, "row 1 of those with a target has the time 'soon' in 'when'"),
        ([True, False] * 15, r"the time 'when' \(Boolean\) must be numbers or dates such as 2024-12-31"),
        ([[1]] * N, r"the time 'when' \(List\(Int64\)\) must be numbers or dates"),
        ([None] * N, "time"),
    ],
    ids=[
        "missing",
        "no date",
        "nan",
        "infinite",
        "empty",
        "day or month",
        "no such day",
        "words",
        "truth values",
        "lists",
        "nothing",
    ],
)
def test_a_time_that_is_none_is_named_by_its_row(cells: list[Any], words: str) -> None:
    with pytest.raises(TableError, match=words):
        Table.from_frame(features_of(when=cells), "y", time="when")


@pytest.mark.parametrize("names", [{"groups": ["y"]}, {"time": "y"}])
def test_the_target_cannot_be_a_group_or_a_time(names: dict[str, Any]) -> None:
    with pytest.raises(TableError, match=r"^'y' is the target, so it cannot be a key, a group or a time, or be left"):
        Table.from_frame(frame(), "y", **names)


@pytest.mark.parametrize("names", [{"groups": ["sit"]}, {"time": "sit"}])
def test_a_group_or_time_that_is_not_there_offers_the_nearest_name(names: dict[str, Any]) -> None:
    with pytest.raises(TableError, match=r"'sit' .*did you mean 'site'"):
        Table.from_frame(features_of(site=["s"] * N), "y", **names)


def test_times_of_rows_that_are_left_out_are_left_out() -> None:
    weight, time = np.array([1.0, 1, 0, 1, 1]), np.array([4.0, 3, 2, 1, 0])
    table = Table.from_arrays(np.ones((5, 1)), np.array([0, 1, 0, 1, 0]), weight=weight, time=time)
    assert table.time is not None
    assert table.time.tolist() == [4, 3, 1, 0]
    with pytest.warns(TabcohortWarning, match="1 row without a 'y' is left out"):
        framed = Table.from_frame(
            features_of(y=[None, *["yes", "no"] * 14, "no"], when=list(range(N))), "y", time="when"
        )
    assert framed.time is not None
    assert framed.time.tolist() == list(range(1, N))


def test_there_is_one_finite_time_per_row() -> None:
    X, y = np.ones((4, 1)), np.array([0, 1, 0, 1])
    with pytest.raises(TableError, match=r"there must be one time per row, of shape \(4,\); the shape is \(3,\)"):
        Table.from_arrays(X, y, time=np.arange(3.0))
    with pytest.raises(TableError, match=r"^row 3 has the time nan; every row needs a time that is a number$"):
        Table.from_arrays(X, y, time=np.array([0, 1, np.nan, 3]))
