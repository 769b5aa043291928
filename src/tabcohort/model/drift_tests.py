"""The tests of new rows: columns, predictions, and what the model promised, each with its p-value."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tabcohort.data.columns import Column
from tabcohort.evaluation.decision import DecisionRule, predicted_codes
from tabcohort.evaluation.drift import Drift, levels_drift, mean_drift, quantiles_drift, samples_drift, share_drift
from tabcohort.evaluation.evaluate import Evaluation
from tabcohort.evaluation.metrics import METRICS, log_probabilities, safe_log
from tabcohort.evaluation.out_of_fold import OutOfFoldPredictions
from tabcohort.evaluation.prediction_sets import SetEvaluation
from tabcohort.evaluation.promise import calibration_gap, gap_p_value, share_estimate, worse_p_value
from tabcohort.model.predictor import Predictor
from tabcohort.model.training_statistics import ColumnStatistics
from tabcohort.randomness import Purpose, make_rng
from tabcohort.types import FloatArray, IntArray

UNTESTED = ("ece",)  # a calibration error is the larger the fewer the rows are: gaps are tested in its place


@dataclass(frozen=True)
class DriftTest:
    """One test.

    Args:
        subject: name of the column, label of the class, or name of the metric that it is about.
        kind: "distribution", "missing cells" or "new levels" of a column; "probability" of a class, "predicted
            classes"; "quality", "calibration" of a class, "coverage".
        drift: its result.
    """

    subject: str
    kind: str
    drift: Drift


@dataclass(frozen=True)
class Cells:
    """A column's cells in some independent rows.

    Args:
        number: the number of each cell, `(n_rows,)`, NaN where it is missing; None where the column has none.
        code: the code of each cell, `(n_rows,)`; None where the column has none.
        n_codes: codes there are: levels, missing, unknown.
    """

    number: FloatArray | None
    code: FloatArray | None
    n_codes: int

    @classmethod
    def of(cls, column: Column, numbers: FloatArray | None, code: FloatArray | None, rows: IntArray) -> Cells:
        """Return the cells of some rows, `(n,)`, of a column."""
        return cls(None if numbers is None else numbers[rows, 0], None if code is None else code[rows], column.n_codes)

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.number if self.number is not None else self.code)  # type: ignore[arg-type]

    @property
    def n_missing(self) -> int:
        """Number of missing cells."""
        if self.number is not None:
            return int(np.isnan(self.number).sum())
        return int(self.counts[-2])

    @property
    def known(self) -> FloatArray:
        """The numbers that are not missing."""
        assert self.number is not None
        return self.number[~np.isnan(self.number)]

    @property
    def counts(self) -> FloatArray:
        """Rows of each code, `(n_codes,)`."""
        assert self.code is not None
        return np.bincount(self.code.astype(np.int64), minlength=self.n_codes).astype(np.float64)


def column_tests(
    column: Column, new: Cells, reference: Cells | ColumnStatistics | None
) -> tuple[list[DriftTest], list[str]]:
    """Return the tests of a column, and what of it could not be tested.

    Args:
        column: the column.
        new: its cells in the new rows.
        reference: its cells in reference rows, or what a model keeps of them.
    """
    untested: list[str] = []
    if isinstance(reference, Cells):
        results = _tests_with_rows(new, reference)
    else:
        results = _tests_with_statistics(column, new, reference)
        untested = _untested(column, new, reference, results)
    return [DriftTest(column.name, kind, drift) for kind, drift in results.items() if drift is not None], untested


def _tests_with_rows(new: Cells, reference: Cells) -> dict[str, Drift | None]:
    results: dict[str, Drift | None] = {}
    if new.code is not None:
        results["distribution"] = levels_drift(_without_missing(reference.counts), _without_missing(new.counts))
        results["new levels"] = _new_levels(reference.counts, new.counts)
    elif len(new.known) and len(reference.known):
        results["distribution"] = samples_drift(reference.known, new.known)
    results["missing cells"] = share_drift(reference.n_missing, reference.n_rows, new.n_missing, new.n_rows)
    return results


def _tests_with_statistics(column: Column, new: Cells, reference: ColumnStatistics | None) -> dict[str, Drift | None]:
    if reference is None:
        return {"distribution": None, "missing cells": None}
    results: dict[str, Drift | None] = {"distribution": None}
    if new.code is not None and reference.counts is not None:
        results["distribution"] = levels_drift(_without_missing(reference.counts), _without_missing(new.counts))
        results["new levels"] = _new_levels(np.rint(reference.counts), new.counts)
    elif column.n_numbers:
        n_known = reference.n_rows * (1 - (0.0 if math.isnan(reference.missing_share) else reference.missing_share))
        moments = reference.mean, reference.deviation
        if reference.edges is not None:
            results["distribution"] = quantiles_drift(reference.edges, reference.n_edge_rows, moments, new.known)
        if results["distribution"] is None:
            results["distribution"] = mean_drift(*moments, n_known, new.known)
    n_missing = reference.missing_share * reference.n_rows
    results["missing cells"] = (
        None if math.isnan(n_missing) else share_drift(n_missing, reference.n_rows, new.n_missing, new.n_rows)
    )
    return results


def _untested(
    column: Column, new: Cells, reference: ColumnStatistics | None, results: Mapping[str, Drift | None]
) -> list[str]:
    """Return which parts of a column could not be tested as the model does not hold enough."""
    parts = []
    if results["distribution"] is None and not (reference is not None and reference.counts is not None):
        is_constant = reference is not None and reference.deviation == 0
        parts += [] if is_constant else ["distribution"]
    if new.n_missing and results["missing cells"] is None:
        parts.append("missing cells")
    if column.n_codes and new.code is not None and "new levels" not in results and new.counts[-1]:
        parts.append("new levels")
    return parts


def _without_missing(counts: FloatArray) -> FloatArray:
    """Return the counts of levels and, last, of the unknown ones."""
    return np.delete(counts, len(counts) - 2)


def _new_levels(reference: FloatArray, new: FloatArray) -> Drift | None:
    """Return the test of the share of levels that the training rows did not have.

    Of as many rows as the reference has levels of one row, a new row has a level that is not among them (Good 1953).
    """
    n_expected = max(float(reference[-1]), float((reference[:-2] == 1).sum()))
    n_reference, n_new = (float(_without_missing(counts).sum()) for counts in (reference, new))
    return share_drift(n_expected, n_reference, float(new[-1]), n_new, is_more=True) if new[-1] else None


# -- predictions -------------------------------------------------------------------------------------------------------


def prediction_tests(predictor: Predictor, log_proba: FloatArray) -> list[DriftTest]:
    """Return the tests of predictions against the out-of-fold ones: the probability of each class, and the classes.

    Args:
        predictor: the model.
        log_proba: of new rows, as if they were out of fold; see `like_out_of_fold`.
    """
    kept, classes = _independent(predictor.out_of_fold.as_float64()), predictor.schema.classes
    positive = predictor.schema.positive
    codes = range(len(classes)) if len(classes) > 2 else [1 if positive is None else positive]
    tests = [
        DriftTest(
            str(classes[code]),
            "probability",
            samples_drift(np.exp(kept.log_proba[:, code]), np.exp(log_proba[:, code])),
        )
        for code in codes
    ]
    counts = [
        np.append(_class_counts(own, predictor.decision_rule, positive), 0) for own in (kept.log_proba, log_proba)
    ]
    drift = levels_drift(*counts)
    return tests if drift is None else [*tests, DriftTest(predictor.schema.target, "predicted classes", drift)]


def _class_counts(log_proba: FloatArray, rule: DecisionRule, positive: int | None) -> IntArray:
    return np.bincount(predicted_codes(log_proba, positive, rule.threshold), minlength=log_proba.shape[1])


def _independent(predictions: OutOfFoldPredictions) -> OutOfFoldPredictions:
    """Return the predictions of one row of each group."""
    return predictions.take(np.sort(np.unique(predictions.group_ids, return_index=True)[1]))


def like_out_of_fold(predictor: Predictor, rows: Any, seed: int, place: int = 0) -> FloatArray:
    """Return log probabilities of new rows, `(n_rows, n_classes)`, distributed as out-of-fold ones would be.

    An out-of-fold prediction is the mean of the members that did not see the row, which vary more than the mean of all.
    So each new row is given to the members of a fold that is drawn for it, one fold of each repeat.

    Args:
        predictor: the model.
        rows: a frame.
        seed, place: of the folds that are drawn.
    """
    report = predictor.report
    logits = predictor.member_logits(rows)
    rng, n_rows = make_rng(seed, Purpose.SAMPLE, place=place), len(logits)
    members = [report.members[number] for number in predictor.members]
    drawn = {}
    for repeat in sorted({member.repeat for member in members}):
        if report.n_folds > 1:
            drawn[repeat] = rng.integers(report.n_folds, size=n_rows)
        else:  # one split of the rows, which tests some of them
            share = next(member.n_test for member in members if member.repeat == repeat) / report.n_rows
            drawn[repeat] = np.where(rng.random(n_rows) < share, 0, -1)
    log_proba = log_probabilities(logits.reshape(-1, logits.shape[2]))
    proba, total = np.exp(log_proba).reshape(*logits.shape[:2], -1), np.zeros((n_rows, log_proba.shape[1]))
    for config in sorted({member.config for member in members}):
        own = [place for place, member in enumerate(members) if member.config == config]
        tests = np.array([drawn[members[place].repeat] == members[place].fold for place in own], dtype=np.float64).T
        tests[~tests.any(axis=1)] = 1.0  # no member was drawn: all of them
        mean = np.einsum("rm,rmc->rc", tests, proba[:, own]) / tests.sum(axis=1, keepdims=True)
        total = total + predictor.weights[own].sum() * mean
    return predictor.calibrator.apply(safe_log(total))


# -- what was promised -------------------------------------------------------------------------------------------------


def quality_tests(promised: Evaluation, measured: Evaluation) -> list[DriftTest]:
    """Return the one-sided tests of each metric: whether it is worse than out of fold."""
    tests = []
    for name, own in measured.metrics.items():
        before, metric = promised.metrics[name], METRICS[name]
        p_value = math.nan if name in UNTESTED else worse_p_value(before, own, metric.lower_is_better)
        if not math.isnan(p_value):
            tests.append(_difference(name, "quality", p_value, before.value, own.value))
    return tests


def calibration_tests(
    predictor: Predictor, log_proba: FloatArray, y: IntArray, group_ids: IntArray | None
) -> list[DriftTest]:
    """Return the tests of how far each class is more frequent than its probabilities say, beside out of fold.

    Args:
        predictor: the model.
        log_proba: of the new rows, `(n_rows, n_classes)`.
        y: their class codes, `(n_rows,)`.
        group_ids: their groups, `(n_rows,)`, or None.
    """
    kept, classes, positive = predictor.out_of_fold.as_float64(), predictor.schema.classes, predictor.schema.positive
    tests = []
    for code in range(len(classes)) if len(classes) > 2 else [1 if positive is None else positive]:
        before = calibration_gap(kept.log_proba, kept.y, kept.weight, code, kept.group_ids)
        own = calibration_gap(log_proba, y, np.ones(len(y)), code, group_ids)
        tests.append(_difference(str(classes[code]), "calibration", gap_p_value(before, own), before[0], own[0]))
    return tests


def coverage_test(promised: SetEvaluation, measured: SetEvaluation, n_promised: float, n_measured: float) -> DriftTest:
    """Return the one-sided test of prediction sets: whether they hold the true class less often than out of fold.

    Args:
        promised, measured: the evaluations of the sets.
        n_promised, n_measured: numbers of independent rows.
    """
    before, own = share_estimate(promised.covered, n_promised), share_estimate(measured.covered, n_measured)
    p_value = worse_p_value(before, own, lower_is_better=False)
    return _difference("prediction sets", "coverage", p_value, before.value, own.value)


def _difference(subject: str, kind: str, p_value: float, before: float, after: float) -> DriftTest:
    return DriftTest(subject, kind, Drift("z, of both intervals", p_value, "difference", after - before, before, after))
