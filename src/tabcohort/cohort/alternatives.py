"""Simpler models that could answer instead of the ensemble, measured on the same out-of-fold rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from tabcohort.cohort.plan import CohortPlan
from tabcohort.cohort.selection import Selection, at_rows
from tabcohort.evaluation.calibration import fit_calibrator
from tabcohort.evaluation.intervals import mean_estimate
from tabcohort.evaluation.out_of_fold import OutOfFoldPredictions
from tabcohort.model.report import ALTERNATIVES, Alternative
from tabcohort.training.member import class_weights
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
    ensemble = selection.predictions
    factor = class_weights(plan.table, plan.splitters[0].split(0), plan.configs[0])[ensemble.y]
    alternatives = [_alternative("shares", None, 0.0, _shares(ensemble), ensemble)]
    for kind in ALTERNATIVES[1:]:
        configs = [config for config in selection.weights if kind_of(plan.configs[config].model) == kind]
        weight = sum(selection.weights[config] for config in configs)
        if not configs or (weight == 1 and sum(selection.weights[config] > 0 for config in configs) == 1):
            continue
        # Weighed as the predictions were that chose the ensemble.
        own = [
            replace(at_rows(predictions[config], ensemble.rows), weight=ensemble.weight * factor) for config in configs
        ]
        log_proba, best = _cross_fitted_best(own)
        alternatives.append(_alternative(kind, configs[best], weight, log_proba, ensemble))
    return tuple(alternatives)


def _cross_fitted_best(candidates: Sequence[OutOfFoldPredictions]) -> tuple[FloatArray, int]:
    """Return the log probabilities of the best candidate, `(n, n_classes)`, and which one is best on all rows.

    The candidate for the rows of a fold, and its calibrator, are chosen on the other folds.
    """
    first, losses = candidates[0], np.stack([candidate.losses() for candidate in candidates])
    best = int(np.argmin(losses @ first.weight))
    if first.n_folds == 1:  # nothing can be chosen, then
        return fit_calibrator(candidates[best]).apply(candidates[best].log_proba), best
    log_proba = np.empty(first.log_proba.shape)
    for inside, outside in first.folds():
        chosen = candidates[int(np.argmin(losses[:, outside] @ first.weight[outside]))]
        calibrator = fit_calibrator(chosen.take(np.flatnonzero(outside)))
        log_proba[inside] = calibrator.apply(chosen.log_proba[inside])
    return log_proba, best


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


def _shares(ensemble: OutOfFoldPredictions) -> FloatArray:
    """Return the log of each class's frequency, `(n, n_classes)`: for the rows of a fold that in the other folds."""
    n_classes = ensemble.log_proba.shape[1]
    log_proba = np.empty((len(ensemble.y), n_classes))
    for inside, outside in ensemble.folds():
        others = outside if outside.any() else inside
        totals = np.bincount(ensemble.y[others], ensemble.weight[others], n_classes) + 0.5
        log_proba[inside] = np.log(totals / totals.sum())
    return log_proba
