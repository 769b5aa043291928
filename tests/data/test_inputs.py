"""From frames, arrays and records to inputs: the same bits from anywhere, and what a later table must have."""

from __future__ import annotations

import datetime
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from helpers import mixed_frame
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from test_columns import COLUMNS as COLUMNS_OF_ALL_TYPES
from test_columns import USED

from tabcohort import Table, TableError
from tabcohort.data.columns import Boolean, Category, Date, Number, Text
from tabcohort.data.inputs import (
    cells_of,
    check_cells,
    check_outliers,
    input_names,
    input_places,
    is_record,
    require_column,
    require_columns,
    require_target,
    row_inputs,
    table_inputs,
)
from tabcohort.data.recognize import recognize_columns


def numbers(*names: str) -> list[Number]:
    """Return columns of numbers."""
    return [Number(name) for name in names]


# -- the same bits from anywhere -------------------------------------------------------------------------------------

MOMENTS = st.datetimes(datetime.datetime(1950, 1, 1), datetime.datetime(2090, 12, 31))
CELLS: dict[str, st.SearchStrategy[Any]] = {
    "size": st.none() | st.floats(-1e15, 1e15),
    "count": st.integers(-(2**40), 2**40),
    "city": st.none() | st.sampled_from(["Oslo", "Rome", "caf\u00e9", "x y", "NA", "7"]),
    "flag": st.none() | st.booleans(),
    "when": st.none() | MOMENTS,
    "day": st.dates(datetime.date(1950, 1, 1), datetime.date(2090, 12, 31)),
    "note": st.none() | st.sampled_from(["a cat sat on a mat", "the dog sat", "no animal at all, here"]),
}


FRAME = mixed_frame()
COLUMNS = recognize_columns(FRAME, FRAME.columns)
INPUTS = table_inputs(FRAME, COLUMNS)


def test_the_frame_of_these_tests_has_all_types() -> None:
    kinds = [column.kind for column in COLUMNS]
    assert kinds == ["number", "number", "category", "boolean", "date", "date", "integer code", "text"]
    assert np.isnan(INPUTS).any()


def from_csv(frame: pl.DataFrame) -> pl.DataFrame:
    return pl.read_csv(io.BytesIO(frame.write_csv().encode()), infer_schema=False)


