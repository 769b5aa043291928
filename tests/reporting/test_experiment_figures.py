"""The figures of an experiment's page are where their numbers are, and say them in words."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tabcohort.reporting.experiment_figures import bars_figure, confusions_figure, curves_figure, figure_of


def bar(name: str, mean: float | None, sd: float | None = None, claimed: float | None = None) -> dict[str, Any]:
    return {"name": name, "mean": mean, "standard_deviation": sd, "seeds": 2, "text": f"{mean}", "claimed": claimed}


def curve(name: str, mean: list[float], sd: float = 0.0) -> dict[str, Any]:
    x = [float(place + 1) for place in range(len(mean))]
    return {"name": name, "x": x, "mean": mean, "standard_deviation": [sd] * len(mean)}


def curves(*own: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "curves", "title": "t", "axes": ["epoch", "log loss"], "curves": list(own), "caption": ""}


def points(figure: str, style: str) -> list[tuple[float, float]]:
    (path,) = re.findall(rf'class="line {style}" d="M([^"]+)"', figure)
    return [(float(x), float(y)) for x, y in (pair.split(",") for pair in path.split("L"))]


def test_curves_fall_and_rise_as_their_numbers_do() -> None:
    figure = curves_figure(curves(curve("a", [3.0, 2.0, 1.0], 0.1), curve("b", [1.5, 1.5, 1.5])))
    falling, level = points(figure, "first"), points(figure, "second")
    assert falling[1][1] < falling[2][1]  # down the page
    assert len({y for _, y in level}) == 1
    assert figure.count('class="band') == 2
    assert "a: 3 at epoch 1, 1 at 3, lowest 1" in figure


def test_the_first_epochs_are_cut_and_not_the_last() -> None:
    falls = [100.0] + [1.0 - place / 200 for place in range(99)]
    first, *_, last = points(curves_figure(curves(curve("a", falls))), "first")
    assert (first[1], last[1]) == (12.0, pytest.approx(176 - 164 * 0.05 / 1.1, abs=1.5))
    rises = [-value for value in falls]
    first, *_, last = points(curves_figure(curves(curve("a", rises))), "first")
    assert first[1] == 176.0
    assert last[1] < 30


def test_a_curve_of_one_epoch_is_a_dot() -> None:
    assert '<circle class="dot first"' in curves_figure(curves(curve("a", [0.5])))


def test_bars_begin_at_zero_unless_all_are_alike() -> None:
    far = bars_figure({"title": "t", "bars": [bar("a", 10.0, 1.0), bar("b", 20.0, 1.0, claimed=15.0)]})
    widths = [float(width) for width in re.findall(r'<rect class="first"[^>]* width="([\d.]+)"', far)]
    assert widths[1] == pytest.approx(2 * widths[0], abs=0.2)
    assert far.count('class="whisker"') == 2
    assert far.count('class="claim"') == 1
    assert "b 20.0 (document 15)" in far
    near = bars_figure({"title": "t", "bars": [bar("a", 0.970), bar("b", 0.972)]})
    assert "<rect" not in near
    assert near.count("<circle") == 2


def test_bars_without_a_value_or_of_zeros_are_drawn_without_a_failure() -> None:
    figure = bars_figure({"title": "t", "bars": [bar("a", None), bar("b", 0.0, 0.0)]})
    assert figure.count("<rect") == 1


def test_cells_of_a_confusion_matrix_have_counts_and_shares_of_their_true_class() -> None:
    matrix = {"name": "ours", "rows": [[45, 15], [1.25, 3.75]]}
    figure = confusions_figure({"classes": ["benign", "malignant"], "matrices": [matrix, matrix]})
    for text in ("45 (75.0%)", "15 (25.0%)", "1.2 (25.0%)", "3.8 (75.0%)"):
        assert figure.count(f">{text}<") == 2
    assert "ours, true benign, predicted malignant: 15" in figure
    alone = confusions_figure({"classes": ["benign", "malignant"], "matrices": [matrix]})
    assert re.findall('viewBox="([^"]*)"', alone) == ["0 0 888 136"]  # as wide as three


def test_names_are_text() -> None:
    for picture in (
        {"kind": "bars", "title": "<b>", "bars": [bar("<i>", 1.0)]},
        {"kind": "confusions", "classes": ["<u>", "b"], "matrices": [{"name": "<s>", "rows": [[1, 1], [1, 1]]}]},
        {**curves(curve("<a>", [1.0, 2.0])), "axes": ["<x>", "y"]},
    ):
        assert not re.search(r"<[biusax]>", figure_of(picture))
