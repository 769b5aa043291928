"""The figures of what a model has learned, as SVG with what they show in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup, escape

from tabcohort.reporting.figures import LEFT, RIGHT, WIDTH, Axes, interval_bar, short, tick_text

ROW_HEIGHT, LABEL_WIDTH = 22, 120  # of a level
CELL_HEIGHT, FOOT = 24, 40  # of a heat map
MAX_LABEL, N_WORDS = 16, 24  # characters; points that are read out


def effect_figure(own: Mapping[str, Any], score: str) -> Markup:
    """Return the effect of a column with the spread of its members: a line over numbers, a dot for each level.

    Args:
        own: what `tabcohort.model.learned.effect_facts` gives.
        score: what the effect is of.
    """
    step = max(1, len(own["x"]) // N_WORDS)
    points = zip(own["x"][::step], own["value"][::step], strict=True)
    listed = ", ".join(f"{_cell(x)}: {_signed(value)}" for x, value in points)
    alt = f"Effect of {own['column']} on the {score} of {own['class']}: {listed}"
    return _number_figure(own, alt) if own["is_number"] else _level_figure(own, alt)


def _number_figure(own: Mapping[str, Any], alt: str) -> Markup:
    lowest, highest = min(0.0, *own["low"]), max(0.0, *own["high"])
    margin = 0.08 * max(highest - lowest, 1e-6)
    x = own["x"]
    axes = Axes((x[0], x[-1]), (lowest - margin, highest + margin), short(own["column"]), "effect", 220)
    low, value, high = (list(zip(x, own[end], strict=True)) for end in ("low", "value", "high"))
    rug = [axes.vertical(point, axes.y[0], axes.y[0] + margin / 2, "whisker") for point in x]
    zero = axes.line([(x[0], 0), (x[-1], 0)], "reference")
    return axes.draw([zero, axes.band(low, high, "first"), axes.line(value, "first"), *rug], alt)


def _level_figure(own: Mapping[str, Any], alt: str) -> Markup:
    lowest, highest = min(0.0, *own["low"]), max(0.0, *own["high"])
    size, height = max(highest - lowest, 1e-6), ROW_HEIGHT * len(own["x"]) + 8

    def at(value: float) -> float:
        return LABEL_WIDTH + (value - lowest) / size * (WIDTH - LABEL_WIDTH - RIGHT)

    parts = [f'<path class="reference" d="M{at(0):.1f},2V{height - 2}"/>']
    for place, (x, low, value, high) in enumerate(
        zip(own["x"], own["low"], own["value"], own["high"], strict=True)
    ):  # fmt: skip
        middle = ROW_HEIGHT * place + ROW_HEIGHT / 2 + 4
        parts.append(
            f'<text x="{LABEL_WIDTH - 10}" y="{middle + 4:.1f}" text-anchor="end">{escape(short(x, MAX_LABEL))}</text>'
            f'<path class="whisker" d="M{at(low):.1f},{middle:.1f}H{at(high):.1f}"/>'
            f'<circle class="dot first" cx="{at(value):.1f}" cy="{middle:.1f}" r="3.5">'
            f"<title>{escape(_cell(x))}: {_signed(value)}</title></circle>"
        )
    return _svg(height, alt, parts)


def heat_map_figure(own: Mapping[str, Any], score: str) -> Markup:
    """Return what two columns add to the score together: cells of one colour above zero, and of another below.

    Args:
        own: the fact `heat_map`.
        score: what is added to.
    """
    x, y, rows = own["x"], own["y"], own["value"]
    largest = max((abs(value) for row in rows for value in row), default=0.0)
    width, height = (WIDTH - LEFT - RIGHT) / len(x), CELL_HEIGHT * len(y)
    parts = []
    for number, row in enumerate(rows):
        top = height - CELL_HEIGHT * (number + 1)  # the first value is at the bottom
        parts.append(_text(LEFT - 5, top + CELL_HEIGHT / 2 + 4, _cell(y[number]), "end"))
        for place, value in enumerate(row):
            share = abs(value) / largest if largest else 0.0
            parts.append(
                f'<rect class="{"first" if value >= 0 else "second"}" x="{LEFT + place * width:.1f}" y="{top}" '
                f'width="{width:.1f}" height="{CELL_HEIGHT}" fill-opacity="{share:.2f}">'
                f"<title>{escape(_cell(x[place]))}, {escape(_cell(y[number]))}: {_signed(value)}</title></rect>"
            )
    parts += [_text(LEFT + (place + 0.5) * width, height + 14, _cell(value), "middle") for place, value in enumerate(x)]
    one, other = own["columns"]
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, height + 32, one, "middle", 40))
    strongest = max(((row[place], x[place], y[number]) for number, row in enumerate(rows) for place in range(len(x))))
    alt = (
        f"What {one} and {other} add together to the {score} of {own['class']}: from -{largest:.3g} to {largest:.3g}, "
        f"the most at {_cell(strongest[1])} and {_cell(strongest[2])} ({_signed(strongest[0])})"
    )
    return _svg(height + FOOT, alt, parts)


def importance_bar(estimate: Mapping[str, Any], importances: list[Mapping[str, Any]]) -> Markup:
    """Return an importance as a bar on the scale of all, with a mark at zero."""
    known = [own["log_loss"] for own in importances if own["log_loss"]["value"] is not None]
    low, high = min((own["low"] for own in known), default=0.0), max((own["high"] for own in known), default=0.0)
    return interval_bar(estimate, min(0.0, low), max(0.0, high), 0.0)


def _text(x: float, y: float, text: str, anchor: str, length: int = 8) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(short(text, length))}</text>'


def _svg(height: int, alt: str, parts: list[str]) -> Markup:
    return Markup(
        f'<svg class="figure" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(alt)}">'
        f"{''.join(parts)}</svg>"
    )


def _cell(value: Any) -> str:
    return tick_text(float(f"{value:.4g}")) if isinstance(value, float) else str(value)


def _signed(value: float) -> str:
    return f"{value:+.2f}"