def in_tokyo(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(pl.col("when").dt.replace_time_zone("UTC").dt.convert_time_zone("Asia/Tokyo"))


FORMS: dict[str, Callable[[pl.DataFrame], Any]] = {
    "polars": lambda frame: frame,
    "reordered": lambda frame: frame.select(reversed(frame.columns)),
    "with an extra column": lambda frame: frame.with_columns(extra=pl.lit("x")),
    "pandas": lambda frame: frame.to_pandas(),
    "pandas with another index": lambda frame: frame.to_pandas().set_index(np.arange(len(frame))[::-1] + 5),
    "pandas' nullable types": lambda frame: frame.to_pandas().convert_dtypes(),
    "pandas' Arrow types": lambda frame: frame.to_pandas(use_pyarrow_extension_array=True),
    "pandas' objects": lambda frame: frame.to_pandas().astype(object),
    "pandas' strings": lambda frame: frame.to_pandas().astype("string"),
    "pandas' categories": lambda frame: frame.to_pandas().astype(dict.fromkeys(("city", "code", "flag"), "category")),
    "whole numbers that became floats": lambda frame: frame.to_pandas().astype(dict.fromkeys(("count", "code"), float)),
    "whole numbers as text": lambda frame: frame.to_pandas().astype(dict.fromkeys(("count", "code"), str)),
    "nanoseconds": lambda frame: frame.to_pandas().astype({"when": "datetime64[ns]"}),
    "names of one part": lambda frame: frame.to_pandas().set_axis(
        pd.MultiIndex.from_tuples([(name,) for name in frame.columns]), axis=1
    ),
    "arrow": lambda frame: frame.to_arrow(),
    "arrow in chunks": lambda frame: pa.concat_tables([frame.head(20).to_arrow(), frame.tail(-20).to_arrow()]),
    "polars' categories": lambda frame: frame.with_columns(pl.col("city").cast(pl.Categorical)),
    "another zone": in_tokyo,
    "a dictionary": lambda frame: frame.to_dict(as_series=False),
    "a dictionary of arrays": lambda frame: {name: frame[name].to_numpy() for name in frame.columns},
    "an array of objects": lambda frame: frame.to_pandas().astype(object).to_numpy(),
    "CSV": from_csv,
    "CSV by pandas": lambda frame: pd.read_csv(io.StringIO(frame.write_csv())),
    "32 bits": lambda frame: frame.with_columns(pl.col("count", "code").cast(pl.Int32)),
}


@pytest.mark.parametrize("form", FORMS)
def test_inputs_have_the_same_bits_from_any_form(form: str) -> None:
    assert table_inputs(FORMS[form](FRAME), COLUMNS).tobytes() == INPUTS.tobytes()


@pytest.mark.parametrize("form", FORMS)
def test_a_row_alone_is_that_row_of_all(form: str) -> None:
    for row in (0, 3, 4, 59):
        alone = FORMS[form](FRAME[row : row + 1]) if form != "arrow in chunks" else FRAME[row : row + 1].to_arrow()
        assert table_inputs(alone, COLUMNS).tobytes() == INPUTS[row].tobytes()


@pytest.mark.parametrize("form", FORMS)
def test_no_rows_are_no_inputs(form: str) -> None:
    assert table_inputs(FORMS[form](FRAME.head(0)), COLUMNS).shape == (0, INPUTS.shape[1])


def as_json(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record as it comes back from JSON, its dates as text."""
    return json.loads(json.dumps(record, default=lambda cell: cell.isoformat()))  # type: ignore[no-any-return]


@given(st.fixed_dictionaries({**CELLS, "code": st.integers(99, 311)}))
@hypothesis_settings(max_examples=20, deadline=None)
def test_a_record_has_the_bits_of_a_frame_of_one_row(record: dict[str, Any]) -> None:
    expected = table_inputs(pl.DataFrame({name: [cell] for name, cell in record.items()}), COLUMNS).tobytes()
    assert row_inputs(record, COLUMNS).tobytes() == expected
    assert row_inputs(as_json(record), COLUMNS).tobytes() == expected
    pandas_record = pd.DataFrame([record]).astype(object).to_dict("records")[0]
    assert row_inputs(pandas_record, COLUMNS).tobytes() == expected
    text = from_csv(pl.DataFrame([record], schema=FRAME.schema))
    assert table_inputs(text, COLUMNS).tobytes() == expected


def test_cells_of_many_rows_are_those_of_their_records() -> None:
    rows = [row_inputs(record, COLUMNS) for record in FRAME.to_dicts()]
    assert np.concatenate(rows).tobytes() == INPUTS.tobytes()


# -- what a later table must have ------------------------------------------------------------------------------------

FRAMES: dict[str, Callable[[dict[str, list[Any]]], Any]] = {
    "pandas": pd.DataFrame,
    "pandas with another index": lambda columns: pd.DataFrame(columns, index=[9, 4]),
    "polars": pl.DataFrame,
    "arrow": pa.table,
    "mapping": dict,
}


@pytest.mark.parametrize("kind", FRAMES)
def test_columns_are_taken_by_name_in_any_order(kind: str) -> None:
    data = FRAMES[kind]({"extra": ["x", "y"], "b": [1, 2], "a": ["3", "4"]})
    assert table_inputs(data, numbers("a", "b")).tolist() == [[3, 1], [4, 2]]


@pytest.mark.parametrize("kind", FRAMES)
def test_a_missing_column_offers_the_nearest_name(kind: str) -> None:
    data = FRAMES[kind]({"mean_radius": [1, 2], "b": [1, 2]})
    words = r"lacks 'mean radius' \(is it called 'mean_radius'\?\): 2 columns are needed; it has mean_"
    with pytest.raises(TableError, match=words):
        table_inputs(data, numbers("b", "mean radius"))


def test_a_column_that_is_needed_is_not_offered_for_another() -> None:
    with pytest.raises(TableError, match=r"^the table lacks 'size2': 2 columns are needed; it has size1, other$"):
        table_inputs({"size1": [1], "other": [1]}, numbers("size1", "size2"))


def test_each_missing_column_offers_a_name_that_is_much_like_it_and_no_other() -> None:
    words = r"^the table lacks 'age' \(is it called 'Age'\?\), 'answer', 'size' \(is it called 'size_cm'\?\): 3 columns"
    with pytest.raises(TableError, match=words):
        require_columns(["age", "answer", "size"], ["Age", "cancer", "size_cm"])


def test_a_missing_target_offers_a_column_that_is_not_used_and_much_like_it() -> None:
    require_target("outcome", ["age", "outcome"], ["age"])
    message = "the table lacks 'outcome'{}, which the model predicts, so nothing can be measured; it has {}"
    for names, hint in ((["outcome1"], ""), (["income"], ""), (["Outcome"], " (is it called 'Outcome'?)")):
        with pytest.raises(TableError) as raised:
            require_target("outcome", names, ["outcome1"])
        assert str(raised.value) == message.format(hint, names[0])


def test_all_missing_columns_are_named() -> None:
    require_columns(["a", "b"], ["b", "c", "a"])
    with pytest.raises(TableError, match=r"^the table lacks 'a', 'b': 3 columns are needed; it has c$"):
        require_columns(["a", "b", "c"], ["c"])


def test_whole_numbers_may_name_columns() -> None:
    assert table_inputs(pd.DataFrame([[1, 2]]), numbers("1", "0")).tolist() == [[2, 1]]


def test_names_of_several_parts_are_joined_as_in_training() -> None:
    frame = pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_tuples([("size", "mean"), ("size", 2)]))
    assert table_inputs(frame, numbers("size_2", "size_mean")).tolist() == [[2, 1]]


@pytest.mark.parametrize("names", [["a", "a"], [1, "1"]])
def test_two_columns_of_one_name_are_refused(names: list[Any]) -> None:
    with pytest.raises(
        TableError, match=rf"^two columns are called '{names[0]}'; give every column a name of its own$"
    ):
        table_inputs(pd.DataFrame([[1, 2]], columns=names), numbers("b"))


def test_columns_of_different_length_are_refused() -> None:
    with pytest.raises(TableError, match=r"^all columns must have the same number of rows; 'b' has 1, 'a' has 2$"):
        table_inputs({"a": [1, 2], "b": [1]}, numbers("a", "b"))


@pytest.mark.parametrize("shape", [(2, 3), (2,), (2, 2, 2)])
def test_an_array_of_another_width_is_refused(shape: tuple[int, ...]) -> None:
    words = f"the model needs 2 columns, as an array of shape (n, 2); it has {shape}"
    with pytest.raises(TableError, match=f"^{re.escape(words)}$"):
        table_inputs(np.ones(shape), numbers("a", "b"))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ([[1, 2], [3]], ": setting an array element with a sequence"),
        ([[1, 1j]], ", not of complex128"),
        ([[b"1", b"2"]], r", not of \|S1"),
    ],
)
def test_what_is_no_array_of_cells_is_refused(data: Any, words: str) -> None:
    with pytest.raises(TableError, match=f"^the rows must be a frame, or an array of numbers or text{words}"):
        table_inputs(data, numbers("a", "b"))


def test_text_in_an_array_of_numbers_is_named_by_its_row() -> None:
    words = r"^row 1, column 'a' holds 'red', which is not a number \(and 1 more such cell"
    with pytest.raises(TableError, match=words):
        table_inputs([["red", "1"], ["blue", "2"]], numbers("a", "b"))
    expected = [[1.5, 0], [2, 1]]
    columns = [Number("a"), Category("b", level_names=("x", "y"))]
    assert table_inputs([["1.5", "x"], ["2", "y"]], columns).tolist() == expected
    assert table_inputs(np.array([[1.5, "x"], [2, "y"]], dtype=object), columns).tolist() == expected


@pytest.mark.parametrize("name", ["rows.csv", Path("rows.csv")])
def test_the_name_of_a_file_is_refused_with_what_to_do(name: Any) -> None:
    with pytest.raises(TableError, match=r"^'rows\.csv' is a name and no table; read the file"):
        table_inputs(name, numbers("a", "b"))


def test_sparse_matrices_are_refused_with_what_to_do() -> None:
    from scipy.sparse import csr_array

    with pytest.raises(TableError, match=r"^a sparse matrix cannot be used; make it dense: X\.toarray\(\)$"):
        table_inputs(csr_array(np.eye(2)), numbers("a", "b"))


def test_missing_numbers_have_one_bit_pattern() -> None:
    """Equal rows are found by their bits."""
    for data in ({"a": np.array([-np.nan, np.nan])}, {"a": [None, float("nan")]}, pd.DataFrame({"a": [None, -np.nan]})):
        X = table_inputs(data, numbers("a"))
        assert X[0].tobytes() == X[1].tobytes()


def test_an_array_of_dates_is_read_as_dates() -> None:
    days = np.array([["2024-12-31"], ["2024-12-30"]], dtype="datetime64[ns]")
    assert table_inputs(days, [Date("a")]).tolist() == [[20088], [20087]]
    with pytest.raises(TableError, match=r"^the column 'a' must be numbers; it is Datetime"):
        table_inputs(days, numbers("a"))


@pytest.mark.parametrize("record", [[1, 2], None, "a", 3])
def test_a_record_is_a_mapping(record: Any) -> None:
    words = rf"^a record is a mapping of column names to values; it is {type(record).__name__}$"
    with pytest.raises(TableError, match=words):
        row_inputs(record, numbers("a", "b"))


def test_a_record_without_a_column_is_refused_and_an_extra_one_is_ignored() -> None:
    assert row_inputs({"b": 2, "c": "x", "a": 1}, numbers("a", "b")).tolist() == [[1, 2]]
    with pytest.raises(TableError, match=r"^the record lacks 'b' \(is it called 'b '\?\): 2 columns are needed"):
        row_inputs({"a": 1, "b ": 2}, numbers("a", "b"))


# -- cells that are too large ----------------------------------------------------------------------------------------


def test_more_cells_that_are_too_large_are_counted() -> None:
    X = np.ones((4, 2))
    X[1, 1] = X[2, 0] = X[3, 1] = np.inf
    X[0, 0] = np.nan
    words = (
        r"^row 2, column 'x1' is infinite \(inf\); such cells are in 'x0' \(1\), 'x1' \(2\): a number must be at most"
    )
    with pytest.raises(TableError, match=words):
        Table.from_arrays(X, np.array([0, 1, 0, 1]))


def test_a_cell_may_be_as_large_as_1e100_and_rows_may_have_numbers_of_their_own() -> None:
    check_cells(np.array([[1e100, -1e100], [np.nan, 0]]), numbers("a", "b"))
    check_cells(np.empty((0, 2)), numbers("a", "b"))
    with pytest.raises(TableError, match=r"^row 9, column 'b' holds 1\.1e\+100: a number must be"):
        check_cells(np.array([[0.0, 0.0], [0.0, 1.1e100]]), numbers("a", "b"), np.array([4, 9]))


def test_a_column_that_is_not_there_is_an_error_and_others_are_none() -> None:
    require_column(["diagnosis", "b"], "diagnosis")
    words = r"^there is no column 'diagnosys' \(did you mean 'diagnosis'\?\); the table has diagnosis, b$"
    with pytest.raises(TableError, match=words):
        require_column(["diagnosis", "b"], "diagnosys")


# -- any cells at all --------------------------------------------------------------------------------------------------

WORDS = [
    "", "NA", "?", "-", "yes", "no", "True", "t", "0", "1", "007", "1.0", "2.50", "-0.0", "+5", "1e5", "1e400", "-inf",
    "1,5", "1,234", "1.234,5", "95 %", "$3", "(4)", "0x1F", "12345678901234567890", "2024-01-02",
    "2024-01-02T03:04:05.6Z", "13/01/2024", "3/4/2024", "20240102", "2024-02-30", "0000-00-00", "red", " red",
    "cafe\u0301", "the cat sat here",
    "x" * 2000, "\x1b[31m", "\u200b", "\u0130", "\u2212" + "5", "1 234", "0,123", "%", "24:00", "\x1c7",
]  # fmt: skip
ANY_CELLS = st.one_of(
    st.lists(st.none() | st.sampled_from(WORDS), min_size=6, max_size=6),
    st.sampled_from(WORDS).map(lambda word: [word, *(f"{i / 8}" for i in range(5))]),
    st.lists(st.none() | st.floats(), min_size=6, max_size=6),
    st.lists(st.none() | st.integers(-(2**53), 2**53), min_size=6, max_size=6),  # pandas rounds larger ones
    st.lists(st.none() | st.datetimes(), min_size=6, max_size=6),
    st.lists(st.none() | st.booleans(), min_size=6, max_size=6),
)


@pytest.mark.filterwarnings("ignore::tabcohort.TabcohortWarning")
@given(st.lists(ANY_CELLS, min_size=1, max_size=3))
@hypothesis_settings(max_examples=60, deadline=None)
def test_any_cells_make_a_table_that_is_read_alike_in_any_form_or_are_refused(columns: list[list[Any]]) -> None:
    frame = pl.DataFrame({f"c{number}": pl.Series(cells * 2, strict=False) for number, cells in enumerate(columns)})
    try:
        table = Table.from_frame(frame.with_columns(y=pl.Series(["no", "yes"] * 6)), "y")
    except TableError:
        return
    features = table.schema.columns
    assert table_inputs(frame, features).tobytes() == np.ascontiguousarray(table.X).tobytes()
    forms = [
        frame.to_pandas(),
        frame.to_arrow(),
        frame.to_dict(as_series=False),
        frame.select(pl.all().cast(pl.String)),
    ]
    for form in forms:
        assert table_inputs(form, features).tobytes() == np.ascontiguousarray(table.X).tobytes()
    for row in range(len(frame)):
        assert row_inputs(frame.row(row, named=True), features).tobytes() == table.X[row].tobytes()


# -- where the inputs are ---------------------------------------------------------------------------------------------


def test_names_of_inputs_are_those_of_numbers_and_then_of_codes() -> None:
    columns = [
        Category("b", level_names=("x",)),
        COLUMNS_OF_ALL_TYPES[5],
        Text("c", words=("cat",)),
        Boolean("d"),
        Number("e"),
    ]
    parts = [f"a {part} {side}" for part in ("month", "weekday", "hour") for side in ("sine", "cosine")]
    assert input_names(columns) == ["a", *parts, "c (length)", "c has 'cat'", "e", "b", "d"]


def test_inputs_are_where_their_names_are() -> None:
    """The numbers of all columns come first, and then the codes."""
    names = input_names(USED)
    places = input_places(USED)
    assert [names[place.numbers] for place in places] == [column.number_names() for column in USED]
    assert [place.code for place in places if place.code is not None] == list(range(len(names) - 3, len(names)))
    assert [place.code is None for place in places] == [not column.n_codes for column in USED]


def test_a_mapping_of_single_values_is_a_record() -> None:
    assert is_record({"a": 1.0, "b": "text", "c": None, "d": np.float64(2)})
    assert not is_record({"a": [1.0], "b": "text"})
    assert not is_record({"a": np.zeros(2)})
    assert not is_record(np.zeros((1, 2)))
    assert not is_record(pl.DataFrame({"a": [1.0]}))


def test_cells_are_as_they_are_but_numbers_in_text_are_read() -> None:
    columns = [Number("a"), Category("b", level_names=("x",))]
    text = {"b": ["x", "12"], "a": ["1,5", None], "more": [0, 0]}
    with pytest.raises(TableError, match="holds '1,5', which is not a number"):
        cells_of(text, columns)
    assert repr(cells_of({**text, "a": [" 1.5 ", None]}, columns)) == "[[1.5, nan], ['x', '12']]"
    assert cells_of({**text, "a": [1, 2]}, columns) == [[1, 2], ["x", "12"]]
    assert cells_of(np.array([[1.0, 2.0], [3.0, 4.0]]), columns) == [[1.0, 3.0], [2.0, 4.0]]


def test_a_cell_that_is_far_from_those_of_its_column_is_named() -> None:
    X = np.array([[1.0, 1e40], [-2.0, 2e40], [1e39, np.nan], [3.0, 0.0]])
    words = r"^row 8, column 'a' holds 1e\+39: other cells of the column are about 2.5, so fix this cell"
    with pytest.raises(TableError, match=words):
        check_outliers(X, numbers("a", "b"), np.array([6, 7, 8, 9]))
    X[2, 0] = 1e29
    check_outliers(X, numbers("a", "b"), np.array([6, 7, 8, 9]))  # and large numbers among their like are fine


def test_a_table_with_a_cell_far_from_the_others_is_refused_before_it_is_trained_on() -> None:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 2)), rng.integers(2, size=60)
    X[4, 1] = -1e39
    with pytest.raises(TableError, match=r"^row 5, column 'x1' holds -1e\+39: other cells of the column are about"):
        Table.from_arrays(X, y)
