"""From trained members to a model: what they say out of fold, which settings answer together, and how good that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tabcohort.cohort.progress import Member, Trained
from tabcohort.cohort.runner import Ended
from tabcohort.cohort.selection import OutOfFold, choose_ensemble, cross_fit
from tabcohort.data.splits import Division, Roles
from tabcohort.data.table import Table
from tabcohort.evaluation.intervals import UNKNOWN, Z95, Estimate, standard_error_of_mean
from tabcohort.evaluation.metrics import Scorer, calibration_error, log_loss, log_of
from tabcohort.evaluation.out_of_fold import Judged, decide, measure, measure_sets
from tabcohort.model.predictor import Predictor
from tabcohort.model.report import CalibrationReport, CohortReport, MemberReport, SettingReport
from tabcohort.settings import CohortSettings, Settings
from tabcohort.training.member import class_weights
from tabcohort.types import FloatArray, IntArray

MOST_PARTS = 10  # that choices are cross-fitted on: of more folds, some share one; time would grow with their square


@dataclass(frozen=True)
class SettingPredictions:
    """What one of the settings says of rows that its members never saw.

    Args:
        log_proba: log of the mean probability over the members that score a row, `(n_rows, n_classes)`.
        is_scored: which rows one scores, `(n_rows,)`.
    """

    log_proba: FloatArray
    is_scored: NDArray[np.bool_]


def conclude(
    table: Table,
    candidates: Sequence[Settings],
    cohort: CohortSettings,
    divisions: Sequence[Division],
    ended: Ended,
) -> Predictor:
    """Make the model of what was trained: the ensemble, its correction, and what is known of how good it is.

    Args:
        table: the rows.
        candidates: the settings that were tried.
        cohort: `coverage` and `threshold` are used.
        divisions: the folds of each repeat.
        ended: what the run left.
    """
    shown = {(each.repeat, each.fold) for each in ended.trained}
    folds = {(repeat, fold): _fold_rows(divisions[repeat].roles(fold)) for repeat, fold in sorted(shown)}
    predictions = {
        setting: _predictions(table, folds, ended.trained, setting)
        for setting in sorted({member.setting for member in ended.trained})
    }
    usable = _usable(predictions, ended)
    rows = np.flatnonzero(np.all([predictions[each].is_scored for each in usable], axis=0))
    part = divisions[0].parts()[rows] % MOST_PARTS
    # What is chosen weighs classes as the networks did; what is reported does not.
    factor = class_weights(table, divisions[0].roles(0), candidates[0])
    weight = table.weight[rows] * factor[table.y[rows]]
    log_proba = np.stack([predictions[each].log_proba[rows] for each in usable])
    family = None if table.key is None else np.unique(table.key[rows], return_inverse=True)[1]
    found = OutOfFold(log_proba, table.y[rows], weight, part, family)
    ensemble, (honest, before) = choose_ensemble(found), cross_fit(found)
    family = np.arange(len(rows)) if family is None else family
    judged = Judged(rows, honest.astype(np.float32), found.y, table.weight[rows], part, family)
    calibration = _calibration_report(before, honest, judged)
    del found, log_proba, honest, before
    shares = dict(zip(usable, ensemble.weight.tolist(), strict=True))
    settings = _setting_reports(table, candidates, ended, predictions, shares)
    del predictions
    decision = decide(judged, table.schema.positive, cohort.threshold, cohort.coverage)
    some = next(iter(ended.trained.values()))
    report = CohortReport(
        members=tuple(
            _member_report(each, folds[each.repeat, each.fold], trained) for each, trained in ended.trained.items()
        ),
        settings=settings,
        evaluation=measure(judged, decision, table.schema.positive, candidates[0].seed),
        calibration=calibration,
        sets=measure_sets(judged, cohort.coverage),
        n_rows=len(table.y),
        n_folds=divisions[0].n_folds,
        n_seeds=len(divisions),
        engine=some.engine,
        device=some.device,
        reason=ended.reason,
        seconds=ended.seconds,
        seconds_saved=ended.seconds_saved,
        fingerprint=table.fingerprint(),
    )
    networks = {
        number: trained.network
        for number, (member, trained) in enumerate(ended.trained.items())
        if shares.get(member.setting, 0.0) > 0 and trained.network is not None
    }
    return Predictor(
        list(networks.values()), list(networks), table.schema, ensemble.calibrator, decision, judged, report
    )  # fmt: skip


@dataclass(frozen=True)
class FoldRows:
    """What is needed of the roles of a fold's members.

    Args:
        n_train, n_stop: how many rows train and stop them.
        score: which rows they score, `(n_score,)`.
    """

    n_train: int
    n_stop: int
    score: IntArray


def _fold_rows(roles: Roles) -> FoldRows:
    return FoldRows(len(roles.train), len(roles.stop), roles.score)


def _predictions(
    table: Table, folds: Mapping[tuple[int, int], FoldRows], trained: Mapping[Member, Trained], setting: int
) -> SettingPredictions:
    total = np.zeros((len(table.y), len(table.schema.classes)))
    count = np.zeros(len(table.y))
    for member, each in trained.items():
        if member.setting == setting:
            rows = folds[member.repeat, member.fold].score
            total[rows] += each.proba
            count[rows] += 1
    np.divide(total, count[:, None], out=total, where=count[:, None] > 0)
    return SettingPredictions(log_of(total), count > 0)


def _usable(predictions: Mapping[int, SettingPredictions], ended: Ended) -> list[int]:
    """Return the settings that may answer: those whose networks were kept, and that are as complete as any."""
    gone = {member.setting for member, each in ended.trained.items() if each.network is None}
    may_answer = [each for each in predictions if each not in gone and each not in ended.failed]
    n_scored = {each: int(predictions[each].is_scored.sum()) for each in may_answer}
    return [each for each in may_answer if n_scored[each] == max(n_scored.values())]


def _member_report(member: Member, rows: FoldRows, trained: Trained) -> MemberReport:
    progress = trained.progress
    return MemberReport(
        member.setting,
        member.repeat,
        member.fold,
        n_train=rows.n_train,
        n_stop=rows.n_stop,
        n_score=len(rows.score),
        best_epoch=progress.best_epoch,
        stop_reason=str(progress.stop_reason),
        history=progress.history,
    )


def _setting_reports(
    table: Table,
    candidates: Sequence[Settings],
    ended: Ended,
    predictions: Mapping[int, SettingPredictions],
    shares: Mapping[int, float],
) -> tuple[SettingReport, ...]:
    """Return how each of the settings did, beside the best of those in the ensemble's race."""

    def losses(number: int) -> FloatArray:
        return -predictions[number].log_proba[np.arange(len(table.y)), table.y]

    def estimate(values: FloatArray, rows: NDArray[np.bool_]) -> Estimate:
        if not rows.any():
            return UNKNOWN
        share = table.weight[rows] / table.weight[rows].sum()
        mean = float(share @ values[rows])
        family = None if table.key is None else table.key[rows]
        half = Z95 * standard_error_of_mean(values[rows], table.weight[rows], family)
        return Estimate(mean, mean - half, mean + half)

    def report(number: int, settings: Settings) -> SettingReport:
        if number not in predictions:
            return SettingReport(settings, 0, UNKNOWN, UNKNOWN, {}, 0.0, None, ended.failed.get(number))
        rows, own = predictions[number].is_scored, losses(number)
        scorer = Scorer(predictions[number].log_proba[rows], table.y[rows], table.schema.positive)
        return SettingReport(
            settings,
            n_rows=int(rows.sum()),
            log_loss=estimate(own, rows),
            behind=estimate(own - of_best, rows & predictions[best].is_scored),
            metrics=scorer.metrics(table.weight[rows]),
            weight=shares.get(number, 0.0),
            dropped_after=ended.dropped.get(number),
            failed=ended.failed.get(number),
        )

    best = min(shares, key=lambda each: estimate(losses(each), predictions[each].is_scored).value)
    of_best = losses(best)
    return tuple(report(number, settings) for number, settings in enumerate(candidates))


def _calibration_report(before: FloatArray, after: FloatArray, judged: Judged) -> CalibrationReport:
    return CalibrationReport(
        log_loss(before, judged.y, judged.weight),
        log_loss(after, judged.y, judged.weight),
        calibration_error(before, judged.y, judged.weight),
        calibration_error(after, judged.y, judged.weight),
    )
