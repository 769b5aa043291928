"""What happened in training and how good the model is: the report, and its form in a model file."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tabcohort.evaluation.evaluate import Evaluation
from tabcohort.evaluation.intervals import Estimate
from tabcohort.evaluation.metrics import METRICS
from tabcohort.evaluation.prediction_sets import SetEvaluation
from tabcohort.settings import Config
from tabcohort.training.loop import EpochRecord

_RECORD = EpochRecord._fields


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


def report_to_dict(report: CohortReport) -> dict[str, Any]:
    """Return a report as plain JSON values; what is unknown is null, and a history is a list for each column.

    There is a `learning_curve` only if it was measured.
    """
    kept = {name: value for name, value in vars(report).items() if name != "learning_curve" or value is not None}
    return {
        **kept,
        "members": [{**vars(member), "history": _columns(member.history)} for member in report.members],
        "configs": [
            {
                **vars(config),
                "config": config.config.to_dict(),
                "log_loss": estimate_to_dict(config.log_loss),
                "log_loss_gap": estimate_to_dict(config.log_loss_gap),
                "metrics": {name: None if math.isnan(value) else value for name, value in config.metrics.items()},
            }
            for config in report.configs
        ],
        "evaluation": {
            **vars(report.evaluation),
            "metrics": {name: estimate_to_dict(estimate) for name, estimate in report.evaluation.metrics.items()},
            "confusion": report.evaluation.confusion.tolist(),
        },
        "alternatives": [
            {
                **vars(alternative),
                "log_loss": estimate_to_dict(alternative.log_loss),
                "gap": estimate_to_dict(alternative.gap),
            }
            for alternative in report.alternatives
        ],
        "calibration": {**vars(report.calibration)},
        "sets": {
            **vars(report.sets),
            "covered_by_class": [None if math.isnan(share) else share for share in report.sets.covered_by_class],
        },
    }


def report_from_dict(values: Mapping[str, Any]) -> CohortReport:
    """Return the report that `report_to_dict` described.

    Raises:
        ValueError, LookupError, TypeError: the values do not fit.
    """
    configs = tuple(
        ConfigReport(
            **{
                **config,
                "config": Config.from_dict(config["config"]),
                "log_loss": _estimate(config["log_loss"]),
                "log_loss_gap": _estimate(config["log_loss_gap"]),
                "metrics": {name: _number(value) for name, value in config["metrics"].items()},
            }
        )
        for config in values["configs"]
    )
    members = tuple(MemberReport(**{**member, "history": _records(member["history"])}) for member in values["members"])
    if any(not 0 <= member.config < len(configs) for member in members):
        raise ValueError("a member has a config that is not there")
    sets, curve = values["sets"], values.get("learning_curve")
    return CohortReport(
        **{
            **values,
            "learning_curve": None if curve is None else _learning_curve(curve),
            "members": members,
            "configs": configs,
            "evaluation": _evaluation(values["evaluation"]),
            "alternatives": tuple(_alternative(alternative, len(configs)) for alternative in values["alternatives"]),
            "calibration": CalibrationReport(**values["calibration"]),
            "sets": SetEvaluation(**{**sets, "covered_by_class": tuple(map(_number, sets["covered_by_class"]))}),
        }
    )


def estimate_to_dict(estimate: Estimate) -> dict[str, float | None]:
    """Return an estimate as plain JSON values; what is unknown is null."""
    return {name: None if math.isnan(value) else value for name, value in dataclasses.asdict(estimate).items()}


def _evaluation(values: Mapping[str, Any]) -> Evaluation:
    import numpy as np

    n_rows, n_groups = values["n_rows"], values["n_groups"]
    if type(n_rows) is not int or type(n_groups) is not int or not 1 <= n_groups <= n_rows:
        raise ValueError("its report has impossible numbers of rows")
    metrics = {name: _estimate(estimate) for name, estimate in values["metrics"].items()}
    if not set(metrics) <= set(METRICS):
        raise ValueError("its report has unknown metrics")
    return Evaluation(metrics, np.array(values["confusion"], dtype=np.float64), n_rows, n_groups)


def _alternative(values: Mapping[str, Any], n_configs: int) -> Alternative:
    config = values["config"]
    is_config = type(config) is int and 0 <= config < n_configs
    if values["kind"] not in ALTERNATIVES or (config is not None and not is_config):
        raise ValueError("its report has an alternative that there is not")
    return Alternative(**{**values, **{name: _estimate(values[name]) for name in ("log_loss", "gap")}})


def _learning_curve(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts of a learning curve, checked to be what figures are drawn of.

    Raises:
        ValueError, LookupError, TypeError: they are not.
    """
    curves = [
        {
            "family": str(curve["family"]),
            **{name: _finite(curve[name]) for name in ("limit", "drop", "rate")},
            "drawn": [[_finite(share), _finite(loss)] for share, loss in curve["drawn"]],
        }
        for curve in values["curves"]
    ]
    points = [
        {"share": _finite(own["share"]), "n_train": _finite(own["n_train"]), "log_loss": _known(own["log_loss"])}
        for own in values["points"]
    ]
    forecasts = [
        {"factor": _finite(own["factor"]), "n_rows": int(own["n_rows"]), "gain": _known(own["gain"])}
        for own in values["forecasts"]
    ]
    if not points or len(curves) != 2 or not all(curve["drawn"] for curve in curves):
        raise ValueError("its report has an impossible learning curve")
    return {
        "points": points, "curves": curves, "forecasts": forecasts, "conclusion": str(values["conclusion"]),
        "is_complete": bool(values["is_complete"]),
    }  # fmt: skip


def _known(estimate: Mapping[str, Any]) -> dict[str, float]:
    return {name: _finite(estimate[name]) for name in ("value", "low", "high")}


def _finite(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError("its report has a learning curve of something else than numbers")
    return float(value)


def _columns(history: Sequence[EpochRecord]) -> dict[str, list[float]]:
    return {name: [getattr(record, name) for record in history] for name in _RECORD}


def _records(columns: Mapping[str, list[Any]]) -> tuple[EpochRecord, ...]:
    return tuple(EpochRecord(*values) for values in zip(*(columns[name] for name in _RECORD), strict=True))


def _estimate(values: Mapping[str, Any]) -> Estimate:
    return Estimate(**{name: _number(value) for name, value in values.items()})


def _number(value: float | None) -> float:
    return math.nan if value is None else value
