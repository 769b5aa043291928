"""The figures of an experiment's page as SVG, with what they show in words for those who cannot see them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup, escape

from tabcohort.reporting.figures import Axes, count, short, tick_text, ticks

STYLES = ("first", "second", "best", "third")  # of curves, in their order
HEIGHT, CUT_SHARE = 220, 0.02  # of curves
LOWEST_SHARE = 0.8  # of the largest value: where all are above, bars from zero would look alike
BARS_WIDTH, LABEL_WIDTH, TEXT_WIDTH, ROW_HEIGHT = 550, 180, 130, 24
CELL_WIDTH, CELL_HEIGHT, MAX_LABEL = 92, 46, 26
MIN_MATRICES = 3  # that there is room for, so that a single one is not blown up


def figure_of(picture: Mapping[str, Any]) -> Markup:
    """Return the figure of a picture's facts (see `tabcohort.reproduce.pictures`)."""
    figures = {"curves": curves_figure, "bars": bars_figure, "confusions": confusions_figure}
    return figures[picture["kind"]](picture)


def curves_figure(picture: Mapping[str, Any]) -> Markup:
    """Return curves with a band of one standard deviation over seeds to each side.

    The axis leaves out the two percent of the means that differ most from the last ones, as the first epochs would
    hide all others.
    """
    curves = picture["curves"]
    last = max(curve["x"][-1] for curve in curves)
    x_label, y_label = picture["axes"]
    axes = Axes((0, max(last, 1)), _range(curves), x_label, y_label, HEIGHT)
    parts = []
    for curve, style in zip(curves, STYLES, strict=False):
        below = [(x, mean - sd) for x, (mean, sd) in zip(curve["x"], _ends(curve), strict=True)]
        above = [(x, mean + sd) for x, (mean, sd) in zip(curve["x"], _ends(curve), strict=True)]
        parts.append(axes.band(below, above, style))
    for curve, style in zip(curves, STYLES, strict=False):
        points = list(zip(curve["x"], curve["mean"], strict=True))
        parts.append(axes.line(points, style))
        if len(points) == 1:
            parts.append(axes.dot(*points[0], f"dot {style}"))
    listed = "; ".join(
        f"{curve['name']}: {curve['mean'][0]:.4g} at {x_label} {curve['x'][0]:g}, {curve['mean'][-1]:.4g} at "
        f"{curve['x'][-1]:g}, lowest {min(curve['mean']):.4g}"
        for curve in curves
    )
    return axes.draw(parts, f"{y_label} over {x_label}. {listed}")


