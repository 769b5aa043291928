"""The terminal shows the points of a learning curve, and what follows from them."""

from __future__ import annotations

import io

from rich.console import Console

from tabcohort.reporting.figures import learning_curve_figure
from tabcohort.reporting.learning_curve_text import conclusion_lines, print_learning_curve

FACTS = {
    "points": [
        {"share": 0.125, "n_train": 41.9, "log_loss": {"value": 0.4, "low": 0.3, "high": 0.5}},
        {"share": 1.0, "n_train": 1335.5, "log_loss": {"value": 0.2, "low": 0.15, "high": 0.25}},
    ],
    "curves": [
        {"family": "power law", "limit": 0.1, "drop": 0.1, "rate": 0.5, "drawn": [[0.125, 0.38], [1, 0.2], [4, 0.15]]},
        {"family": "exponential", "limit": 0.1, "drop": 0.4, "rate": 5, "drawn": [[0.125, 0.4], [1, 0.2], [4, 0.1]]},
    ],
    "forecasts": [{"factor": 2.0, "n_rows": 4_000, "gain": {"value": 0.03, "low": 0.01, "high": 0.05}}],
    "conclusion": "twice the rows (4,000): log loss about 0.030 lower (0.010 to 0.050)",
    "is_complete": True,
}  # fmt: skip


def test_the_points_are_a_table_with_what_follows_below() -> None:
    text = io.StringIO()
    print_learning_curve(Console(file=text, width=200), FACTS)
    assert text.getvalue().splitlines() == [
        "",
        "  rows  a member trains on  out-of-fold log loss (95 % interval)",
        " 12.5%                  42  0.4000  (0.3000 to 0.5000)",
        "100.0%               1,336  0.2000  (0.1500 to 0.2500)",
        "Twice the rows (4,000): log loss about 0.030 lower (0.010 to 0.050).",
        "Extrapolated by a power law and an exponential: the mean of both, with an interval that spans both.",
    ]


def test_an_interruption_is_said() -> None:
    assert conclusion_lines({**FACTS, "is_complete": False})[2:] == [
        "It was interrupted: the curve is of the shares that were done."
    ]


def test_the_figure_has_the_points_and_what_is_extrapolated_dashed() -> None:
    figure = learning_curve_figure(FACTS)
    assert figure.count('class="dot first"') == 2
    assert figure.count('class="whisker"') == 2
    assert figure.count("line first dashed") == figure.count("line second dashed") == 1
    assert "100% of the rows 0.200 (0.150 to 0.250); twice the rows (4,000)" in figure
