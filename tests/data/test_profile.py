"""What `look` knows of a table: counts, types, distributions and what would be done, as plain JSON values."""

from __future__ import annotations

import json
import tomllib
from datetime import date, timedelta
from typing import Any

import polars as pl
import pytest

from tabcohort import TableError
from tabcohort.data.columns import Dropped
from tabcohort.data.frames import ColumnChoices
from tabcohort.data.profile import columns_toml, look_facts, treatment
from tabcohort.data.recognize import KINDS, recognize_columns

N_ROWS = 60


def frame() -> pl.DataFrame:
    rows = range(N_ROWS)
    return pl.DataFrame(
        {
            "id": [f"c{i:03}" for i in rows],
            "age": [None if i % 6 == 0 else str(20 + i % 40 + 0.5) for i in rows],
            "city": ["Oslo" if i % 4 else "Rome" for i in rows],
            "asked": ["yes" if i % 3 else "" for i in rows],
            "day": [date(2024, 1, 1) + timedelta(days=10 * (i * 7 % 60)) for i in rows],
            "same": ["x"] * N_ROWS,
            "weight": [1 + i % 3 for i in rows],
            "ward": [f"w{i % 7}" for i in rows],
            "outcome": ["n/a" if i < 2 else "" if i == 2 else "ill" if i // 2 % 5 < 2 else "well" for i in rows],
        }
    )


def facts_of(columns: pl.DataFrame, *arguments: Any) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    facts = look_facts(columns, *arguments)
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    return facts, {column["name"]: column for column in facts["columns"]}


def test_roles_types_and_counts() -> None:
    choices = ColumnChoices(groups=("ward",), weight="weight")
    facts, columns = facts_of(frame(), "outcome", choices)
    assert (facts["n_rows"], facts["n_columns"], facts["n_features"]) == (N_ROWS, 9, 4)
    assert {name: (column["role"], column["type"]) for name, column in columns.items()} == {
        "id": ("dropped", "drop"),
        "age": ("feature", "number"),
        "city": ("feature", "category"),
        "asked": ("feature", "category"),
        "day": ("feature", "date"),
        "same": ("dropped", "drop"),
        "weight": ("weight", None),
        "ward": ("group", None),
        "outcome": ("target", None),
    }
    assert (columns["age"]["n_missing"], columns["age"]["missing_share"]) == (10, 10 / N_ROWS)
    assert [columns[name]["n_distinct"] for name in ("id", "age", "city", "day", "ward")] == [60, 37, 2, 60, 7]
    assert "an identifier" in columns["id"]["note"]


def test_distributions_are_bins_or_levels() -> None:
    _, columns = facts_of(frame())
    assert columns["city"]["distribution"] == {
        "levels": [{"label": "Oslo", "share": 0.75}, {"label": "Rome", "share": 0.25}],
        "n_more": 0,
    }
    assert columns["ward"]["distribution"]["n_more"] == 2
    age = columns["age"]["distribution"]
    assert (sum(age["bins"]), age["low"], age["high"]) == (50, 20.5, 59.5)
    assert columns["day"]["distribution"]["low"] == "2024-01-01"
    assert columns["day"]["distribution"]["high"] == str(date(2024, 1, 1) + timedelta(days=10 * 59))
    assert columns["id"]["distribution"] is None  # all differ


def test_the_target_has_its_classes_and_what_is_wrong_with_it() -> None:
    target = look_facts(frame(), "outcome")["target"]
    assert [(entry["label"], entry["n"]) for entry in target["classes"]] == [("well", 36), ("ill", 21), ("n/a", 2)]
    assert (target["n_missing"], target["problem"]) == (1, None)
    assert (
        "there must be at least two classes in 'same'; there is one" in look_facts(frame(), "same")["target"]["problem"]
    )
    alone = frame().with_columns(outcome=pl.when(pl.int_range(pl.len()) == 4).then(pl.lit("odd")).otherwise("outcome"))
    assert look_facts(alone, "outcome")["target"]["problem"].startswith("the class 'odd' of 'outcome' has a single row")
    measured = frame().with_columns(weight=pl.int_range(pl.len()) * 0.37)
    assert "looks like a measurement" in look_facts(measured, "weight")["target"]["problem"]
    assert look_facts(frame())["target"] is None


def test_copies_of_the_target_are_left_out_and_leaks_are_found() -> None:
    table = frame()[3:].with_columns(
        pl.col("outcome").alias("copy"), pl.col("outcome").replace("ill", "i").alias("other")
    )
    table = table.with_columns(other=pl.when(pl.int_range(pl.len()) == 5).then(pl.lit("?")).otherwise("other"))
    facts, columns = facts_of(table, "outcome")
    assert columns["copy"]["role"] == "dropped"
    (place,) = columns["other"]["findings"]
    assert facts["findings"][place]["kind"] == "target"
    assert facts["findings"][place]["columns"] == ["other"]


def test_columns_that_cannot_be_read_do_not_hide_the_others() -> None:
    table = frame().with_columns(age=pl.Series([str(i) for i in range(59)] + ["old"]), tags=pl.Series([[1]] * N_ROWS))
    facts, columns = facts_of(table, "outcome")
    assert (columns["age"]["role"], columns["tags"]["role"]) == ("unreadable", "unreadable")
    assert "row 60, column 'age' holds 'old'" in columns["age"]["note"]
    assert "--category age" in columns["age"]["note"]
    assert facts["n_features"] == 5


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "drop"])
def test_a_type_that_is_given_is_the_type(kind: str) -> None:
    cells = ["yes", "no", "yes"] if kind == "boolean" else ["20240101", "20240102", "20240103"]
    _, columns = facts_of(pl.DataFrame({"x": cells * 10}), None, ColumnChoices(types={"x": kind}))
    assert columns["x"]["type"] == kind
    assert columns["x"]["treatment"]


