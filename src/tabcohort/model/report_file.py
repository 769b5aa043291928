"""The report as plain JSON values of a model file, and back; what is read is checked, as others may have written it.

In a file the durations of a training are apart from its report: all else is a function of the table, the settings and
the versions, so that a training that was resumed can be compared with one that was not.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tabcohort.evaluation.evaluate import MAX_CLASSES, Evaluation
from tabcohort.evaluation.intervals import UNKNOWN, Estimate
from tabcohort.evaluation.metrics import METRICS
from tabcohort.evaluation.prediction_sets import SetEvaluation
from tabcohort.model.report import (
    ALTERNATIVES,
    Alternative,
    CalibrationReport,
    CohortReport,
    ConfigReport,
    MemberReport,
)
from tabcohort.plain_values import PlainValues, plain_values
from tabcohort.settings import Config
from tabcohort.training.loop import EpochRecord
from tabcohort.types import FloatArray

_RECORD = EpochRecord._fields
_UNTIMED_RECORD = tuple(name for name in _RECORD if name != "seconds")
_TIMES = ("fit_seconds", "seconds_saved")  # of a report, beside the seconds of its epochs
_LOWEST = {"learning_rate": 0.0, "val_accuracy": 0.0}
_MEMBER = frozenset(field.name for field in dataclasses.fields(MemberReport))  # there may be thousands of members
NAMES_OF_ESTIMATE = ("value", "low", "high")
ALWAYS_KNOWN = ("accuracy", "log_loss")  # of any rows
MAX_CLASSES_IN_FULL = 1_000  # whose confusion matrix is written with all its numbers, most of which are 0
STOP_REASONS = ("patience", "max_epochs", "interrupted", "budget", "paused")


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
            "confusion": _confusion_to_plain(report.evaluation.confusion),
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


def _confusion_to_plain(confusion: FloatArray) -> Any:
    """Return the rows of a confusion matrix; of one of many classes the pairs that occur, of which there are few."""
    if len(confusion) <= MAX_CLASSES_IN_FULL:
        return confusion.tolist()
    true, predicted = np.nonzero(confusion)
    weights = confusion[true, predicted]
    return {"true": true.tolist(), "predicted": predicted.tolist(), "weight": weights.tolist()}


def estimate_to_dict(estimate: Estimate) -> dict[str, float | None]:
    """Return an estimate as plain JSON values; what is unknown is null."""
    return {name: None if math.isnan(value) else value for name, value in dataclasses.asdict(estimate).items()}


def split_times(report: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what `report_to_dict` gives without its durations, and the durations, as a model file has them."""
    members = [
        {**member, "history": {name: member["history"][name] for name in _UNTIMED_RECORD}}
        for member in report["members"]
    ]
    untimed = {name: value for name, value in report.items() if name not in _TIMES}
    epochs = [{"seconds": member["history"]["seconds"]} for member in report["members"]]
    return {**untimed, "members": members}, {**{name: report[name] for name in _TIMES}, "members": epochs}


def report_from_dict(values: Any, times: Any, n_classes: int) -> CohortReport:
    """Return the report that `report_to_dict` described.

    Args:
        values, times: what `split_times` gives, as `json.loads` gives it.
        n_classes: of the model.

    Raises:
        ValueError: a value is missing, or none that a report has; the message names it.
        SettingsError: a config is not valid.
    """
    report, durations = plain_values(values, "report"), plain_values(times, "times")
    report.only(field.name for field in dataclasses.fields(CohortReport) if field.name not in _TIMES)
    durations.only((*_TIMES, "members"))
    configs = tuple(map(_config, report.children("configs")))
    members, seconds = report.children("members"), durations.children("members")
    if not configs or not members:
        raise ValueError("report.configs and report.members must not be empty")
    if len(seconds) != len(members):
        raise ValueError(f"times.members must have the seconds of {len(members)} members, and has {len(seconds)}")
    curve = report.child("learning_curve") if report.values.get("learning_curve") is not None else None
    return CohortReport(
        members=tuple(_member(*member, len(configs)) for member in zip(members, seconds, strict=True)),
        configs=configs,
        evaluation=_evaluation(report.child("evaluation"), n_classes),
        alternatives=tuple(_alternative(model, len(configs)) for model in report.children("alternatives")),
        calibration=_calibration(report.child("calibration")),
        sets=_sets(report.child("sets"), n_classes),
        n_rows=report.whole("n_rows", low=1),
        n_folds=report.whole("n_folds", low=1),
        n_seeds=report.whole("n_seeds", low=1),
        engine=report.text("engine"),
        device=report.text("device"),
        stop_reason=None if report.is_null("stop_reason") else report.text("stop_reason", ("budget", "interrupted")),
        fit_seconds=durations.number("fit_seconds", low=0),
        seconds_saved=durations.number("seconds_saved", low=0),
        fingerprint=report.text("fingerprint"),
        learning_curve=None if curve is None else _learning_curve(curve),
    )


