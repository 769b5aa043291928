"""What a model does with later tables: the same answer in any form, and the right word for what differs."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from helpers import SINGLE, fit_quickly, mixed_frame

from tabcohort import Predictor, TabcohortWarning, Table, TableError, load, save

FRAME = mixed_frame(80)
LABELS = np.where(FRAME["count"].to_numpy() > 50, "yes", "no")
KINDS = {"code": "integer code"}


@pytest.fixture(scope="module")
def mixed() -> Predictor:
    """A model of a table with a column of each type."""
    table = Table.from_frame(FRAME.with_columns(answer=pl.Series(LABELS)), "answer", types=KINDS)
    assert len({column.kind for column in table.schema.columns}) == 6
    return fit_quickly(table, SINGLE, max_epochs=5)


@pytest.fixture(scope="module")
def expected(mixed: Predictor) -> bytes:
    """The model's probabilities for its own rows."""
    proba = mixed.predict_proba(FRAME)
    assert len(np.unique(proba[:, 1])) > 70
    return proba.tobytes()


FORMS: dict[str, Callable[[pl.DataFrame], Any]] = {
    "reordered": lambda frame: frame.select(reversed(frame.columns)),
    "pandas": lambda frame: frame.to_pandas(),
    "arrow": lambda frame: frame.to_arrow(),
    "a dictionary": lambda frame: frame.to_dict(as_series=False),
    "text": lambda frame: frame.select(pl.all().cast(pl.String)),
    "a category": lambda frame: frame.to_pandas().astype({"city": "category"}),
    "other levels of a category": lambda frame: frame.to_pandas().assign(
        city=frame.to_pandas().city.astype(pd.CategoricalDtype(["Lima", "Rome", "Oslo", "caf\u00e9"], ordered=True))
    ),
    "a category of numbers": lambda frame: frame.to_pandas().astype({"code": "category"}),
    "whole numbers that became floats": lambda frame: frame.with_columns(pl.col("count", "code").cast(pl.Float64)),
    "whole numbers as text": lambda frame: frame.with_columns(pl.col("count", "code").cast(pl.String)),
    "whole numbers as text with a point": lambda frame: frame.with_columns(
        pl.col("count", "code").cast(pl.Float64).cast(pl.String)
    ),
    "booleans as words": lambda frame: frame.with_columns(
        flag=pl.col("flag").replace_strict({True: "Yes", False: "NO"})
    ),
    "booleans as numbers": lambda frame: frame.with_columns(pl.col("flag").cast(pl.Int8)),
    "dates as moments": lambda frame: frame.with_columns(pl.col("day").cast(pl.Datetime("ns"))),
    "dates as timestamps": lambda frame: frame.to_pandas().assign(day=[pd.Timestamp(day) for day in frame["day"]]),
    "missing cells as words": lambda frame: frame.with_columns(
        pl.col("size", "flag", "when").cast(pl.String).fill_null("N/A"), pl.col("city").fill_null(" ")
    ),
    "pd.NA": lambda frame: frame.to_pandas().astype(object).where(frame.to_pandas().notna(), pd.NA),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_answer_has_the_same_bits_in_any_form(mixed: Predictor, expected: bytes, form: str) -> None:
    assert mixed.predict_proba(FORMS[form](FRAME)).tobytes() == expected


def test_the_answer_has_the_same_bits_for_a_row_alone_as_a_record_as_json_and_from_a_file(
    mixed: Predictor, expected: bytes, tmp_path: Path
) -> None:
    proba = np.frombuffer(expected).reshape(-1, 2)
    save(mixed, tmp_path / "model")
    loaded = load(tmp_path / "model")
    assert loaded.schema == mixed.schema
    assert loaded.predict_proba(FRAME).tobytes() == expected
    for row in range(0, 80, 9):
        record = FRAME.row(row, named=True)
        in_json = json.loads(json.dumps(record, default=lambda cell: cell.isoformat()))
        assert mixed.predict_proba(FRAME[row : row + 1]).tobytes() == proba[row].tobytes()
        for given in (record, in_json):
            assert list(loaded.predict_row(given).probability.values()) == proba[row].tolist()


def test_rows_are_answered_alike_in_any_company(mixed: Predictor, expected: bytes) -> None:
    order = np.random.default_rng(0).permutation(80)
    shuffled = mixed.predict_proba(pl.concat([FRAME[order], FRAME]))
    assert shuffled.tobytes() == np.frombuffer(expected).reshape(-1, 2)[[*order, *range(80)]].tobytes()


def test_an_extra_column_is_ignored_with_a_warning(mixed: Predictor, expected: bytes) -> None:
    more = FRAME.with_columns(extra=pl.lit("x"), sizes=pl.lit(1.0))
    words = "^ignored, as the model was trained without them: extra, sizes$"
    with pytest.warns(TabcohortWarning, match=words):
        predictions = mixed.predict_frame(more)
    assert predictions["probability no", "probability yes"].to_numpy().tobytes() == expected


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (FRAME.drop("city"), "'city': 8 columns are needed; it has size, count, flag"),
        (FRAME.rename({"city": "City"}), "'city' (is it called 'City'?): 8 columns are needed; it has"),
        (FRAME.rename({"size": "size_cm"}), "'size' (is it called 'size_cm'?): 8 columns are needed"),
        (FRAME.drop("size", "note"), "'size', 'note': 8 columns are needed"),
    ],
)
def test_a_missing_or_renamed_column_is_an_error_with_the_nearest_name(
    mixed: Predictor, columns: pl.DataFrame, words: str
) -> None:
    for predict in (mixed.predict, mixed.predict_frame):
        with pytest.raises(TableError, match=f"^the table lacks {re.escape(words)}"):
            predict(columns)
    with pytest.raises(TableError, match=f"^the record lacks {re.escape(words)}"):
        mixed.predict_row(columns.row(0, named=True))


