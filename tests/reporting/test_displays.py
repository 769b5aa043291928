"""Displays show the numbers of the evaluation, on axes that are given or their own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import matplotlib
import numpy as np
import pytest
import sklearn.metrics
from helpers import fit_quickly, make_rows, make_small_table
from matplotlib import pyplot

from tabcohort import (
    CalibrationDisplay,
    CohortClassifier,
    ConfusionMatrixDisplay,
    DecisionCurveDisplay,
    PrecisionRecallDisplay,
    Predictor,
    RocCurveDisplay,
    SettingsError,
    Table,
    TableError,
    TrainingDisplay,
)

OF_A_CLASS = (RocCurveDisplay, PrecisionRecallDisplay, CalibrationDisplay, DecisionCurveDisplay)
EVERY_DISPLAY = pytest.mark.parametrize("display", [*OF_A_CLASS, ConfusionMatrixDisplay, TrainingDisplay])


@pytest.fixture(autouse=True)
def no_window() -> Iterator[None]:
    """Draw to memory, and close what a test opened."""
    matplotlib.use("agg")
    yield
    pyplot.close("all")


def test_the_curves_are_those_of_the_out_of_fold_predictions(predictor: Predictor) -> None:
    own = predictor.out_of_fold
    proba, is_yes = np.exp(own.log_proba[:, 1].astype(np.float64)), own.y == 1
    roc = RocCurveDisplay.from_predictor(predictor)
    false_positive, true_positive, _ = sklearn.metrics.roc_curve(is_yes, proba, drop_intermediate=False)
    np.testing.assert_allclose((roc.curve.x, roc.curve.y), (false_positive, true_positive))
    assert roc.area.value == pytest.approx(sklearn.metrics.roc_auc_score(is_yes, proba))
    assert roc.ax_.get_lines()[0].get_label() == (
        f"class yes: area {roc.area.value:.3f} ({roc.area.low:.3f} to {roc.area.high:.3f})"
    )
    curve = PrecisionRecallDisplay.from_predictor(predictor)
    precision, recall, _ = sklearn.metrics.precision_recall_curve(is_yes, proba)
    np.testing.assert_allclose((curve.curve.x, curve.curve.y), (recall[-2::-1], precision[-2::-1]))
    assert curve.share == pytest.approx(is_yes.mean())


def test_reliability_and_net_benefit_are_drawn_with_their_intervals(predictor: Predictor) -> None:
    reliability = CalibrationDisplay.from_predictor(predictor)
    drawn = reliability.ax_.get_lines()[0]
    assert list(drawn.get_ydata()) == [own.observed.value for own in reliability.bins]
    (whiskers,) = reliability.ax_.collections
    ends = np.array(whiskers.get_segments())[:, :, 1]
    np.testing.assert_allclose(ends, [(own.observed.low, own.observed.high) for own in reliability.bins])
    decision = DecisionCurveDisplay.from_predictor(predictor)
    assert list(decision.ax_.get_lines()[0].get_ydata()) == [point.model.value for point in decision.points]
    assert len(decision.ax_.collections) == 1


def test_the_other_class_can_be_named(predictor: Predictor) -> None:
    yes, no = (RocCurveDisplay.from_predictor(predictor, label=label) for label in ("yes", "no"))
    assert yes.area.value == pytest.approx(no.area.value)
    np.testing.assert_allclose(yes.rows.proba, 1 - no.rows.proba)


def test_of_several_classes_one_is_named(three_classes: Predictor) -> None:
    with pytest.raises(SettingsError, match=r"^say which class is drawn: label= is one of 'may', 'no', 'yes'$"):
        RocCurveDisplay.from_predictor(three_classes)
    with pytest.raises(SettingsError, match=r"^there is no class 'yess' \(did you mean 'yes'\?\): label= is one of"):
        RocCurveDisplay.from_predictor(three_classes, label="yess")
    assert RocCurveDisplay.from_predictor(three_classes, label="may").label == "may"


def test_a_table_of_new_rows_is_measured_instead(predictor: Predictor) -> None:
    X, codes = make_rows(60, seed=1)
    labels = np.array(["no", "yes"])[codes]
    table = Table(X, np.empty((60, 0), np.int32), codes, np.ones(60), predictor.schema)
    display = RocCurveDisplay.from_predictor(predictor, table)
    assert display.area.value == pytest.approx(
        sklearn.metrics.roc_auc_score(labels == "yes", predictor.predict_proba(X)[:, 1])
    )
    confusion = ConfusionMatrixDisplay.from_predictor(predictor, table).confusion
    np.testing.assert_array_equal(confusion, sklearn.metrics.confusion_matrix(labels, predictor.predict(X)))
    with pytest.raises(TableError, match="does not have this model's schema"):
        RocCurveDisplay.from_predictor(predictor, Table.from_arrays(X[:, :2], labels))


def test_the_confusion_has_a_number_in_every_cell(three_classes: Predictor) -> None:
    evaluation = three_classes.report.evaluation
    display = ConfusionMatrixDisplay.from_evaluation(evaluation, three_classes.schema.classes)
    shown = [text.get_text() for text in display.ax_.texts]
    assert shown == [f"{count:.0f}" for count in evaluation.confusion.ravel()]
    assert [tick.get_text() for tick in display.ax_.get_yticklabels()] == ["may", "no", "yes"]


def test_training_shows_every_member(predictor: Predictor) -> None:
    display = TrainingDisplay.from_predictor(predictor)
    assert len(display.ax_.get_lines()) == 3 * len(predictor.report.members)
    assert display.ax_.get_ylabel() == "log loss"


@EVERY_DISPLAY
def test_displays_draw_on_the_axes_that_are_given_and_again_on_others(display: Any, predictor: Predictor) -> None:
    figure, (first, second) = pyplot.subplots(1, 2)
    drawn = display.from_predictor(predictor, ax=first)
    assert (drawn.ax_, drawn.figure_) == (first, figure)
    assert first.has_data()
    assert not second.has_data()
    assert drawn.plot(second) is drawn
    assert drawn.ax_ is second
    assert second.has_data()
    assert pyplot.get_fignums() == [figure.number]
    assert display.from_predictor(predictor).figure_ is not figure


@EVERY_DISPLAY
def test_a_fitted_classifier_will_do_and_anything_else_will_not(display: Any) -> None:
    X, codes = make_rows()
    classifier = CohortClassifier(model="logistic", max_epochs=3, folds=3, seeds=1)
    with pytest.raises(SettingsError, match=r"not of CohortClassifier; fit it first$"):
        display.from_predictor(classifier)
    assert display.from_predictor(classifier.fit(X, codes)).ax_.has_data()


@EVERY_DISPLAY
def test_labels_are_no_formulas_and_none_is_hidden(display: Any) -> None:
    predictor = fit_quickly(make_small_table(labels=["$a$ \\frac{", "_b $x^{$"]), model="logistic")
    figure = display.from_predictor(predictor).figure_
    figure.canvas.draw()  # a formula that is none would be an error
    legend = figure.axes[0].get_legend()
    if display in OF_A_CLASS and display is not DecisionCurveDisplay:
        assert legend.get_texts()[0].get_text().startswith(("class _b", "perfectly"))
        assert any("class _b" in text.get_text() for text in legend.get_texts())