def _member(values: PlainValues, times: PlainValues, n_configs: int) -> MemberReport:
    values.only(_MEMBER)
    times.only(("seconds",))
    history = _records(values.child("history"), times)
    return MemberReport(
        config=values.whole("config", high=n_configs - 1),
        repeat=values.whole("repeat"),
        fold=values.whole("fold"),
        n_train=values.whole("n_train", low=1),
        n_validation=values.whole("n_validation", low=1),
        n_test=values.whole("n_test"),
        best_epoch=values.whole("best_epoch", low=1, high=len(history)),
        stop_reason=values.text("stop_reason", STOP_REASONS),
        history=history,
    )


def _records(values: PlainValues, times: PlainValues) -> tuple[EpochRecord, ...]:
    """Return the records of a history, which has a list for each of their fields; the seconds are apart."""
    values.only(_UNTIMED_RECORD)
    epochs = values.wholes("epoch")
    columns = [values.numbers(name, _LOWEST.get(name, -math.inf)) for name in _UNTIMED_RECORD if name != "epoch"]
    columns.append(times.numbers("seconds", 0.0))
    if epochs != tuple(range(1, len(epochs) + 1)) or any(len(column) != len(epochs) for column in columns):
        raise ValueError(f"{values.path} must have the epochs 1, 2, ... and a number of each quantity for each of them")
    return tuple(map(EpochRecord._make, zip(epochs, *columns, strict=True)))


def _config(values: PlainValues) -> ConfigReport:
    values.only(field.name for field in dataclasses.fields(ConfigReport))
    metrics, n_rows = values.child("metrics"), values.whole("n_rows")
    metrics.only(METRICS)
    return ConfigReport(
        config=Config.from_dict(values.child("config").values),
        n_rows=n_rows,
        log_loss=_estimate(values.child("log_loss"), must_be_known=n_rows > 0),
        log_loss_gap=_estimate(values.child("log_loss_gap"), must_be_known=n_rows > 0),
        metrics={name: metrics.number_or_nan(name) for name in metrics.values},
        weight=values.number("weight", low=0, high=1),
        dropped_after=None if values.is_null("dropped_after") else values.whole("dropped_after", low=1),
        failed=None if values.is_null("failed") else values.text("failed"),
    )


def _evaluation(values: PlainValues, n_classes: int) -> Evaluation:
    values.only(field.name for field in dataclasses.fields(Evaluation))
    n_rows, metrics = values.whole("n_rows", low=1), values.child("metrics")
    metrics.only(METRICS)
    for name in ALWAYS_KNOWN:
        metrics.get(name)
    estimates = {name: _estimate(metrics.child(name), name in ALWAYS_KNOWN) for name in metrics.values}
    for name, estimate in estimates.items():
        highest = METRICS[name].highest(n_classes)
        if not (math.isnan(estimate.value) or METRICS[name].lowest <= estimate.value <= highest):
            raise ValueError(f"{metrics.path}.{name}.value is outside of what a metric of this name can be")
    return Evaluation(estimates, _confusion(values, n_classes), n_rows, values.whole("n_groups", low=1, high=n_rows))


