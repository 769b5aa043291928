"""What happened in training, and how good the model is: what a model file keeps, and people read."""

from __future__ import annotations

from dataclasses import dataclass

from tabcohort.evaluation.intervals import Estimate, Evaluation
from tabcohort.settings import Settings
from tabcohort.training.loop import EpochRecord


@dataclass(frozen=True)
class MemberReport:
    """What happened to one network of the cohort.

    Args:
        setting: which of the settings, counted from 0.
        repeat, fold: of which seed's folds, counted from 0.
        n_train, n_stop, n_score: how many rows had each role.
        best_epoch: the epoch whose weights it has.
        stop_reason: "patience", "max_epochs", "interrupted", "budget", or "paused", where its settings were dropped, or
            the run ended, before it could go on.
        history: one record per epoch.
    """

    setting: int
    repeat: int
    fold: int
    n_train: int
    n_stop: int
    n_score: int
    best_epoch: int
    stop_reason: str
    history: tuple[EpochRecord, ...]


@dataclass(frozen=True)
class SettingReport:
    """How one of the settings did.

    Args:
        settings: what they are.
        n_rows: on how many rows they were judged; of some only on a part, where training was ended.
        log_loss: of their out-of-fold predictions, uncorrected.
        behind: how much more that is than that of the best settings, on the same rows.
        metrics: of the same predictions, by name.
        weight: their share in the ensemble.
        dropped_after: the epoch after which they were dropped, or None.
        failed: why a member of theirs ended without weights, or None.
    """

    settings: Settings
    n_rows: int
    log_loss: Estimate
    behind: Estimate
    metrics: dict[str, float]
    weight: float
    dropped_after: int | None = None
    failed: str | None = None


@dataclass(frozen=True)
class CalibrationReport:
    """What correcting the ensemble's probabilities did, cross-fitted: log loss and calibration error."""

    log_loss_before: float
    log_loss_after: float
    ece_before: float
    ece_after: float


@dataclass(frozen=True)
class CohortReport:
    """What happened in training, as a model file keeps it.

    Args:
        members: every network that was trained.
        settings: every settings that were tried.
        evaluation: of the out-of-fold predictions; what was chosen for a row was chosen on others.
        calibration: what the correction did.
        sets: by name, shares of the rows: whose set holds their class ("covered", and of each class), and whose set has
            one class, several, or none.
        n_rows: of the table.
        n_folds, n_seeds: of the members that there were to be.
        engine, device: what ran the epochs.
        reason: "budget" or "interrupted" where that ended training, else None.
        seconds: that training took.
        seconds_saved: by dropping settings, extrapolated.
        fingerprint: SHA-256 of the table.
    """

    members: tuple[MemberReport, ...]
    settings: tuple[SettingReport, ...]
    evaluation: Evaluation
    calibration: CalibrationReport
    sets: dict[str, float]
    n_rows: int
    n_folds: int
    n_seeds: int
    engine: str
    device: str
    reason: str | None
    seconds: float
    seconds_saved: float
    fingerprint: str
