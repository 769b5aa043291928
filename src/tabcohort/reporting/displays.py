"""Figures of a model for notebooks and papers, in the manner of scikit-learn's displays.

`from_predictor` computes the numbers, keeps them as attributes and draws them; `plot` draws them once more, on other
axes. Without a table the numbers are of the out-of-fold predictions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from tabcohort.data.table import Table
from tabcohort.errors import SettingsError, listed, nearest, printable
from tabcohort.evaluation.class_curves import areas_under_curves, precision_recall_curve, reliability, roc_curve
from tabcohort.evaluation.decision import LabelledRows, rows_of
from tabcohort.evaluation.decision_curve import decision_curve
from tabcohort.evaluation.evaluate import Evaluation
from tabcohort.evaluation.intervals import Estimate
from tabcohort.evaluation.out_of_fold import OutOfFoldPredictions
from tabcohort.model.predictor import Predictor
from tabcohort.model.report import MemberReport
from tabcohort.model.report_facts import THRESHOLDS, predictions_for
from tabcohort.types import FloatArray, Label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BAND = 0.2  # opacity of an interval


class _Display:
    """What all displays have.

    Attributes:
        ax_: the axes of the last drawing.
        figure_: the figure of the last drawing.
    """

    ax_: Axes
    figure_: Figure

    def plot(self, ax: Axes | None = None) -> Self:
        """Draw on axes, on those of a new figure when omitted, and return this display."""
        if ax is None:
            from matplotlib import pyplot

            _, ax = pyplot.subplots()
        self._draw(ax)
        self.ax_, self.figure_ = ax, ax.figure  # type: ignore[assignment]
        return self

    def _draw(self, ax: Axes) -> None:
        raise NotImplementedError


class _ClassDisplay(_Display):
    """A figure of one class against the rest.

    Args:
        rows: the rows, with their probability of the class.
        label: the class.
    """

    def __init__(self, rows: LabelledRows, label: Label) -> None:
        self.rows, self.label = rows, label

    @classmethod
    def from_predictor(
        cls, predictor: Any, table: Table | None = None, *, label: Label | None = None, ax: Axes | None = None
    ) -> Self:
        """Draw the figure of a model.

        Args:
            predictor: a `Predictor`, or a fitted `CohortClassifier`.
            table: new rows with the target, of the model's schema (see `Table.for_schema`); the out-of-fold predictions
                of the training rows when omitted.
            label: the class; the positive one when omitted.
            ax: axes to draw on; those of a new figure when omitted.

        Raises:
            SettingsError: there is no such class, or none was named and none is the positive one.
            TableError: the table has another schema.
        """
        predictor = _predictor_of(predictor)
        code = _code_of(predictor, label)
        return cls(rows_of(_predictions_of(predictor, table), code), predictor.schema.classes[code]).plot(ax)


class RocCurveDisplay(_ClassDisplay):
    """The ROC curve of a class against the rest, and its area with the 95 % interval.

    Args:
        rows: the rows, with their probability of the class.
        label: the class.

    Attributes:
        curve: false positive rate (x) and true positive rate (y) at each threshold.
        area: the area under the curve, with its interval.
        ax_: the axes of the last drawing.
        figure_: the figure of the last drawing.
    """

    def __init__(self, rows: LabelledRows, label: Label) -> None:
        super().__init__(rows, label)
        self.curve, self.area = roc_curve(rows), areas_under_curves(rows)["roc_auc"]

    def _draw(self, ax: Axes) -> None:
        ax.plot(self.curve.x, self.curve.y, label=f"class {_plain(self.label)}: area {_text(self.area)}")
        ax.plot([0, 1], [0, 1], color="gray", linestyle=":", label="chance")
        _finish(ax, "false positive rate", "true positive rate")


class PrecisionRecallDisplay(_ClassDisplay):
    """Precision over recall of a class against the rest, and the area below with its 95 % interval.

    Args:
        rows: the rows, with their probability of the class.
        label: the class.

    Attributes:
        curve: recall (x) and precision (y) at each threshold.
        area: the area under the curve, with its interval.
        share: share of the class, which is the precision of predicting it for every row.
        ax_: the axes of the last drawing.
        figure_: the figure of the last drawing.
    """

    def __init__(self, rows: LabelledRows, label: Label) -> None:
        super().__init__(rows, label)
        self.curve, self.area = precision_recall_curve(rows), areas_under_curves(rows)["pr_auc"]
        self.share = float(np.average(rows.is_positive, weights=rows.weight))

    def _draw(self, ax: Axes) -> None:
        ax.plot(self.curve.x, self.curve.y, label=f"class {_plain(self.label)}: area {_text(self.area)}")
        ax.axhline(self.share, color="gray", linestyle=":", label="share of the class")
        _finish(ax, "recall", "precision")


class CalibrationDisplay(_ClassDisplay):
    """Observed over predicted probability of a class, in bins of equally many rows, with 95 % intervals.

    Args:
        rows: the rows, with their probability of the class.
        label: the class.

    Attributes:
        bins: one `ReliabilityBin` per bin.
        ax_: the axes of the last drawing.
        figure_: the figure of the last drawing.
    """

    def __init__(self, rows: LabelledRows, label: Label) -> None:
        super().__init__(rows, label)
        self.bins = reliability(rows)

    def _draw(self, ax: Axes) -> None:
        predicted, value, low, high = np.array(
            [(own.predicted, own.observed.value, own.observed.low, own.observed.high) for own in self.bins]
        ).T
        ax.errorbar(predicted, value, [value - low, high - value], marker="o", label=f"class {_plain(self.label)}")
        ax.plot([0, 1], [0, 1], color="gray", linestyle=":", label="perfectly calibrated")
        _finish(ax, f"predicted probability of {_plain(self.label)}", "observed share (95 % interval)")


class DecisionCurveDisplay(_ClassDisplay):
    """The net benefit of acting on a model's predictions by threshold, compared with acting on all rows and on none.

    See `tabcohort.evaluation.decision_curve`.

    Args:
        rows: the rows, with their probability of the class.
        label: the class.

    Attributes:
        points: a `NetBenefit` for each threshold.
        ax_: the axes of the last drawing.
        figure_: the figure of the last drawing.
    """

    def __init__(self, rows: LabelledRows, label: Label) -> None:
        super().__init__(rows, label)
        self.points = decision_curve(rows, THRESHOLDS)

    def _draw(self, ax: Axes) -> None:
        thresholds = [point.threshold for point in self.points]
        value, low, high = np.array([(p.model.value, p.model.low, p.model.high) for p in self.points]).T
        (line,) = ax.plot(thresholds, value, label="model (95 % interval)")
        ax.fill_between(thresholds, low, high, color=line.get_color(), alpha=BAND, linewidth=0)
        ax.plot(thresholds, [point.treat_all for point in self.points], linestyle="--", label="all rows")
        ax.axhline(0, color="gray", linestyle=":", label="no row")
        ax.set_ylim(-0.25 * high.max(), 1.1 * high.max())
        _finish(ax, f"threshold of the probability of {_plain(self.label)}", "net benefit per row")


class ConfusionMatrixDisplay(_Display):
    """The confusion matrix: weight of the rows by true and predicted class, coloured by the share of the true class.

    Args:
        confusion: weight by true class (first axis) and predicted class, `(n_classes, n_classes)`.
        classes: their labels.

    Attributes:
        ax_: the axes of the last drawing.
        figure_: the figure of the last drawing.
    """

    def __init__(self, confusion: FloatArray, classes: Sequence[Label]) -> None:
        self.confusion, self.classes = confusion, tuple(classes)

    @classmethod
    def from_evaluation(cls, evaluation: Evaluation, classes: Sequence[Label], *, ax: Axes | None = None) -> Self:
        """Draw the confusion matrix of an evaluation; `classes` are those of the model's schema."""
        return cls(evaluation.confusion, classes).plot(ax)

    @classmethod
    def from_predictor(cls, predictor: Any, table: Table | None = None, *, ax: Axes | None = None) -> Self:
        """Draw the confusion matrix of a model, of its out-of-fold predictions or of the rows of a table.

        Args:
            predictor: a `Predictor`, or a fitted `CohortClassifier`.
            table: new rows with the target, with the model's schema; the out-of-fold predictions when omitted.
            ax: axes to draw on; those of a new figure when omitted.

        Raises:
            TableError: the table has another schema.
        """
        predictor = _predictor_of(predictor)
        evaluation = predictor.report.evaluation if table is None else predictor.evaluate(table)
        return cls.from_evaluation(evaluation, predictor.schema.classes, ax=ax)

    def _draw(self, ax: Axes) -> None:
        totals = self.confusion.sum(axis=1, keepdims=True)
        shares = np.divide(self.confusion, totals, out=np.zeros_like(self.confusion), where=totals > 0)
        ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for (row, column), share in np.ndenumerate(shares):
            color, count = "white" if share > 0.5 else "black", self.confusion[row, column]
            ax.text(column, row, f"{count:,.0f}", ha="center", va="center", color=color)
        names = [_plain(label) for label in self.classes]
        ax.set_xticks(range(len(names)), names, rotation="vertical" if len(names) > 4 else "horizontal")
        ax.set_yticks(range(len(names)), names)
        ax.set_xlabel("predicted class")
        ax.set_ylabel("true class")


