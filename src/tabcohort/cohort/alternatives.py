"""Simpler models that could answer instead of the ensemble, measured on the same out-of-fold rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from tabcohort.cohort.plan import CohortPlan
from tabcohort.cohort.selection import Selection, cross_fit
from tabcohort.evaluation.intervals import mean_estimate
from tabcohort.evaluation.metrics import log_loss
from tabcohort.evaluation.out_of_fold import OutOfFoldPredictions
from tabcohort.model.report import ALTERNATIVES, Alternative
from tabcohort.training.member import class_weights
from tabcohort.types import FloatArray


def compare_alternatives(
    plan: CohortPlan, predictions: Mapping[int, OutOfFoldPredictions], selection: Selection
) -> tuple[Alternative, ...]:
    """Return what one model alone would lose beside the ensemble, the simplest model first.

    Of each kind it is the config with the lowest log loss, calibrated as the ensemble is. A kind that is the whole
    ensemble has none.

    Args:
        plan: the cohort.
        predictions: each config's out-of-fold predictions.
        selection: the ensemble.
    """
    ensemble = selection.predictions
    factor = class_weights(plan.table, plan.splitters[0].split(0), plan.configs[0])[ensemble.y]
    alternatives = [_alternative("shares", None, 0.0, _shares(ensemble), ensemble)]
    for kind in ALTERNATIVES[1:]:
        configs = [config for config in selection.weights if kind_of(plan.configs[config].model) == kind]
        weight = sum(selection.weights[config] for config in configs)
        if not configs or (weight == 1 and sum(selection.weights[config] > 0 for config in configs) == 1):
            continue
        own = {config: _at_rows(predictions[config], ensemble) for config in configs}
        best = min(configs, key=lambda config: log_loss(own[config].log_proba, ensemble.y, ensemble.weight))
        weighted = replace(own[best], weight=ensemble.weight * factor)  # as those were that chose the ensemble
        alternatives.append(_alternative(kind, best, weight, cross_fit([weighted])[0], ensemble))
    return tuple(alternatives)


def kind_of(model: str) -> str:
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


def _at_rows(predictions: OutOfFoldPredictions, ensemble: OutOfFoldPredictions) -> OutOfFoldPredictions:
    """Return the predictions for the rows of the ensemble."""
    return predictions.take(np.searchsorted(predictions.rows, ensemble.rows))


def _shares(ensemble: OutOfFoldPredictions) -> FloatArray:
    """Return the log of each class's share, `(n, n_classes)`: for the rows of a fold that among the other folds."""
    n_classes = ensemble.log_proba.shape[1]
    log_proba = np.empty((len(ensemble.y), n_classes))
    for inside, outside in ensemble.folds():
        others = outside if outside.any() else inside
        totals = np.bincount(ensemble.y[others], ensemble.weight[others], n_classes) + 0.5
        log_proba[inside] = np.log(totals / totals.sum())
    return log_proba