def _confusion(values: PlainValues, n_classes: int) -> FloatArray:
    rows = values.get("confusion")
    if isinstance(rows, dict):
        return _confusion_of_pairs(values.child("confusion"), n_classes)
    wrong = ValueError(f"{values.path}.confusion must have {n_classes} rows of {n_classes} weights, not all of them 0")
    try:
        confusion = np.array(rows, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise wrong from None
    if confusion.shape != (n_classes, n_classes) or not np.isfinite(confusion).all():
        raise wrong
    if confusion.min() < 0 or not confusion.sum() > 0:
        raise wrong
    return confusion


def _confusion_of_pairs(pairs: PlainValues, n_classes: int) -> FloatArray:
    pairs.only(("true", "predicted", "weight"))
    true, predicted, weights = pairs.wholes("true"), pairs.wholes("predicted"), pairs.numbers("weight", low=0)
    if not len(true) == len(predicted) == len(weights) or not sum(weights) > 0:
        raise ValueError(
            f"{pairs.path} must have a true class, a predicted class and a weight for each pair, not all 0"
        )
    if max(*true, *predicted) >= n_classes or n_classes > MAX_CLASSES:
        raise ValueError(f"{pairs.path} must have classes from 0 to {min(n_classes, MAX_CLASSES) - 1}")
    if len(set(zip(true, predicted, strict=True))) < len(true):
        raise ValueError(f"{pairs.path} must have each pair of classes once")
    confusion = np.zeros((n_classes, n_classes))
    confusion[true, predicted] = weights
    return confusion


def _alternative(values: PlainValues, n_configs: int) -> Alternative:
    values.only(field.name for field in dataclasses.fields(Alternative))
    return Alternative(
        kind=values.text("kind", ALTERNATIVES),
        config=None if values.is_null("config") else values.whole("config", high=n_configs - 1),
        weight=values.number("weight", low=0, high=1 + 1e-9),
        log_loss=_estimate(values.child("log_loss"), must_be_known=True),
        gap=_estimate(values.child("gap"), must_be_known=True),
    )


def _calibration(values: PlainValues) -> CalibrationReport:
    values.only(field.name for field in dataclasses.fields(CalibrationReport))
    return CalibrationReport(
        log_loss_before=values.number("log_loss_before", low=0),
        log_loss_after=values.number("log_loss_after", low=0),
        ece_before=values.number("ece_before", low=0, high=1),
        ece_after=values.number("ece_after", low=0, high=1),
    )


def _sets(values: PlainValues, n_classes: int) -> SetEvaluation:
    values.only(field.name for field in dataclasses.fields(SetEvaluation))
    almost_one = 1 + 1e-9  # shares of weights are rounded
    by_class = values.numbers_or_nan("covered_by_class", low=0, high=almost_one)
    if len(by_class) != n_classes:
        raise ValueError(f"{values.path}.covered_by_class must have a share of each of the {n_classes} classes")
    shares = {name: values.number(name, low=0, high=almost_one) for name in ("covered", "single", "several", "empty")}
    return SetEvaluation(covered_by_class=tuple(by_class), **shares)


def _estimate(values: PlainValues, must_be_known: bool = False) -> Estimate:
    """Return an estimate, whose three figures are all known or all unknown."""
    values.only(NAMES_OF_ESTIMATE)
    if not must_be_known and all(values.is_null(name) for name in NAMES_OF_ESTIMATE):
        return UNKNOWN
    return Estimate(*(values.number(name) for name in NAMES_OF_ESTIMATE))


def _learning_curve(values: PlainValues) -> dict[str, Any]:
    """Return the facts of a learning curve, checked to be what figures are drawn of."""
    curves = [
        {
            "family": curve.text("family"),
            **{name: curve.number(name) for name in ("limit", "drop", "rate")},
            "drawn": _points(curve),
        }
        for curve in values.children("curves")
    ]
    points = [
        {
            "share": point.number("share"),
            "n_train": point.number("n_train"),
            "log_loss": _known(point.child("log_loss")),
        }
        for point in values.children("points")
    ]
    forecasts = [
        {"factor": point.number("factor"), "n_rows": point.whole("n_rows"), "gain": _known(point.child("gain"))}
        for point in values.children("forecasts")
    ]
    if not points or len(curves) != 2:
        raise ValueError(f"{values.path} must have points and two curves")
    return {
        "points": points, "curves": curves, "forecasts": forecasts, "conclusion": values.text("conclusion"),
        "is_complete": values.flag("is_complete"),
    }  # fmt: skip


def _points(values: PlainValues) -> list[list[float]]:
    """Return the points that a curve is drawn through, each a share and a loss."""
    drawn = values.get("drawn")
    if not isinstance(drawn, list) or not drawn:
        raise ValueError(f"{values.path}.drawn must be a list of points")
    points = [PlainValues({"point": point}, f"{values.path}.drawn[{place}]") for place, point in enumerate(drawn)]
    pairs = [point.numbers("point") for point in points]
    if any(len(pair) != 2 for pair in pairs):
        raise ValueError(f"{values.path}.drawn must be a list of pairs of numbers")
    return pairs


def _known(values: PlainValues) -> dict[str, float]:
    return {name: values.number(name) for name in NAMES_OF_ESTIMATE}


def _columns(history: Sequence[EpochRecord]) -> dict[str, list[float]]:
    return {name: [getattr(record, name) for record in history] for name in _RECORD}