@pytest.mark.parametrize(
    ("name", "cell", "words"),
    [
        ("size", "tall", "row 3, column 'size' holds 'tall', which is not a number: fix it, or leave the cell empty"),
        ("count", "3 kg", "row 3, column 'count' holds '3 kg', which is not a number: fix it, or leave the cell empty"),
        ("code", "x", "row 3, column 'code' holds 'x', which is not a number: fix it, or leave the cell empty"),
        ("when", "soon", "row 3, column 'when' holds 'soon', which is not a date (year first): fix it, or leave the"),
        ("day", "13/1/2024", "row 3, column 'day' holds '13/1/2024', which is not a date (year first): fix it, or"),
        ("size", "inf", "row 3, column 'size' is infinite (inf): a number must be at most 1e100"),
        ("size", "1e400", "row 3, column 'size' is infinite (inf): a number must be at most 1e100"),
        ("count", "-1e101", "row 3, column 'count' holds -1e+101: a number must be at most 1e100"),
    ],
)
def test_a_cell_of_the_wrong_type_is_an_error_with_its_row_and_column(
    mixed: Predictor, name: str, cell: str, words: str
) -> None:
    cells = FRAME[name].cast(pl.String).to_list()
    cells[2] = cell
    with pytest.raises(TableError, match=f"^{re.escape(words)}"):
        mixed.predict(FRAME.with_columns(pl.Series(name, cells)))
    with pytest.raises(TableError, match=f"^{re.escape(words.replace('row 3', 'row 1'))}"):
        mixed.predict_row({**FRAME.row(2, named=True), name: cell})


@pytest.mark.parametrize(
    ("name", "cells", "words"),
    [
        ("size", [datetime.date(2024, 1, 1)] * 80, "the column 'size' must be numbers; it is Date"),
        ("when", list(range(80)), "the column 'when' must be dates; it is Int64"),
        ("when", [True, False] * 40, "the column 'when' must be dates; it is Boolean"),
        ("city", [[1]] * 80, "the column 'city' must have single values; it holds List(Int64)"),
        ("size", [{"a": 1}] * 80, "the column 'size' must be numbers; it is Struct({'a': Int64})"),
    ],
)
def test_a_column_of_the_wrong_type_is_an_error(mixed: Predictor, name: str, cells: list[Any], words: str) -> None:
    with pytest.raises(TableError, match=f"^{re.escape(words)}"):
        mixed.predict(FRAME.with_columns(pl.Series(name, cells)))


def test_levels_that_no_training_row_had_are_unknown_and_counted(mixed: Predictor) -> None:
    cities = ["Lima", "oslo", *FRAME["city"][2:]]
    flags = [None, "perhaps", *FRAME["flag"].cast(pl.String)[2:]]
    other = FRAME.with_columns(city=pl.Series(cities), flag=pl.Series(flags), code=pl.Series([7, *FRAME["code"][1:]]))
    words = (
        "^levels that the model was not trained on, read as unknown: 'city' (2 rows), 'flag' (1 row), 'code' (1 row)$"
    )
    with pytest.warns(TabcohortWarning, match=words.replace("(", r"\(").replace(")", r"\)")):
        predictions = mixed.predict_frame(other)
    notes = predictions["warnings"].to_list()
    assert "unknown level of 'city'" in notes[0]
    assert "unknown level of 'code'" in notes[0]
    assert notes[1] == "unknown level of 'city'; unknown level of 'flag'"
    assert set(notes[2:]) == {""}
    with pytest.warns(TabcohortWarning):
        unknown = mixed.predict_proba(other.with_columns(city=pl.Series(["Quito", "Cusco", *cities[2:]])))
    assert unknown[:, 0].tolist() == predictions["probability no"].to_list()  # one is as unknown as the other


@pytest.mark.parametrize(
    "name", ["log_proba_and_spread", "log_proba", "predict_proba", "predict", "predict_set", "predict_uncertainty"]
)
def test_every_prediction_of_rows_warns_once_of_unknown_levels_where_it_was_called(mixed: Predictor, name: str) -> None:
    other = FRAME.with_columns(city=pl.Series(["Lima", "Quito", *FRAME["city"][2:]]))
    with pytest.warns(TabcohortWarning, match="trained on, read as unknown: 'city' .2 rows.$") as warned:
        getattr(mixed, name)(other)
    assert [warning.filename for warning in warned] == [__file__]


def test_a_cell_that_no_training_row_lacked_may_be_missing(mixed: Predictor) -> None:
    words = "^missing cells in columns where no training row had one: 'count' .1 row., 'day' .2 rows., 'note' .1 row.$"
    other = FRAME.with_columns(
        count=pl.Series([None, *FRAME["count"][1:]]), day=pl.Series([None, None, *FRAME["day"][2:]]),
        note=pl.Series([*FRAME["note"][:-1], None]),
    )  # fmt: skip
    with pytest.warns(TabcohortWarning, match=words):
        predictions = mixed.predict_frame(other)
    assert np.isfinite(predictions["probability yes"].to_numpy()).all()
    assert predictions["warnings"][0] == "missing 'count'; missing 'day'"


def test_no_rows_have_no_answers(mixed: Predictor) -> None:
    empty = FRAME.head(0)
    for nothing in (empty, empty.to_pandas(), empty.to_arrow(), {name: [] for name in FRAME.columns}):
        assert mixed.predict_proba(nothing).shape == (0, 2)
    assert mixed.predict_frame(empty).schema == mixed.predict_frame(FRAME).schema
