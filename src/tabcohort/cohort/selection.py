"""From out-of-fold predictions to an ensemble: which configs are in it, with which weights, and its calibration.

Weights are chosen by bagged greedy selection with replacement (Caruana et al. 2004) on out-of-fold log loss, the
calibrator on the out-of-fold predictions of the result. Both are repeated for each fold without that fold, so that what
is reported about a row was not chosen on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from tabcohort.cohort.interrupts import finishes_on_interrupt
from tabcohort.cohort.plan import CohortPlan
from tabcohort.cohort.runner import RunResult
from tabcohort.data.splits import dependent_groups
from tabcohort.data.table import Table
from tabcohort.evaluation.calibration import Calibrator, fit_calibrator, rows_to_fit_on, sample_rows
from tabcohort.evaluation.metrics import parts_of_rows, safe_log
from tabcohort.evaluation.out_of_fold import MAX_FOLDS, OutOfFoldPredictions
from tabcohort.randomness import Purpose, make_rng
from tabcohort.training.member import class_weights
from tabcohort.types import FloatArray, IntArray

N_ROUNDS = 40
MAX_BAGS, ROWS_OF_BAGS = 20, 50_000  # all bags together have at most this many rows
MIN_WEIGHT = 1 / N_ROUNDS
MAX_ROWS = 20_000  # that a choice is made on


@dataclass(frozen=True)
class Selection:
    """The ensemble, and what it says of rows that did not choose it.

    Args:
        weights: of each config in the ensemble, by its number; they sum to 1.
        calibrator: corrects the weighted mean of the configs' probabilities.
        predictions: the ensemble's, cross-fitted: each fold's by weights and a calibrator from the other folds.
        uncalibrated: log probabilities of the same rows before calibration, `(n, n_classes)`.
    """

    weights: dict[int, float]
    calibrator: Calibrator
    predictions: OutOfFoldPredictions
    uncalibrated: FloatArray


@finishes_on_interrupt
def out_of_fold(plan: CohortPlan, result: RunResult) -> dict[int, OutOfFoldPredictions]:
    """Return each config's predictions for the rows that its members test: the mean over repeats.

    Args:
        plan: the cohort.
        result: what its run left.
    """
    test_rows = {(member.repeat, member.fold): plan.split(member).test for member in result.members}
    table, tested = plan.table, np.unique(np.concatenate(list(test_rows.values())))
    fold_ids = plan.splitters[0].fold_ids()[tested] % MAX_FOLDS
    group_ids = _groups_of(table, tested)
    by_config = {}
    for config in sorted({member.config for member in result.members}):
        total, n_predictions = np.zeros((len(tested), len(table.schema.classes))), np.zeros(len(tested))
        for member, trained in result.members.items():
            if member.config == config:
                places = np.searchsorted(tested, test_rows[member.repeat, member.fold])
                total[places] += trained.test_proba
                n_predictions[places] += 1
        places = np.flatnonzero(n_predictions)
        log_proba, rows = safe_log(total[places] / n_predictions[places, None]), tested[places]
        groups = np.arange(len(rows)) if group_ids is None else np.unique(group_ids[places], return_inverse=True)[1]
        by_config[config] = OutOfFoldPredictions(
            rows, log_proba, table.y[rows], table.weight[rows], fold_ids[places], groups
        )
    return by_config


def _groups_of(table: Table, rows: IntArray) -> IntArray | None:
    """Return the group of some rows, `(n,)`; None where all are independent."""
    if table.disk is not None:
        return dependent_groups(table.take(rows))
    group_ids = dependent_groups(table)
    return None if group_ids is None else group_ids[rows]


@finishes_on_interrupt
def select_and_calibrate(
    plan: CohortPlan, result: RunResult, predictions: Mapping[int, OutOfFoldPredictions]
) -> Selection:
    """Choose the ensemble and its calibrator, and cross-fit both.

    Args:
        plan: the cohort.
        result: what its run left.
        predictions: each config's out-of-fold predictions.
    """
    configs = _eligible(predictions, result)
    rows = _common_rows([predictions[config] for config in configs])
    candidates = [at_rows(predictions[config], rows) for config in configs]
    first, weighted = candidates[0], with_class_weights(plan, candidates)
    ensemble, (cross_fitted, uncalibrated) = choose_ensemble(weighted), cross_fit(weighted)
    return Selection(
        dict(zip(configs, ensemble.weights.tolist(), strict=True)),
        ensemble.calibrator,
        replace(first, log_proba=cross_fitted),
        uncalibrated,
    )


def _eligible(predictions: Mapping[int, OutOfFoldPredictions], result: RunResult) -> list[int]:
    """Return the configs that may be in the ensemble: those with weights, and as complete as any."""
    without_weights = {member.config for member, trained in result.members.items() if trained.model is None}
    configs = [config for config in predictions if config not in without_weights and config not in result.failed]
    n_rows = {config: len(predictions[config].rows) for config in configs}
    return [config for config in configs if n_rows[config] == max(n_rows.values())]


def with_class_weights(plan: CohortPlan, candidates: Sequence[OutOfFoldPredictions]) -> list[OutOfFoldPredictions]:
    """Return candidates for the same rows with classes that weigh as in training: what is chosen is chosen on these."""
    first = candidates[0]
    weight = first.weight * class_weights(plan.table, plan.splitters[0].split(0), plan.configs[0])[first.y]
    return [replace(candidate, weight=weight) for candidate in candidates]


def _common_rows(candidates: Sequence[OutOfFoldPredictions]) -> IntArray:
    """Return the rows that all candidates have predictions for, ascending."""
    rows = candidates[0].rows
    for candidate in candidates[1:]:
        rows = np.intersect1d(rows, candidate.rows, assume_unique=True)
    return rows


def at_rows(predictions: OutOfFoldPredictions, rows: IntArray) -> OutOfFoldPredictions:
    """Return the predictions for some of their rows."""
    if np.array_equal(predictions.rows, rows):
        return predictions
    return predictions.take(np.searchsorted(predictions.rows, rows))


@dataclass(frozen=True)
class Ensemble:
    """Candidates that predict together: `calibrator` corrects the mean of their probabilities by `weights`.

    Args:
        weights: of each candidate, `(n_candidates,)`, sum 1.
        calibrator: corrects their mean.
    """

    weights: FloatArray
    calibrator: Calibrator


# Chooses an ensemble of candidates on the rows at some positions.
Choice = Callable[[Sequence[OutOfFoldPredictions], IntArray], Ensemble]


def mean_log_proba(
    candidates: Sequence[OutOfFoldPredictions], weights: FloatArray, positions: IntArray | None = None
) -> FloatArray:
    """Return the log of the candidates' weighted mean probabilities, `(m, n_classes)`, summed one after another.

    Args:
        candidates: predictions of each config for the same rows.
        weights: of each candidate, `(n_candidates,)`; candidates of weight 0 are not read.
        positions: of the rows, `(m,)`; all when omitted.
    """
    positions = _all_positions(candidates) if positions is None else positions
    mean = np.zeros((len(positions), candidates[0].log_proba.shape[1]))
    for part in parts_of_rows(*mean.shape):
        for candidate, weight in zip(candidates, weights, strict=True):
            if weight > 0:
                mean[part] += weight * np.exp(candidate.log_proba[positions[part]])
        mean[part] = safe_log(mean[part])
    return mean


def _all_positions(candidates: Sequence[OutOfFoldPredictions]) -> IntArray:
    return np.arange(len(candidates[0].y))


def choose_ensemble(candidates: Sequence[OutOfFoldPredictions], positions: IntArray | None = None) -> Ensemble:
    """Return the ensemble that is best on some rows; equal weights where there is only one fold.

    Args:
        candidates: predictions of each config for the same rows.
        positions: of the rows that choose, ascending, `(m,)`; all when omitted.
    """
    positions = _all_positions(candidates) if positions is None else positions
    weights = np.full(len(candidates), 1 / len(candidates))
    if len(np.unique(candidates[0].fold_ids[positions])) > 1:
        weights = greedy_weights(candidates, positions=positions)
    return _calibrated(candidates, weights, positions)


def choose_best(candidates: Sequence[OutOfFoldPredictions], positions: IntArray) -> Ensemble:
    """Return the candidate with the lowest log loss on some rows, as an ensemble of it alone.

    Args:
        candidates: predictions of each config for the same rows.
        positions: as for `choose_ensemble`.
    """
    return _calibrated(candidates, np.eye(len(candidates))[place_of_best(candidates, positions)], positions)


def place_of_best(candidates: Sequence[OutOfFoldPredictions], positions: IntArray | None = None) -> int:
    """Return the place of the candidate with the lowest log loss on some rows; see `choose_ensemble`."""
    positions = _all_positions(candidates) if positions is None else positions
    losses = [candidate.losses()[positions] @ candidate.weight[positions] for candidate in candidates]
    return int(np.argmin(losses))


def _calibrated(candidates: Sequence[OutOfFoldPredictions], weights: FloatArray, positions: IntArray) -> Ensemble:
    """Return an ensemble with a calibrator that is fitted on the rows at some positions, or on a sample of these."""
    some = positions[rows_to_fit_on(len(positions), candidates[0].log_proba.shape[1])]
    mean = mean_log_proba(candidates, weights, some)
    return Ensemble(weights, fit_calibrator(replace(candidates[0].take(some), log_proba=mean)))


def greedy_weights(
    candidates: Sequence[OutOfFoldPredictions], n_bags: int | None = None, positions: IntArray | None = None
) -> FloatArray:
    """Return each candidate's weight, `(n_candidates,)`, by greedy selection on bootstrap samples of the rows.

    Rows of one group, such as equal ones, are drawn together. The weights are the mean over samples, so that few rows
    do not decide by chance (`benchmarks/ensembles.md`). Small ones are left out, as each candidate takes time to
    predict with.

    Args:
        candidates: predictions of each config for the same rows.
        n_bags: number of samples; 1 is the rows themselves. Fewer for many rows when omitted.
        positions: as for `choose_ensemble`.
    """
    if len(candidates) == 1:
        return np.ones(1)
    positions = _all_positions(candidates) if positions is None else positions
    some = positions[sample_rows(len(positions), MAX_ROWS)]
    proba = np.exp(-np.stack([candidate.losses()[some] for candidate in candidates]))
    row_weight, (_, group) = candidates[0].weight[some], np.unique(candidates[0].group_ids[some], return_inverse=True)
    n_groups = int(group.max()) + 1
    n_bags = min(MAX_BAGS, ROWS_OF_BAGS // n_groups) if n_bags is None else n_bags
    if n_bags < 2:
        return _greedy(proba, row_weight)
    rng = make_rng(0, Purpose.BAGS)
    counts = [np.bincount(rng.integers(n_groups, size=n_groups), minlength=n_groups) for _ in range(n_bags)]
    mean = np.mean([_greedy(proba, row_weight * count[group]) for count in counts], axis=0)
    kept: FloatArray = np.where(mean < MIN_WEIGHT, 0.0, mean)
    return kept / kept.sum() if kept.any() else mean


def _greedy(proba: FloatArray, row_weight: FloatArray) -> FloatArray:
    """Return weights, `(n_candidates,)`: in each round the candidate that helps most is added once more.

    The weights are those after the round with the lowest log loss.

    Args:
        proba: of each row's class, `(n_candidates, n_rows)`.
        row_weight: `(n_rows,)`.
    """
    counts, total = np.zeros(len(proba)), np.zeros(len(row_weight))
    best_loss, best = np.inf, counts
    for n_added in range(1, N_ROUNDS + 1):
        losses = -safe_log((total + proba) / n_added) @ row_weight
        choice = int(np.argmin(losses))
        total, counts = total + proba[choice], counts.copy()
        counts[choice] += 1
        if losses[choice] < best_loss:
            best_loss, best = losses[choice], counts
    return best / best.sum()


def cross_fit(
    candidates: Sequence[OutOfFoldPredictions], choose: Choice = choose_ensemble
) -> tuple[FloatArray, FloatArray]:
    """Return the predictions for each fold by an ensemble that was chosen on the other folds.

    Args:
        candidates: predictions of each config for the same rows.
        choose: chooses the ensemble, given the candidates and the positions of the rows to choose on.

    Returns:
        Log probabilities after calibration and before, each `(n, n_classes)`.
    """
    shape, folds = candidates[0].log_proba.shape, cross_fitted_folds(candidates, choose)
    if candidates[0].n_folds == 1:
        (only,) = folds
        return only.after, only.before
    after, before = np.empty(shape), np.empty(shape)
    for fold in folds:
        after[fold.rows], before[fold.rows] = fold.after, fold.before
    return after, before


class CrossFittedFold(NamedTuple):
    """The predictions for the rows of a fold.

    Args:
        rows: positions of these rows, `(n_fold,)`.
        after, before: log probabilities after calibration and before, `(n_fold, n_classes)`.
    """

    rows: IntArray
    after: FloatArray
    before: FloatArray


def cross_fitted_folds(candidates: Sequence[OutOfFoldPredictions], choose: Choice) -> Iterator[CrossFittedFold]:
    """Yield each fold's predictions by an ensemble chosen on the other folds; a single fold is chosen on its own rows.

    Args:
        candidates, choose: as for `cross_fit`.
    """
    for rows, choosers in candidates[0].folds_to_choose_for():
        ensemble = choose(candidates, choosers)
        before = mean_log_proba(candidates, ensemble.weights, rows)
        yield CrossFittedFold(rows, ensemble.calibrator.apply(before), before)
