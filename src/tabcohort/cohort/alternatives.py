"""Simpler models that could answer instead of the ensemble, measured on the same out-of-fold rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from tabcohort.cohort.plan import CohortPlan
from tabcohort.cohort.selection import Selection, at_rows, choose_best, cross_fit, with_class_weights
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
    alternatives = [_alternative("shares", None, 0.0, _shares(ensemble), ensemble)]
    for kind in ALTERNATIVES[1:]:
        own = {
            config: candidate
            for config, candidate in zip(weights, candidates, strict=True)
            if _kind_of(plan.configs[config].model) == kind
        }
        weight = sum(weights[config] for config in own)
        if not own or (weight == 1 and sum(weights[config] > 0 for config in own) == 1):
            continue
        log_proba, _ = cross_fit(list(own.values()), choose_best)
        best = list(own)[int(np.argmax(choose_best(list(own.values())).weights))]
        alternatives.append(_alternative(kind, best, weight, log_proba, ensemble))
    return tuple(alternatives)


def _kind_of(model: str) -> str:
    """Return the kind of a config's model, a name in `ALTERNATIVES`."""
    return model if model in ALTERNATIVES else "network"


def _alternative(
    kind: str, config: int | None, weight: float, log_proba: FloatArray, ensemble: OutOfFoldPredictions
) -> Alternative:
    losses = replace(ensemble, log_proba=log_proba).losses()
    return Alternative(
        kind,
        config,
        weight,
        mean_estimate(losses, ensemble.weight, ensemble.group_ids),
        mean_estimate(losses - ensemble.losses(), ensemble.weight, ensemble.group_ids),
    )


def _shares(ensemble: OutOfFoldPredictions) -> FloatArray:
    """Return the log of each class's frequency, `(n, n_classes)`: for the rows of a fold that in the other folds."""
    n_classes = ensemble.log_proba.shape[1]
    log_proba = np.empty((len(ensemble.y), n_classes))
    for inside, outside in ensemble.folds():
        others = outside if outside.any() else inside
        totals = np.bincount(ensemble.y[others], ensemble.weight[others], n_classes) + 0.5
        log_proba[inside] = np.log(totals / totals.sum())
    return log_proba
