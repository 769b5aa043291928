"""Parts of a table's rows by its columns."""

from __future__ import annotations

import datetime

import numpy as np
import polars as pl
import pytest
from helpers import fit_quickly

from tabcohort import Predictor, Table, TableError
from tabcohort.data.columns import Category, Date, Number, Text
from tabcohort.evaluation.subgroups import MeasuredRows
from tabcohort.model.report_subgroups import Cells, conditions_of, distinct, parts_of, subgroup_facts
from tabcohort.model.report_table import ReportTable

NAN = float("nan")
N = 1_200


def numbers(column: object, values: list[float]) -> Cells:
    return Cells(column, np.array(values), None, ())  # type: ignore[arg-type]


def test_levels_are_parts_of_their_own() -> None:
    cells = Cells(Category("city"), None, np.array([1, 0, 2, 0]), ("Oslo", "Rome", "missing", "unknown"))
    assert [(part.label, part.inside.sum()) for part in parts_of(cells)] == [("Oslo", 2), ("Rome", 1), ("missing", 1)]
    assert [part.label for part in conditions_of(cells)] == ["city = Oslo", "city = Rome", "city = missing"]


def test_numbers_are_quarters_and_missing_cells() -> None:
    parts = list(parts_of(numbers(Number("age"), [*range(1, 101), NAN])))
    assert [part.label for part in parts] == ["1 to 25", "26 to 50", "51 to 75", "76 to 100", "missing"]
    assert np.sum([part.inside for part in parts], axis=0).tolist() == [1] * 101


def test_a_frequent_number_is_a_part_of_its_own() -> None:
    parts = list(parts_of(numbers(Number("gain"), [0.0] * 90 + [5.0] * 10)))
    assert [(part.label, part.inside.sum()) for part in parts] == [("0", 90), ("5", 10)]
    assert [part.label for part in parts_of(numbers(Number("gain"), [NAN, NAN]))] == ["missing"]


def test_conditions_of_numbers_are_ends_and_the_middle() -> None:
    conditions = list(conditions_of(numbers(Number("age"), [*range(1, 101), NAN])))
    assert [(own.label, int(own.inside.sum())) for own in conditions] == [
        ("age ≤ 10", 10), ("age ≤ 25", 25), ("age ≤ 50", 50), ("age > 50", 50), ("age > 75", 25), ("age > 90", 10),
        ("25 < age ≤ 75", 50), ("age is missing", 1),
    ]  # fmt: skip


def test_equal_conditions_are_one() -> None:
    conditions = list(distinct(conditions_of(numbers(Number("gain"), [0.0] * 90 + [5.0] * 10))))
    assert [own.label for own in conditions] == ["gain = 0", "gain = 5"]
    assert [own.inside.sum() for own in conditions] == [90, 10]


def test_few_whole_numbers_are_named_by_their_values() -> None:
    classes = [*[1.0] * 30, *[2.0] * 20, *[3.0] * 50]
    conditions = list(distinct(conditions_of(numbers(Number("pclass"), [*classes, NAN]))))
    assert [(own.label, int(own.inside.sum())) for own in conditions] == [
        ("pclass = 1", 30), ("pclass = 1 to 2", 50), ("pclass = 3", 50), ("pclass = 2 to 3", 70),
        ("pclass is missing", 1),
    ]  # fmt: skip
    halves = distinct(conditions_of(numbers(Number("pclass"), [own / 2 for own in classes])))
    assert next(halves).label == "pclass ≤ 0.5"


def test_dates_and_texts_are_shown_as_what_they_are() -> None:
    days = [float((datetime.date(2024, 1, 1) - datetime.date(1970, 1, 1)).days + i) for i in range(5)]
    assert next(conditions_of(numbers(Date("when"), days))).label.startswith("when ≤ 2024-01-0")
    assert next(conditions_of(numbers(Text("note"), [1.0, 2.0]))).label.startswith("length of note ≤ ")