def test_extreme_numbers_have_a_distribution() -> None:
    for values in ([1e308, -1e308, 5.0], [1.0, 1.0 + 1e-16, 1.0], [float("inf"), 1.0, 2.0]):
        assert facts_of(pl.DataFrame({"x": values * 9}), None, ColumnChoices(types={"x": "number"}))


def test_the_treatment_says_what_becomes_of_missing_cells_and_levels() -> None:
    columns = {column.name: column for column in recognize_columns(frame(), frame().columns)}
    assert treatment(columns["age"]) == "standardized; missing: a mark and the median"
    assert treatment(columns["asked"]) == "a column per level; missing: a level"
    assert treatment(columns["day"]).startswith("days, month")
    assert treatment(Dropped("x")) == "left out"


@pytest.mark.parametrize("name", ["n", "level", "cell", "label", "word"])
def test_any_name_of_a_column_will_do(name: str) -> None:
    for cells in (["Oslo", "Rome"] * 15, [1, 5, 9] * 10, [f"a few words of {i}" for i in range(30)]):
        _, columns = facts_of(pl.DataFrame({name: cells, "y": ["a", "b", "b"] * 10}), "y")
        assert columns[name]["n_missing"] == 0
        assert facts_of(pl.DataFrame({name: ["a", "b", "b"] * 10, "x": range(30)}), name)


def test_levels_that_may_stand_for_missing_cells_are_noted() -> None:
    table = pl.DataFrame({"a": ["x", "y", "?", "?", "n/a"] * 12, "b": ["1", "?", "2.5", "3.5", "4.5"] * 12})
    _, columns = facts_of(table)
    assert columns["a"]["note"] == (
        "levels that may stand for a missing value: '?', 'n/a'; if so, leave these cells empty in the file"
    )
    assert columns["b"]["type"] == "number"  # of which it is a missing cell
    assert (columns["b"]["n_missing"], columns["b"]["note"]) == (12, "")


def test_a_name_that_is_not_there_is_refused() -> None:
    with pytest.raises(TableError, match="there is no column 'outcom'"):
        look_facts(frame(), "outcom")


def test_the_types_are_written_to_be_edited() -> None:
    table = frame().rename({"city": 'the "city"\n\\ \x1b'})
    text = columns_toml(look_facts(table, "outcome", ColumnChoices(groups=("ward",))), "in\n[x].csv")
    types = tomllib.loads(text)["columns"]
    assert types == {
        "id": "drop", "age": "number", 'the "city"\n\\ \x1b': "category", "asked": "category", "day": "date",
        "same": "drop", "weight": "number",
    }  # fmt: skip
    assert "# an identifier: different text in every row" in text
    assert {column["type"] for column in look_facts(table, None, ColumnChoices(types=types))["columns"]} <= {*KINDS}
