"""The facts of a report: one dictionary of plain values, from which the page is made and which `--json` prints."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tabcohort.data.splits import dependent_groups
from tabcohort.data.table import Schema, Table
from tabcohort.evaluation.class_curves import (
    Curve,
    areas_under_curves,
    binned_calibration_error,
    precision_recall_curve,
    rates_at,
    reliability,
    roc_curve,
    score_histogram,
)
from tabcohort.evaluation.decision import LabelledRows, out_of_fold_codes, rows_of
from tabcohort.evaluation.decision_curve import decision_curve, useful_range
from tabcohort.evaluation.evaluate import Evaluation
from tabcohort.evaluation.intervals import rate_estimate
from tabcohort.evaluation.out_of_fold import OutOfFoldPredictions
from tabcohort.evaluation.prediction_sets import cross_fit_sets
from tabcohort.evaluation.subgroups import MeasuredRows
from tabcohort.model.explain import score_name
from tabcohort.model.facts import describe_configs, evaluation_facts, weights_classes
from tabcohort.model.file import describe
from tabcohort.model.learned import learned_facts
from tabcohort.model.predictor import Predictor
from tabcohort.model.reasons import reasons_of
from tabcohort.model.report import MemberReport
from tabcohort.model.report_file import estimate_to_dict
from tabcohort.model.report_progress import ReportCallback, ReportProgress, Stage, ignore
from tabcohort.model.report_subgroups import subgroup_facts
from tabcohort.model.report_table import ReportTable, cells_of, data_facts
from tabcohort.types import BoolArray, FloatArray, IntArray

MAX_CLASSES = 30  # with curves, the most frequent
MAX_POINTS = 200  # of a curve
MAX_EPOCHS = 60  # of a member's history
MAX_EPOCHS_IN_ALL = 12_000
N_ROWS = 10  # that the model is most wrong, and least sure about
N_CELLS = 8  # columns of features beside these
THRESHOLDS = np.arange(1, 100) / 100
DIGITS = 5  # of the points of curves


@dataclass(frozen=True)
class _Measured:
    """The rows whose predictions are measured.

    Args:
        predictions: of these rows, float64; `rows` are their places in the table.
        y_pred: predicted class codes, `(n_rows,)`.
        sets: which classes are in each row's prediction set, `(n_rows, n_classes)`.
        evaluation: of these predictions.
    """

    predictions: OutOfFoldPredictions
    y_pred: IntArray
    sets: BoolArray
    evaluation: Evaluation


def report_facts(
    predictor: Predictor,
    table: ReportTable | None = None,
    by: Sequence[str] = (),
    source: str | None = None,
    callback: ReportCallback = ignore,
) -> dict[str, Any]:
    """Return all that a report shows, as plain JSON values; what is unknown is null.

    Without a table, or with the one that the model was trained on, the figures are of the out-of-fold predictions of
    its training rows; with another one they are of its rows.

    Args:
        predictor: the model.
        table: a labelled table.
        by: columns of the table whose parts are measured, too.
        source: the name of the table, for people.
        callback: called with how far it is.

    Returns:
        what `describe` gives, without the histories; and `measured`: `on` ("out_of_fold" or "table"), `source`,
        `n_rows` and `n_groups`; `evaluation` and `sets`: of the measured rows; `one_against_rest`: a dictionary for
        each class (of two classes, the positive one), see `class_facts`, and `n_more_classes`; `histories`, see
        `history_facts`; `hardest`: the rows that it is `most_wrong` and `least_sure` about; with a table, `data` (see
        `data_facts`) and `subgroups` (see `subgroup_facts`), which are null without; with the training table,
        `learned` (see `learned_facts`); `learning_curve`, if it was measured when the model was trained.

    Raises:
        TableError: a column in `by` is not there.
    """
    callback(ReportProgress(Stage.PREDICTIONS))
    document = describe(predictor)
    del document["report"]
    is_new = table is not None and not table.is_training_table
    measured = _of_table(predictor, table.table) if table is not None and is_new else _of_training(predictor)
    predictions, evaluation, schema = measured.predictions, measured.evaluation, predictor.schema
    curves = []
    for number, code in enumerate(codes := _codes_with_curves(predictions, schema)):
        callback(ReportProgress(Stage.PREDICTIONS, number, len(codes)))
        curves.append(class_facts(predictions, code, schema.classes[code]))
    subgroups = learned = None
    if table is not None:
        subgroups = subgroup_facts(table, _rows(measured, schema.positive), predictions.rows, by, callback)
        learned = None if is_new else learned_facts(predictor, table.table, callback)
    return {
        **document,
        "fingerprint": predictor.report.fingerprint,
        "measured": {
            "on": "table" if is_new else "out_of_fold",
            "source": source,
            "has_table": table is not None,
            "n_rows": evaluation.n_rows,
            "n_groups": evaluation.n_groups,
            "is_weighted": bool((predictions.weight != predictions.weight[0]).any()),
        },
        "evaluation": evaluation_facts(evaluation, schema.classes, weights_classes(predictor)),
        "sets": {"coverage": predictor.decision_rule.coverage, **_set_facts(measured, predictor)},
        "one_against_rest": curves,
        "n_more_classes": 0 if len(schema.classes) == 2 else len(schema.classes) - len(codes),
        "histories": history_facts(predictor),
        "hardest": _hardest(measured, predictor, table, callback),
        "data": None if table is None else data_facts(table, predictor),
        "subgroups": subgroups,
        "learned": learned,
        "learning_curve": predictor.report.learning_curve,
    }


def _codes_with_curves(predictions: OutOfFoldPredictions, schema: Schema) -> list[int]:
    """Return the codes of the classes that have curves: of two the positive one, of more the most frequent."""
    if len(schema.classes) == 2 and schema.positive is not None:
        return [schema.positive]
    counts = np.bincount(predictions.y, predictions.weight, len(schema.classes))
    codes: list[int] = np.argsort(-counts, kind="stable")[:MAX_CLASSES].tolist()
    return codes


def _of_training(predictor: Predictor) -> _Measured:
    """Return the out-of-fold predictions of the training rows; what was chosen for a row was chosen on other folds."""
    predictions, rule = predictor.out_of_fold.as_float64(), predictor.decision_rule
    y_pred = out_of_fold_codes(rule, predictions, predictor.schema.positive)
    sets = cross_fit_sets(predictions, rule.coverage)
    return _Measured(predictions, y_pred, sets, predictor.report.evaluation)


def _of_table(predictor: Predictor, table: Table) -> _Measured:
    """Return the model's predictions for the rows of a table, measured."""
    predictions = predictions_for(predictor, table)
    log_proba = predictions.log_proba
    evaluation = predictor.evaluate(table, log_proba)
    return _Measured(predictions, predictor.codes(log_proba), predictor.sets(log_proba), evaluation)


