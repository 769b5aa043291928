"""Simpler models that could answer instead of the ensemble, measured on the same out-of-fold rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tabcohort.cohort.plan import CohortPlan
from tabcohort.cohort.selection import (
    Selection,
    at_rows,
    choose_best,
    cross_fitted_folds,
    place_of_best,
    with_class_weights,
)
from tabcohort.evaluation.intervals import mean_estimate
from tabcohort.evaluation.out_of_fold import OutOfFoldPredictions
from tabcohort.model.report import ALTERNATIVES, Alternative
from tabcohort.types import FloatArray


def compare_alternatives(
    plan: CohortPlan, predictions: Mapping[int, OutOfFoldPredictions], selection: Selection
) -> tuple[Alternative, ...]:
    """Return how much log loss one config alone has beyond the ensemble, the simplest kind first.

    Of several configs of a kind, the one for the rows of a fold is that with the lowest log loss in the other folds.
    All are calibrated as the ensemble is. A kind whose only config is the whole ensemble is left out.

    Args:
        plan: the cohort.
        predictions: each config's out-of-fold predictions.
        selection: the ensemble.
    """
    ensemble, weights = selection.predictions, selection.weights
    candidates = with_class_weights(plan, [at_rows(predictions[config], ensemble.rows) for config in weights])
    alternatives = [_alternative("shares", None, 0.0, _losses_of_shares(ensemble), ensemble)]
    for kind in ALTERNATIVES[1:]:
        own = {
            config: candidate
            for config, candidate in zip(weights, candidates, strict=True)
            if _kind_of(plan.configs[config].model) == kind
        }
        weight = sum(weights[config] for config in own)
        if not own or (weight == 1 and sum(weights[config] > 0 for config in own) == 1):
            continue
        rivals = list(own.values())
        best = list(own)[place_of_best(rivals)]
        alternatives.append(_alternative(kind, best, weight, _cross_fitted_losses(rivals), ensemble))
    return tuple(alternatives)


def _kind_of(model: str) -> str:
    """Return the kind of a config's model, a name in `ALTERNATIVES`."""
    return model if model in ALTERNATIVES else "network"


def _alternative(
    kind: str, config: int | None, weight: float, losses: FloatArray, ensemble: OutOfFoldPredictions
) -> Alternative:
    return Alternative(
        kind,
        config,
        weight,
        mean_estimate(losses, ensemble.weight, ensemble.group_ids),
        mean_estimate(losses - ensemble.losses(), ensemble.weight, ensemble.group_ids),
    )


def _cross_fitted_losses(candidates: Sequence[OutOfFoldPredictions]) -> FloatArray:
    """Return the log loss of each row, `(n,)`, by the best candidate for the rows of other folds."""
    y, losses = candidates[0].y, np.empty(len(candidates[0].y))
    for fold in cross_fitted_folds(candidates, choose_best):
        losses[fold.rows] = -fold.after[np.arange(len(fold.rows)), y[fold.rows]]
    return losses


def _losses_of_shares(ensemble: OutOfFoldPredictions) -> FloatArray:
    """Return the log loss of each row, `(n,)`, where a class is as probable as it is frequent in the other folds."""
    losses = np.empty(len(ensemble.y))
    for rows, choosers in ensemble.folds_to_choose_for():
        totals = np.bincount(ensemble.y[choosers], ensemble.weight[choosers], ensemble.log_proba.shape[1]) + 0.5
        losses[rows] = -np.log(totals / totals.sum())[ensemble.y[rows]]
    return losses
