"""The table of a report: which rows count, and whether the model was trained on them."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from helpers import fit_quickly, make_rows

from tabcohort import Predictor, TabcohortWarning, Table, TableError
from tabcohort.model.report_table import ReportTable, cells_of, data_facts


def frame_of(n_rows: int = 90, seed: int = 0) -> pl.DataFrame:
    """Return a frame with a key, a weight, a column to drop, and rows that do not count."""
    X, codes = make_rows(n_rows, seed=seed)
    return pl.DataFrame(
        {
            "id": [f"p{i}" for i in range(n_rows)],
            "x0": X[:, 0],
            "city": np.array(["Oslo", "Rome"])[codes // 1 ^ (np.arange(n_rows) % 3 == 0)],
            "w": np.arange(n_rows) % 4 * 1.0,
            "free": [f"a long text {i} about {i * 7}" for i in range(n_rows)],
            "answer": pl.Series(np.array(["no", "yes"])[codes]).set(pl.Series(np.arange(n_rows) == 5), None),
        }
    )


@pytest.fixture(scope="module")
def weighted() -> Predictor:
    """A model of rows with weights, of a key, without one of the columns."""
    with pytest.warns(TabcohortWarning):
        table = Table.from_frame(frame_of(), "answer", keys=["id"], weight="w", types={"free": "drop"})
    return fit_quickly(table, model="logistic")


@pytest.mark.filterwarnings("ignore:1 row")
def test_the_training_table_is_known_with_its_weights(weighted: Predictor) -> None:
    table = ReportTable.of(frame_of(), weighted, "w")
    assert table.is_training_table
    counted = [i + 1 for i in range(90) if i % 4 and i != 5]
    assert table.row_numbers.tolist() == counted
    assert table.frame["id"].to_list() == [f"p{i - 1}" for i in counted]


def test_weights_of_training_are_found_without_their_column(weighted: Predictor) -> None:
    rows = frame_of().filter(pl.col("answer").is_not_null() & (pl.col("w") > 0))
    table = ReportTable.of(rows.drop("w"), weighted)
    assert table.is_training_table
    assert (table.table.weight == weighted.out_of_fold.weight).all()


def test_another_table_is_not_the_training_table(weighted: Predictor) -> None:
    rows = frame_of().filter(pl.col("answer").is_not_null() & (pl.col("w") > 0))
    changed = rows.with_columns(x0=pl.when(pl.int_range(len(rows)) == 0).then(9.5).otherwise("x0"))
    table = ReportTable.of(changed, weighted)
    assert not table.is_training_table
    assert (table.table.weight == 1).all()


def test_rows_without_a_target_are_counted(weighted: Predictor) -> None:
    with pytest.warns(TabcohortWarning, match="1 row"):
        ReportTable.of(frame_of(), weighted)


@pytest.mark.filterwarnings("ignore:1 row")
@pytest.mark.parametrize("bad", [-1.0, None, float("nan")])
def test_a_weight_that_is_none_is_an_error(weighted: Predictor, bad: float | None) -> None:
    frame = frame_of().with_columns(w=pl.when(pl.int_range(90) == 2).then(bad).otherwise("w"))
    with pytest.raises(TableError, match="row 3 has no weight in 'w'"):
        ReportTable.of(frame, weighted, "w")
    with pytest.raises(TableError, match="there is no column 'ww'"):
        ReportTable.of(frame, weighted, "ww")


def test_a_table_without_the_target_is_an_error(weighted: Predictor) -> None:
    with pytest.raises(TableError, match="lacks 'answer'"):
        ReportTable.of(frame_of().drop("answer"), weighted)


@pytest.mark.filterwarnings("ignore:1 row")
def test_columns_are_described_by_what_the_model_does_with_them(weighted: Predictor) -> None:
    facts = data_facts(ReportTable.of(frame_of(), weighted, "w"), weighted)
    roles = {column["name"]: column["role"] for column in facts["columns"]}
    assert roles == {
        "id": "key", "x0": "feature", "city": "feature", "w": "ignored", "free": "dropped", "answer": "target"
    }  # fmt: skip
    assert facts["n_rows"] == facts["n_training_rows"] == 66
    (city,) = (column for column in facts["columns"] if column["name"] == "city")
    assert {level["label"] for level in city["distribution"]["levels"]} == {"Oslo", "Rome"}


@pytest.mark.filterwarnings("ignore:1 row")
def test_cells_are_text_and_long_ones_are_cut(weighted: Predictor) -> None:
    frame = frame_of().with_columns(free=pl.lit("x" * 200), city=pl.lit(None, dtype=pl.String))
    table = ReportTable.of(frame, weighted, "w")
    cells = cells_of(table, 0, ["id", "city", "free", "gone"])
    assert cells == {"id": "p1", "city": "", "free": "x" * 80}