def predictions_for(predictor: Predictor, table: Table) -> OutOfFoldPredictions:
    """Return a model's predictions for the rows of a table that it was not trained on, in a single fold.

    Raises:
        TableError: the table has another schema.
    """
    log_proba, n_rows = predictor.log_proba_of(table), len(table.y)
    groups = dependent_groups(table)
    group_ids = np.arange(n_rows) if groups is None else np.unique(groups, return_inverse=True)[1]
    return OutOfFoldPredictions(
        np.arange(n_rows), log_proba, table.y, table.weight, np.zeros(n_rows, dtype=np.int64), group_ids
    )


def _rows(measured: _Measured, positive: int | None) -> MeasuredRows:
    own = measured.predictions
    return MeasuredRows(own.log_proba, own.y, measured.y_pred, own.weight, own.group_ids, positive)


# -- one class against the rest --------------------------------------------------------------------------------------


def class_facts(predictions: OutOfFoldPredictions, code: int, label: Any) -> dict[str, Any]:
    """Return the curves of one class against the rest as plain JSON values.

    Returns:
        `label`; `weight` of its rows, and `share` of all; `mean_predicted`: its mean probability; `roc_auc`, `pr_auc`;
        `roc`, `precision_recall`: `x`, `y` and `threshold` of their points; `reliability`: for each bin `low`, `high`,
        `predicted`, `observed` and `n_rows`; `calibration_error`, of these bins; `scores`: the `inside` and `others`
        weight of rows in equal parts of the probability; `thresholds`: for each `threshold` from 0.01 to 0.99 the
        `confusion` (weight of true positives, false negatives, false positives and true negatives), `sensitivity`,
        `specificity`, `precision` and `accuracy`; `decision_curve`: for each `threshold` the net benefit of the
        `model`, of `treat_all`, and the `gain` over the better default; `useful_range`: of thresholds, or null. All but
        the first three are null where only one of both has rows.
    """
    rows = rows_of(predictions, code)
    share = float(np.average(rows.is_positive, weights=rows.weight))
    facts: dict[str, Any] = {"label": label, "weight": share * float(rows.weight.sum()), "share": share}
    if not 0 < share < 1:
        return {**facts, **dict.fromkeys(_CLASS_KEYS)}
    bins, net_benefits = reliability(rows), decision_curve(rows, THRESHOLDS)
    inside, others = score_histogram(rows)
    return {
        **facts,
        "mean_predicted": float(np.average(rows.proba, weights=rows.weight)),
        **{name: estimate_to_dict(area) for name, area in areas_under_curves(rows).items()},
        "roc": _curve(roc_curve(rows)),
        "precision_recall": _curve(precision_recall_curve(rows)),
        "reliability": [
            {
                "low": own.low, "high": own.high, "predicted": own.predicted,
                "observed": estimate_to_dict(own.observed), "n_rows": own.n_rows,
            }
            for own in bins
        ],
        "calibration_error": binned_calibration_error(bins),
        "scores": {"inside": inside.tolist(), "others": others.tolist()},
        "thresholds": _threshold_facts(rows),
        "decision_curve": [
            {
                "threshold": own.threshold, "model": _rounded(own.model), "treat_all": round(own.treat_all, DIGITS),
                "gain": _rounded(own.gain),
            }
            for own in net_benefits
        ],
        "useful_range": useful_range(net_benefits),
    }  # fmt: skip


