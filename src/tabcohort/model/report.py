"""What happened in training and how good the model is: the report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tabcohort.evaluation.evaluate import Evaluation
from tabcohort.evaluation.intervals import Estimate
from tabcohort.evaluation.prediction_sets import SetEvaluation
from tabcohort.settings import Config
from tabcohort.training.loop import EpochRecord


@dataclass(frozen=True)
class MemberReport:
    """What happened to one member of the cohort.

    Args:
        config: number of its config, counted from 0.
        repeat: number of the seed, counted from 0.
        fold: number of the fold, counted from 0.
        n_train: number of training rows.
        n_validation: number of validation rows.
        n_test: number of test rows.
        best_epoch: the epoch whose weights it has.
        stop_reason: "patience", "max_epochs", "interrupted", "budget", or "paused", where its config was dropped, or
            the run ended, before it could go on.
        history: one record per epoch.
    """

    config: int
    repeat: int
    fold: int
    n_train: int
    n_validation: int
    n_test: int
    best_epoch: int
    stop_reason: str
    history: tuple[EpochRecord, ...]


@dataclass(frozen=True)
class ConfigReport:
    """How one config did.

    Args:
        config: the config.
        n_rows: number of rows that its members tested; not all, if training ended early.
        log_loss: of its out-of-fold predictions, not calibrated.
        log_loss_gap: log loss minus that of the best config in the ensemble, on the same rows.
        metrics: of the same predictions, by name.
        weight: in the ensemble.
        dropped_after: the epoch after which it was dropped, or None.
        failed: why a member ended without weights, or None.
    """

    config: Config
    n_rows: int
    log_loss: Estimate
    log_loss_gap: Estimate
    metrics: dict[str, float]
    weight: float
    dropped_after: int | None = None
    failed: str | None = None


ALTERNATIVES = ("shares", "logistic", "trees", "network")  # to the ensemble, the simplest first


@dataclass(frozen=True)
class Alternative:
    """A simpler model that could answer instead of the ensemble, on the same out-of-fold rows.

    Args:
        kind: a name in `ALTERNATIVES`: the shares of the classes for all rows, or the best config of a kind alone.
        config: number of the config, counted from 0; None for the shares.
        weight: of all configs of this kind in the ensemble.
        log_loss: calibrated, cross-fitted.
        gap: this minus the log loss of the ensemble.
    """

    kind: str
    config: int | None
    weight: float
    log_loss: Estimate
    gap: Estimate


@dataclass(frozen=True)
class CalibrationReport:
    """Log loss and calibration error of the ensemble before and after calibration, cross-fitted."""

    log_loss_before: float
    log_loss_after: float
    ece_before: float
    ece_after: float


@dataclass(frozen=True)
class CohortReport:
    """What happened in training, as a model file keeps it.

    Args:
        members: every member that was trained.
        configs: every config that was tried.
        evaluation: metrics of the out-of-fold predictions, cross-fitted.
        alternatives: simpler models on the same rows.
        calibration: what calibration did.
        sets: how often prediction sets contain the true class.
        n_rows: of the table.
        n_folds: number of folds that were planned.
        n_seeds: number of seeds that were planned.
        engine: what trained the members; several are joined by " and ".
        device: where they were trained; several are joined by " and ".
        stop_reason: "budget" or "interrupted" where that ended training, else None.
        fit_seconds: duration of training, without the compilation of kernels.
        seconds_saved: by dropping configs, extrapolated.
        fingerprint: SHA-256 of the table.
        learning_curve: what `tabcohort.cohort.learning_curve.learning_curve_facts` gives, if it was measured.
    """

    members: tuple[MemberReport, ...]
    configs: tuple[ConfigReport, ...]
    evaluation: Evaluation
    alternatives: tuple[Alternative, ...]
    calibration: CalibrationReport
    sets: SetEvaluation
    n_rows: int
    n_folds: int
    n_seeds: int
    engine: str
    device: str
    stop_reason: str | None
    fit_seconds: float
    seconds_saved: float
    fingerprint: str
    learning_curve: Mapping[str, Any] | None = None
