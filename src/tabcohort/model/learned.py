"""What a model has learned: which columns matter out of fold, what it does with them, and which work together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tabcohort.data.inputs import InputPlaces, input_places
from tabcohort.data.repeated_columns import repeated_columns
from tabcohort.data.splits import dependent_groups
from tabcohort.data.table import Table
from tabcohort.evaluation.intervals import Estimate
from tabcohort.model.effects import (
    Grid,
    grid_of,
    interactions,
    joint_part,
    local_effects,
    scores_of,
    scores_with_members,
    shares_of,
)
from tabcohort.model.explain import score_name
from tabcohort.model.importance import MAX_ROWS, N_PERMUTATIONS, importance_estimates, sample_tested_rows
from tabcohort.model.predictor import Predictor
from tabcohort.model.report_file import estimate_to_dict
from tabcohort.model.report_progress import ReportCallback, ReportProgress, Stage, ignore
from tabcohort.types import FloatArray, IntArray

MIN_ROWS, MAX_PREDICTIONS = 200, 500_000  # rows of wide tables; predictions by the members of a fold
N_EFFECTS = 6  # of the columns that matter most
MAX_EFFECT_ROWS, MAX_EFFECT_LOGITS = 1_000, 2**23  # rows; logits of all members for them
N_CROSSED = 50  # rows whose cells are put into each other for an interaction
N_HEAT_INTERVALS = 7  # of a number, in the heat map


def learned_facts(predictor: Predictor, table: Table, callback: ReportCallback = ignore) -> dict[str, Any]:
    """Return what a model has learned, as plain JSON values.

    Args:
        predictor: the model.
        table: that it was trained on.
        callback: called with how far it is.

    Returns:
        `score`: what effects are of; `n_rows`: that importances are measured on, 0 where it is not known which members
        saw which rows; `importances`: for each column, and
        for `columns` that repeat each other together, by how much the `log_loss` grows when they are permuted, the
        largest first; `effects`: see `effect_facts`, of the columns that matter most; `interactions`: of these,
        `columns`, `strength` and `share`, the strongest first; `heat_map`: of the first of these, `columns`, `class`,
        `x` and `y` (the cells), and `value` (a list for each of `y`), or null.
    """
    callback(ReportProgress(Stage.IMPORTANCES))
    columns = predictor.schema.columns
    places = input_places(columns)
    n_rows = max(MIN_ROWS, min(MAX_ROWS, MAX_PREDICTIONS // (N_PERMUTATIONS * max(len(columns), 1))))
    tested = sample_tested_rows(predictor, table, n_rows)
    some = _evenly(len(table.y), MAX_ROWS)
    repeated = repeated_columns(table.inputs(some), columns)
    players = [*([number] for number in range(len(columns))), *repeated]
    groups = dependent_groups(table)
    estimates = importance_estimates(predictor, tested, players, None if groups is None else groups[tested.rows])
    order = sorted(range(len(players)), key=lambda player: -np.nan_to_num(estimates[player].value))
    n_logits = len(predictor.models) * predictor.models[0].n_outputs
    some = _evenly(len(table.y), min(MAX_EFFECT_ROWS, max(100, MAX_EFFECT_LOGITS // n_logits)))
    X, weight = table.inputs(some), table.weight[some]
    strongest = _strongest(estimates, [players[player] for player in order], X, places)
    effects = []
    for number, grid in enumerate(strongest.values()):
        callback(ReportProgress(Stage.EFFECTS, number, len(strongest)))
        effects.append(effect_facts(predictor, X, weight, grid))
    callback(ReportProgress(Stage.INTERACTIONS))
    return {
        "score": score_name(len(predictor.schema.classes)),
        "n_rows": len(tested.y),
        "importances": [
            {
                "columns": [columns[number].name for number in players[player]],
                "log_loss": estimate_to_dict(estimates[player]),
            }
            for player in order
        ],
        "effects": effects,
        **_interaction_facts(predictor, X, places, list(strongest)),
    }


def _evenly(n_rows: int, at_most: int) -> IntArray:
    """Return rows at even distances."""
    return np.linspace(0, n_rows - 1, min(n_rows, at_most)).astype(np.int64)


def _strongest(
    estimates: Sequence[Estimate], players: Sequence[Sequence[int]], X: FloatArray, places: Sequence[InputPlaces]
) -> dict[int, Grid]:
    """Return the grids of the columns that matter most, by their numbers: of columns that repeat each other one."""
    grids: dict[int, Grid] = {}
    seen: set[int] = set()
    repeats = {number: player for player in players if len(player) > 1 for number in player}
    for player in players:
        column = max(player, key=lambda number: np.nan_to_num(estimates[number].value))
        grid = None if seen & set(player) else grid_of(X, places, column)
        seen |= set(repeats.get(column, player))
        if grid is not None and len(grids) < N_EFFECTS:
            grids[column] = grid
    return grids


def effect_facts(predictor: Predictor, X: FloatArray, weight: FloatArray, grid: Grid) -> dict[str, Any]:
    """Return the accumulated local effect of a column on the score of a class, as plain JSON values.

    Args:
        predictor: the model.
        X: inputs of rows, `(n_rows, n_inputs)`.
        weight: of each row, `(n_rows,)`.
        grid: of the column.

    Returns:
        `column`; `class`: of two the positive one, of more the one with the largest effect; `is_number`; `x`: numbers
        or levels; `share`: of the rows at each level, or null; `value`: of the model; `low`, `high`: of this less and
        plus the standard deviation of the effects of its members.
    """
    effects = local_effects(scores_with_members(predictor.ensemble), X, weight, grid)
    score = int(np.argmax(np.ptp(effects[:, 0], axis=0)))
    value, members = effects[:, 0, score], effects[:, 1:, score]
    mean = members @ predictor.weights
    spread = np.sqrt(np.square(members - mean[:, None]) @ predictor.weights)
    return {
        "column": grid.place.column.name,
        "class": _class_of(predictor, score),
        "is_number": grid.is_number,
        "x": _cells(grid),
        "share": None if grid.is_number else shares_of(X, weight, grid).tolist(),
        "value": value.tolist(),
        "low": (value - spread).tolist(),
        "high": (value + spread).tolist(),
    }


def _class_of(predictor: Predictor, score: int) -> Any:
    classes, positive = predictor.schema.classes, predictor.schema.positive
    return classes[positive if len(classes) == 2 and positive is not None else score]


def _cells(grid: Grid) -> list[Any]:
    """Return the values of a grid: numbers, or the names of levels."""
    if grid.is_number:
        return grid.values.tolist()
    names = (*grid.place.column.levels, "missing", "unknown")
    return [names[int(code)] for code in grid.values]


def _interaction_facts(
    predictor: Predictor, X: FloatArray, places: Sequence[InputPlaces], columns: Sequence[int]
) -> dict[str, Any]:
    scores = scores_of(predictor.ensemble)
    few = X[_evenly(len(X), N_CROSSED)]

    found = interactions(scores, few, places, columns)
    names = [[predictor.schema.columns[number].name for number in own.columns] for own in found]
    heat_map = None
    if found:
        one, other = (grid_of(X, places, number, N_HEAT_INTERVALS) for number in found[0].columns)
        if one is not None and other is not None:
            part = joint_part(scores, few, one, other)
            score = int(np.argmax(np.square(part).sum(axis=(0, 1))))
            heat_map = {
                "columns": names[0], "class": _class_of(predictor, score), "x": _cells(one), "y": _cells(other),
                "value": part[:, :, score].T.tolist(),
            }  # fmt: skip
    return {
        "interactions": [
            {"columns": own_names, "strength": own.strength, "share": own.share}
            for own, own_names in zip(found, names, strict=True)
        ],
        "heat_map": heat_map,
    }
