"""The figures of what a model has learned: what is drawn is where the facts say, and names are text."""

from __future__ import annotations

import re
from typing import Any

from tabcohort.reporting.figures import LEFT, RIGHT, WIDTH
from tabcohort.reporting.learned_figures import (
    CELL_HEIGHT,
    LABEL_WIDTH,
    effect_figure,
    heat_map_figure,
    importance_bar,
)

NUMBER: dict[str, Any] = {
    "column": "size <b>", "class": "ill <i>", "is_number": True, "x": [0.0, 5.0, 10.0], "share": None,
    "value": [-1.0, 0.0, 2.0], "low": [-1.5, -0.25, 1.5], "high": [-0.5, 0.25, 2.5],
}  # fmt: skip
LEVELS = {**NUMBER, "is_number": False, "x": ["low", "<mid>", "high"], "share": [0.25, 0.25, 0.5]}
MAP: dict[str, Any] = {
    "columns": ["size <b>", "kind"], "class": "ill", "x": [1.0, 2.0], "y": ["low", "<mid>"],
    "value": [[0.5, -0.5], [-1.0, 1.0]],
}  # fmt: skip


def test_the_effect_of_a_number_is_a_line_with_a_band() -> None:
    text = effect_figure(NUMBER, "log odds")
    (line,) = re.findall(r'<path class="line first" d="M([^"]+)"', text)
    points = [tuple(map(float, point.split(","))) for point in line.split("L")]
    assert [x for x, _ in points] == [LEFT, (LEFT + WIDTH - RIGHT) / 2, WIDTH - RIGHT]
    heights = [y for _, y in points]
    assert heights[0] > heights[1] > heights[2]
    assert abs(heights[1] - heights[2] - (heights[0] - heights[1]) * 2) < 0.2  # of a pixel, by rounding
    assert 'class="band first"' in text
    assert text.count('class="whisker"') == 3
    assert "Effect of size &lt;b&gt; on the log odds of ill &lt;i&gt;: 0: -1.00, 5: +0.00, 10: +2.00" in text
    assert "<b>" not in text


def test_the_effect_of_levels_is_a_dot_for_each() -> None:
    text = effect_figure(LEVELS, "log odds")
    dots = [float(x) for x in re.findall(r'cx="([\d.]+)"', text)]
    width = WIDTH - LABEL_WIDTH - RIGHT
    assert dots == [round(LABEL_WIDTH + (value + 1.5) / 4 * width, 1) for value in (-1, 0, 2)]
    assert "&lt;mid&gt;" in text
    assert "<mid>" not in text


def test_an_effect_of_nothing_can_be_drawn() -> None:
    flat = dict.fromkeys(("value", "low", "high"), [0.0] * 3)
    assert "nan" not in effect_figure({**NUMBER, **flat}, "log odds")
    assert "nan" not in effect_figure({**LEVELS, **flat}, "log odds")
    assert "nan" not in heat_map_figure({**MAP, "value": [[0.0, 0.0]] * 2}, "log odds")


def test_a_heat_map_has_a_cell_for_each_pair_from_the_bottom() -> None:
    text = heat_map_figure(MAP, "log odds")
    cells = re.findall(r'<rect class="(\w+)" x="([\d.]+)" y="(\d+)".*?fill-opacity="([\d.]+)"', text)
    half = (WIDTH - LEFT - RIGHT) / 2
    assert [(style, float(x), int(y), float(shade)) for style, x, y, shade in cells] == [
        ("first", LEFT, CELL_HEIGHT, 0.5), ("second", LEFT + half, CELL_HEIGHT, 0.5),
        ("second", LEFT, 0, 1.0), ("first", LEFT + half, 0, 1.0),
    ]  # fmt: skip
    assert "from -1 to 1, the most at 2 and &lt;mid&gt; (+1.00)" in text
    assert "<mid>" not in text
    assert "<b>" not in text


def test_importances_are_on_one_scale_with_zero() -> None:
    estimates = [{"value": 0.5, "low": 0.25, "high": 0.75}, {"value": 0.0, "low": -0.25, "high": 0.25}]
    importances: list[Any] = [{"log_loss": own} for own in estimates]
    zero = {
        re.findall(r'class="reference line" d="M([\d.]+)', importance_bar(own, importances))[0] for own in estimates
    }
    assert len(zero) == 1
    assert f'cx="{zero.pop()}"' in importance_bar(estimates[1], importances)
    assert importance_bar(dict.fromkeys(("value", "low", "high")), importances) == ""