_CLASS_KEYS = (
    "mean_predicted", "roc_auc", "pr_auc", "roc", "precision_recall", "reliability", "calibration_error", "scores",
    "thresholds", "decision_curve", "useful_range",
)  # fmt: skip


def _threshold_facts(rows: LabelledRows) -> list[dict[str, Any]]:
    names = ("sensitivity", "specificity", "precision", "accuracy")
    return [
        {
            "threshold": own.threshold,
            "confusion": list(own.confusion),
            **{name: _rounded(getattr(own, name)) for name in names},
        }
        for own in rates_at(rows, THRESHOLDS)
    ]


def _curve(curve: Curve) -> dict[str, list[float]]:
    """Return the points of a curve; its first threshold, which no probability reaches, is null."""
    thinned = curve.thinned(MAX_POINTS)
    return {name: _list(getattr(thinned, name)) for name in ("x", "y", "threshold")}


def _list(values: FloatArray) -> list[Any]:
    return [round(value, DIGITS) if math.isfinite(value) else None for value in values.tolist()]


def _rounded(estimate: Any) -> dict[str, Any]:
    return {name: None if value is None else round(value, DIGITS) for name, value in estimate_to_dict(estimate).items()}


# -- prediction sets, training, rows ---------------------------------------------------------------------------------


def _set_facts(measured: _Measured, predictor: Predictor) -> dict[str, Any]:
    """Return what prediction sets are like, for all rows and for those of each class.

    Returns:
        `all`, and `by_class` with a `label` each: `covered`, the share of rows whose set holds their class, with its
        interval; `single`, `several` and `empty`, shares of rows by the number of classes in the set;
        `right_when_single`, the share of right answers among sets of one class.
    """
    own, sets = measured.predictions, measured.sets
    covered, sizes = sets[np.arange(len(sets)), own.y], sets.sum(axis=1)
    classes = predictor.schema.classes
    ends = np.cumsum(np.bincount(own.y, minlength=len(classes)))
    rows_by_class = np.split(np.argsort(own.y, kind="stable"), ends[:-1])
    by_class = [
        {"label": label, **_sets_of(covered, sizes, own, rows)}
        for label, rows in zip(classes, rows_by_class, strict=True)
    ]
    return {"all": _sets_of(covered, sizes, own, np.arange(len(sets))), "by_class": by_class}


def _sets_of(covered: BoolArray, sizes: IntArray, own: OutOfFoldPredictions, rows: IntArray) -> dict[str, Any]:
    """Return what the prediction sets of some rows are like.

    Args:
        covered: whether the set of each row holds its class, `(n,)`.
        sizes: the number of classes in each set, `(n,)`.
        own: the predictions that the sets are made from.
        rows: positions of the rows to summarize, `(n_rows,)`.
    """
    covered, sizes, weight, groups = covered[rows], sizes[rows], own.weight[rows], own.group_ids[rows]
    total, single = float(weight.sum()), sizes == 1

    def share(which: BoolArray) -> float | None:
        return float(weight[which].sum()) / total if total > 0 else None

    right = rate_estimate(covered[single], weight[single], groups[single])
    return {
        "covered": estimate_to_dict(rate_estimate(covered, weight, groups)),
        "single": share(single),
        "several": share(sizes > 1),
        "empty": share(sizes == 0),
        "right_when_single": estimate_to_dict(right),
    }