def _range(curves: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """Return the ends of the y axis."""
    means = sorted(value for curve in curves for value in curve["mean"])
    ends = [mean + sign * sd for curve in curves for mean, sd in _ends(curve) for sign in (-1, 1)]
    n_cut = int(CUT_SHARE * (len(means) - 1))
    if sum(curve["mean"][-1] - curve["mean"][0] for curve in curves) > 0:  # what rises begins low
        low, high = means[n_cut], max(ends)
    else:
        low, high = min(ends), means[-1 - n_cut]
    margin = 0.05 * max(high - low, 1e-6)
    return max(low - margin, 0.0) if means[0] >= 0 else low - margin, high + margin


def _ends(curve: Mapping[str, Any]) -> list[tuple[float, float]]:
    return list(zip(curve["mean"], curve["standard_deviation"], strict=True))


def bars_figure(picture: Mapping[str, Any]) -> Markup:
    """Return values as bars from zero with their standard deviations, and claims as marks.

    Where all values are close to the largest one, dots on a scale that does not begin at zero show them instead.
    """
    bars = picture["bars"]
    low, high, is_from_zero = _scale(bars)
    height = ROW_HEIGHT * len(bars) + 26

    def at(value: float) -> float:
        return LABEL_WIDTH + (value - low) / (high - low) * (BARS_WIDTH - LABEL_WIDTH - TEXT_WIDTH)

    parts = []
    for value in ticks(low, high, 4):
        x = f"{at(value):.1f}"
        parts.append(f'<path class="grid" d="M{x},2V{height - 20}"/>')
        parts.append(f'<text x="{x}" y="{height - 6}" text-anchor="middle">{tick_text(value)}</text>')
    for place, bar in enumerate(bars):
        middle = ROW_HEIGHT * place + ROW_HEIGHT / 2 + 2
        name = short(bar["name"], MAX_LABEL)
        parts.append(f'<text x="{LABEL_WIDTH - 8}" y="{middle + 4}" text-anchor="end">{escape(name)}</text>')
        parts.append(f'<text x="{BARS_WIDTH - TEXT_WIDTH + 8}" y="{middle + 4}">{escape(bar["text"])}</text>')
        if bar["mean"] is None:
            continue
        start, mean, sd = at(max(low, min(0.0, high))), bar["mean"], bar["standard_deviation"] or 0.0
        if is_from_zero:
            left, right = sorted((start, at(mean)))
            parts.append(
                f'<rect class="first" x="{left:.1f}" y="{middle - 7}" width="{max(right - left, 1):.1f}" height="14"/>'
            )
        else:
            parts.append(f'<circle class="dot first" cx="{at(mean):.1f}" cy="{middle}" r="4"/>')
        if sd:
            parts.append(f'<path class="whisker" d="M{at(mean - sd):.1f},{middle}H{at(mean + sd):.1f}"/>')
        if bar["claimed"] is not None:
            parts.append(f'<path class="claim" d="M{at(bar["claimed"]):.1f},{middle - 9}V{middle + 9}"/>')
    listed = "; ".join(f"{bar['name']} {bar['text']}{_claimed(bar)}" for bar in bars)
    return Markup(
        f'<svg class="figure wide-figure" viewBox="0 0 {BARS_WIDTH} {height}" role="img" '
        f'aria-label="{escape(picture["title"])}: {escape(listed)}">{"".join(parts)}</svg>'
    )


def _claimed(bar: Mapping[str, Any]) -> str:
    return "" if bar["claimed"] is None else f" (document {bar['claimed']:g})"


def _scale(bars: Sequence[Mapping[str, Any]]) -> tuple[float, float, bool]:
    """Return the ends of the scale, and whether bars begin at zero."""
    known = [bar for bar in bars if bar["mean"] is not None]
    ends = [bar["mean"] + sign * (bar["standard_deviation"] or 0.0) for bar in known for sign in (-1, 1)]
    ends += [bar["claimed"] for bar in known if bar["claimed"] is not None]
    low, high = min(ends, default=0.0), max(ends, default=1.0)
    if low < LOWEST_SHARE * high or high <= 0:
        low, high = min(0.0, low), max(0.0, high)
        return low, high if high > low else low + 1.0, True
    margin = 0.05 * max(high - low, 1e-6)
    return low - margin, high + margin, False


def confusions_figure(picture: Mapping[str, Any]) -> Markup:
    """Return confusion matrices beside each other: the darker a cell, the more of its true class is there."""
    classes, matrices = picture["classes"], picture["matrices"]
    left, top = 96, 38
    block = len(classes) * CELL_WIDTH + left + 16
    parts, listed = [], []
    for place, matrix in enumerate(matrices):
        x0 = place * block + left
        parts.append(f'<text x="{x0}" y="14" class="head">{escape(matrix["name"])}</text>')
        for number, name in enumerate(classes):
            across, down = x0 + (number + 0.5) * CELL_WIDTH, top + (number + 0.5) * CELL_HEIGHT + 4
            parts.append(f'<text x="{across}" y="{top - 7}" text-anchor="middle">{escape(short(name, 14))}</text>')
            parts.append(f'<text x="{x0 - 8}" y="{down}" text-anchor="end">{escape(short(name, 14))}</text>')
        for i, row in enumerate(matrix["rows"]):
            for j, weight in enumerate(row):
                share = weight / sum(row) if sum(row) else 0.0
                x, y = x0 + j * CELL_WIDTH, top + i * CELL_HEIGHT
                parts.append(
                    f'<rect class="{"first" if i == j else "second"}" x="{x}" y="{y}" width="{CELL_WIDTH - 2}" '
                    f'height="{CELL_HEIGHT - 2}" fill-opacity="{0.08 + 0.37 * share:.2f}"/>'
                    f'<text class="cell" x="{x + CELL_WIDTH / 2 - 1}" y="{y + CELL_HEIGHT / 2 + 3}" '
                    f'text-anchor="middle">{count(weight)} ({share:.1%})</text>'
                )
                listed.append(f"{matrix['name']}, true {classes[i]}, predicted {classes[j]}: {count(weight)}")
    height = top + len(classes) * CELL_HEIGHT + 6
    return Markup(
        f'<svg class="figure matrices" viewBox="0 0 {max(len(matrices), MIN_MATRICES) * block} {height}" role="img" '
        f'aria-label="{escape("; ".join(listed))}">{"".join(parts)}</svg>'
    )
