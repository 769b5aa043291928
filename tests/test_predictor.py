"""A finished model answers by column names, and a row's answer is its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from conftest import fit_quickly, make_rows, make_small_table

from tabcohort import Predictor, TableError, make_table, table_of_schema
from tabcohort.lower import to_module

X, CODES = make_rows(seed=1)
X_OF_THREE, CODES_OF_THREE = make_rows(n_classes=3, seed=2)
RECORD = {"x0": 1.0, "x1": -0.5, "x2": 0.25}
MODELS: list[dict[str, Any]] = [
    {"model": "logistic"},
    {"model": "mlp", "hidden": (64, 33)},
    {"model": "mlp", "hidden": (16,), "batch_norm": True, "dropout": 0.5},
    {"model": "residual", "hidden": (64, 32)},
]


def test_a_row_is_answered_by_its_names(predictor: Predictor) -> None:
    answer = predictor.predict_row(RECORD)
    proba = predictor.predict_proba(np.array([list(RECORD.values())]))[0]
    assert answer.probability == dict(zip(["no", "yes"], proba, strict=True))
    assert answer.label == ["no", "yes"][proba.argmax()]
    assert sum(answer.probability.values()) == pytest.approx(1, abs=1e-15)


def test_names_may_come_in_any_order_and_with_others(predictor: Predictor) -> None:
    turned = {"more": "text", **dict(reversed(RECORD.items()))}
    assert predictor.predict_row(turned) == predictor.predict_row(RECORD)


def test_numbers_may_come_as_text(predictor: Predictor) -> None:
    text = {name: f" {value} " for name, value in RECORD.items()}
    assert predictor.predict_row(text) == predictor.predict_row(RECORD)
    assert predictor.predict_row({**RECORD, "x0": True}) == predictor.predict_row(RECORD)
    assert predictor.predict_row({**RECORD, "x0": "true"}) == predictor.predict_row(RECORD)


def test_a_missing_name_offers_the_nearest(predictor: Predictor) -> None:
    with pytest.raises(
        TableError, match=r"the table lacks 'x2' \(did you mean 'x_2'\?\): 3 columns are needed; it has x0, x1, x_2$"
    ):
        predictor.predict_row({"x0": 1, "x1": 2, "x_2": 3})
    with pytest.raises(TableError, match=r"the table lacks 'x0', 'x1', 'x2': 3 columns are needed; it has $"):
        predictor.predict_row({})


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("tall", r"the column 'x1' is text \(row 1 holds 'tall'\)"),
        (None, r"row 1, column 'x1' is missing \(NaN\)"),
        ("", r"row 1, column 'x1' is missing \(NaN\)"),
        (float("inf"), r"row 1, column 'x1' is infinite \(inf\)"),
        ([1, 2], "the column 'x1' .* is not numbers"),
        ({}, "the column 'x1' is text"),
    ],
)
def test_a_value_that_is_no_number_is_named(predictor: Predictor, value: Any, words: str) -> None:
    with pytest.raises(TableError, match=words):
        predictor.predict_row({**RECORD, "x1": value})


@pytest.mark.parametrize("kind", [pd.DataFrame, pl.DataFrame, dict])
def test_columns_are_matched_by_name(predictor: Predictor, kind: Any) -> None:
    columns = {"x2": X[:, 2], "extra": ["text"] * len(X), "x0": X[:, 0].astype(str), "x1": X[:, 1]}
    assert (predictor.predict_proba(kind(columns)) == predictor.predict_proba(X)).all()


def test_a_missing_column_offers_the_nearest(predictor: Predictor) -> None:
    with pytest.raises(
        TableError, match=r"the table lacks 'x1' \(did you mean 'x11'\?\): 3 columns are needed; it has x0, x11, x2$"
    ):
        predictor.predict(pd.DataFrame({"x0": [1.0], "x11": [1.0], "x2": [1.0]}))


def test_a_cell_is_named_by_row_and_column(predictor: Predictor) -> None:
    bad = X.copy()
    bad[7, 2] = np.nan
    with pytest.raises(TableError, match=r"row 8, column 'x2' is missing \(NaN\)"):
        predictor.predict(bad)


@pytest.mark.parametrize("settings", MODELS, ids=str)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_no_rows_give_no_answers(settings: dict[str, Any], n_classes: int) -> None:
    predictor = fit_quickly(make_small_table(n_classes), **settings)
    for nothing in (X[:0], pl.DataFrame(X, schema=["x0", "x1", "x2"]).head(0), {"x0": [], "x1": [], "x2": []}):
        assert predictor.predict_proba(nothing).shape == (0, n_classes)
        assert predictor.predict(nothing).shape == (0,)


@pytest.mark.parametrize("settings", MODELS, ids=str)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_row_alone_is_answered_as_in_a_batch_to_the_bit(settings: dict[str, Any], n_classes: int) -> None:
    """A predictor in training mode would move by up to 0.77 here."""
    predictor = fit_quickly(make_small_table(n_classes), **settings)
    together = predictor.predict_proba(X)
    alone = np.vstack([predictor.predict_proba(row[None]) for row in X])
    np.testing.assert_array_equal(alone, together)
    np.testing.assert_array_equal(predictor.predict_proba(X[::-1])[::-1], together)
    np.testing.assert_array_equal(predictor.predict_proba(X[5:12]), together[5:12])
    record = dict(zip(predictor.schema.features, X[3], strict=True))
    assert list(predictor.predict_row(record).probability.values()) == together[3].tolist()


@pytest.mark.parametrize("settings", MODELS, ids=str)
def test_answers_are_those_of_the_network_in_pytorch(settings: dict[str, Any]) -> None:
    predictor = fit_quickly(make_small_table(3), **settings)
    with torch.no_grad():
        logits = to_module(predictor.network).double()(torch.from_numpy(X))
    np.testing.assert_allclose(predictor.logits(X), logits, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(predictor.predict_proba(X), logits.softmax(dim=1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("settings", MODELS, ids=str)
@pytest.mark.parametrize("value", [1e30, -1e39, 1e99])
def test_a_value_far_beyond_the_training_rows_has_an_answer(settings: dict[str, Any], value: float) -> None:
    """A wrong unit or a typing error: its probabilities may be 0 and 1, but they are numbers."""
    predictor = fit_quickly(**settings)
    wrong = X[:3].copy()
    wrong[1, 2] = value
    proba = predictor.predict_proba(wrong)
    np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-12)
    np.testing.assert_array_equal(proba[[0, 2]], predictor.predict_proba(X[[0, 2]]))


def test_the_number_of_threads_changes_no_bit(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    many = np.tile(X, (50, 1))
    expected = np.tile(predictor.predict_proba(X), (50, 1))
    for rows_worth_a_thread, n_cpus in ((2048, 1), (1000, 2), (100, 13)):
        monkeypatch.setattr("tabcohort.forward.ROWS_WORTH_A_THREAD", rows_worth_a_thread)
        monkeypatch.setattr("os.cpu_count", lambda n_cpus=n_cpus: n_cpus)
        np.testing.assert_array_equal(predictor.predict_proba(many), expected)


def test_rows_that_cannot_be_written_to_are_answered_without_a_warning(predictor: Predictor) -> None:
    """Frames of pandas hand out such arrays."""
    fixed = X.copy()
    fixed.flags.writeable = False
    assert (predictor.predict_proba(fixed) == predictor.predict_proba(X)).all()


def test_predict_is_the_most_probable_class(three_classes: Predictor) -> None:
    proba = three_classes.predict_proba(X)
    np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-14)
    assert (three_classes.predict(X) == np.array(["may", "no", "yes"])[proba.argmax(axis=1)]).all()


def frame_of(X: np.ndarray, labels: np.ndarray) -> pl.DataFrame:
    """Return a frame with the columns in another order than the model's."""
    columns = {f"x{i}": X[:, i] for i in reversed(range(X.shape[1]))}
    return pl.DataFrame({**columns, "target": labels})