def history_facts(predictor: Predictor) -> list[dict[str, Any]]:
    """Return the training curves of all members as plain JSON values, those of each config together.

    Returns:
        for each config with members: its `number`, `name`, `weight` and `members`: for each `repeat`, `fold`,
        `best_epoch`, `stop_reason`, and of some epochs, the best one among them, `epoch`, `train_loss` and `val_loss`.
    """
    report = predictor.report
    names = describe_configs([config.config for config in report.configs])
    n_epochs = max(8, min(MAX_EPOCHS, MAX_EPOCHS_IN_ALL // max(1, len(report.members))))
    facts = []
    for number, config in enumerate(report.configs):
        members = [_history(member, n_epochs) for member in report.members if member.config == number]
        if members:
            facts.append({"number": number + 1, "name": names[number], "weight": config.weight, "members": members})
    return sorted(facts, key=lambda config: (-config["weight"], config["number"]))


def _history(member: MemberReport, n_epochs: int) -> dict[str, Any]:
    """Return the losses of a member at some of its epochs, which are closer together where they are early."""
    n = len(member.history)
    places = np.unique(np.geomspace(1, n, n_epochs).astype(np.int64)) - 1 if n else np.empty(0, dtype=np.int64)
    if n:
        best = int(np.clip(member.best_epoch, 1, n)) - 1
        places = np.unique(np.concatenate([places, np.linspace(0, n - 1, min(n, n_epochs)).astype(np.int64), [best]]))
    records = [member.history[place] for place in places.tolist()]
    losses = {
        name: _list(np.array([getattr(record, name) for record in records], dtype=np.float64))
        for name in ("train_loss", "val_loss")
    }
    return {
        "repeat": member.repeat, "fold": member.fold, "best_epoch": member.best_epoch,
        "stop_reason": member.stop_reason, "epoch": [record.epoch for record in records], **losses,
    }  # fmt: skip


def _hardest(
    measured: _Measured, predictor: Predictor, table: ReportTable | None, callback: ReportCallback
) -> dict[str, Any]:
    """Return the rows with the highest loss, and those whose two most probable classes are the closest.

    Returns:
        `most_wrong` and `least_sure`: for each row its `row` number, `true` and `predicted` class, the `probability` of
        both, and with a table its `cells`, by the name of the column, and its `reasons` (see `reasons_of`), which are
        null without; `columns`: these names; `explained_by`: "tested members" or "model", null without a table;
        `score`: what reasons contribute to.
    """
    own, schema = measured.predictions, predictor.schema
    proba, everyone = np.exp(own.log_proba), np.arange(len(own.y))
    threshold = predictor.decision_rule.threshold
    if threshold is not None and schema.positive is not None:
        margin = np.abs(proba[:, schema.positive] - threshold)
    else:
        two = np.sort(proba, axis=1)[:, -2:]
        margin = two[:, 1] - two[:, 0]
    wrong = np.flatnonzero(measured.y_pred != own.y)
    worst = wrong[np.argsort(-own.losses()[wrong], kind="stable")][:N_ROWS]
    unsure = np.argsort(margin, kind="stable")[:N_ROWS]
    names = [name for name in (*schema.keys, *schema.features[:N_CELLS]) if table and name in table.frame.columns]
    labels, chosen = schema.classes, np.unique(np.concatenate([worst, unsure]))
    reasons: dict[int, Any] = {}
    if table is not None:
        found = reasons_of(predictor, table, own.rows[chosen], measured.y_pred[chosen], callback)
        reasons = dict(zip(chosen.tolist(), found, strict=True))

    def row_facts(place: int) -> Mapping[str, Any]:
        row, y, y_pred = int(own.rows[place]), int(own.y[place]), int(measured.y_pred[place])
        return {
            "row": row + 1 if table is None else int(table.row_numbers[row]),
            "true": labels[y],
            "predicted": labels[y_pred],
            "probability": {"true": float(proba[place, y]), "predicted": float(proba[place, y_pred])},
            "cells": {} if table is None else cells_of(table, row, names),
            "reasons": reasons.get(place),
        }

    explained_by = None if table is None else "tested members" if table.is_training_table else "model"
    return {
        "columns": names,
        "explained_by": explained_by,
        "score": score_name(len(labels)),
        "n_wrong": len(wrong),
        "n_rows": len(everyone),
        "most_wrong": [row_facts(place) for place in worst.tolist()],
        "least_sure": [row_facts(place) for place in unsure.tolist()],
    }
