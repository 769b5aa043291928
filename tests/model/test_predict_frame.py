"""Predictions as a frame: their columns, keys and sets, and what is warned of."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from helpers import SINGLE, fit_quickly, make_rows, make_small_table

from tabcohort import Predictor, TabcohortWarning, Table, TableError
from tabcohort.data.inputs import table_inputs
from tabcohort.model.unusual import OUTLIER

X, _ = make_rows(seed=1)


def keyed_frame(n_rows: int = 60, **columns: Any) -> pl.DataFrame:
    """Return rows with the features x0 and x1, the target y (no, yes) and these columns."""
    X, codes = make_rows(n_rows, n_features=2)
    return pl.DataFrame({"x0": X[:, 0], "x1": X[:, 1], "y": np.array(["no", "yes"])[codes], **columns})


def fit_frame(frame: pl.DataFrame, **columns: Any) -> Predictor:
    """Return a quickly trained predictor of a frame's y."""
    return fit_quickly(Table.from_frame(frame, "y", **columns), settings=SINGLE, model="logistic")


@pytest.mark.parametrize("objective", [None, 0.2])
def test_a_frame_of_predictions_has_a_row_for_each_row_and_says_what_the_arrays_say(
    predictor: Predictor, objective: float | None
) -> None:
    model = predictor.with_decision_rule(objective)
    predictions = model.predict_frame(pl.DataFrame(X[:, ::-1], schema=["x2", "x1", "x0"]))
    assert predictions.schema == {
        "row": pl.Int64, "predicted": pl.String, "probability no": pl.Float64, "probability yes": pl.Float64,
        "spread": pl.Float64, "set": pl.List(pl.String), "warnings": pl.String,
    }  # fmt: skip
    assert predictions["row"].to_list() == list(range(1, len(X) + 1))
    assert predictions["predicted"].to_list() == model.predict(X).tolist()
    np.testing.assert_array_equal(predictions["probability no", "probability yes"].to_numpy(), model.predict_proba(X))
    np.testing.assert_array_equal(predictions["spread"], model.predict_uncertainty(X))
    names = np.array(["no", "yes"])
    assert predictions["set"].to_list() == [names[row].tolist() for row in model.predict_set(X)]


def test_a_set_is_a_list_also_where_it_is_empty_and_labels_are_text_in_it() -> None:
    predictor = fit_quickly(make_small_table(3, [-1, 3, 10]), max_epochs=30).with_decision_rule(None, 0.3)
    predictions = predictor.predict_frame(pl.DataFrame(X, schema=["x0", "x1", "x2"]))
    sizes = predictor.predict_set(X).sum(axis=1)
    assert 0 in sizes  # an abstention
    assert predictions["set"].list.len().to_list() == sizes.tolist()
    assert set(predictions["set"].explode().drop_nulls()) <= {"-1", "3", "10"}
    assert predictions["predicted"].dtype == pl.Int64
    assert predictions["predicted"].to_list() == predictor.predict(X).tolist()
    assert predictions.columns[2:5] == ["probability -1", "probability 3", "probability 10"]


@pytest.mark.filterwarnings("ignore:the keys day, number, part, sure identify rows only together")
def test_keys_are_carried_along_in_their_order() -> None:
    days = pl.date_range(pl.date(2024, 1, 1), pl.date(2024, 2, 29), eager=True)
    number, part = [None, *np.arange(59) / 2], ["a", "b"] * 30
    frame = keyed_frame(day=days, number=number, part=part, sure=[True, False] * 30)
    predictor = fit_frame(frame, keys=["day", "number", "part", "sure"])
    other = frame.drop("y").select(reversed(frame.drop("y").columns))
    predictions = predictor.predict_frame(other)
    assert predictions.columns[:5] == ["day", "number", "part", "sure", "predicted"]
    assert predictions["day"].to_list() == days.to_list()
    assert predictions["number"].to_list() == number
    assert predictions["part"].to_list() == part
    assert predictions["sure"].to_list() == [True, False] * 30
    assert predictor.predict_frame(other.drop("day", "part")).columns[:3] == ["number", "sure", "predicted"]
    without = predictor.predict_frame(frame.select("x0", "x1"))
    assert without.columns[:2] == ["row", "predicted"]


