"""Monitoring: rows that are alike raise no alarm, and each kind of change raises one."""

from __future__ import annotations

import json
import warnings

import numpy as np
import polars as pl
import pytest
from helpers import SMALL, fit_quickly

from tabcohort import Predictor, TabcohortWarning, Table, TableError
from tabcohort.evaluation.holm import holm
from tabcohort.model.monitor import monitor

N_COLUMNS = 20


def rows_of(n_rows: int, seed: int) -> pl.DataFrame:
    """Return rows of a population of 20 columns, one of levels and one with gaps, and the class that x0 predicts."""
    rng = np.random.default_rng(seed)
    frame = pl.DataFrame({f"x{i}": rng.normal(size=n_rows) for i in range(N_COLUMNS - 1)})
    answer = np.where(rng.logistic(size=n_rows) < 2 * frame["x0"].to_numpy(), "yes", "no")
    city = pl.Series("city", rng.choice(["Oslo", "Rome", "Bern"], n_rows))
    gaps = pl.when(pl.Series(rng.random(n_rows) < 0.9)).then(pl.col("x1")).otherwise(None).alias("x1")
    return frame.with_columns(gaps, city, pl.Series("answer", answer))


@pytest.fixture(scope="module")
def reference() -> pl.DataFrame:
    return rows_of(600, 0)


@pytest.fixture(scope="module")
def model(reference: pl.DataFrame) -> Predictor:
    return fit_quickly(Table.from_frame(reference, "answer"), SMALL, model="logistic", max_epochs=20)


NEW = rows_of(300, 1)


@pytest.fixture(params=[True, False], ids=["table", "model"])
def against(request: pytest.FixtureRequest, reference: pl.DataFrame) -> pl.DataFrame | None:
    """The training table, or nothing, so that the model's own statistics are used."""
    return reference if request.param else None


# -- rows that are alike ---------------------------------------------------------------------------------------------


def test_rows_of_the_same_population_raise_an_alarm_seldom(model: Predictor, against: pl.DataFrame | None) -> None:
    """Of 20 samples one alarms on average at most; four or more have a probability of 1.6 %."""
    facts = [monitor(model, rows_of(300, seed), against) for seed in range(100, 120)]
    assert sum(own["alarm"] for own in facts) <= 3
    assert all(own["not_tested"] == [] for own in facts)


def test_the_training_table_itself_is_alike(model: Predictor, reference: pl.DataFrame) -> None:
    facts = monitor(model, reference, reference)
    assert not facts["alarm"]
    assert all(test["p_value"] == 1 for test in facts["tests"] if test["kind"] in ("distribution", "missing cells"))


def test_p_values_are_corrected_for_all_tests_together(model: Predictor, reference: pl.DataFrame) -> None:
    tests = monitor(model, NEW, reference)["tests"]
    assert [test["corrected_p_value"] for test in tests] == holm([test["p_value"] for test in tests]).tolist()
    kinds = {test["kind"] for test in tests}
    assert kinds == {
        "distribution", "missing cells", "probability", "predicted classes", "quality", "calibration", "coverage",
    }  # fmt: skip


def test_facts_are_plain_json_and_nothing_is_warned_of(model: Predictor) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        facts = monitor(model, NEW)
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    assert (facts["n_rows"], facts["n_tested_rows"], facts["reference"]) == (300, 300, "model")
    assert facts["n_reference_rows"] == 600


# -- changes ---------------------------------------------------------------------------------------------------------


def found(facts: dict[str, object]) -> str:
    assert facts["alarm"] is True
    return "\n".join(facts["findings"])  # type: ignore[arg-type]


def test_half_a_standard_deviation_in_one_of_twenty_columns_is_found(
    model: Predictor, against: pl.DataFrame | None
) -> None:
    """With 600 reference and 300 new rows."""
    for seed in range(10):
        shifted = rows_of(300, 200 + seed).with_columns(pl.col("x7") + 0.5)
        assert "the column 'x7' has drifted: mean" in found(monitor(model, shifted, against))


def test_levels_that_are_new_or_of_other_shares_are_found(model: Predictor, against: pl.DataFrame | None) -> None:
    city = pl.when(pl.int_range(300) % 10 == 0).then(pl.lit("Kyiv")).otherwise(pl.col("city")).alias("city")
    facts = monitor(model, NEW.with_columns(city), against)
    assert "the column 'city' has levels that no training row had in 10.0% of the rows" in found(facts)
    assert facts["unusual"]["unknown"] == {"city": 30}
    assert facts["unusual"]["n_rows"] == 30
    one = monitor(model, NEW.with_columns(city=pl.lit("Oslo")), against)
    assert "the column 'city' has drifted: total variation distance 0.70" in found(one)


def test_more_and_first_missing_cells_are_found(model: Predictor, against: pl.DataFrame | None) -> None:
    holes = pl.when(pl.int_range(300) % 3 > 0).then(pl.col("x1", "x2")).otherwise(None).name.keep()
    text = found(monitor(model, NEW.with_columns(holes), against))
    assert "the column 'x1' is missing in 4" in text
    assert "the column 'x2' is missing in 33.3% of the rows instead of 0.0%" in text


def test_predictions_that_are_others_are_found(model: Predictor, against: pl.DataFrame | None) -> None:
    text = found(monitor(model, NEW.with_columns(pl.col("x0") + 1).drop("answer"), against))
    assert "the predicted probability of class 'yes' has drifted: mean" in text
    assert "the predicted classes of 'answer' have drifted" in text


