"""Which type a column is read as, what is left out and why, and what cannot be read."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import pytest

from tabcohort import TableError
from tabcohort.data import parse
from tabcohort.data.columns import (
    LEVELS_WITH_VECTORS,
    Boolean,
    Category,
    Column,
    Date,
    Dropped,
    IntegerCode,
    Number,
    Text,
)
from tabcohort.data.inputs import table_inputs
from tabcohort.data.recognize import (
    KINDS,
    MAX_LEVEL_LENGTH,
    MAX_LEVELS,
    MIN_ROWS_FOR_AN_ID,
    N_WORDS,
    Problem,
    columns_and_problems,
    recognize,
    recognize_columns,
)

N_ROWS = 60


def column_of(cells: Sequence[Any], kind: str | None = None, name: str = "a") -> Column:
    """Return what a column with these cells is read as."""
    return recognize(pl.Series(name, cells, strict=False), kind)


def cycled(*cells: Any, n_rows: int = N_ROWS) -> list[Any]:
    """Return the cells again and again."""
    return [cells[i % len(cells)] for i in range(n_rows)]


def fractions(n_rows: int = N_ROWS) -> list[str]:
    """Return numbers as text, each another one."""
    return [str(i / 8) for i in range(n_rows)]


# -- which type ------------------------------------------------------------------------------------------------------

DAYS = [datetime.date(2024, 1, 31) + datetime.timedelta(days=37 * i) for i in range(N_ROWS)]
HOURS = [datetime.datetime(2024, 1, 1, 6) + datetime.timedelta(hours=5 * i) for i in range(N_ROWS)]
SENTENCES = [f"patient {i} says that it hurts" for i in range(N_ROWS)]

TYPES: dict[str, tuple[Sequence[Any], Column]] = {
    "floats": ([i / 8 for i in range(N_ROWS)], Number("a")),
    "floats with gaps": ([None, float("nan"), *(i / 8 for i in range(N_ROWS))], Number("a", True)),
    "numbers as text": ([*fractions(), " 3.5 "], Number("a")),
    "numbers as text, some missing": ([*fractions(), "", "NA", "?"], Number("a", True)),
    "whole numbers that repeat": (cycled(*range(30, 50)), Number("a")),
    "exponents": (cycled("1e3", "2.5E-2", "+4"), Number("a")),
    "prices": (cycled("$1,234.50", "$2", "$17.25"), Number("a", notation=parse.GROUPED)),
    "shares": (cycled("95 %", "7.5 %", "1 %"), Number("a", notation=parse.GROUPED)),
    "thousands": (cycled("1,234", "12,345", "7.5"), Number("a", notation=parse.GROUPED)),
    "decimal commas": (cycled("1,5", "2000,25", "7"), Number("a", notation=parse.COMMA)),
    "grouped, decimal commas": (cycled("1,5", "2.000,25", "7"), Number("a", notation=parse.GROUPED_COMMA)),
    "words": (cycled("Rome", "Oslo", "Bern"), Category("a", False, "", ("Bern", "Oslo", "Rome"), 3)),
    "words, some missing": (
        [None, "", *cycled("Rome", "Oslo")], Category("a", True, "", ("Oslo", "Rome"), 2)
    ),
    "NA and None among words": (
        cycled("NA", "None", "other"), Category("a", False, "", ("NA", "None", "other"), 3)
    ),
    "levels that are not trimmed": (
        cycled("Rome", " Rome", "Oslo "), Category("a", False, "", ("Rome", "Oslo"), 2)
    ),
    "letters spelled with two code points": (
        cycled("\u00e9", "e\u0301", "o"), Category("a", False, "", ("\u00e9", "o"), 2)
    ),
    "truth": ([True, False, None], Boolean("a", True)),
    "truth without gaps": (cycled(True, False), Boolean("a")),
    "yes and no": (cycled("yes", "no", "Yes", "NO"), Boolean("a")),
    "true and false, some missing": (cycled("true", "false", "?", ""), Boolean("a", True)),
    "t and f": (cycled("t", "f"), Boolean("a")),
    "mixed words for truth": (cycled("yes", "no", "1", "0", "true"), Boolean("a")),
    "m and f": (cycled("m", "f"), Category("a", False, "", ("f", "m"), 2)),
    "zero and one": (cycled("0", "1"), Number("a")),
    "days": (DAYS, Date("a", parts=("month", "weekday"))),
    "days as text": ([str(day) for day in DAYS], Date("a", parts=("month", "weekday"))),
    "days, some missing": ([None, *DAYS], Date("a", True, parts=("month", "weekday"))),
    "days within a year": (DAYS[:10], Date("a", parts=("weekday",))),
    "hours": (HOURS, Date("a", parts=("weekday", "hour"))),
    "hours of few days": (HOURS[:10], Date("a", parts=("hour",))),
    "days first": (
        [day.strftime("%d.%m.%Y") for day in DAYS], Date("a", order=parse.DAY_FIRST, parts=("month", "weekday"))
    ),
    "months first": (
        [day.strftime("%m/%d/%Y") for day in DAYS], Date("a", order=parse.MONTH_FIRST, parts=("month", "weekday"))
    ),
    "compact days": (
        [day.strftime("%Y%m%d") for day in DAYS], Date("a", order=parse.COMPACT, parts=("month", "weekday"))
    ),
    "compact days as whole numbers": (
        [int(day.strftime("%Y%m%d")) for day in DAYS], Date("a", order=parse.COMPACT, parts=("month", "weekday"))
    ),
    "whole numbers that are no days": (cycled(20241301, 20241302, 20241399), Number("a")),
    "sentences": (SENTENCES, Text("a", words=())),
    "words in zeros and gaps only": (cycled("?", "Rome"), Category("a", False, "", ("?", "Rome"), 2)),
}  # fmt: skip


@pytest.mark.parametrize(("cells", "expected"), TYPES.values(), ids=TYPES)
def test_a_column_has_the_type_it_looks_like(cells: Sequence[Any], expected: Column) -> None:
    column = column_of(cells)
    assert column == expected
    column.numbers(pl.Series("a", cells, strict=False))  # which it can read


@pytest.mark.parametrize("dtype", [pl.Categorical, pl.Enum(["7", "3.0"])])
def test_what_a_frame_calls_a_category_is_one_whatever_its_levels_look_like(dtype: Any) -> None:
    cells = pl.Series("a", cycled("7", "3.0"), dtype=dtype)
    column = recognize(cells)
    assert column == Category("a", False, "", ("3", "7"), 2)
    np.testing.assert_array_equal(column.codes(cells), cycled(1.0, 0.0))
    np.testing.assert_array_equal(table_inputs({"a": cells}, [column])[:, 0], cycled(1.0, 0.0))
    assert isinstance(recognize(pl.Series("a", cycled("7"), dtype=dtype)), Dropped)


# -- integer codes ---------------------------------------------------------------------------------------------------

RNG = np.random.default_rng(0)
RAGGED = np.repeat([1, 2, 3, 4, 5, 6], [900, 20, 700, 15, 800, 30])


@pytest.mark.parametrize(
    "cells",
    [
        pytest.param(RNG.choice([110, 205, 340, 520], 400), id="gaps"),
        pytest.param(RNG.permutation(RAGGED), id="ragged counts"),
        pytest.param(RNG.permutation(RAGGED).astype(str), id="as text"),
        pytest.param(RNG.permutation(RAGGED).astype(float), id="as floats"),
    ],
)
def test_few_whole_numbers_with_gaps_or_ragged_counts_may_be_codes(cells: Any) -> None:
    column = column_of(cells)
    assert isinstance(column, IntegerCode)
    assert column.note == "few distinct whole numbers: read as a number and as a category"
    assert (len(column.level_names), column.n_frequent_levels, column.has_missing) == (len(set(cells)),) * 2 + (False,)


@pytest.mark.parametrize(
    "cells",
    [
        pytest.param(RNG.normal(50, 12, 3000).round(), id="ages"),
        pytest.param(RNG.poisson(2, 3000), id="counts"),
        pytest.param(RNG.geometric(0.3, 3000).clip(max=9), id="counts that fall"),
        pytest.param(RNG.integers(1, 6, 3000), id="grades"),
        pytest.param(RNG.choice([0, 1], 3000), id="two values"),
        pytest.param(np.sort(RNG.normal(170, 9, 3000).round()), id="sorted measurements"),
        pytest.param(10 * RNG.integers(0, 40, 60), id="few rows of each"),
        pytest.param(RNG.choice([1.5, 20, 300], 400), id="fractions"),
    ],
)
def test_counts_and_measurements_are_numbers(cells: Any) -> None:
    assert column_of(cells) == Number("a")


def test_levels_are_the_most_frequent_first_and_by_name_where_they_tie() -> None:
    column = column_of(["b"] * 9 + ["d"] * 9 + ["a"] * 4 + ["c"] * 12)
    assert (column.levels, column.n_frequent) == (("c", "b", "d", "a"), 3)
    code = column_of(RNG.permutation(np.repeat([30, 7, 200, 100], [50, 80, 50, 60])))
    assert code.levels == ("7", "100", "200", "30")


# -- what is left out ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cells", "note"),
    [
        ([None] * N_ROWS, "all cells are missing"),
        ([float("nan")] * N_ROWS, "all cells are missing"),
        (cycled("", "NA", "?"), "all cells are missing"),
        (cycled("x"), "all cells are 'x'"),
        (cycled("x "), "all cells are 'x'"),
        (cycled(7), "all cells are '7'"),
        (cycled("7.0", "7"), "all cells are '7'"),
        (cycled(True), "all cells are 'true'"),
        (cycled(DAYS[0]), "all cells are '2024-01-31'"),
        (cycled("y" * 50), f"all cells are '{'y' * 37}...'"),
        ([1e9 + i * 1e-6 for i in range(N_ROWS)], "its cells differ from 1e+09 by less than rounding does"),
    ],
)  # fmt: skip
def test_a_column_without_information_is_left_out(cells: list[Any], note: str) -> None:
    column = column_of(cells)
    assert isinstance(column, Dropped)
    assert column.note == note


def test_a_value_and_gaps_are_information() -> None:
    assert column_of(cycled("x", None)) == Category("a", True, "", ("x",), 1)
    assert column_of(cycled(2.5, None)) == Number("a", True)


WHOLE, WORD = "an identifier: a different whole number in every row (--number", "an identifier: different text in"
SHUFFLED = RNG.permutation(N_ROWS) * 17 + 1000


@pytest.mark.parametrize(
    ("name", "cells", "note"),
    [
        ("a", range(N_ROWS), f"{WHOLE} a)"),
        ("a", RNG.permutation(N_ROWS) + 5, f"{WHOLE} a)"),
        ("a", [str(i) for i in range(N_ROWS)], f"{WHOLE} a)"),
        ("a", np.sort(SHUFFLED), f"{WHOLE} a)"),
        ("a", np.sort(SHUFFLED)[::-1], f"{WHOLE} a)"),
        ("patient id", SHUFFLED, f"{WHOLE} 'patient id')"),
        ("PassengerId", SHUFFLED, f"{WHOLE} PassengerId)"),
        ("row_no", SHUFFLED, f"{WHOLE} row_no)"),
        ("a", [f"p{i}" for i in range(N_ROWS)], f"{WORD} every row (--text a)"),
        ("a", [*(f"p{i}" for i in range(N_ROWS)), "p0"], f"{WORD} 98% of the rows (--text a)"),
        ("a", [f"{i:03}" for i in range(N_ROWS)], f"{WORD} every row (--text a)"),
        ("a", [str(10**19 + i) for i in range(N_ROWS)], f"{WORD} every row (--text a)"),
        ("a", [2**60 + i for i in range(N_ROWS)], f"{WORD} every row (--text a)"),
    ],
)
def test_an_identifier_is_left_out(name: str, cells: Any, note: str) -> None:
    assert column_of(list(cells), name=name) == Dropped(name, note=note)


@pytest.mark.parametrize(
    ("name", "cells"),
    [
        ("income", SHUFFLED),
        ("paid", SHUFFLED),
        ("id", [*SHUFFLED, SHUFFLED[0]]),
        ("id", SHUFFLED / 4),
        ("id", range(MIN_ROWS_FOR_AN_ID - 1)),
    ],
    ids=["another name", "a name that ends in letters of an id", "repeats", "fractions", "few rows"],
)
def test_numbers_that_are_no_identifier_stay(name: str, cells: Any) -> None:
    assert column_of(list(cells), name=name) == Number(name)


def test_few_rows_may_have_different_text() -> None:
    words = [f"p{i}" for i in range(MIN_ROWS_FOR_AN_ID)]
    assert isinstance(column_of(words), Dropped)
    assert isinstance(column_of(words[1:]), Category)
    assert isinstance(column_of([*words, *words]), Category)


def test_a_range_may_be_infinite() -> None:
    assert isinstance(column_of([-1.7e308, 1.7e308, 0.5] * 20), Number)


def test_columns_come_in_the_order_that_is_asked_for() -> None:
    frame = pl.DataFrame({"a": fractions(), "b": cycled("x", "y"), "c": cycled("z")})
    assert [column.name for column in recognize_columns(frame, ["b", "a"])] == ["b", "a"]
    assert recognize_columns(frame, []) == []


# -- what is worth knowing -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cells", "kind", "note"),
    [
        (cycled("007", "012"), "category", "whole numbers with leading zeros are codes: read as a category"),
        (
            cycled("12345678901234567890", "12345678901234567891"), "category",
            "whole numbers of 16 digits and more are codes: read as a category",
        ),
        (cycled("0x1F", "0x2A"), "category", "may be numbers, written in a way that is not read: a category"),
        (cycled("1_000", "2_500"), "category", "may be numbers, written in a way that is not read: a category"),
        (cycled("(1,200)", "(30)"), "category", "may be numbers, written in a way that is not read: a category"),
        (cycled("１２", "３４"), "category", "may be numbers, written in a way that is not read: a category"),
        (cycled("1/2/2024", "3/4/2024"), "date", "days and months cannot be told apart; read as month/day/year"),
        (cycled("1.2.2024", "3.4.2024"), "date", "days and months cannot be told apart; read as day.month.year"),
    ],
)  # fmt: skip
def test_a_reading_that_may_be_wrong_is_said(cells: list[Any], kind: str, note: str) -> None:
    column = column_of(cells)
    assert column.kind == kind
    assert column.note.endswith(note)


def test_levels_beyond_the_most_frequent_are_counted() -> None:
    words = [f"w{i}" for i in range(MAX_LEVELS + 1)]
    column = column_of([*words, *words[1:]])
    assert isinstance(column, Category)
    assert column.note == "the 50,000 most frequent of 50,001 levels"
    assert len(column.levels) == MAX_LEVELS
    assert "w0" not in column.levels
    frequent = column_of([word for word in words[: LEVELS_WITH_VECTORS + 1] for _ in range(5)])
    assert frequent.n_frequent == LEVELS_WITH_VECTORS


def test_a_very_long_cell_is_no_level() -> None:
    column = column_of([*cycled("Rome", "Oslo"), "x" * (MAX_LEVEL_LENGTH + 1)])
    assert column == Category("a", False, "cells of more than 1,000 characters are no levels", ("Oslo", "Rome"), 2)
    assert column_of([*cycled("Rome"), "x" * MAX_LEVEL_LENGTH]).note == ""


def test_a_text_has_its_frequent_words() -> None:
    rare = [f"{'x' * (i + 1)} Pain again" if i % 2 else f"{'y' * (i + 1)} all is well again" for i in range(N_ROWS)]
    assert column_of(rare) == Text("a", words=("all", "is", "pain", "well"))  # nearly all have "again"
    many = [" ".join(f"{chr(97 + j)}{chr(97 + (i + j) % 2)}{'z' * i}" for j in range(3)) for i in range(N_ROWS)]
    column = column_of(
        [f"{text} {' '.join(chr(97 + k) for k in range(26) if (k + i) % 2)}" for i, text in enumerate(many)]
    )
    assert isinstance(column, Text)
    assert column.words == tuple(chr(97 + k) for k in range(26))[:N_WORDS]


# -- words in columns of numbers -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "n_numbers", "note"),
    [
        (["unknown", "unknown"], 98, "'unknown' (2 cells) read as missing"),
        (["<5", "low", "low", "n.d."], 200, "'<5', 'low', 'n.d.' (4 cells) read as missing"),
        (["unknown"] * 20, 30, "'unknown' (20 cells) read as missing"),
    ],
)
def test_few_words_in_a_column_of_numbers_stand_for_missing_cells(words: list[str], n_numbers: int, note: str) -> None:
    column = column_of([*fractions(n_numbers), *words])
    assert column == Number("a", True, note, missing_words=tuple(sorted(set(words))))
    np.testing.assert_array_equal(column.numbers(pl.Series("a", ["1.5", words[0]])), [[1.5], [np.nan]])


def test_many_words_beside_numbers_are_levels() -> None:
    assert isinstance(column_of(cycled("1", "2", "low", "high")), Category)
    assert isinstance(column_of([*cycled(*map(str, range(20))), *cycled("a", "b", "c", "d")]), Category)
    assert isinstance(column_of([*fractions(30), *["unknown"] * 31]), Category)


# -- what cannot be read ---------------------------------------------------------------------------------------------

AS_CATEGORY = "add --category a (in Python, types={'a': 'category'})"


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (
            [*fractions(), "1O5"],
            "row 61, column 'a' holds '1O5', and 98.36% of its cells are numbers; fix it, or " + AS_CATEGORY,
        ),
        (
            [*fractions(200), "w", "x", "y", "z"],
            "row 201, column 'a' holds 'w', and 98.04% of its cells are numbers; fix it, or " + AS_CATEGORY,
        ),
        (
            [*map(str, DAYS), "soon"],
            "row 61, column 'a' holds 'soon', and most others are dates; fix it, or " + AS_CATEGORY,
        ),
        (
            [*map(str, DAYS), "2024-02-30"],
            "row 61, column 'a' holds '2024-02-30', and most others are dates; fix it, or " + AS_CATEGORY,
        ),
        (
            cycled("13/1/2024", "1/13/2024"),
            "the dates of 'a' have the day first in some rows and the month first in others; fix it, or " + AS_CATEGORY,
        ),
        (
            [[1, 2], [3]],
            "the column 'a' holds List(Int64), no single values; fix it, or add --drop a (in Python, "
            "types={'a': 'drop'})",
        ),
    ],
    ids=["a number", "four words", "a date", "a day that is none", "mixed dates", "lists"],
)
def test_a_mistake_is_named_with_what_to_do(cells: list[Any], words: str) -> None:
    with pytest.raises(TableError) as raised:
        column_of(cells)
    assert str(raised.value) == words


def test_one_error_lists_all_columns_with_one_command() -> None:
    frame = pl.DataFrame(
        {
            "the age": [*fractions(), "1O5"],
            "good": fractions(N_ROWS + 1),
            "born": [*map(str, DAYS), "soon"],
            "bytes": [b"x"] * (N_ROWS + 1),
        }
    )
    words = (
        "3 columns cannot be read: row 61, column 'the age' holds '1O5', and 98.36% of its cells are numbers; row 61, "
        "column 'born' holds 'soon', and most others are dates; the column 'bytes' holds Binary, no single values; fix "
        "them, or add --category 'the age' --category born --drop bytes (in Python, types={'the age': 'category', "
        "'born': 'category', 'bytes': 'drop'})"
    )
    with pytest.raises(TableError) as raised:
        recognize_columns(frame, frame.columns)
    assert str(raised.value) == words
    columns, problems = columns_and_problems(frame, frame.columns)
    assert columns == [Number("good")]
    assert [problem.remedy for problem in problems] == ["--category 'the age'", "--category born", "--drop bytes"]
    types = {problem.name: problem.kind for problem in problems}
    assert [column.kind for column in recognize_columns(frame, frame.columns, types)] == [
        "category", "number", "category", "dropped"
    ]  # fmt: skip
    assert problems[1] == Problem("born", "row 61, column 'born' holds 'soon', and most others are dates", "category")


# -- types that are given --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cells", "kind", "expected"),
    [
        (range(N_ROWS), "number", Number("a")),
        (cycled("1", "low", "3,5"), "number", Number("a", True, notation=parse.COMMA, missing_words=("low",))),
        (cycled(3, 7), "category", Category("a", False, "", ("3", "7"), 2)),
        ([*fractions(), "1O5"], "category", None),
        ([f"p{i}" for i in range(N_ROWS)], "text", Text("a")),
        (cycled("yes", "no", "?"), "boolean", Boolean("a", True)),
        (cycled(0, 1), "boolean", Boolean("a")),
        (cycled("3/4/2024", "5/6/2024"), "date", None),
        (DAYS, "date", Date("a", parts=("month", "weekday"))),
        (cycled(5, 6, 7), "integer code", None),
        ([None] * N_ROWS, "number", Number("a", True)),
        ([[1], [2]], "drop", Dropped("a", note="as requested")),
        (cycled("x", "y"), "drop", Dropped("a", note="as requested")),
    ],
)
def test_a_type_that_is_given_is_taken(cells: Any, kind: str, expected: Column | None) -> None:
    column = column_of(list(cells), kind)
    assert column.kind == ("dropped" if kind == "drop" else kind)
    assert expected is None or column == expected


def test_there_is_a_type_for_every_kind_of_column() -> None:
    assert set(KINDS) == {"number", "category", "boolean", "date", "text", "integer code", "drop"}


def test_given_codes_and_dates_must_be_such() -> None:
    with pytest.raises(TableError, match=r"^the column 'a' is to be integer codes, and holds fractions$"):
        column_of([1, 2.5, None], "integer code")
    words = "^the column 'a' is to be dates, and its cells are none that can be read$"
    for cells in (["soon", "later"], ["13/1/2024", "1/13/2024"]):
        with pytest.raises(TableError, match=words):
            column_of(cells, "date")
    code = column_of(["7", "3", "7", None], "integer code")
    assert code.has_missing
    assert code.levels == ("7", "3")