@pytest.mark.filterwarnings("ignore:ignored, as the model was trained without them")
@pytest.mark.parametrize("name", ["predicted", "probability yes", "spread", "set", "warnings"])
def test_a_column_with_the_name_of_a_prediction_is_renamed_with_a_warning(name: str) -> None:
    cells = [f"p{i}" for i in range(60)]
    frame = keyed_frame(**{name: cells, f"{name} (input)": cells})
    predictor = fit_frame(frame, keys=[name], types={f"{name} (input)": "drop"})
    words = rf"^the column '{name}' is written as '{name} \(input\)': the predictions have a column of its name$"
    with pytest.warns(TabcohortWarning, match=words):
        predictions = predictor.predict_frame(frame.drop(f"{name} (input)"))
    assert predictions.columns[:2] == [f"{name} (input)", "predicted"]
    assert predictions[f"{name} (input)"].to_list() == cells
    with pytest.warns(TabcohortWarning, match=r"is written as '.* \(input\) \(input\)'"):
        predictions = predictor.predict_frame(frame, frame.columns)
    assert predictions.columns[3:5] == [f"{name} (input) (input)", f"{name} (input)"]


def test_columns_of_the_input_come_first_as_they_are() -> None:
    frame = keyed_frame(id=[f"p{i}" for i in range(60)])
    predictor = fit_frame(frame, keys=["id"])
    answer = predictor.predict_frame(frame).drop("id")
    assert predictor.predict_frame(frame, frame.columns).equals(pl.concat([frame, answer], how="horizontal"))
    assert predictor.predict_frame(frame, ["y", "x0", "y"]).equals(
        pl.concat([frame.select("y", "x0"), answer], how="horizontal")
    )
    assert predictor.predict_frame(frame, []).equals(answer)
    with pytest.raises(TableError, match=r"^there is no column 'idd' \(did you mean 'id'\?\); the table has x0"):
        predictor.predict_frame(frame, ["idd"])


