"""Columns that repeat another one, or the target, are left out."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from tabcohort import TabcohortWarning, Table
from tabcohort.data import parse
from tabcohort.data.columns import Category, Dropped, Number
from tabcohort.data.recognize import recognize_columns


def test_a_copy_is_left_out_for_the_first_of_its_kind() -> None:
    numbers = [i / 8 for i in range(60)]
    frame = pl.DataFrame(
        {
            "a": numbers,
            "b": ["x", "y"] * 30,
            "c": [*numbers[:-1], 0.1],
            "d": numbers,
            "e": ["x", "y"] * 30,
            "f": numbers,
        }
    )
    columns = recognize_columns(frame, frame.columns, {"f": "number"})
    assert [column.note for column in columns] == ["", "", "", "a copy of 'a'", "a copy of 'b'", ""]
    assert [type(column) for column in columns] == [Number, Category, Number, Dropped, Dropped, Number]


def test_columns_alike_at_first_are_compared_to_the_end() -> None:
    cells = [i / 8 for i in range(500)]
    frame = pl.DataFrame({"a": cells, "b": [*cells[:-1], 7.125]})
    assert recognize_columns(frame, ["a", "b"]) == [Number("a"), Number("b")]


def test_many_columns_alike_at_first_are_read_once_each(monkeypatch: pytest.MonkeyPatch) -> None:
    cells = np.zeros((300, 60))
    cells[np.arange(60) + 230, np.arange(60)] = 1.5
    cells[:, 59] = cells[:, 3]
    frame, n_cells = pl.DataFrame(cells), []
    as_text = parse.as_text
    monkeypatch.setattr(parse, "as_text", lambda text: (n_cells.append(len(text)), as_text(text))[1])
    columns = recognize_columns(frame, frame.columns)
    assert [column.name for column in columns if isinstance(column, Dropped)] == ["column_59"]
    assert sum(n_cells) == 60 * (200 + 300)


def test_a_column_that_is_the_target_in_other_words_is_left_out() -> None:
    data = pl.DataFrame(
        {
            "a": [i + 0.5 for i in range(30)],
            "coded": ["1", "0"] * 15,
            "nearly": ["1", "0"] * 14 + ["0", "1"],
            "y": ["yes", "no"] * 15,
        }
    )
    with pytest.warns(TabcohortWarning, match=r"^left out: 'coded' \(a copy of the target 'y'\)$"):
        table = Table.from_frame(data, "y")
    assert table.schema.features == ("a", "nearly")
    assert [column.name for column in table.schema.dropped] == ["coded"]
