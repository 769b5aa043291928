"""The figures of a page as SVG: text made of numbers, with what they show in words for those who cannot see them.

Colours are classes of the page's style. An element with `data-mark` is moved by the page's script when the threshold
changes; it is drawn where the model's own threshold is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from markupsafe import Markup, escape

WIDTH, HEIGHT = 340, 260
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 12, 44
DIGITS = 1  # after the point, of coordinates
Points = Sequence[tuple[float, float]]


class LossStyle(NamedTuple):
    """How the losses of some rows are drawn by epoch.

    Args:
        label: which rows, in words.
        style: class of the page's style.
        color: of matplotlib, much the same.
    """

    label: str
    style: str
    color: str


LOSS_STYLES = {
    "train_loss": LossStyle("training rows", "first", "tab:blue"),
    "val_loss": LossStyle("validation rows", "second", "tab:orange"),
}


@dataclass(frozen=True)
class Axes:
    """Where numbers are in a figure.

    Args:
        x, y: the smallest and the largest number of each axis.
        x_label, y_label: what the axes are.
        height: of the figure.
        is_mirrored: whether y grows from 0 in both directions.
    """

    x: tuple[float, float]
    y: tuple[float, float]
    x_label: str
    y_label: str
    height: int = HEIGHT
    is_mirrored: bool = False

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Return where a point is."""
        across = (x - self.x[0]) / (self.x[1] - self.x[0])
        up = (y - self.y[0]) / (self.y[1] - self.y[0])
        return LEFT + across * (WIDTH - LEFT - RIGHT), self.height - BOTTOM - up * (self.height - TOP - BOTTOM)

    def draw(self, parts: Sequence[str], alt: str) -> Markup:
        """Return a figure of these axes and parts.

        Args:
            parts: what is drawn, as SVG.
            alt: what the figure shows, in words.
        """
        left, low = self.at(self.x[0], self.y[0])
        right, high = self.at(self.x[1], self.y[1])
        grid = [f'<path class="axis" d="M{left:.1f},{high:.1f}V{low:.1f}H{right:.1f}"/>']
        for value in ticks(*self.x):
            x = self.at(value, self.y[0])[0]
            grid.append(f'<path class="grid" d="M{x:.1f},{high:.1f}V{low:.1f}"/>')
            grid.append(f'<text x="{x:.1f}" y="{low + 15:.1f}" text-anchor="middle">{tick_text(value)}</text>')
        for value in ticks(*self.y):
            y, shown = self.at(self.x[0], value)[1], abs(value) if self.is_mirrored else value
            grid.append(f'<path class="grid" d="M{left:.1f},{y:.1f}H{right:.1f}"/>')
            grid.append(f'<text x="{left - 6:.1f}" y="{y + 4:.1f}" text-anchor="end">{tick_text(shown)}</text>')
        middle = (high + low) / 2
        labels = (
            f'<text x="{(left + right) / 2:.1f}" y="{self.height - 8}" text-anchor="middle">'
            f"{escape(self.x_label)}</text>"
            f'<text x="13" y="{middle:.1f}" text-anchor="middle" transform="rotate(-90 13 {middle:.1f})">'
            f"{escape(self.y_label)}</text>"
        )
        scale = " ".join(f"{value:.6g}" for value in (left, right, low, high, *self.x, *self.y))
        return Markup(
            f'<svg class="figure" viewBox="0 0 {WIDTH} {self.height}" role="img" aria-label="{escape(alt)}" '
            f'data-scale="{scale}">{"".join(grid)}{"".join(parts)}{labels}</svg>'
        )

    def line(self, points: Points, name: str) -> str:
        """Return a line through points; what leaves the axes is cut at their edge.

        Args:
            points: x and y of each.
            name: class of the line.
        """
        return f'<path class="line {name}" d="M{"L".join(self._inside(points))}"/>' if points else ""

    def band(self, low: Points, high: Points, name: str) -> str:
        """Return the area between two lines."""
        return f'<path class="band {name}" d="M{"L".join(self._inside([*high, *reversed(low)]))}Z"/>'

    def _inside(self, points: Points) -> list[str]:
        cut = ((x, min(max(y, self.y[0]), self.y[1])) for x, y in points)
        return [f"{x:.1f},{y:.1f}" for x, y in (self.at(*point) for point in cut)]

    def dot(self, x: float, y: float, name: str, radius: float = 3.5, more: str = "") -> str:
        """Return a dot."""
        across, down = self.at(x, min(max(y, self.y[0]), self.y[1]))
        return f'<circle class="{name}" cx="{across:.1f}" cy="{down:.1f}" r="{radius}"{more}/>'

    def vertical(self, x: float, low: float, high: float, name: str, more: str = "") -> str:
        """Return a vertical line at x."""
        across, bottom = self.at(x, low)
        top = self.at(x, high)[1]
        return f'<path class="{name}" d="M{across:.1f},{bottom:.1f}V{top:.1f}"{more}/>'