@pytest.fixture(scope="module")
def frame() -> pl.DataFrame:
    """Rows whose label is noise where `ward` is B."""
    rng = np.random.default_rng(0)
    x, ward = rng.normal(size=N), rng.choice(["A", "B", "C"], N)
    y = np.where(ward == "B", rng.random(N) < 0.5, x > 0)
    return pl.DataFrame(
        {
            "x": x, "ward": ward, "site": rng.choice(["north", "south"], N), "score": rng.normal(size=N),
            "answer": np.array(["no", "yes"])[y.astype(int)],
        }
    )  # fmt: skip


@pytest.fixture(scope="module")
def model(frame: pl.DataFrame) -> Predictor:
    """A model of these rows that does not use `site`."""
    return fit_quickly(Table.from_frame(frame, "answer", groups=[], types={"site": "drop"}), model="logistic")


def measured(model: Predictor) -> MeasuredRows:
    own = model.out_of_fold.as_float64()
    return MeasuredRows(own.log_proba, own.y, own.log_proba.argmax(axis=1), own.weight, own.group_ids, 1)


def test_levels_of_categories_and_named_columns_are_measured(frame: pl.DataFrame, model: Predictor) -> None:
    table, rows = ReportTable.of(frame, model), measured(model)
    facts = subgroup_facts(table, rows, model.out_of_fold.rows, ["score", "site"])
    assert [column["name"] for column in facts["columns"]] == ["score", "site", "ward"]
    ward = {level["label"]: level for level in facts["columns"][2]["levels"]}
    is_b = (frame["ward"] == "B").to_numpy()
    assert ward["B"]["n_rows"] == is_b.sum()
    assert ward["B"]["metrics"]["accuracy"]["value"] == pytest.approx(1 - rows.is_error[is_b].mean())
    assert [level["n_rows"] for level in facts["columns"][0]["levels"]] == [300] * 4
    assert {level["label"] for level in facts["columns"][1]["levels"]} == {"north", "south"}
    assert facts["n_more_columns"] == 0


def test_the_search_names_the_rows_with_noise(frame: pl.DataFrame, model: Predictor) -> None:
    search = subgroup_facts(ReportTable.of(frame, model), measured(model), model.out_of_fold.rows)["search"]
    assert search["found"][0]["label"] == "ward = B"
    assert search["found"][0]["corrected"]["high"] < -0.1
    assert (search["n_more_columns"], search["n_found"]) == (0, len(search["found"]))


def test_rows_are_matched_where_not_all_are_measured(frame: pl.DataFrame, model: Predictor) -> None:
    places = np.arange(100, 400)
    own = measured(model)
    some = MeasuredRows(
        own.log_proba[places], own.y[places], own.y_pred[places], own.weight[places], own.group_ids[places], 1
    )
    facts = subgroup_facts(ReportTable.of(frame, model), some, places, ["site"])
    counts = {level["label"]: level["n_rows"] for level in facts["columns"][0]["levels"]}
    assert counts["north"] == (frame["site"][100:400] == "north").sum()


def test_a_column_that_is_not_there_is_an_error(frame: pl.DataFrame, model: Predictor) -> None:
    table, rows = ReportTable.of(frame, model), measured(model)
    with pytest.raises(TableError, match="did you mean 'score'"):
        subgroup_facts(table, rows, model.out_of_fold.rows, ["scoree"])
    lists = ReportTable.of(frame.with_columns(tags=pl.lit([1, 2])), model)
    with pytest.raises(TableError, match="no single values"):
        subgroup_facts(lists, rows, model.out_of_fold.rows, ["tags"])


def test_rare_levels_are_left_out_and_counted(frame: pl.DataFrame, model: Predictor) -> None:
    many = frame.with_columns(doctor=pl.int_range(N).map_elements(lambda i: f"d{int(i**0.5)}", pl.String))
    facts = subgroup_facts(ReportTable.of(many, model), measured(model), model.out_of_fold.rows, ["doctor"])
    (doctor,) = (column for column in facts["columns"] if column["name"] == "doctor")
    assert len(doctor["levels"]) == 12
    assert doctor["n_more"] == 35 - 12
    assert doctor["levels"][0]["n_rows"] >= doctor["levels"][-1]["n_rows"]
