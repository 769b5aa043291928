"""Explanations of models: they add up to what the model says, and are exact where every coalition can be evaluated."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from helpers import QUICK, SINGLE, fit_quickly, make_rows, mixed_frame

from tabcohort import (
    CohortSettings,
    Config,
    Explanation,
    ExplanationBudget,
    ExplanationProgress,
    Predictor,
    SettingsError,
    TabcohortWarning,
    Table,
    TableError,
    fit,
)
from tabcohort.evaluation.calibration import Calibrator
from tabcohort.types import FloatArray

SAMPLED = ExplanationBudget(tolerance=0.02, max_rounds=4)  # fewer than all coalitions of seven columns or more
KINDS: list[dict[str, Any]] = [
    {"model": "logistic"}, {"model": "mlp", "bins": 4}, {"model": "residual"}, {"model": "trees", "max_epochs": 20}
]  # fmt: skip
LABELS = ["a", "b", "c"]


def frame_of(n_classes: int = 2, n_rows: int = 150) -> pl.DataFrame:
    """Return a frame of numbers, a category, a date and a code, some cells missing, and an answer they tell of."""
    frame = mixed_frame(n_rows).select("size", "count", "city", "when", "code", "flag")
    signal = frame["count"].to_numpy() / 10 + (frame["city"].fill_null("Rome") == "Oslo").to_numpy() * 2
    edges = np.quantile(signal, np.arange(1, n_classes) / n_classes)
    return frame.with_columns(answer=pl.Series(np.array(LABELS)[np.digitize(signal, edges)]))


def table_of(frame: pl.DataFrame) -> Table:
    return Table.from_frame(frame, "answer", types={"code": "category", "when": "date"})


def calibrated(predictor: Predictor, scale: float = 0.7) -> Predictor:
    """Return the model with a calibrator that changes its probabilities clearly."""
    shift = np.linspace(0, 0.8, len(predictor.schema.classes))
    return Predictor(
        predictor.models, predictor.members, predictor.schema, Calibrator("bias-corrected temperature", scale, shift),
        predictor.decision_rule, predictor.out_of_fold, predictor.report,
    )  # fmt: skip


def scores_of(predictor: Predictor, data: Any) -> FloatArray:
    """Return the scores of rows from what the model says of them, `(n_rows, n_scores)`."""
    log_proba = predictor.log_proba(data)
    positive = predictor.schema.positive
    if len(predictor.schema.classes) == 2 and positive is not None:
        return log_proba[:, [positive]] - log_proba[:, [1 - positive]]
    return log_proba - log_proba.mean(axis=1, keepdims=True)


def by_enumeration(predictor: Predictor, row: pl.DataFrame, background: pl.DataFrame) -> FloatArray:
    """Return Shapley values as they are defined, from frames in which cells of columns are replaced."""
    names = list(predictor.schema.features)
    cells = {name: np.repeat(row[name].to_list(), len(background)).tolist() for name in names}
    value = {}
    for size in range(len(names) + 1):
        for coalition in itertools.combinations(names, size):
            own = {name: pl.Series(name, cells[name], dtype=background[name].dtype) for name in coalition}
            value[frozenset(coalition)] = scores_of(predictor, background.with_columns(**own)).mean(axis=0)
    values = np.zeros((len(names), len(value[frozenset()])))
    for place, name in enumerate(names):
        for coalition in value:
            if name not in coalition:
                weight = 1 / (len(names) * math.comb(len(names) - 1, len(coalition)))
                values[place] += weight * (value[coalition | {name}] - value[coalition])
    return values


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.filterwarnings("ignore:the background has")
def test_contributions_are_shapley_values_of_what_the_model_says(kind: dict[str, Any], n_classes: int) -> None:
    """Six columns of each type, with missing cells, for networks, trees and logistic regression."""
    frame = frame_of(n_classes)
    predictor = calibrated(fit_quickly(table_of(frame), **kind))
    background = frame[20:27]
    for row in (frame[3:4], frame[40:41]):  # the first has missing cells
        found = predictor.explain(row, background)
        assert found.contributions.shape == (6, 1 if n_classes == 2 else 3)
        np.testing.assert_allclose(found.contributions, by_enumeration(predictor, row, background), atol=2e-5)
        np.testing.assert_allclose(found.output, scores_of(predictor, row)[0], atol=1e-9)
        np.testing.assert_allclose(found.base, scores_of(predictor, background).mean(axis=0), atol=1e-9)
        assert (found.errors == 0).all()
        assert (found.n_rounds, found.n_background) == (0, 7)
        assert np.abs(found.contributions).max() > 0.01


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("budget", [ExplanationBudget(), SAMPLED], ids=["exact", "sampled"])
def test_contributions_add_up(kind: dict[str, Any], n_classes: int, budget: ExplanationBudget) -> None:
    more = np.random.default_rng(1).normal(size=(2, 150))
    frame = frame_of(n_classes).with_columns(more=pl.Series(more[0]), most=pl.Series(more[1]))
    predictor = fit_quickly(table_of(frame), **kind)
    explanations = predictor.explain_rows(frame[:12], frame, budget=replace(budget, max_background=10))
    expected = scores_of(predictor, frame[:12])
    for own, score in zip(explanations, expected, strict=True):
        np.testing.assert_allclose(own.base + own.contributions.sum(axis=0), score, atol=1e-9)
        np.testing.assert_allclose(own.output, score, atol=1e-9)


def single(n_classes: int = 2, scale: float = 1.7) -> tuple[Predictor, FloatArray]:
    """Return one logistic regression, calibrated, and rows of its three columns."""
    X, codes = make_rows(n_classes=n_classes)
    labels = np.array(LABELS)[codes]
    model = fit(Table.from_arrays(X, labels), Config(**{**QUICK, "model": "logistic"}), SINGLE)
    return calibrated(model, scale), X


def test_one_linear_member_has_the_closed_form() -> None:
    """Calibration scales its coefficients, and the shift is in the base value."""
    predictor, X = single()
    (network,) = predictor.models
    weight = network.named()["network.linear.weight"][0]
    statistics = network.statistics()
    assert statistics is not None
    coefficients = 1.7 * weight * statistics.scale
    found = predictor.explain(X[:1], X)
    np.testing.assert_allclose(found.contributions[:, 0], coefficients * (X[0] - X.mean(axis=0)), atol=1e-5)
    assert (found.errors == 0).all()
    assert found.n_rounds == 0


def test_the_closed_form_is_that_of_all_coalitions_also_for_three_classes() -> None:
    predictor, X = single(3)
    frame = pl.DataFrame(X, schema=["x0", "x1", "x2"])
    with pytest.warns(TabcohortWarning, match="^the background has only 5 rows"):
        found = predictor.explain(frame[:1], frame[10:15])
    np.testing.assert_allclose(found.contributions, by_enumeration(predictor, frame[:1], frame[10:15]), atol=1e-5)


@pytest.mark.parametrize(
    "changes",
    [{"bins": 3}, {"scaling": "robust"}, {"scaling": "quantile"}, {"input_scale": True}, {"periodic": 2}],
    ids=str,
)
def test_what_prepares_each_column_on_its_own_leaves_the_closed_form(changes: dict[str, Any]) -> None:
    X, codes = make_rows()
    table = Table.from_arrays(X, np.array(LABELS)[codes])
    predictor = fit_quickly(table, SINGLE, model="logistic", **changes)
    found = predictor.explain(X[:1], X[10:30])
    assert found.n_rounds == 0
    frame = pl.DataFrame(X, schema=["x0", "x1", "x2"])
    np.testing.assert_allclose(found.contributions, by_enumeration(predictor, frame[:1], frame[10:30]), atol=1e-5)


def test_the_closed_form_is_left_where_probabilities_are_cut_off() -> None:
    predictor, X = single()
    far = X[:1].copy()
    far[0, 0] = 1e7
    with pytest.warns(TabcohortWarning, match="standard deviations"):
        found = predictor.explain(far, X)
    np.testing.assert_allclose(found.base + found.contributions.sum(axis=0), found.output, atol=1e-9)
    assert abs(found.contributions[0, 0]) > 600


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_column_that_the_model_does_not_use_contributes_nothing(kind: dict[str, Any]) -> None:
    X, codes = make_rows(n_features=9)
    X[:, 4] = 0.5  # constant in training, so that no member can use it
    table = Table.from_arrays(X, np.array(LABELS)[codes])
    predictor = fit_quickly(table, **kind)
    background = X.copy()
    background[:, 4] = np.random.default_rng(0).normal(size=len(X))
    for budget in (ExplanationBudget(), SAMPLED):
        found = predictor.explain(X[:1], background, budget=budget)
        assert (found.contributions[4], found.errors[4]) == (0, 0)
        assert (found.contributions[[0, 1, 2]] != 0).all() or kind["model"] == "trees"


def test_columns_that_are_alike_have_equal_shares() -> None:
    X, codes = make_rows()
    X = np.column_stack([X, X[:, 0]])
    predictor = fit_quickly(Table.from_arrays(X, np.array(LABELS)[codes]), model="logistic", max_epochs=1)
    models = []
    for network in predictor.models:
        named = {name: array.copy() for name, array in network.named().items()}
        named["network.linear.weight"][0, 3] = named["network.linear.weight"][0, 0]
        models.append(network.with_named(named))
    alike = Predictor(
        models, predictor.members, predictor.schema, predictor.calibrator, predictor.decision_rule,
        predictor.out_of_fold, predictor.report,
    )  # fmt: skip
    found = alike.explain(X[:1], X)
    assert found.contributions[0] == pytest.approx(found.contributions[3], rel=1e-5)
    assert found.contributions[0, 0] != 0


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_errors_are_honest(kind: dict[str, Any]) -> None:
    X, codes = make_rows(n_features=8, n_rows=120)
    predictor = fit_quickly(
        Table.from_arrays(X, np.array(LABELS)[codes]), **{"hidden": (16,), **kind, "max_epochs": 40}
    )
    units: list[float] = []
    for row in range(12):
        exact = predictor.explain(X[row : row + 1], X, budget=ExplanationBudget(40), seed=row)
        rough = predictor.explain(X[row : row + 1], X, budget=ExplanationBudget(40, 0.0, 4), seed=row)
        assert (exact.n_rounds, rough.n_rounds) == (0, 4)
        matters = rough.errors > 0.1 * rough.errors.max()
        units += (np.abs(rough.contributions - exact.contributions)[matters] / rough.errors[matters]).tolist()
    assert len(units) > 24
    assert np.mean(np.array(units) < 3) >= 0.95
    assert 0.5 < np.mean(np.square(units)) < 2


def test_columns_that_move_together_are_one_player() -> None:
    """What both add is what they add when both are replaced: the grouped game has fewer orders."""
    frame = frame_of()
    predictor = fit_quickly(table_of(frame), max_epochs=30)
    alone = predictor.explain(frame[:1], frame)
    found = predictor.explain(frame[:1], frame, together=[["city", "size"]])
    assert found.names == ("size + city", "count", "when", "code", "flag")
    assert found.values[0] == (frame["size"][0], frame["city"][0])
    assert found.contributions.shape == (5, 1)
    np.testing.assert_allclose(found.base + found.contributions.sum(axis=0), alone.output, atol=1e-9)
    every = predictor.explain(frame[:1], frame, together=[list(predictor.schema.features)])
    np.testing.assert_allclose(every.contributions[0], every.output - every.base, atol=1e-12)
    with pytest.raises(TableError, match=r"the model has no column 'sice' \(did you mean 'size'\?\)"):
        predictor.explain(frame[:1], frame, together=[["sice", "city"]])


def test_a_record_is_explained_as_its_row_is() -> None:
    frame = frame_of()
    predictor = fit_quickly(table_of(frame))
    record = predictor.explain(frame.row(3, named=True), frame)
    row = predictor.explain(frame[3:4], frame)
    assert record.contributions.tobytes() == row.contributions.tobytes()
    assert record.values == row.values == frame.drop("answer").row(3)
    assert record.values[0] is None  # missing


def test_a_row_is_explained_alone_as_beside_others() -> None:
    X, _ = make_rows(n_features=9)
    table = Table.from_arrays(X, np.array(LABELS)[make_rows()[1]])
    model = fit_quickly(table)
    budget = ExplanationBudget(8, 0.5, 2)
    together = model.explain_rows(X[:3], X, budget=budget)
    alone = [model.explain(X[row : row + 1], X, budget=budget) for row in range(3)]
    for one, same in zip(together, alone, strict=True):
        assert one.contributions.tobytes() == same.contributions.tobytes()
        assert one.n_rounds == 2
    other = model.explain(X[:1], X, budget=budget, seed=5)
    assert other.contributions.tobytes() != alone[0].contributions.tobytes()
    assert other.base != alone[0].base  # other background rows


def test_rows_are_compared_with_each_other_if_nothing_is_said(predictor: Predictor) -> None:
    X, _ = make_rows()
    explanations = predictor.explain_rows(X[:30])
    same = predictor.explain_rows(X[:30], X[:30])
    assert [own.contributions.tolist() for own in explanations] == [own.contributions.tolist() for own in same]
    assert {own.n_background for own in explanations} == {25}
    assert explanations[0].values == tuple(X[0])


def test_progress_is_told_after_each_round(predictor: Predictor) -> None:
    X, codes = make_rows(n_features=9)
    model = fit_quickly(Table.from_arrays(X, np.array(LABELS)[codes]))
    heard: list[ExplanationProgress] = []
    model.explain_rows(X[:2], X, budget=ExplanationBudget(5, 0.0, 3), callback=heard.append)
    assert [(own.n_done, own.n_rows, own.n_rounds) for own in heard] == [(r, 2, n) for r in (0, 1) for n in (1, 2, 3)]
    assert heard[0].max_rounds == 3


def test_the_class_that_is_explained_is_the_positive_or_the_predicted_one(
    predictor: Predictor, three_classes: Predictor
) -> None:
    X, _ = make_rows()
    assert {predictor.class_to_explain(own) for own in predictor.explain_rows(X[:20])} == {"yes"}
    X_of_three, _ = make_rows(n_classes=3)
    explanations = three_classes.explain_rows(X_of_three[:20])
    predicted = three_classes.predict(X_of_three[:20]).tolist()
    assert [three_classes.class_to_explain(own) for own in explanations] == predicted
    proba = three_classes.predict_proba(X_of_three[:20])
    for own, row in zip(explanations, proba, strict=True):
        assert [own.of_class(label).output_probability for label in own.classes] == pytest.approx(row.tolist())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"background": None}, "^an explanation compares a row with others: give some"),
        ({"background": np.zeros((1, 3))}, "^the background has 1 row; at least 2 are needed: name the table"),
        ({"data": np.zeros((2, 3))}, "^explain takes one row, and there are 2; for more there is explain_rows$"),
        ({"background": np.zeros((9, 2))}, "^the model needs 3 columns"),
        ({"data": {"x0": 1.0}}, "^the record lacks 'x1', 'x2'.*; a missing cell is null"),
        ({"data": {"x0": 1.0, "x1": float("inf"), "x2": 0}}, "column 'x1' is infinite"),
    ],
)
def test_bad_rows_are_refused(predictor: Predictor, arguments: dict[str, Any], words: str) -> None:
    given = {"data": np.zeros((1, 3)), "background": make_rows()[0], **arguments}
    with pytest.raises(TableError, match=words):
        predictor.explain(**given)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"max_background": 1}, "^at least 2 background rows and 2 rounds are needed; max_background is 1, max_rounds"),
        ({"max_rounds": 1}, "max_rounds 1$"),
        ({"tolerance": -0.1}, "^the tolerance must be a share, at least 0; it is -0.1$"),
        ({"tolerance": float("nan")}, "it is nan$"),
    ],
)
def test_an_impossible_budget_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        ExplanationBudget(**changes)


def test_a_model_of_networks_and_trees_is_explained_as_one() -> None:
    frame = frame_of()
    configs = [Config(**{**QUICK, "model": model}) for model in ("logistic", "trees", "mlp")]
    predictor = fit(table_of(frame), configs, CohortSettings(folds=3, seeds=1))
    found: Explanation = predictor.explain(frame[:1], frame[:30])
    np.testing.assert_allclose(found.contributions, by_enumeration(predictor, frame[:1], frame[:30]), atol=2e-5)