def ticks(low: float, high: float, n: int = 5) -> list[float]:
    """Return round numbers between two others, about n of them.

    Examples:
        >>> ticks(0, 1), ticks(0, 37)
        ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [0.0, 10.0, 20.0, 30.0])
    """
    rough = (high - low) / n
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.9)
    first = math.ceil(low / step - 1e-9)
    return [round(place * step, 10) + 0.0 for place in range(first, math.floor(high / step + 1e-9) + 1)]


def tick_text(value: float) -> str:
    """Return a number of an axis as text, with a real minus sign."""
    return f"{value:,.6g}".replace("-", "\N{MINUS SIGN}")


# -- one class against the rest --------------------------------------------------------------------------------------


def _mark(kind: str, place: int) -> str:
    return f' data-mark="{kind}" data-place="{place}"'


def _nearest_rates(own: Mapping[str, Any], threshold: float) -> Mapping[str, Any]:
    rates: Mapping[str, Any] = min(own["thresholds"], key=lambda rates: abs(rates["threshold"] - threshold))
    return rates


def roc_figure(own: Mapping[str, Any], place: int, threshold: float) -> Markup:
    """Return the ROC curve of a class, with the point of a threshold.

    Args:
        own: the facts of the class (see `tabcohort.model.report_facts.class_facts`).
        place: of the class among those with figures.
        threshold: whose point is marked.
    """
    axes, at = Axes((0, 1), (0, 1), "false positive rate", "true positive rate"), _nearest_rates(own, threshold)
    curve, area = own["roc"], own["roc_auc"]
    parts = [
        axes.line([(0, 0), (1, 1)], "reference"),
        axes.line(list(zip(curve["x"], curve["y"], strict=True)), "first"),
    ]
    sensitivity, specificity = at["sensitivity"]["value"], at["specificity"]["value"]
    parts.append(axes.dot(1 - specificity, sensitivity, "mark", 5, _mark("roc", place)))
    alt = (
        f"ROC curve of {own['label']}: area {area['value']:.3f}, 95 % interval {area['low']:.3f} to "
        f"{area['high']:.3f}; at the threshold {at['threshold']:.2f} the true positive rate is {sensitivity:.3f} and "
        f"the false positive rate {1 - specificity:.3f}"
    )
    return axes.draw(parts, alt)


def precision_recall_figure(own: Mapping[str, Any], place: int, threshold: float) -> Markup:
    """Return precision over recall of a class, with the share of the class as a line; arguments as `roc_figure`."""
    axes, at = Axes((0, 1), (0, 1), "recall (sensitivity)", "precision"), _nearest_rates(own, threshold)
    curve, area = own["precision_recall"], own["pr_auc"]
    parts = [
        axes.line([(0, own["share"]), (1, own["share"])], "reference"),
        axes.line(list(zip(curve["x"], curve["y"], strict=True)), "first"),
    ]
    precision, recall = at["precision"]["value"], at["sensitivity"]["value"]
    is_hidden = ' visibility="hidden"' if precision is None else ""
    parts.append(axes.dot(recall, precision or 0.0, "mark", 5, _mark("precision_recall", place) + is_hidden))
    alt = (
        f"Precision over recall of {own['label']}: area {area['value']:.3f}, 95 % interval {area['low']:.3f} to "
        f"{area['high']:.3f}; the share of the class, what guessing reaches, is {own['share']:.3f}"
    )
    return axes.draw(parts, alt)


def reliability_figure(own: Mapping[str, Any], place: int, threshold: float) -> Markup:
    """Return observed shares over predicted probabilities with their intervals; arguments as `roc_figure`."""
    axes = Axes((0, 1), (0, 1), "predicted probability", "observed share")
    parts = [axes.line([(0, 0), (1, 1)], "reference"), _threshold_line(axes, place, threshold)]
    for point in own["reliability"]:
        observed = point["observed"]
        parts.append(axes.vertical(point["predicted"], observed["low"], observed["high"], "whisker"))
    points = [(point["predicted"], point["observed"]["value"]) for point in own["reliability"]]
    parts.append(axes.line(points, "first thin"))
    parts += [axes.dot(x, y, "dot first") for x, y in points]
    listed = "; ".join(
        f"predicted {point['predicted']:.3f}, observed {point['observed']['value']:.3f} "
        f"({point['observed']['low']:.3f} to {point['observed']['high']:.3f})"
        for point in own["reliability"]
    )
    return axes.draw(parts, f"Reliability of the probability of {own['label']}: {listed}")


