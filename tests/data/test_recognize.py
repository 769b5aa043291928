"""Which type a column has, what is left out and why, and what cannot be read."""

from __future__ import annotations

import datetime
import re
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from tabcohort import TableError
from tabcohort.data.columns import Boolean, Category, Column, Date, Dropped, IntegerCode, Number, Text
from tabcohort.data.parse import COMMA, COMPACT, DAY_FIRST, GROUPED, MONTH_FIRST
from tabcohort.data.recognize import KINDS, MAX_LEVELS, columns_and_problems, recognize, recognize_columns

RNG = np.random.default_rng(0)
FRACTIONS = [f"{number:.3f}" for number in RNG.normal(size=200)]
CODES = RNG.choice([101, 205, 309], 200).tolist()
DAYS = [datetime.date(2020, 1, 1) + datetime.timedelta(days=9 * i) for i in range(200)]
SENTENCES = [" ".join(RNG.choice(["the", "cat", "sat", "on", "my", "mat", "dog", "ran"], 6)) for _ in range(200)]


def series_of(cells: Any, dtype: Any = None) -> pl.Series:
    """Return cells as a column called "a"."""
    return pl.Series("a", cells, dtype=dtype, strict=False)


RECOGNIZED: dict[str, tuple[Any, Column]] = {
    "fractions": (FRACTIONS, Number("a")),
    "fractions, missing": (["", "NA", *FRACTIONS], Number("a", True)),
    "fractions as floats": ([*map(float, FRACTIONS), float("nan")], Number("a", True)),
    "counts": (RNG.poisson(3, 200).tolist(), Number("a")),
    "two whole numbers": ([0, 1] * 100, Number("a")),
    "few rows": ([31, 45, 52, 28], Number("a")),
    "years": ([1999, 2000, 2001, 2002] * 50, Number("a")),
    "decimal commas": (["1,5", "2,25", "3"] * 70, Number("a", notation=COMMA)),
    "percentages": (["95 %", "12.5%", "3%"] * 70, Number("a", notation=GROUPED)),
    "a word among numbers": (
        [*FRACTIONS, "unknown", "unknown"],
        Number("a", True, "'unknown' (2 cells) read as missing", missing_words=("unknown",)),
    ),
    "durations": ([datetime.timedelta(minutes=number) for number in range(20)] * 2, Number("a")),
    "booleans": ([True, False] * 100, Boolean("a")),
    "booleans, missing": ([True, False, None] * 70, Boolean("a", True)),
    "yes and no": ([" yes", "No", "NO ", "Yes"] * 50, Boolean("a")),
    "mixed words of truth": (["yes", "false", "True", "no", "?"] * 40, Boolean("a", True)),
    "t and f": (["t", "f"] * 100, Boolean("a")),
    "words": (["red", "blue", "red"] * 70, Category("a", level_names=("red", "blue"), n_frequent_levels=2)),
    "words, missing": (["x", "y", "x", ""] * 50, Category("a", True, level_names=("x", "y"), n_frequent_levels=2)),
    "NA beside words": (["NA", "x", "y", "y"] * 50, Category("a", level_names=("y", "NA", "x"), n_frequent_levels=3)),
    "one word, missing": (["x", ""] * 100, Category("a", True, level_names=("x",), n_frequent_levels=1)),
    "rare words": (["x"] * 9 + ["y"] * 4, Category("a", level_names=("x", "y"), n_frequent_levels=1)),
    "times of day": (
        [datetime.time(hour) for hour in (8, 9, 9)] * 10,
        Category("a", level_names=("09:00:00", "08:00:00"), n_frequent_levels=2),
    ),
    "days": (DAYS, Date("a", parts=("month", "weekday"))),
    "days of a year": (DAYS[:30], Date("a", parts=("weekday",))),
    "moments": ([datetime.datetime(2024, 1, 1 + i % 2, i % 24) for i in range(60)], Date("a", parts=("hour",))),
    "days as text": ([day.isoformat() for day in DAYS], Date("a", parts=("month", "weekday"))),
    "day first": ([f"{day:%d/%m/%Y}" for day in DAYS], Date("a", order=DAY_FIRST, parts=("month", "weekday"))),
    "month first": ([f"{day:%m/%d/%Y}" for day in DAYS], Date("a", order=MONTH_FIRST, parts=("month", "weekday"))),
    "compact days": (
        [int(f"{day:%Y%m%d}") for day in DAYS], Date("a", order=COMPACT, parts=("month", "weekday")),
    ),
    "ambiguous": (
        ["3/4/2024", "5/6/2024"] * 9,
        Date("a", note="days and months cannot be told apart; read as month/day/year", order=MONTH_FIRST),
    ),
    "ambiguous with points": (
        ["3.4.2024", "5.6.2024"] * 9,
        Date("a", note="days and months cannot be told apart; read as day.month.year", order=DAY_FIRST),
    ),
    "free text": (SENTENCES, Text("a", words=("mat", "ran", "the", "my", "sat", "cat", "dog", "on"))),
    "nothing": ([None] * 9, Dropped("a", True, "all cells are missing")),
    "no rows": ([], Dropped("a", True, "all cells are missing")),
    "words for nothing": (["NA", "?", ""], Dropped("a", True, "all cells are missing")),
    "NaN": ([float("nan")] * 3, Dropped("a", True, "all cells are missing")),
    "one number": ([5.0] * 9, Dropped("a", note="all cells are '5'")),
    "one word": (["x", " x "] * 9, Dropped("a", note="all cells are 'x'")),
    "one day": ([DAYS[0]] * 9, Dropped("a", note="all cells are '2020-01-01'")),
    "one truth": ([True] * 9, Dropped("a", note="all cells are 'true'")),
    "one number up to rounding": (
        [1e9, 1e9 + 1e-6] * 9, Dropped("a", note="its cells differ from 1e+09 by less than rounding does"),
    ),
    "row numbers": (
        list(range(1, 31)), Dropped("a", note="an identifier: a different whole number in every row (--number a)"),
    ),
    "words of every row": (
        [f"p{i}" for i in range(30)], Dropped("a", note="an identifier: different text in every row (--text a)"),
    ),
    "words of nearly every row": (
        [f"p{i}" for i in range(97)] + ["p0", "p1", "p2"],
        Dropped("a", note="an identifier: different text in 97% of the rows (--text a)"),
    ),
    "codes": (
        [101, 205, 309] * 60,
        IntegerCode(
            "a", note="few distinct whole numbers: read as a number and as a category",
            level_names=("101", "205", "309"), n_frequent_levels=3,
        ),
    ),
    "codes as text": (
        ["101.0", "205", "309", ""] * 60,
        IntegerCode(
            "a", True, "few distinct whole numbers: read as a number and as a category",
            level_names=("101", "205", "309"), n_frequent_levels=3,
        ),
    ),
    "leading zeros": (
        ["007", "12", "007"] * 20,
        Category(
            "a", note="whole numbers with leading zeros are codes: read as a category", level_names=("007", "12"),
            n_frequent_levels=2,
        ),
    ),
    "long whole numbers": (
        ["12345678901234567891", "12345678901234567892", "7", "7"] * 20,
        Category(
            "a", note="whole numbers of 16 digits and more are codes: read as a category",
            level_names=("7", "12345678901234567891", "12345678901234567892"), n_frequent_levels=3,
        ),
    ),
    "long integers": (
        [2**53 + 1, 2**53 + 2, -7] * 20,
        Category(
            "a", note="whole numbers of 16 digits and more are codes: read as a category",
            level_names=("-7", "9007199254740993", "9007199254740994"), n_frequent_levels=3,
        ),
    ),
    "hexadecimal": (
        ["0x1F", "0xFF"] * 20,
        Category(
            "a", note="'0x1F' and the like may be numbers, but are written in a way that is not read: a category",
            level_names=("0x1F", "0xFF"), n_frequent_levels=2,
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", RECOGNIZED)
def test_a_column_has_the_type_that_its_cells_look_like(kind: str) -> None:
    cells, expected = RECOGNIZED[kind]
    found = recognize(series_of(cells))
    if isinstance(expected, Text):
        assert isinstance(found, Text)
        assert set(found.words) == set(expected.words)
        found = replace(found, words=expected.words)
    assert found == expected
    if not isinstance(found, Dropped):
        assert found.numbers(series_of(cells)).shape == (len(cells), found.n_numbers)


@pytest.mark.parametrize("cells", [["1_000", "2_000"], ["(3)", "(4.5)"], ["１２", "３４"]])
def test_numbers_in_unusual_writing_are_categories_that_say_so(cells: list[str]) -> None:
    column = recognize(series_of(cells * 20))
    assert isinstance(column, Category)
    assert (
        column.note
        == f"{cells[0]!r} and the like may be numbers, but are written in a way that is not read: a category"
    )


@pytest.mark.parametrize(
    "cells", [["10-19", "20-29"], ["5 kg", "6 kg"], ["1st", "2nd"], ["1.2.3", "1.2.4"], ["A1", "B2"], ["1/2", "3/4"]]
)
def test_other_words_with_digits_are_categories_without_a_word(cells: list[str]) -> None:
    column = recognize(series_of(cells * 20))
    assert (column.kind, column.note) == ("category", "")


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        (np.repeat([1, 2, 3, 4, 5, 6], 50), "number"),  # smooth, as counts are
        (np.repeat([1, 2, 3, 4, 5, 6, 7], [90, 3, 80, 2, 70, 4, 60]), "integer code"),  # ragged
        (np.repeat([10, 20, 30], 50), "integer code"),  # gaps
        (np.arange(300) // 2 * 2, "number"),  # too many
        (np.repeat([10, 20, 30], 4), "number"),  # too few rows of each
        (np.repeat([0.5, 10, 30], 50), "number"),
    ],
)
def test_few_distinct_whole_numbers_are_codes_if_they_have_gaps_or_are_ragged(numbers: Any, expected: str) -> None:
    assert recognize(series_of(numbers)).kind == expected


@pytest.mark.parametrize(
    ("name", "expected"), [("patient_id", "dropped"), ("PassengerId", "dropped"), ("size", "number")]
)
def test_whole_numbers_in_no_order_are_an_identifier_by_their_name(name: str, expected: str) -> None:
    numbers = RNG.permutation(60) * 7
    assert recognize(pl.Series(name, numbers)).kind == expected
    assert recognize(pl.Series(name, numbers[:19])).kind == "number"
    assert recognize(pl.Series(name, np.append(numbers, numbers[0]))).kind == "number"


def test_levels_are_the_most_frequent_of_very_many_and_never_very_long() -> None:
    many = pl.Series("a", [f"w{i // 2}" for i in range(2 * MAX_LEVELS + 4)])
    column = recognize(many)
    assert column.note == f"the {MAX_LEVELS:,} most frequent of {MAX_LEVELS + 2:,} levels"
    assert len(column.levels) == MAX_LEVELS
    column = recognize(series_of(["x" * 5_000_000, *["y", "z"] * 40]))
    assert column.note == "cells of more than 1,000 characters are no levels"
    assert column.levels == ("y", "z")
    assert column.codes(series_of(["x" * 5_000_000])).tolist() == [column.n_codes - 1]


# -- what cannot be read ---------------------------------------------------------------------------------------------

UNREADABLE: dict[str, tuple[list[Any], str, str]] = {
    "one word after thousands of numbers": (
        [str(i / 2) for i in range(5200)] + ["oops"],
        "row 5201, column 'a' holds 'oops', and 99.98% of its cells are numbers", "category",
    ),
    "several words among numbers": (
        [*FRACTIONS, "p", "q", "r", "s"], "row 201, column 'a' holds 'p', and 98.04% of its cells are numbers",
        "category",
    ),
    "days and months mixed": (
        ["13/1/2024", "1/13/2024"] * 9,
        "the dates of 'a' have the day first in some rows and the month first in others", "category",
    ),
    "a word among dates": (
        [day.isoformat() for day in DAYS] + ["soon"], "row 201, column 'a' holds 'soon', and most others are dates",
        "category",
    ),
    "no such day": (
        [day.isoformat() for day in DAYS] + ["2024-02-30"],
        "row 201, column 'a' holds '2024-02-30', and most others are dates", "category",
    ),
    "lists": ([[1], [2]], "the column 'a' holds List(Int64), no single values", "drop"),
    "records": ([{"b": 1}], "the column 'a' holds Struct({'b': Int64}), no single values", "drop"),
    "bytes": ([b"x"], "the column 'a' holds Binary, no single values", "drop"),
}  # fmt: skip


@pytest.mark.parametrize("kind", UNREADABLE)
def test_a_column_that_cannot_be_read_is_named_with_what_handles_it(kind: str) -> None:
    cells, message, remedy = UNREADABLE[kind]
    with pytest.raises(TableError, match=f"^{re.escape(message)}; fix it, or add --{remedy} a"):
        recognize(series_of(cells))
    assert recognize(series_of(cells), "drop") == Dropped("a", note="as was asked for")
    if remedy == "category":
        assert recognize(series_of(cells), "category").kind == "category"


def test_all_columns_that_cannot_be_read_are_named_at_once_with_the_options_that_handle_them() -> None:
    frame = pl.DataFrame({"a b": [[1]] * 9, "c": ["13/1/2024", "1/13/2024", ""] * 3, "d": FRACTIONS[:9]})
    words = (
        "^2 columns cannot be read: the column 'a b' holds .*, no single values; the dates of 'c' .*; fix them, or add "
        "--drop 'a b' --category c"
    )
    with pytest.raises(TableError, match=words):
        recognize_columns(frame, frame.columns)
    columns, problems = columns_and_problems(frame, frame.columns)
    assert columns == [Number("d")]
    assert [problem.name for problem in problems] == ["a b", "c"]
    kinds = {"a b": "drop", "c": "category"}
    assert [column.kind for column in recognize_columns(frame, frame.columns, kinds)] == [
        "dropped",
        "category",
        "number",
    ]


# -- types that are given --------------------------------------------------------------------------------------------

GIVEN: dict[str, tuple[list[Any], str, Column]] = {
    "a number that counts rows": (list(range(30)), "number", Number("a")),
    "a number with NaN": ([1.5, float("nan")], "number", Number("a", True)),
    "a number with words": (["1.5", "red", "blue", "2"], "number", Number("a", True, missing_words=("blue", "red"))),
    "a number with leading zeros": (["007", "12"], "number", Number("a")),
    "a category of numbers": ([3, 1, 3], "category", Category("a", level_names=("3", "1"))),
    "a category of floats": ([3.0, 1.5, 3.0], "category", Category("a", level_names=("3", "1.5"))),
    "a category with a word for missing": (["?", "x", "?"], "category", Category("a", level_names=("?", "x"))),
    "a category of every row": (["p", "q", "r"], "category", Category("a", level_names=("p", "q", "r"))),
    "a boolean of numbers": ([0, 1, None], "boolean", Boolean("a", True)),
    "a boolean of one kind": (["yes", "yes"], "boolean", Boolean("a")),
    "a date that is ambiguous": (["3/4/2024", "5/6/2024"], "date", Date("a", order=MONTH_FIRST)),
    "a date with points": (["3.4.2024", "5.6.2024", "?"], "date", Date("a", True, order=DAY_FIRST)),
    "a date of numbers": ([20240102, 20240103], "date", Date("a", order=COMPACT)),
    "text of few words": (["red cat", "red dog"] * 10, "text", Text("a", words=("cat", "dog"))),
    "an integer code of text": (
        ["1", "2", "1", "?"], "integer code",
        IntegerCode(
            "a", True, "few distinct whole numbers: read as a number and as a category", level_names=("1", "2"),
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", GIVEN)
def test_a_type_that_is_given_is_the_type(kind: str) -> None:
    cells, given, expected = GIVEN[kind]
    found = recognize(series_of(cells), given)
    assert found == expected
    assert found.numbers(series_of(cells)).shape == (len(cells), found.n_numbers)
    assert given in KINDS


@pytest.mark.parametrize(
    ("cells", "kind", "words"),
    [
        (["red", "blue"], "number", "the column 'a' is to be numbers, and holds none, but 'red'"),
        (["yes", "maybe"], "boolean", "row 2, column 'a' holds 'maybe'; the column is to be boolean: yes or no, true"),
        ([0, 2], "boolean", "row 2, column 'a' holds '2'; the column is to be boolean"),
        (["red", "blue"], "date", "the column 'a' is to be dates, and its cells are none that can be read"),
        (["13/1/2024", "1/13/2024"], "date", "the column 'a' is to be dates, and its cells are none that can be read"),
        ([1.5, 2.0], "integer code", "the column 'a' is to be integer codes, and holds fractions"),
    ],
)
def test_a_type_that_cells_cannot_have_is_refused(cells: list[Any], kind: str, words: str) -> None:
    with pytest.raises(TableError, match=f"^{re.escape(words)}"):
        recognize(series_of(cells), kind)


# -- copies ----------------------------------------------------------------------------------------------------------


def test_a_column_that_repeats_an_earlier_one_is_left_out() -> None:
    numbers = pl.Series([float(number) for number in FRACTIONS])
    nearly = pl.Series([*FRACTIONS[:-1], "9.5"])
    frame = pl.DataFrame(
        {"a": numbers, "as text": [repr(x) for x in numbers], "b": nearly, "c": CODES, "d": CODES, "e": CODES}
    )
    columns = recognize_columns(frame, frame.columns, {"e": "category"})
    notes = {column.name: column.note for column in columns if isinstance(column, Dropped)}
    assert notes == {"as text": "a copy of 'a'", "d": "a copy of 'c'"}
    assert [column.kind for column in columns] == ["number", "dropped", "number", "integer code", "dropped", "category"]


def test_columns_with_the_same_missing_cells_are_no_copies() -> None:
    frame = pl.DataFrame({"a": [None, 1.5, 2.5], "b": [None, 1.5, 3.5], "c": [None, 1.5, 2.5]})
    assert [column.kind for column in recognize_columns(frame, frame.columns)] == ["number", "number", "dropped"]
