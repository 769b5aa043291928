"""What the pictures of a page are drawn from: curves over epochs, bars with a spread, confusion matrices."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from tabcohort.reproduce.findings import Spread, plain_cell, spread

MAX_POINTS = 120  # of a curve
Matrix = Sequence[Sequence[float]]


class HasLosses(Protocol):
    """An epoch's record, such as `tabcohort.training.loop.EpochRecord`."""

    @property
    def train_loss(self) -> float:
        """Log loss of the training rows."""

    @property
    def val_loss(self) -> float:
        """Log loss of the validation rows."""


@dataclass(frozen=True)
class Curve:
    """The mean of a quantity over seeds, and its standard deviation, at each `x`."""

    name: str
    x: tuple[float, ...]
    mean: tuple[float, ...]
    deviation: tuple[float, ...]


@dataclass(frozen=True)
class Curves:
    """Curves on the same axes.

    Args:
        title: above the picture.
        axes: what x and y are.
        curves: at most four.
        caption: below it.
    """

    kind: ClassVar[str] = "curves"
    title: str
    axes: tuple[str, str]
    curves: tuple[Curve, ...]
    caption: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        curves = [
            {
                "name": curve.name,
                "x": list(curve.x),
                "mean": list(curve.mean),
                "standard_deviation": list(curve.deviation),
            }
            for curve in self.curves
        ]
        return {
            "kind": self.kind,
            "title": self.title,
            "axes": list(self.axes),
            "curves": curves,
            "caption": self.caption,
        }


@dataclass(frozen=True)
class Bar:
    """A bar: what it stands for, its value, and what the document claims."""

    name: str
    value: Spread
    claimed: float | None = None


@dataclass(frozen=True)
class Bars:
    """A comparison of one quantity.

    Args:
        title: above the picture.
        bars: from top to bottom.
        style: format of the numbers.
        caption: below it.
    """

    kind: ClassVar[str] = "bars"
    title: str
    bars: tuple[Bar, ...]
    style: str = ".3f"
    caption: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        bars = [
            {"name": bar.name, **plain_cell(bar.value), "text": bar.value.show(self.style), "claimed": bar.claimed}
            for bar in self.bars
        ]
        return {"kind": self.kind, "title": self.title, "bars": bars, "style": self.style, "caption": self.caption}


@dataclass(frozen=True)
class Confusions:
    """Confusion matrices beside each other.

    Args:
        title: above the picture.
        classes: of rows (the true class) and columns (the predicted one).
        matrices: rows by true class and columns by predicted class, by name.
        caption: below it.
    """

    kind: ClassVar[str] = "confusions"
    title: str
    classes: tuple[str, ...]
    matrices: Mapping[str, Matrix]
    caption: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        matrices = [{"name": name, "rows": [list(row) for row in rows]} for name, rows in self.matrices.items()]
        named = {"kind": self.kind, "title": self.title, "classes": list(self.classes)}
        return {**named, "matrices": matrices, "caption": self.caption}


Picture = Curves | Bars | Confusions


def mean_curve(name: str, series: Sequence[Sequence[float]]) -> Curve:
    """Return the mean of series, one per seed with one value per epoch, until the first of them ends.

    Args:
        name: of the curve.
        series: of which a mean of some would jump where another ends.
    """
    last = min(len(values) for values in series)
    step = max(1, -(-last // MAX_POINTS))
    epochs = sorted({1, *range(step, last + 1, step), last})
    spreads = [spread(values[epoch - 1] for values in series) for epoch in epochs]
    means, deviations = (own.mean for own in spreads), (own.deviation or 0.0 for own in spreads)
    return Curve(name, tuple(map(float, epochs)), tuple(means), tuple(deviations))


def loss_curves(title: str, histories: Iterable[Sequence[HasLosses]], validation: str = "validation rows") -> Curves:
    """Return the training and the validation loss over epochs.

    Args:
        title: of the picture.
        histories: the epochs' records, one sequence per seed.
        validation: what the validation loss is of.
    """
    histories = list(histories)
    curves = (
        mean_curve("training rows", [[record.train_loss for record in history] for history in histories]),
        mean_curve(validation, [[record.val_loss for record in history] for history in histories]),
    )
    return Curves(title, ("epoch", "log loss"), curves)


def mean_confusion(metrics: Sequence[Mapping[str, float]], n_rows: Sequence[tuple[int, int]]) -> Matrix:
    """Return the mean confusion matrix of two classes from the metrics of runs, the negative class first.

    Args:
        metrics: `sensitivity` and `specificity` of each run.
        n_rows: numbers of negative and of positive rows of each run.
    """
    cells = [
        ((specificity * negative, (1 - specificity) * negative), ((1 - sensitivity) * positive, sensitivity * positive))
        for (negative, positive), specificity, sensitivity in (
            (counts, own["specificity"], own["sensitivity"]) for counts, own in zip(n_rows, metrics, strict=True)
        )
    ]
    return tuple(tuple(statistics.fmean(cell[i][j] for cell in cells) for j in range(2)) for i in range(2))