def _threshold_line(axes: Axes, place: int, threshold: float) -> str:
    return axes.vertical(threshold, axes.y[0], axes.y[1], "mark-line", _mark("line", place))


def score_figure(own: Mapping[str, Any], place: int, threshold: float) -> Markup:
    """Return how the probabilities are distributed: rows of the class upwards, others down; as `roc_figure`."""
    inside, others, name = own["scores"]["inside"], own["scores"]["others"], short(own["label"])
    shares = [[count / max(sum(counts), 1e-300) for count in counts] for counts in (inside, others)]
    most = max(max(shares[0]), max(shares[1]))
    axes = Axes(
        (0, 1),
        (-most * 1.05, most * 1.05),
        f"probability of {name}",
        "share of the rows",
        is_mirrored=True,
    )
    parts, width = [], 1 / len(inside)
    for sign, style, counts in ((1, "first", shares[0]), (-1, "second", shares[1])):
        for number, share in enumerate(counts):
            left, top = axes.at(number * width, max(sign * share, 0))
            right, base = axes.at((number + 1) * width, min(sign * share, 0))
            parts.append(
                f'<rect class="{style}" x="{left + 0.5:.1f}" y="{top:.1f}" width="{right - left - 1:.1f}" '
                f'height="{base - top:.1f}"><title>{share:.1%}</title></rect>'
            )
    zero = axes.at(0, 0)[1]
    parts.append(f'<path class="axis" d="M{LEFT},{zero:.1f}H{WIDTH - RIGHT}"/>')
    parts.append(_threshold_line(axes, place, threshold))
    parts.append(f'<text x="{LEFT + 6}" y="{TOP + 12}">{escape(f"rows of {name}")}</text>')
    parts.append(f'<text x="{WIDTH - RIGHT - 4}" y="{HEIGHT - BOTTOM - 6}" text-anchor="end">other rows</text>')
    alt = (
        f"Distribution of the probability of {own['label']}, in {len(inside)} parts from 0 to 1: of its rows "
        f"{_shares_text(shares[0])}; of the other rows {_shares_text(shares[1])}"
    )
    return axes.draw(parts, alt)


def _shares_text(shares: Sequence[float]) -> str:
    return ", ".join(f"{share:.1%}" for share in shares)


def decision_figure(own: Mapping[str, Any], place: int, threshold: float) -> Markup:
    """Return the net benefit of the model, of acting on all rows and on none; arguments as `roc_figure`."""
    points = own["decision_curve"]
    highest = max(own["share"], *(point["model"]["high"] for point in points)) * 1.05
    axes = Axes((0, 1), (-0.25 * highest, highest), "threshold", "net benefit per row")
    low, value, high = (
        [(point["threshold"], point["model"][end]) for point in points] for end in ("low", "value", "high")
    )
    all_rows = [(point["threshold"], point["treat_all"]) for point in points if point["treat_all"] > axes.y[0]]
    parts = [
        axes.line([(0, 0), (1, 0)], "reference"), axes.line(all_rows, "second dashed"), axes.band(low, high, "first"),
        axes.line(value, "first"), _threshold_line(axes, place, threshold),
    ]  # fmt: skip
    found = own["useful_range"]
    verdict = f"above both from {found[0]:.2f} to {found[1]:.2f}" if found else "nowhere certainly above both"
    alt = f"Net benefit of acting on the probability of {own['label']}, beside acting on all rows or none: {verdict}"
    return axes.draw(parts, alt)


# -- training, and small bars ----------------------------------------------------------------------------------------


def history_figure(config: Mapping[str, Any]) -> Markup:
    """Return the validation loss of all members of a config, their training loss, and a dot at each best epoch."""
    members = [member for member in config["members"] if member["epoch"]]
    losses = [loss for member in members for loss in (*member["val_loss"], *member["train_loss"]) if loss is not None]
    if not losses:
        return Markup("")
    last = max(member["epoch"][-1] for member in members)
    high = sorted(losses)[int(0.98 * (len(losses) - 1))]
    low = min(losses)
    spread = max(high - low, 1e-6)
    axes = Axes((0, max(last, 1)), (max(0.0, low - 0.05 * spread), high + 0.05 * spread), "epoch", "log loss", 220)
    parts = []
    for name, own in LOSS_STYLES.items():
        for member in members:
            pairs = zip(member["epoch"], member[name], strict=True)
            parts.append(axes.line([(epoch, loss) for epoch, loss in pairs if loss is not None], f"{own.style} thin"))
    best = []
    for member in members:
        loss_at = dict(zip(member["epoch"], member["val_loss"], strict=True))
        loss = loss_at.get(member["best_epoch"])
        if loss is not None:
            best.append((member["best_epoch"], loss))
    parts += [axes.dot(x, y, "dot best", 3) for x, y in best]
    listed = ", ".join(f"epoch {epoch} ({loss:.3f})" for epoch, loss in best[:30])
    alt = f"Training of {len(members)} members of {config['name']}: best validation loss at {listed}"
    return axes.draw(parts, alt)