def test_the_table_it_was_trained_on_is_known_in_any_column_order() -> None:
    table = make_small_table()
    predictor = fit_quickly(table)
    labels = np.array(["no", "yes"])[table.y]
    assert predictor.was_trained_on(table)
    assert predictor.was_trained_on(table_of_schema(frame_of(table.X, labels), predictor.schema))
    other = table.X.copy()
    other[0, 0] += 1e-9
    assert not predictor.was_trained_on(make_table(other, labels))
    assert not predictor.was_trained_on(make_small_table(n_features=4))


def test_evaluate_agrees_with_the_predictions_in_any_column_order(predictor: Predictor) -> None:
    labels = np.array(["no", "yes"])[CODES]
    evaluation = predictor.evaluate(table_of_schema(frame_of(X, labels), predictor.schema))
    assert evaluation.metrics["accuracy"].value == pytest.approx((predictor.predict(X) == labels).mean())
    assert evaluation.confusion.sum() == evaluation.n_rows == len(X)


def test_evaluate_counts_classes_as_the_model_does(three_classes: Predictor) -> None:
    """A table without the model's first class does not number the others anew."""
    kept = CODES_OF_THREE > 0
    labels = np.array(["may", "no", "yes"])[CODES_OF_THREE]
    frame = frame_of(X_OF_THREE[kept], labels[kept])
    evaluation = three_classes.evaluate(table_of_schema(frame, three_classes.schema))
    assert evaluation.confusion[0].sum() == 0
    expected = (three_classes.predict(X_OF_THREE[kept]) == labels[kept]).mean()
    assert evaluation.metrics["accuracy"].value == pytest.approx(expected)


