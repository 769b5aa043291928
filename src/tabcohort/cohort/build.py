"""From trained members and the chosen ensemble to the predictor and its report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from tabcohort.cohort.alternatives import compare_alternatives
from tabcohort.cohort.interrupts import finishes_on_interrupt
from tabcohort.cohort.members import MemberResult
from tabcohort.cohort.plan import CohortPlan, Member
from tabcohort.cohort.runner import RunResult
from tabcohort.cohort.selection import Selection
from tabcohort.data.splits import Split
from tabcohort.evaluation.decision import choose_decision_rule
from tabcohort.evaluation.evaluate import evaluate_out_of_fold, evaluate_sets_out_of_fold
from tabcohort.evaluation.intervals import UNKNOWN, Estimate, mean_estimate
from tabcohort.evaluation.metrics import Scorer, calibration_error, log_loss
from tabcohort.evaluation.out_of_fold import OutOfFoldPredictions
from tabcohort.model.predictor import Predictor
from tabcohort.model.report import CalibrationReport, CohortReport, ConfigReport, MemberReport


@finishes_on_interrupt
def build_predictor(
    plan: CohortPlan, result: RunResult, predictions: Mapping[int, OutOfFoldPredictions], selection: Selection
) -> Predictor:
    """Return the model: the networks and trees of the ensemble, its decision rule, and the report.

    Args:
        plan: the cohort.
        result: what its run left.
        predictions: each config's out-of-fold predictions.
        selection: the ensemble.
    """
    table, settings, seed = plan.table, plan.settings, plan.configs[0].seed
    positive = table.schema.positive
    kept = replace(selection.predictions, log_proba=selection.predictions.log_proba.astype(np.float32))
    splits = {(member.repeat, member.fold): plan.split(member) for member in result.members}
    rule = choose_decision_rule(kept, positive, settings.threshold, settings.coverage)
    engines, devices = (
        " and ".join(dict.fromkeys(getattr(trained, name) for trained in result.members.values()))
        for name in ("engine", "device")
    )
    report = CohortReport(
        members=tuple(
            _member_report(member, splits[member.repeat, member.fold], trained)
            for member, trained in result.members.items()
        ),
        configs=_config_reports(plan, result, predictions, selection),
        evaluation=evaluate_out_of_fold(kept, rule, positive, seed),
        alternatives=compare_alternatives(plan, predictions, selection),
        calibration=_calibration_report(selection),
        sets=evaluate_sets_out_of_fold(kept, settings.coverage),
        n_rows=len(table.y),
        n_folds=plan.splitters[0].n_folds,
        n_seeds=len(plan.splitters),
        engine=engines,
        device=devices,
        stop_reason=result.stop_reason,
        fit_seconds=result.seconds,
        seconds_saved=result.seconds_saved,
        fingerprint=table.fingerprint(),
    )
    models = {
        number: trained.model
        for number, (member, trained) in enumerate(result.members.items())
        if selection.weights.get(member.config, 0.0) > 0 and trained.model is not None
    }
    return Predictor(
        list(models.values()), list(models), table.schema, selection.calibrator, rule, kept, report
    )  # fmt: skip


def _member_report(member: Member, split: Split, trained: MemberResult) -> MemberReport:
    state = trained.state
    return MemberReport(
        member.config,
        member.repeat,
        member.fold,
        n_train=split.n_train,
        n_validation=len(split.validation),
        n_test=len(split.test),
        best_epoch=state.best_epoch,
        stop_reason=str(state.stop_reason),
        history=state.history,
    )


def _config_reports(
    plan: CohortPlan, result: RunResult, predictions: Mapping[int, OutOfFoldPredictions], selection: Selection
) -> tuple[ConfigReport, ...]:
    """Return how each config did, beside the best one that may be in the ensemble and was trained to its end."""
    positive = plan.table.schema.positive
    losses = {config: mean_estimate(own.losses(), own.weight, own.group_ids) for config, own in predictions.items()}
    best = predictions[min(selection.weights, key=lambda config: (config in result.dropped, losses[config].value))]

    def report(number: int) -> ConfigReport:
        config, failed = plan.configs[number], result.failed.get(number)
        if number not in predictions:
            return ConfigReport(config, 0, UNKNOWN, UNKNOWN, {}, 0.0, None, failed)
        own = predictions[number]
        return ConfigReport(
            config,
            n_rows=len(own.rows),
            log_loss=losses[number],
            log_loss_gap=_gap(own, best),
            metrics=Scorer(own.log_proba, own.y, positive).metrics(own.weight),
            weight=selection.weights.get(number, 0.0),
            dropped_after=result.dropped.get(number),
            failed=failed,
        )

    return tuple(report(number) for number in range(len(plan.configs)))


def _gap(own: OutOfFoldPredictions, best: OutOfFoldPredictions) -> Estimate:
    """Return the mean of a config's losses minus those of the best one, on the rows that both have."""
    _, here, there = np.intersect1d(own.rows, best.rows, assume_unique=True, return_indices=True)
    group_ids = np.unique(own.group_ids[here], return_inverse=True)[1]
    return mean_estimate(own.losses()[here] - best.losses()[there], own.weight[here], group_ids)


def _calibration_report(selection: Selection) -> CalibrationReport:
    before, chosen = selection.uncalibrated, selection.predictions
    return CalibrationReport(
        log_loss(before, chosen.y, chosen.weight),
        log_loss(chosen.log_proba, chosen.y, chosen.weight),
        calibration_error(before, chosen.y, chosen.weight),
        calibration_error(chosen.log_proba, chosen.y, chosen.weight),
    )