def test_broken_promises_are_found(model: Predictor, against: pl.DataFrame | None) -> None:
    text = found(monitor(model, NEW.with_columns(NEW["answer"].shuffle(seed=0)), against))
    assert "the ROC AUC is 0." in text
    assert "prediction sets hold the true class for 64.0% of the rows, where" in text
    often = NEW.with_columns(answer=pl.when(pl.int_range(300) % 3 == 0).then(pl.lit("yes")).otherwise(pl.col("answer")))
    assert "percentage points above its mean probability" in found(monitor(model, often, against))


def test_columns_that_are_missing_or_cannot_be_read_are_found_with_the_drift_of_others(
    model: Predictor, against: pl.DataFrame | None
) -> None:
    broken = NEW.drop("x3").with_columns(pl.lit("a lot").alias("x4"), pl.col("x5") + 2, pl.lit(1).alias("extra"))
    facts = monitor(model, broken, against)
    assert facts["schema"]["missing_columns"] == ["x3"]
    assert facts["schema"]["new_columns"] == ["extra"]
    assert [own["column"] for own in facts["schema"]["unreadable"]] == ["x4"]
    text = found(facts)
    assert "the column 'x3' is missing" in text
    assert "the column 'x4' cannot be read as before: row 1, column 'x4' holds 'a lot'" in text
    assert "the column 'x5' has drifted" in text
    assert facts["not_tested"][-1]["subject"] == "predictions and quality"
    assert facts["quality"] is None
    assert facts["unusual"] is None


def test_new_columns_alone_are_no_alarm(model: Predictor) -> None:
    facts = monitor(model, NEW.with_columns(pl.lit(1).alias("extra")))
    assert (facts["alarm"], facts["schema"]["new_columns"]) == (False, ["extra"])


# -- what is not tested ----------------------------------------------------------------------------------------------


def test_columns_that_are_ignored_are_not_tested(model: Predictor, reference: pl.DataFrame) -> None:
    facts = monitor(model, NEW.with_columns(pl.col("x7") + 5).drop("answer"), reference, ["x7"])
    assert "'x7' has drifted" not in "\n".join(facts["findings"])
    assert {"subject": "'x7'", "reason": "it is ignored, as was asked for"} in facts["not_tested"]
    with pytest.raises(TableError, match="did you mean 'x7'"):
        monitor(model, NEW, None, ["x77"])


def test_without_a_target_quality_is_not_tested(model: Predictor) -> None:
    for frame in (NEW.drop("answer"), NEW.with_columns(answer=pl.lit(None, dtype=pl.String))):
        facts = monitor(model, frame)
        assert facts["quality"] is None
        assert not {"quality", "calibration", "coverage"} & {test["kind"] for test in facts["tests"]}
        assert "answer" in facts["not_tested"][-1]["reason"]


def test_a_model_of_trees_says_what_it_needs_reference_rows_for(reference: pl.DataFrame) -> None:
    trees = fit_quickly(Table.from_frame(reference, "answer"), SMALL, model="trees")
    subjects = {own["subject"]: own["reason"] for own in monitor(trees, NEW)["not_tested"]}
    assert set(subjects) == {"distribution of 'city'", "missing cells of 'x1'"}
    assert all("--against TABLE" in reason for reason in subjects.values())
    assert monitor(trees, NEW, reference)["not_tested"] == []


def test_weighted_training_rows_need_a_reference(reference: pl.DataFrame) -> None:
    weighted = reference.with_columns(w=pl.int_range(600) % 2 + 1)
    model = fit_quickly(Table.from_frame(weighted, "answer", weight="w"), SMALL, model="logistic")
    subjects = [own["subject"] for own in monitor(model, NEW)["not_tested"]]
    assert subjects[0].startswith("distribution of 'x0'")
    assert "predictions" in subjects


def test_of_each_group_one_row_is_tested(reference: pl.DataFrame) -> None:
    grouped = reference.with_columns(case=pl.int_range(600) // 2)
    with pytest.warns(TabcohortWarning, match="rows of one value stay together"):
        table = Table.from_frame(grouped, "answer", groups=["case"])
    model = fit_quickly(table, SMALL, model="logistic")
    facts = monitor(model, pl.concat([NEW.with_columns(case=pl.int_range(300))] * 4))
    assert (facts["n_rows"], facts["n_tested_rows"]) == (1200, 300)
    assert facts["quality"]["n_groups"] == 300


def test_several_classes_are_tested_each(three_classes: Predictor) -> None:
    rng = np.random.default_rng(0)
    frame = pl.DataFrame(rng.normal([9.0, 0.0, 0.0], 1, (100, 3)), schema=["x0", "x1", "x2"])
    facts = monitor(three_classes, frame)
    assert [t["subject"] for t in facts["tests"] if t["kind"] == "probability"] == ["may", "no", "yes"]
    assert facts["alarm"]


def test_tables_without_rows_and_references_that_do_not_fit_are_refused(
    model: Predictor, reference: pl.DataFrame
) -> None:
    with pytest.raises(TableError, match="the new table has no rows"):
        monitor(model, NEW.head(0))
    with pytest.raises(TableError, match="the reference table has no rows"):
        monitor(model, NEW, reference.head(0))
    with pytest.raises(TableError, match="the table lacks 'x3'"):
        monitor(model, NEW, reference.drop("x3"))
    with pytest.raises(TableError, match="in the reference table, row 1, column 'x3' holds 'a lot'"):
        monitor(model, NEW, reference.with_columns(x3=pl.lit("a lot")))