class TrainingDisplay(_Display):
    """Training and validation loss of every member by epoch, with its best epoch marked.

    Args:
        members: reports with their histories.

    Attributes:
        ax_: the axes of the last drawing.
        figure_: the figure of the last drawing.
    """

    def __init__(self, members: Sequence[MemberReport]) -> None:
        self.members = [member for member in members if member.history]

    @classmethod
    def from_predictor(cls, predictor: Any, *, ax: Axes | None = None) -> Self:
        """Draw the training of a `Predictor` or a fitted `CohortClassifier`, on a new figure if `ax` is omitted."""
        return cls(_predictor_of(predictor).report.members).plot(ax)

    def _draw(self, ax: Axes) -> None:
        from tabcohort.reporting.curves import draw_losses

        draw_losses(ax, self.members)
        _finish(ax, "epoch", "log loss")


def _predictor_of(model: Any) -> Predictor:
    predictor = getattr(model, "predictor_", model)
    if not isinstance(predictor, Predictor):
        raise SettingsError(
            f"a display is of a Predictor or a fitted CohortClassifier, not of {type(model).__name__}; fit it first"
        )
    return predictor


def _predictions_of(predictor: Predictor, table: Table | None) -> OutOfFoldPredictions:
    return predictor.out_of_fold.as_float64() if table is None else predictions_for(predictor, table)


def _code_of(predictor: Predictor, label: Label | None) -> int:
    classes = predictor.schema.classes
    if label is None and predictor.schema.positive is not None:
        return predictor.schema.positive
    names = [str(own) for own in classes]
    if label is None or str(label) not in names:
        given = "say which class is drawn" if label is None else f"there is no class {label!r}"
        hint = "" if label is None else nearest(str(label), names)
        raise SettingsError(f"{given}{hint}: label= is one of {listed(map(repr, classes), 10)}")
    return names.index(str(label))


def _plain(label: Label) -> str:
    """Return a label as text that matplotlib does not take for a formula."""
    text: str = printable(str(label))
    return text.replace("$", r"\$")


def _text(estimate: Estimate) -> str:
    return f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"


def _finish(ax: Axes, x_label: str, y_label: str) -> None:
    ax.set_xlabel(x_label)
    ax.set_ylabel(y_label)
    ax.grid(alpha=0.25)
    for handle in ax.legend(frameon=False).legend_handles:
        if handle is not None:
            handle.set_alpha(1)