def test_evaluate_refuses_a_table_of_another_schema(predictor: Predictor, three_classes: Predictor) -> None:
    table = table_of_schema(frame_of(X, np.array(["no", "yes"])[CODES]), predictor.schema)
    with pytest.raises(TableError, match="the table is not of this model's schema"):
        three_classes.evaluate(table)


def test_strongest_weights_are_of_linear_models_of_two_classes(predictor: Predictor) -> None:
    strongest = fit_quickly(model="logistic", max_epochs=150, learning_rate=0.05).strongest_weights()
    assert strongest is not None
    assert next(iter(strongest)) == "x0"
    sizes = [abs(weight) for weight in strongest.values()]
    assert sizes == sorted(sizes, reverse=True)
    assert predictor.strongest_weights() is None
    assert fit_quickly(make_small_table(3), model="logistic").strongest_weights() is None


def test_its_repr_says_what_it_is_worth(predictor: Predictor) -> None:
    accuracy = predictor.report.evaluation.metrics["accuracy"]
    assert repr(predictor) == (
        f"<Predictor of 'target' from 3 columns, mlp, accuracy {accuracy.low:.3f} to {accuracy.high:.3f} "
        f"on {predictor.report.n_score} rows it never saw>"
    )


def test_the_farthest_cell_is_counted_in_standard_deviations_of_the_training_rows(predictor: Predictor) -> None:
    far = X.copy()
    far[7, 2] = -1000.0
    cell = predictor.farthest_cell(far)
    assert cell is not None
    assert cell[:2] == (7, "x2")
    statistics = predictor.network.statistics()
    assert statistics is not None
    assert cell[2] == pytest.approx((1000 + statistics.centre[2]) * statistics.scale[2])
    assert predictor.farthest_cell(X[:0]) is None


def test_all_missing_columns_are_named_at_once(predictor: Predictor) -> None:
    with pytest.raises(TableError, match=r"^the table lacks 'x0', 'x2'.*: 3 columns are needed; it has x1, other$"):
        predictor.predict(pd.DataFrame({"x1": [1.0], "other": [1.0]}))


def test_the_weights_of_a_linear_model_are_signed_for_the_positive_class() -> None:
    table = make_small_table()
    labels = np.array(["no", "yes"])[table.y]
    settings: dict[str, Any] = {"model": "logistic", "max_epochs": 30}
    of_yes = fit_quickly(make_table(table.X, labels), **settings).strongest_weights()
    of_no = fit_quickly(make_table(table.X, labels, positive="no"), **settings).strongest_weights()
    assert of_yes is not None
    assert of_no == {name: -weight for name, weight in of_yes.items()}
    assert of_yes["x0"] > 0  # the greater x0, the likelier is yes