def learning_curve_figure(facts: Mapping[str, Any]) -> Markup:
    """Return the log loss by share of the rows with intervals, and the fitted curves up to four times the rows.

    Args:
        facts: of a learning curve (see `tabcohort.cohort.learning_curve.learning_curve_facts`).
    """
    points, curves = facts["points"], [curve["drawn"] for curve in facts["curves"]]
    high = max(point["log_loss"]["high"] for point in points)
    low = min(*(point["log_loss"]["low"] for point in points), *(loss for drawn in curves for _, loss in drawn))
    spread = max(high - max(0.0, low), 1e-6)
    axes = Axes(
        (0, curves[0][-1][0]), (max(0.0, low), high + 0.05 * spread), "rows, beside those there are", "log loss"
    )
    parts = []
    for drawn, style in zip(curves, ("first", "second"), strict=True):
        parts.append(axes.line([pair for pair in drawn if pair[0] <= 1], style))
        parts.append(axes.line([pair for pair in drawn if pair[0] >= 1], f"{style} dashed"))
    for point in points:
        loss = point["log_loss"]
        parts.append(axes.vertical(point["share"], max(loss["low"], axes.y[0]), loss["high"], "whisker"))
        parts.append(axes.dot(point["share"], loss["value"], "dot first"))
    listed = "; ".join(
        f"{point['share']:.0%} of the rows {point['log_loss']['value']:.3f} ({point['log_loss']['low']:.3f} to "
        f"{point['log_loss']['high']:.3f})"
        for point in points
    )
    return axes.draw(parts, f"Out-of-fold log loss by share of the rows: {listed}; {facts['conclusion']}")


BAR_WIDTH, BAR_HEIGHT = 120, 16


def interval_bar(estimate: Mapping[str, Any], low: float, high: float, reference: float | None = None) -> Markup:
    """Return a figure with its interval as a small line with a dot, and perhaps a reference.

    Args:
        estimate: `value`, `low` and `high`, or nulls.
        low, high: ends of the scale.
        reference: a number that is marked.
    """
    if estimate["value"] is None or high <= low:
        return Markup("")

    def at(value: float) -> float:
        return 4 + (min(max(value, low), high) - low) / (high - low) * (BAR_WIDTH - 8)

    middle = BAR_HEIGHT / 2
    mark = "" if reference is None else f'<path class="reference line" d="M{at(reference):.1f},1V{BAR_HEIGHT - 1}"/>'
    alt = f"{estimate['value']:.4g}, 95 % interval {estimate['low']:.4g} to {estimate['high']:.4g}"
    return Markup(
        f'<svg class="bar" width="{BAR_WIDTH}" height="{BAR_HEIGHT}" viewBox="0 0 {BAR_WIDTH} {BAR_HEIGHT}" role="img" '
        f'aria-label="{alt}">{mark}<path class="whisker" d="M{at(estimate["low"]):.1f},{middle}H'
        f'{at(estimate["high"]):.1f}"/><circle class="dot first" cx="{at(estimate["value"]):.1f}" cy="{middle}" '
        f'r="3.5"/></svg>'
    )


def share_bar(shares: Mapping[str, float | None]) -> Markup:
    """Return shares that add up to 1 as parts of one bar.

    Args:
        shares: by name, which is read out.
    """
    parts, start = [], 0.0
    for name, share in zip(("first", "third", "second"), shares.values(), strict=False):
        width = 2 * BAR_WIDTH * (share or 0.0)
        parts.append(f'<rect class="{name}" x="{start:.1f}" y="0" width="{width:.1f}" height="{BAR_HEIGHT}"/>')
        start += width
    alt = ", ".join(f"{name} {share:.1%}" for name, share in shares.items() if share is not None)
    return Markup(
        f'<svg class="bar" width="{2 * BAR_WIDTH}" height="{BAR_HEIGHT}" viewBox="0 0 {2 * BAR_WIDTH} {BAR_HEIGHT}" '
        f'role="img" aria-label="{escape(alt)}">{"".join(parts)}</svg>'
    )


def count(value: float) -> str:
    """Return a number of rows, or their weight, without digits that say nothing."""
    return f"{value:,.0f}" if float(value).is_integer() or abs(value) >= 1000 else f"{value:,.1f}"


def short(text: Any, length: int = 24) -> str:
    """Return text that fits into a figure."""
    text = str(text)
    return text if len(text) <= length else f"{text[: length - 1]}…"
