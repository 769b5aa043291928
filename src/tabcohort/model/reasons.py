"""The reasons of some rows of a report: which columns contribute most to what is predicted of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tabcohort.data.inputs import cells_of
from tabcohort.model.explain import explanation_facts, players_of
from tabcohort.model.explainer import Explainer
from tabcohort.model.predictor import Predictor
from tabcohort.model.report_progress import ReportCallback, ReportProgress, Stage, ignore
from tabcohort.model.report_table import MAX_CELL, ReportTable
from tabcohort.model.shapley import MIN_ROUNDS, ROWS_BUDGET, ExplanationBudget
from tabcohort.model.tested import members_tested_on
from tabcohort.randomness import Purpose, make_rng
from tabcohort.types import IntArray

N_REASONS = 3  # of each row
MAX_PREDICTIONS, MIN_BACKGROUND = 2**15, 10  # for each row; background rows where wide tables allow no more


def reasons_of(
    predictor: Predictor,
    table: ReportTable,
    rows: IntArray,
    y_pred: IntArray,
    callback: ReportCallback = ignore,
) -> list[dict[str, Any] | None]:
    """Return the strongest reasons of some rows as plain JSON values.

    The rows of the training table are explained by the members that were tested on them, with the weights and the
    calibrator of the model; those of another table by the whole model. They are compared with a sample of the table.

    Args:
        predictor: the model.
        table: that the rows are of.
        rows: their places in it, `(n,)`.
        y_pred: the code of the class that is predicted of each, `(n,)`.
        callback: called with how far it is, before each row.

    Returns:
        For each row what `explanation_facts` gives, with the three largest contributions that are not 0: to the score
        of the positive class of two, of more to that of the predicted one. None where no member was tested on the row,
        or where that is not known.
    """
    schema, data = predictor.schema, table.table
    everyone = list(range(len(predictor.models)))
    members = members_tested_on(predictor, data, rows) if table.is_training_table else [everyone] * len(rows)
    if len(data.y) < 2:  # nothing to compare with
        return [None] * len(rows)
    rng = make_rng(predictor.config.seed, Purpose.PERMUTATIONS)
    budget = _budget(len(schema.columns))
    n_background = min(budget.max_background, len(data.y))
    background = data.inputs(np.sort(rng.choice(len(data.y), n_background, replace=False)))
    X, cells = data.inputs(rows), cells_of(table.frame[rows.tolist()], schema.columns)
    players, explainers = players_of(schema.columns, ()), dict[tuple[int, ...], Explainer]()
    reasons: list[dict[str, Any] | None] = []
    for place, own in enumerate(map(tuple, members)):
        callback(ReportProgress(Stage.REASONS, place, len(rows)))
        if own and own not in explainers:
            ensemble = predictor.ensemble_of(own)
            explainers[own] = Explainer(ensemble, schema, background, players, budget, predictor.config.seed)
        explanation = None
        if own:
            (explanation,) = explainers[own].explain_rows(X[place : place + 1], [[column[place]] for column in cells])
        label = schema.classes[y_pred[place]] if predictor.explained_class is None else predictor.explained_class
        reasons.append(None if explanation is None else _strongest(explanation_facts(explanation, label)))
    return reasons


def _budget(n_players: int) -> ExplanationBudget:
    """Return how much is computed for each row: what `explain_rows` does, and less where there are many columns."""
    per_round = 2 * max(n_players - 1, 1)  # predictions for each background row
    n_background = np.clip(MAX_PREDICTIONS // (MIN_ROUNDS * per_round), MIN_BACKGROUND, ROWS_BUDGET.max_background)
    max_rounds = np.clip(MAX_PREDICTIONS // (n_background * per_round), MIN_ROUNDS, ROWS_BUDGET.max_rounds)
    return replace(ROWS_BUDGET, max_background=int(n_background), max_rounds=int(max_rounds))


def _strongest(facts: dict[str, Any]) -> dict[str, Any]:
    """Return the facts of an explanation with its largest contributions alone, and long cells cut."""
    columns: Sequence[dict[str, Any]] = [own for own in facts["columns"][:N_REASONS] if own["contribution"]]
    cut = [
        {**own, "value": own["value"][:MAX_CELL] if isinstance(own["value"], str) else own["value"]} for own in columns
    ]
    return {**facts, "columns": cut}
