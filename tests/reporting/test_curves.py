"""The curves of a training are an image file that can be opened."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
from helpers import SINGLE, fit_quickly, make_small_table

from tabcohort import ModelFileError, Predictor
from tabcohort.reporting.curves import FORMATS, draw_curves


def curves(predictor: Predictor, path: Path, monitor: str = "log_loss") -> None:
    draw_curves(predictor.report, monitor, path)


@pytest.mark.parametrize(("ending", "starts"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_the_ending_is_the_format(predictor: Predictor, tmp_path: Path, ending: str, starts: bytes) -> None:
    curves(predictor, tmp_path / f"curves.{ending}")
    data = (tmp_path / f"curves.{ending}").read_bytes()
    assert data.startswith(starts)
    assert len(data) > 5_000
    assert f".{ending}" in FORMATS


def axes_of_the_figure(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return a list that will hold the axes of a figure when it is written."""
    from matplotlib.figure import Figure

    axes: list[Any] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, **how: axes.extend(figure.axes))
    return axes


def test_losses_and_metric_are_drawn_and_the_best_epoch_is_marked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = fit_quickly(settings=SINGLE, max_epochs=6, schedule="cosine", learning_rate=0.1)
    axes = axes_of_the_figure(monkeypatch)
    curves(predictor, tmp_path / "curves.png")
    losses, metric, rate = axes
    (member,) = predictor.report.members
    history, best = member.history, member.best_epoch
    train, validation, mark = losses.get_lines()
    assert (train.get_label(), validation.get_label()) == ("training rows", "validation rows")
    assert list(train.get_xdata()) == [1, 2, 3, 4, 5, 6]
    assert list(train.get_ydata()) == [record.train_loss for record in history]
    assert list(validation.get_ydata()) == [record.val_loss for record in history]
    assert (list(mark.get_xdata()), list(mark.get_ydata())) == ([best], [history[best - 1].val_loss])
    assert mark.get_label() == f"best epoch: {best}"
    assert list(metric.get_lines()[0].get_ydata()) == [record.val_accuracy for record in history]
    assert metric.get_ylabel() == "accuracy"
    assert list(rate.get_lines()[0].get_ydata()) == [record.learning_rate for record in history]


def test_every_network_is_drawn_and_named_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = fit_quickly(max_epochs=6, patience=2, learning_rate=0.3, schedule="cosine")
    members = predictor.report.members
    assert len({len(member.history) for member in members}) > 1  # they may be of any length
    axes = axes_of_the_figure(monkeypatch)
    curves(predictor, tmp_path / "curves.png")
    losses, metric, rate = axes
    lines = losses.get_lines()
    for number, member in enumerate(members):
        train, validation, mark = lines[3 * number : 3 * number + 3]
        assert list(train.get_ydata()) == [record.train_loss for record in member.history]
        assert list(validation.get_ydata()) == [record.val_loss for record in member.history]
        assert list(mark.get_xdata()) == [member.best_epoch]
        assert 0 < train.get_alpha() < 1
    assert len(lines) == 3 * len(members)
    names = [text.get_text() for text in losses.get_legend().get_texts()]
    assert names == ["training rows", "validation rows", "best epoch of each member"]
    assert [text.get_text() for text in metric.get_legend().get_texts()] == ["accuracy, validation rows", names[2]]
    longest = max((member.history for member in members), key=len)
    assert list(rate.get_lines()[0].get_ydata()) == [record.learning_rate for record in longest]


def test_the_monitored_metric_is_drawn_and_a_constant_rate_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = fit_quickly(settings=SINGLE, monitor="roc_auc")
    axes = axes_of_the_figure(monkeypatch)
    curves(predictor, tmp_path / "curves.png", "roc_auc")
    assert len(axes) == 2
    assert list(axes[1].get_lines()[0].get_ydata()) == [record.score for record in predictor.report.members[0].history]
    assert axes[1].get_ylabel() == "ROC AUC"


def test_one_epoch_can_be_drawn(tmp_path: Path) -> None:
    curves(fit_quickly(make_small_table(), max_epochs=1), tmp_path / "curves.png")
    assert (tmp_path / "curves.png").is_file()


def test_an_ending_that_is_not_an_image_format_is_refused(predictor: Predictor, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"'.*curves\.doc' must end in \.png, \.svg or \.pdf$"):
        curves(predictor, tmp_path / "curves.doc")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there_is_refused(predictor: Predictor, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"'.*curves\.png' cannot be written: No such file"):
        curves(predictor, tmp_path / "nowhere" / "curves.png")


def test_no_figure_stays_open(predictor: Predictor, tmp_path: Path) -> None:
    from matplotlib import pyplot

    before = pyplot.get_fignums()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        curves(predictor, tmp_path / "curves.svg")
    assert pyplot.get_fignums() == before
