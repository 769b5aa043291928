"""Tables from frames, files and arrays: classes, weights, times and fingerprints, and what is refused."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from test_frames import N_ROWS, frame_of

from tabcohort import Config, Schema, TabcohortWarning, Table, TableError
from tabcohort.data.columns import Boolean, Category, Column, Date, Dropped, IntegerCode, Number
from tabcohort.data.encoder import CategoryEncoding, Encoding
from tabcohort.data.splits import make_splits

# -- from frames and files -------------------------------------------------------------------------------------------


def test_one_class_is_refused() -> None:
    words = r"'y' must have at least two classes; it has 1 class only, 'yes', in 30 row"
    with pytest.raises(TableError, match=words):
        Table.from_frame(frame_of(y=["yes"] * N_ROWS), "y")


def test_a_table_without_rows_is_refused() -> None:
    with pytest.raises(TableError, match="must have at least two classes; it has no class in 0 row"):
        Table.from_frame(frame_of().head(0), "y")


def test_a_target_of_distinct_values_is_an_identifier() -> None:
    with pytest.raises(TableError, match="every row has a different value in 'y': this is an identifier, not a class"):
        Table.from_frame(frame_of(y=[f"p{i}" for i in range(N_ROWS)]), "y")


def test_the_positive_class_is_named_or_the_last_of_two() -> None:
    assert Table.from_frame(frame_of(), "y").schema.positive == 1
    assert Table.from_frame(frame_of(), "y", positive="no").schema.positive == 0
    assert Table.from_frame(frame_of(y=[0, 1] * 15), "y", positive=0).schema.positive == 0
    assert Table.from_frame(frame_of(y=["a", "b", "c"] * 10), "y").schema.positive is None
    with pytest.raises(TableError, match=r"^the positive class 'maybe' is not in 'y', whose classes are 'no', 'yes'$"):
        Table.from_frame(frame_of(), "y", positive="maybe")


def test_keys_and_dropped_columns_are_no_features() -> None:
    data = frame_of(id=[f"p{i}" for i in range(N_ROWS)], note=["text"] * N_ROWS, b=[1, 2, 2] * 10)
    table = Table.from_frame(data, "y", keys=["id"], types={"note": "drop", "b": "number"})
    assert table.schema.features == ("a", "b")
    assert table.schema.keys == ("id",)


def test_a_table_without_features_is_refused() -> None:
    with pytest.raises(TableError, match=r"^there is no column to predict from; left out: 'a' \(as requested\)$"):
        Table.from_frame(frame_of(), "y", types={"a": "drop"})
    with pytest.raises(TableError, match=r"^there is no column to predict from \(0 features\)$"):
        Table.from_frame(frame_of().select("y"), "y")


@pytest.mark.filterwarnings("ignore:30 rows have 10 different values of site")
@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet"])
def test_a_table_from_a_file_is_that_of_its_frame(suffix: str, tmp_path: Path) -> None:
    data = frame_of(a=[str(i / 8) for i in range(N_ROWS)], site=[f"s{i // 3}" for i in range(N_ROWS)])
    data = data.with_columns(
        id=pl.Series([f"p{i}" for i in range(N_ROWS)]),
        when=pl.arange(N_ROWS),
        note=pl.lit("x"),
        heavy=pl.arange(N_ROWS) % 3,
    )
    path = tmp_path / f"table.{suffix}"
    if suffix == "parquet":
        data.write_parquet(path)
    else:
        data.write_csv(path, separator="," if suffix == "csv" else "\t")
    columns: dict[str, Any] = {
        "positive": "no",
        "keys": ["id"],
        "groups": ["site"],
        "time": "when",
        "weight": "heavy",
        "types": {"note": "drop"},
    }
    table, expected = Table.from_file(path, "y", **columns), Table.from_frame(data, "y", **columns)
    assert table.schema == expected.schema == Schema(
        (Number("a"),), "y", ("no", "yes"), 0, ("id",), ("site",), (Dropped("note", note="as requested"),)
    )  # fmt: skip
    assert table.fingerprint() == expected.fingerprint()
    kept = np.arange(N_ROWS)[np.arange(N_ROWS) % 3 > 0]
    np.testing.assert_array_equal(table.group_ids, kept // 3)
    np.testing.assert_array_equal(table.time, kept)
    np.testing.assert_array_equal(table.weight, kept % 3)
    without = dict.fromkeys(["id", "site", "note", "heavy"], "drop")
    assert Table.from_file(str(path), "y", types={**without, "when": "number"}).schema.features == ("a", "when")


def test_a_file_that_is_not_there_or_is_no_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"^there is no file '.*nothing\.csv'"):
        Table.from_file(tmp_path / "nothing.csv", "y")
    frame_of(a=[""] * N_ROWS).write_csv(tmp_path / "missing.csv")
    words = r"^there is no column to predict from; left out: 'a' \(all cells are missing\)$"
    with pytest.warns(TabcohortWarning, match="^left out: 'a'"), pytest.raises(TableError, match=words):
        Table.from_file(tmp_path / "missing.csv", "y")


# -- from arrays -----------------------------------------------------------------------------------------------------


def test_arrays_with_a_class_of_a_single_row_are_warned_of() -> None:
    with pytest.warns(TabcohortWarning, match="the class 2 of 'target' has a single row"):
        Table.from_arrays(np.ones((5, 2)), np.array([0, 0, 1, 1, 2]))
    with pytest.warns(TabcohortWarning) as warned:
        Table.from_arrays(np.ones((43, 2)), np.array([*range(0, 42, 2), *range(0, 42, 2), 7]))
    count, single = (str(warning.message) for warning in warned)
    assert "holds 22 different whole numbers from 0 to 40 and looks like a count" in count
    assert single.startswith("the class 7 of 'target' has a single row")


@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.bool_, np.float16])
def test_numbers_of_any_dtype_are_those_in_64_bits(dtype: type) -> None:
    X, y = np.random.default_rng(0).integers(0, 2, (60, 3)).astype(dtype), np.arange(60) % 2
    table, expected = Table.from_arrays(X, y), Table.from_arrays(X.astype(np.float64), y)
    assert table.numbers.dtype == np.float64
    assert table.fingerprint() == expected.fingerprint()
    split, other = (make_splits(own, Config(), 3).split(0) for own in (table, expected))
    np.testing.assert_array_equal(split.train, other.train)
    lists = {"weight": [1.0] * 60, "group_ids": list(range(60))}
    assert Table.from_arrays(X.tolist(), y.tolist(), **lists).fingerprint() == expected.fingerprint()


def test_an_array_of_text_is_refused() -> None:
    with pytest.raises(TableError, match="X must be numbers, and is an array of <U1"):
        Table.from_arrays(np.array([["a"], ["b"]]), np.array([0, 1]))


def test_shapes_that_do_not_match_are_refused() -> None:
    with pytest.raises(TableError, match=re.escape("X must be (n_rows, n_features) and y (n_rows,); they are (3, 2)")):
        Table.from_arrays(np.ones((3, 2)), np.ones(2))
    with pytest.raises(TableError, match=re.escape("they are (3, 2) and (3, 1)")):
        Table.from_arrays(np.ones((3, 2)), np.ones((3, 1)))


def test_rows_of_weight_zero_are_left_out() -> None:
    table = Table.from_arrays(np.arange(5.0)[:, None], np.array([0, 0, 1, 1, 2]), weight=np.array([1.0, 2, 1, 1, 0]))
    assert table.X[:, 0].tolist() == [0, 1, 2, 3]
    assert table.schema.classes == (0, 1)


def test_there_is_one_weight_and_one_group_per_row() -> None:
    X, y = np.ones((4, 2)), np.array([0, 1, 0, 1])
    with pytest.raises(TableError, match=re.escape("one weight per row, of shape (4,); the shape is (3,)")):
        Table.from_arrays(X, y, weight=np.ones(3))
    with pytest.raises(TableError, match=re.escape("one group per row, of shape (4,); the shape is (4, 1)")):
        Table.from_arrays(X, y, group_ids=np.zeros((4, 1), np.int64))


@pytest.mark.parametrize("weight", [-1.0, np.nan, np.inf])
def test_a_weight_that_is_no_weight_is_refused(weight: float) -> None:
    words = r"^row 3 has the weight .*; a weight must be 0 or a positive number$"
    with pytest.raises(TableError, match=words):
        Table.from_arrays(np.ones((4, 2)), np.array([0, 1, 0, 1]), weight=np.array([1, 1, weight, 1]))
    weights = [1, 1, weight, *[1] * 27]
    if not np.isnan(weight):
        with pytest.raises(TableError, match=words):
            Table.from_frame(frame_of(heavy=weights), "y", weight="heavy")


@pytest.mark.parametrize(
    ("features", "words"),
    [
        (["a"], r"^X has 2 columns and needs as many names; there are 1 \('a'\)$"),
        (["a", "b", "c"], r"^X has 2 columns and needs as many names; there are 3 \('a', 'b', 'c'\)$"),
        (["a", "a"], "^columns need different names; they are a, a$"),
        ([], "^X has 2 columns and needs as many names; there are 0$"),
    ],
)
def test_features_need_as_many_different_names(features: list[str], words: str) -> None:
    with pytest.raises(TableError, match=words):
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


def test_groups_of_rows_that_are_left_out_are_left_out() -> None:
    weight, group_ids = np.array([1.0, 1, 0, 1, 1]), np.array([0, 0, 1, 2, 2])
    table = Table.from_arrays(np.ones((5, 1)), np.array([0, 1, 0, 1, 0]), weight=weight, group_ids=group_ids)
    assert table.group_ids is not None
    assert table.group_ids.tolist() == [0, 0, 2, 2]


def test_times_of_rows_that_are_left_out_are_left_out() -> None:
    weight, time = np.array([1.0, 1, 0, 1, 1]), np.array([4.0, 3, 2, 1, 0])
    table = Table.from_arrays(np.ones((5, 1)), np.array([0, 1, 0, 1, 0]), weight=weight, time=time)
    assert table.time is not None
    assert table.time.tolist() == [4, 3, 1, 0]
    data = frame_of(y=[None, *["yes", "no"] * 14, "no"], when=list(range(N_ROWS)))
    with pytest.warns(TabcohortWarning, match="1 row with no value in 'y' is left out"):
        framed = Table.from_frame(data, "y", time="when")
    assert framed.time is not None
    assert framed.time.tolist() == list(range(1, N_ROWS))


def test_there_is_one_finite_time_per_row() -> None:
    X, y = np.ones((4, 1)), np.array([0, 1, 0, 1])
    with pytest.raises(TableError, match=r"there must be one time per row, of shape \(4,\); the shape is \(3,\)"):
        Table.from_arrays(X, y, time=np.arange(3.0))
    with pytest.raises(TableError, match=r"^row 3 has the time nan; every row needs a time that is a number$"):
        Table.from_arrays(X, y, time=np.array([0, 1, np.nan, 3]))


# -- with missing cells ----------------------------------------------------------------------------------------------


def test_cells_may_be_missing_and_their_columns_say_so() -> None:
    X, y = np.array([[0.0, np.nan, 1], [1.0, 2.0, 2], [np.nan, 3.0, 3], [4.0, np.nan, 4]]), np.array(["n", "y"] * 2)
    table = Table.from_arrays(X, y)
    np.testing.assert_array_equal(table.X, X)
    assert table.y.tolist() == [0, 1, 0, 1]
    columns = (Number("x0", has_missing=True), Number("x1", has_missing=True), Number("x2"))
    assert table.schema == Schema(columns, "target", ("n", "y"), 1)
    with pytest.warns(TabcohortWarning, match="^the class 'y' of 'target' has a single row"):
        weighted = Table.from_arrays(X, y, weight=np.array([1.0, 2.0, 3.0, 0.0]))
    np.testing.assert_array_equal(weighted.X, X[:3])
    np.testing.assert_array_equal(weighted.weight, [1, 2, 3])


def test_tables_that_differ_in_a_missing_cell_have_different_fingerprints() -> None:
    y = np.array([0, 1, 0, 1])
    one, other = np.zeros((4, 2)), np.zeros((4, 2))
    one[1, 0] = np.nan
    fingerprints = {Table.from_arrays(X, y).fingerprint() for X in (one, other, one.copy())}
    assert len(fingerprints) == 2


def test_a_missing_cell_has_one_fingerprint_whatever_its_bits() -> None:
    y = np.array([0, 1, 0, 1])
    one, other = np.arange(4.0)[:, None], np.arange(4.0)[:, None]
    one[1, 0], other[1, 0] = np.nan, -np.nan
    assert one.tobytes() != other.tobytes()
    assert Table.from_arrays(one, y).fingerprint() == Table.from_arrays(other, y).fingerprint()


def test_cells_that_are_infinite_or_too_large_are_refused_beside_missing_ones() -> None:
    X, y = np.array([[0.0, np.nan], [1.0, np.inf], [np.nan, 3.0], [4.0, 1.0]]), np.array([0, 1, 0, 1])
    with pytest.raises(TableError, match=r"^row 2, column 'x1' is infinite \(inf\): a number must be at most 1e100"):
        Table.from_arrays(X, y)
    X = np.ones((4, 2))
    with pytest.raises(TableError, match=r"^row 3 has the weight -1; a weight must be 0 or a positive number$"):
        Table.from_arrays(X, y, weight=np.array([1.0, 1, -1, 1]))
    with pytest.raises(TableError, match=re.escape("y (n_rows,); they are (4, 2) and (3,)")):
        Table.from_arrays(X, y[:3])


# -- the encoding of a schema ----------------------------------------------------------------------------------------


def schema_of(*columns: Column, classes: tuple[str, ...] = ("no", "yes")) -> Schema:
    """Return a schema of columns."""
    return Schema(columns, "y", classes, None)


def category(n_levels: int, has_missing: bool = False, n_frequent: int = 0, name: str = "c") -> Category:
    """Return a category of levels 0, 1, 2, ..."""
    return Category(name, has_missing, level_names=tuple(map(str, range(n_levels))), n_frequent_levels=n_frequent)


def test_numbers_without_missing_cells_need_no_encoding() -> None:
    assert schema_of(Number("a"), Date("b", parts=("hour",))).encoding(Config()) is None
    assert schema_of(Number("a", has_missing=True)).encoding(Config()) == Encoding((0,), (0,))


def test_only_the_first_number_of_a_column_has_an_indicator() -> None:
    schema = schema_of(Number("a"), Date("b", has_missing=True, parts=("hour",)), Number("c", has_missing=True))
    encoding = schema.encoding(Config())
    assert encoding == Encoding((0, 1, 2, 3, 4), (1, 4))
    names = ["a", "b", "b hour sine", "b hour cosine", "c", "b is missing", "c is missing"]
    assert schema.column_names(encoding) == names


@pytest.mark.parametrize(
    ("column", "classes", "expected"),
    [
        (category(2), 2, CategoryEncoding(4, True, 1)),
        (category(2, has_missing=True), 2, CategoryEncoding(4, True, 3)),
        (category(8), 2, CategoryEncoding(10, True, 8)),
        (category(8, has_missing=True), 2, CategoryEncoding(10, True, 9)),
        (category(9, n_frequent=5), 2, CategoryEncoding(11, False, 2, 5)),
        (category(9, n_frequent=5), 3, CategoryEncoding(11, False, 4, 5)),
        (category(9, n_frequent=5), 8, CategoryEncoding(11, False, 9, 5)),
        (category(9, n_frequent=5), 9, CategoryEncoding(11, False, 1, 5)),
        (Boolean("c"), 2, CategoryEncoding(4, True, 1)),
    ],
)
def test_few_levels_have_a_column_each_and_more_have_target_statistics(
    column: Column, classes: int, expected: CategoryEncoding
) -> None:
    schema = schema_of(Number("a"), column, classes=tuple(map(str, range(classes))))
    encoding = schema.encoding(Config())
    assert encoding == Encoding((0,), (), (1,), (expected,))
    assert len(schema.column_names(encoding)) == encoding.n_columns
    logistic = schema.encoding(Config(model="logistic"))
    assert logistic == Encoding((0,), (), (1,), (replace(expected, n_learned=0),))


def test_an_integer_code_has_target_statistics_and_no_learned_vector() -> None:
    code = IntegerCode("c", level_names=tuple("123456789"), n_frequent_levels=5)
    encoding = schema_of(code, classes=("no", "yes")).encoding(Config())
    assert encoding == Encoding((0,), (), (1,), (CategoryEncoding(11, False, 2, 0),))


def test_encoded_columns_are_named_after_their_levels_and_classes() -> None:
    schema = schema_of(
        category(2, name="sex"), category(3, True, name="port"), category(9, n_frequent=4, name="city"),
        classes=("no", "yes"),
    )  # fmt: skip
    names = ["sex = 1", "port = 0", "port = 1", "port = 2", "port = missing", "city (share of yes)", "city (count)"]
    encoding = schema.encoding(Config())
    assert encoding is not None
    assert schema.column_names(encoding) == [*names, "city (learned)"]
    of_three = replace(schema, classes=("a", "b", "c"))
    encoding = of_three.encoding(Config(model="logistic"))
    assert encoding is not None
    shares = [f"city (share of {label})" for label in "abc"]
    assert of_three.column_names(encoding) == [*names[:5], *shares, "city (count)"]


# -- for a model's schema --------------------------------------------------------------------------------------------


def test_rows_without_any_target_leave_nothing_to_measure_on() -> None:
    data = frame_of(y=[""] * N_ROWS)
    with (
        pytest.warns(TabcohortWarning, match="30 rows with no value in 'y' are left out"),
        pytest.raises(TableError, match=r"^no row has a 'y': there is nothing to measure on$"),
    ):
        Table.for_schema(data, Table.from_frame(frame_of(), "y").schema)


def test_a_class_that_the_model_does_not_know_is_refused() -> None:
    words = "^the model knows no class 'may' of 'y'; its classes are 'no', 'yes'$"
    with pytest.raises(TableError, match=words):
        Table.for_schema(frame_of(y=["yes", "no", "may"] * 10), Table.from_frame(frame_of(), "y").schema)


@pytest.mark.parametrize("labels", [["0", "1"], ["0.0", "1.0"], ["0", "1.00"], [0, 1], [0.0, 1.0]])
def test_whole_numbers_with_a_point_are_the_same_classes(labels: list[Any]) -> None:
    schema = Table.from_frame(frame_of(y=["0", "1"] * (N_ROWS // 2)), "y").schema
    assert schema.classes == ("0", "1")
    data = frame_of(y=labels * (N_ROWS // 2))
    np.testing.assert_array_equal(Table.for_schema(data, schema).y, [0, 1] * (N_ROWS // 2))
    assert Table.from_frame(data, "y", positive=0).schema == replace(schema, positive=0)
    assert Table.from_frame(frame_of(y=["1.0", "a"] * (N_ROWS // 2)), "y").schema.classes == ("1.0", "a")


# -- warnings --------------------------------------------------------------------------------------------------------


def test_a_warning_is_of_the_line_that_makes_the_table() -> None:
    data, schema = frame_of(y=["yes", "no"] * 14 + [None, "no"]), Table.from_frame(frame_of(), "y").schema
    with pytest.warns(TabcohortWarning) as of_frame:
        Table.from_frame(data, "y")
    with pytest.warns(TabcohortWarning) as of_schema:
        Table.for_schema(data, schema)
    with pytest.warns(TabcohortWarning) as of_arrays:
        Table.from_arrays(np.ones((3, 1)), np.array([0, 0, 1]))
    for warned in (of_frame, of_schema, of_arrays):
        assert [warning.filename for warning in warned] == [__file__]


# -- fingerprints ----------------------------------------------------------------------------------------------------


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


def test_a_column_that_varies_too_little_beside_its_size_is_named() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 3))
    X[:, 1] = 1e9 + 1e-6 * (np.arange(40) % 3)
    X[:, 2] = 5.0  # constant, which is another matter
    table = Table.from_arrays(X, np.arange(40) % 2, features=["a", "far", "same"])
    words = r"^not used, as the values differ by less than 1e-12 of their size: 'far'; subtract what the values have"
    with pytest.warns(TabcohortWarning, match=words):
        table.stored_rows()
    near = Table.from_arrays(np.where(X > 1e8, X - 1e9, X), np.arange(40) % 2)
    near.stored_rows()


def test_a_number_has_no_more_bins_than_gaps_between_its_values() -> None:
    rng = np.random.default_rng(0)
    frame = {
        "size": rng.normal(size=40),
        "stars": np.where(rng.random(40) < 0.2, np.nan, rng.integers(4, size=40) / 2),
        "is_new": rng.integers(2, size=40) / 2,
        "city": rng.choice(["Oslo", "Rome"], 40),
        "y": np.arange(40) % 2,
    }
    table = Table.from_frame(frame, "y", types=dict.fromkeys(("stars", "is_new"), "number"))
    assert table.bins(Config(bins=16)) == (16, 3, 0)
    assert table.bins(Config()) == ()
