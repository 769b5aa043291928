"""The figures: what is drawn is where the facts say."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tabcohort.reporting.figures import (
    BOTTOM,
    HEIGHT,
    LEFT,
    LOSS_STYLES,
    RIGHT,
    TOP,
    WIDTH,
    Axes,
    decision_figure,
    history_figure,
    interval_bar,
    precision_recall_figure,
    reliability_figure,
    roc_figure,
    score_figure,
    share_bar,
    short,
    tick_text,
    ticks,
)

PLOT_WIDTH, PLOT_HEIGHT = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM


def estimate(value: float, low: float | None = None, high: float | None = None) -> dict[str, float]:
    return {"value": value, "low": value if low is None else low, "high": value if high is None else high}


OWN: dict[str, Any] = {
    "label": "ill <b>",
    "share": 0.25,
    "roc_auc": estimate(0.875, 0.8, 0.9),
    "pr_auc": estimate(0.75, 0.7, 0.8),
    "roc": {"x": [0, 0, 0.5, 1], "y": [0, 0.5, 1, 1], "threshold": [None, 0.9, 0.4, 0.1]},
    "precision_recall": {"x": [0.5, 1, 1], "y": [1, 0.5, 0.25], "threshold": [0.9, 0.4, 0.1]},
    "reliability": [
        {"low": 0, "high": 0.3, "predicted": 0.2, "observed": estimate(0.25, 0.1, 0.5), "n_rows": 8},
        {"low": 0.7, "high": 0.9, "predicted": 0.8, "observed": estimate(1.0, 0.6, 1.0), "n_rows": 4},
    ],
    "scores": {"inside": [1, 0, 0, 3], "others": [6, 2, 0, 0]},
    "thresholds": [
        {
            "threshold": 0.5,
            "sensitivity": estimate(0.5),
            "specificity": estimate(0.75),
            "precision": {"value": None, "low": None, "high": None},
        }
    ],
    "decision_curve": [
        {"threshold": 0.25, "model": estimate(0.2, 0.1, 0.3), "treat_all": 0.1, "gain": estimate(0.1)},
        {"threshold": 0.5, "model": estimate(0.1, 0.0, 0.2), "treat_all": -0.5, "gain": estimate(0.1)},
    ],
    "useful_range": [0.25, 0.5],
}


def at(x: float, y: float) -> str:
    """Return where a point of the unit square is, as SVG has it."""
    return f"{LEFT + x * PLOT_WIDTH:.1f},{HEIGHT - BOTTOM - y * PLOT_HEIGHT:.1f}"


def line_of(svg: str, name: str) -> str:
    (path,) = re.findall(rf'<path class="line {name}" d="M([^"]+)"', svg)
    return path


def test_a_roc_curve_is_drawn_through_its_points() -> None:
    svg = roc_figure(OWN, 0, 0.5)
    assert line_of(svg, "first") == "L".join([at(0, 0), at(0, 0.5), at(0.5, 1), at(1, 1)])
    x, y = at(0.25, 0.5).split(",")
    assert f'<circle class="mark" cx="{x}" cy="{y}" r="5" data-mark="roc" data-place="0"/>' in svg
    assert "area 0.875, 95 % interval 0.800 to 0.900" in svg


def test_precision_that_is_unknown_has_no_mark() -> None:
    svg = precision_recall_figure(OWN, 2, 0.5)
    assert line_of(svg, "first") == "L".join([at(0.5, 1), at(1, 0.5), at(1, 0.25)])
    assert line_of(svg, "reference") == "L".join([at(0, 0.25), at(1, 0.25)])
    assert 'data-place="2" visibility="hidden"' in svg


def test_reliability_has_a_dot_and_an_interval_for_each_bin() -> None:
    svg = reliability_figure(OWN, 0, 0.5)
    for bin_facts in OWN["reliability"]:
        x, y = at(bin_facts["predicted"], bin_facts["observed"]["value"]).split(",")
        assert f'<circle class="dot first" cx="{x}" cy="{y}"' in svg
        bottom = at(bin_facts["predicted"], bin_facts["observed"]["low"])
        top = at(0, bin_facts["observed"]["high"]).split(",")[1]
        assert f'<path class="whisker" d="M{bottom}V{top}"/>' in svg
    assert "predicted 0.200, observed 0.250 (0.100 to 0.500)" in svg


def test_bars_of_scores_are_as_high_as_their_shares() -> None:
    svg = score_figure(OWN, 0, 0.5)
    heights = {
        style: [float(height) for height in re.findall(rf'<rect class="{style}"[^>]* height="([\d.]+)"', svg)]
        for style in ("first", "second")
    }
    unit = PLOT_HEIGHT / (2 * 0.75 * 1.05)
    assert heights["first"] == pytest.approx([0.25 * unit, 0, 0, 0.75 * unit], abs=0.06)
    assert heights["second"] == pytest.approx([0.75 * unit, 0.25 * unit, 0, 0], abs=0.06)
    assert "25.0%, 0.0%, 0.0%, 75.0%" in svg


def test_a_decision_curve_is_drawn_with_its_interval() -> None:
    svg = decision_figure(OWN, 0, 0.5)
    highest = 0.3 * 1.05
    axes = Axes((0, 1), (-0.25 * highest, highest), "", "")
    points = ["{:.1f},{:.1f}".format(*axes.at(x, y)) for x, y in ((0.25, 0.2), (0.5, 0.1))]
    assert line_of(svg, "first") == "L".join(points)
    ends = ["{:.1f},{:.1f}".format(*axes.at(x, y)) for x, y in ((0.25, 0.3), (0.5, 0.2), (0.5, 0.0), (0.25, 0.1))]
    assert f'<path class="band first" d="M{"L".join(ends)}Z"/>' in svg
    assert "above both from 0.25 to 0.50" in svg
    assert "nowhere" in decision_figure({**OWN, "useful_range": None}, 0, 0.5)


def test_histories_are_drawn_with_their_best_epoch() -> None:
    member = {"epoch": [1, 2, 3], "val_loss": [0.7, 0.5, 0.6], "train_loss": [0.8, None, 0.3], "best_epoch": 2}
    svg = history_figure({"name": "mlp 8", "members": [member]})
    assert svg.count('class="dot best"') == 1
    assert len(line_of(svg, f"{LOSS_STYLES['val_loss'].style} thin").split("L")) == 3
    assert len(line_of(svg, f"{LOSS_STYLES['train_loss'].style} thin").split("L")) == 2
    assert "epoch 2 (0.500)" in svg
    assert history_figure({"name": "x", "members": [{**member, "epoch": [], "val_loss": [], "train_loss": []}]}) == ""


def test_labels_are_escaped_and_cut() -> None:
    for figure in (roc_figure, precision_recall_figure, reliability_figure, score_figure, decision_figure):
        svg = figure({**OWN, "label": '<script>"&'}, 0, 0.5)
        assert "<script" not in svg
        assert "&lt;script&gt;&#34;&amp;" in svg
        assert 'role="img" aria-label="' in svg
    assert short("x" * 30) == "x" * 23 + "…"
    assert short(7) == "7"


def test_small_bars() -> None:
    assert 'aria-label="0.5, 95 % interval 0.25 to 0.75"' in interval_bar(estimate(0.5, 0.25, 0.75), 0, 1)
    assert 'd="M32.0,8.0H88.0"' in interval_bar(estimate(0.5, 0.25, 0.75), 0, 1)
    assert interval_bar({"value": None, "low": None, "high": None}, 0, 1) == ""
    bar = share_bar({"one class": 0.5, "several classes": None, "no class": 0.25})
    assert re.findall(r'class="(\w+)" x="([\d.]+)" y="0" width="([\d.]+)"', bar) == [
        ("first", "0.0", "120.0"), ("third", "120.0", "0.0"), ("second", "120.0", "60.0")
    ]  # fmt: skip
    assert 'aria-label="one class 50.0%, no class 25.0%"' in bar


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]), (-0.1, 0.4, [-0.1, 0, 0.1, 0.2, 0.3, 0.4]),
        (0, 400, [0, 100, 200, 300, 400]), (0.2, 0.21, [0.2, 0.202, 0.204, 0.206, 0.208, 0.21]),
    ],
)  # fmt: skip
def test_ticks_are_round(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == expected


def test_numbers_of_axes_have_a_minus_sign() -> None:
    assert tick_text(-1000.0) == "\N{MINUS SIGN}1,000"
