"""The reasons of rows in a report: of the members that never saw them, or of the whole model, and said to be so."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from helpers import fit_quickly, make_rows

from tabcohort import CohortSettings, Predictor, Table
from tabcohort.cohort.plan import make_plan
from tabcohort.evaluation.metrics import log_probabilities
from tabcohort.model.reasons import MAX_PREDICTIONS, N_REASONS, _budget, reasons_of
from tabcohort.model.report_facts import report_facts
from tabcohort.model.report_table import ReportTable

TWO_SEEDS = CohortSettings(folds=3, seeds=2)


def frame_of(n_rows: int = 90, n_classes: int = 2, seed: int = 0) -> pl.DataFrame:
    X, codes = make_rows(n_rows, 5, n_classes, seed)
    X[::9, 1] = np.nan
    frame = pl.DataFrame(X, schema=["x0", "x1", "x2", "x3", "x4"])
    return frame.with_columns(
        word=pl.Series(np.where(X[:, 2] > 0, "a" * 100, "b")), answer=pl.Series(np.array(["no", "yes", "may"])[codes])
    )


@pytest.fixture(scope="module")
def model() -> Predictor:
    """A model of `frame_of()`: networks of three folds and two seeds."""
    return fit_quickly(Table.from_frame(frame_of(), "answer"), TWO_SEEDS)


def with_other_models(predictor: Predictor, kept: set[int]) -> Predictor:
    """Return a model whose members but those at the places `kept` have the parameters of the first of these."""
    models = [own if place in kept else predictor.models[min(kept)] for place, own in enumerate(predictor.models)]
    return Predictor(
        models, predictor.members, predictor.schema, predictor.calibrator, predictor.decision_rule,
        predictor.out_of_fold, predictor.report,
    )  # fmt: skip


def test_a_training_row_is_explained_by_the_members_that_were_tested_on_it_alone(model: Predictor) -> None:
    table = ReportTable.of(frame_of(), model)
    rows, y_pred = np.array([7, 41]), np.array([0, 1])
    plan = make_plan(table.table, model.config, TWO_SEEDS)
    for row, reasons in zip(rows.tolist(), reasons_of(model, table, rows, y_pred), strict=True):
        own = {place for place, member in enumerate(plan.members) if row in plan.split(member).test}
        assert len(own) == 2
        changed = ReportTable.of(frame_of(), with_other_models(model, own))
        assert reasons_of(with_other_models(model, own), changed, np.array([row]), y_pred) == [reasons]
        assert reasons is not None
        logits = model.member_logits(frame_of()[row : row + 1])[0, sorted(own)]
        mean = np.exp(log_probabilities(logits)).mean(axis=0, keepdims=True)
        expected = np.exp(model.calibrator.apply(np.log(mean)))[0, 1]
        assert reasons["output"]["probability"] == pytest.approx(expected)
        assert reasons["class"] == "yes"


def test_a_row_of_another_table_is_explained_by_the_whole_model(model: Predictor) -> None:
    frame = frame_of(60, seed=5)
    reasons = reasons_of(model, ReportTable.of(frame, model), np.array([3]), np.array([0]))[0]
    assert reasons is not None
    assert reasons["output"]["probability"] == pytest.approx(model.predict_proba(frame)[3, 1])
    assert reasons["n_background"] == 25


def test_reasons_are_the_largest_contributions_with_their_cells_the_largest_first(model: Predictor) -> None:
    table = ReportTable.of(frame_of(), model)
    found = reasons_of(model, table, np.arange(0, 27), np.zeros(27, dtype=np.int64))
    for row, reasons in enumerate(found):
        assert reasons is not None
        sizes = [abs(own["contribution"]) for own in reasons["columns"]]
        assert len(sizes) == N_REASONS
        assert sizes == sorted(sizes, reverse=True)
        for own in reasons["columns"]:
            cell = frame_of()[own["name"]][row]
            if isinstance(cell, str):
                assert own["value"] == cell[:80]  # long cells are cut, as elsewhere in a report
            else:
                assert own["value"] == (None if np.isnan(cell) else cell)


def test_of_more_classes_the_listed_prediction_is_explained() -> None:
    frame = frame_of(n_classes=3)
    model = fit_quickly(Table.from_frame(frame, "answer"), model="logistic")
    hardest = report_facts(model, ReportTable.of(frame, model))["hardest"]
    assert hardest["explained_by"] == "tested members"
    rows: list[dict[str, Any]] = [*hardest["most_wrong"], *hardest["least_sure"]]
    assert all(row["reasons"]["class"] == row["predicted"] for row in rows)
    assert {row["reasons"]["score"] for row in rows} == {hardest["score"]}


def test_without_a_table_or_of_one_row_there_are_none(model: Predictor) -> None:
    hardest = report_facts(model)["hardest"]
    assert (hardest["explained_by"], {str(row["reasons"]) for row in hardest["least_sure"]}) == (None, {"None"})
    one = ReportTable.of(frame_of(60, seed=5)[:1], model)
    assert reasons_of(model, one, np.array([0]), np.array([0])) == [None]


def test_members_that_are_not_known_give_no_reasons(model: Predictor) -> None:
    some = Predictor(
        model.models[:1], model.members[:1], model.schema, model.calibrator, model.decision_rule, model.out_of_fold,
        model.report,
    )  # fmt: skip
    found = reasons_of(some, ReportTable.of(frame_of(), some), np.arange(90), np.zeros(90, dtype=np.int64))
    assert 0 < sum(own is None for own in found) < 90


@pytest.mark.parametrize("n_columns", [1, 14, 100, 400])
def test_the_predictions_for_a_row_are_limited(n_columns: int) -> None:
    budget = _budget(n_columns)
    assert budget.max_background * budget.max_rounds * 2 * (n_columns - 1) <= MAX_PREDICTIONS
    assert budget.max_background >= 10
    if n_columns <= 14:
        assert (budget.max_background, budget.max_rounds) == (25, 8)