@pytest.mark.filterwarnings("ignore:60 rows have 20 different values of site")
def test_columns_that_the_model_does_not_know_are_ignored_with_a_warning() -> None:
    frame = keyed_frame(id=[f"p{i}" for i in range(60)], site=[i // 3 for i in range(60)])
    predictor = fit_frame(frame, keys=["id"], groups=["site"])
    expected = predictor.predict_frame(frame)  # without a warning: keys, groups and target are known
    more = frame.with_columns(**{f"note{i}": pl.lit("text") for i in range(12)})
    names = ", ".join(f"note{i}" for i in range(10)) + " and 2 more"
    with pytest.warns(TabcohortWarning, match=f"^ignored, as the model was trained without them: {names}$") as warned:
        assert predictor.predict_frame(more).equals(expected)
    assert [warning.filename for warning in warned] == [__file__]


def test_a_cell_far_from_the_training_rows_is_warned_of_with_its_row_and_its_value(predictor: Predictor) -> None:
    far = X.copy()
    far[7, 2] = -1000.0
    distance = predictor.outlier_cells(far)[1][7]
    words = (
        rf"^row 8, column 'x2' holds -1000\.0, {distance:,.0f} standard deviations from the training rows' mean "
        r"\(a wrong unit\?\); do not rely on the prediction for it{}$"
    )
    with pytest.warns(TabcohortWarning, match=words.replace("{}", "")) as warned:
        predictions = predictor.predict_frame(pl.DataFrame(far, schema=["x0", "x1", "x2"]))
    assert [warning.filename for warning in warned] == [__file__]
    with pytest.warns(TabcohortWarning, match="^row 8, column 'x2' holds -1000, "):
        proba = predictor.predict_proba(far)
    np.testing.assert_array_equal(predictions["probability yes"], proba[:, 1])
    for n_others, others in ((1, " and for 1 other row like it"), (2, " and for 2 other rows like it")):
        far[n_others, 0] = 900.0
        with pytest.warns(TabcohortWarning, match=words.replace("{}", others)):
            predictor.predict_frame(pl.DataFrame(far, schema=["x0", "x1", "x2"]))


def test_the_value_of_an_outlier_is_shown_as_it_was_written(predictor: Predictor) -> None:
    frame = pl.DataFrame({"x0": ["0.5", "1e3 "], "x1": ["1", "2"], "x2": [0.0, 0.0]})
    with pytest.warns(TabcohortWarning, match="^row 2, column 'x0' holds 1e3 , .* standard deviations from"):
        predictor.predict_frame(frame)


def test_a_rare_word_is_no_outlier_although_its_own_number_is_far_from_the_mean() -> None:
    """A text has a number for each word, and few rows with one of these are far from its mean."""
    notes = ["sleeps rarely" if i < 12 else "sleeps often" if i % 2 else "never sleeps at all" for i in range(8_000)]
    predictor = fit_frame(keyed_frame(8_000, note=notes), types={"note": "text"})
    rare = pl.DataFrame({"x0": [0.0], "x1": [0.0], "note": "sleeps rarely"})
    with pytest.warns(TabcohortWarning, match="^row 1, column 'x1' holds 1000.0, .* rely on the prediction for it$"):
        assert predictor.predict_frame(rare.with_columns(x1=pl.lit(1e3)))["warnings"].to_list() == [
            "far from the training rows in 'x1'"
        ]
    assert predictor._usual.distances(table_inputs(rare, predictor.schema.columns)).max() > OUTLIER
    assert predictor.outlier_cells(rare)[1] < OUTLIER
    assert predictor.predict_frame(rare)["warnings"].to_list() == [""]


def test_a_frame_that_cannot_be_predicted_is_refused(predictor: Predictor) -> None:
    frame = pl.DataFrame(X, schema=["x0", "x1", "x2"])
    with pytest.raises(TableError, match=r"^the table lacks 'x1': 3 columns are needed; it has x0, x2$"):
        predictor.predict_frame(frame.drop("x1"))
    with pytest.raises(TableError, match=r"^row 4, column 'x1' is infinite \(inf\): a number must be at most 1e100"):
        predictor.predict_frame(frame.with_columns(x1=pl.when(pl.arange(90) != 3).then("x1").otherwise(np.inf)))


@pytest.mark.filterwarnings("ignore:few distinct whole numbers")
def test_what_is_unusual_in_a_row_is_said_in_it_and_counted_in_a_warning() -> None:
    city = ["Oslo", "Rome", "Bern"] * 20
    predictor = fit_frame(keyed_frame(city=city, gaps=[None, "a", "b"] * 20), types={"city": "category"})
    new = keyed_frame(city=city, gaps=[None, "a", "b"] * 20).drop("y")[:6].with_columns(
        x0=pl.Series([0.0, None, 1e6, 0.0, 0.0, None]), city=pl.Series(["Oslo", "Lima", None, "Lima", "Rome", "Bern"])
    )  # fmt: skip
    with pytest.warns(TabcohortWarning) as warned:
        predictions = predictor.predict_frame(new)
    assert predictions["warnings"].to_list() == [
        "",
        "unknown level of 'city'; missing 'x0'",
        "far from the training rows in 'x0'; missing 'city'",
        "unknown level of 'city'",
        "",
        "missing 'x0'",
    ]
    far, unknown, missing = (str(warning.message) for warning in warned)
    assert far.startswith("row 3, column 'x0' holds 1000000.0, ")
    assert unknown == "levels that the model was not trained on, read as unknown: 'city' (2 rows)"
    assert missing == "missing cells in columns where no training row had one: 'x0' (2 rows), 'city' (1 row)"
    assert [warning.filename for warning in warned] == [__file__] * 3


def test_a_frame_without_rows_has_no_predictions_but_their_columns(predictor: Predictor) -> None:
    frame = pl.DataFrame(X, schema=["x0", "x1", "x2"])
    nothing = predictor.predict_frame(frame.head(0))
    assert nothing.shape == (0, 7)
    assert nothing.schema == predictor.predict_frame(frame).schema
