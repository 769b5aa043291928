"""`fit --learning-curve` from the command line."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from helpers import make_rows
from shell import QUICK, SMALL, Run

from tabcohort import load
from tabcohort.cohort import learning_curve as module

CURVE = ["--target", "answer", *SMALL, *QUICK, "--learning-curve"]


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw three shares, once each."""
    monkeypatch.setattr(module, "REPEATS_OF_FEW", 1)
    monkeypatch.setattr(module, "SHARES", (0.25, 0.4, 0.6))


@pytest.fixture(scope="module")
def rows_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CSV file of 240 rows with the columns x0, x1, x2 and answer."""
    X, codes = make_rows(240)
    path = tmp_path_factory.mktemp("rows") / "rows.csv"
    pl.DataFrame(X, schema=["x0", "x1", "x2"]).with_columns(answer=pl.Series(codes).cast(pl.String)).write_csv(path)
    return path


def test_the_curve_comes_after_the_metrics_and_on_the_page(run: Run, rows_file: Path, folder: Path) -> None:
    ran = run("fit", rows_file, *CURVE, "--report", "page.html")
    assert ran.status == 0, ran.err
    assert "learning curve: training on shares of the rows\n" in ran.err
    assert ran.out.index("log loss") < ran.out.index("\nTwice the rows (480): log loss about 0.0")
    page = (folder / "page.html").read_text(encoding="utf-8")
    assert "<h2>Would more rows help?</h2>" in page
    assert "Twice the rows (480): log loss about 0.0" in page
    assert run("report", "rows.tabcohort", "--out", "later.html").status == 0  # the model file keeps it
    figure = re.findall(r"<h2>Would more rows help.*?</section>", page, re.DOTALL)
    assert (
        re.findall(r"<h2>Would more rows help.*?</section>", (folder / "later.html").read_text(), re.DOTALL) == figure
    )


def test_the_facts_are_in_the_json(run: Run, rows_file: Path) -> None:
    curve = json.loads(run("fit", rows_file, *CURVE, "--json").out)["learning_curve"]
    assert [point["share"] for point in curve["points"]] == [0.25, 0.4, 0.6, 1.0]
    assert "learning_curve" not in json.loads(run("fit", rows_file, *CURVE[:-1], "--json").out)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--budget", "5"], "a learning curve needs training without a time limit; leave out the budget of seconds"),
        (["--folds", "1"], "a learning curve needs folds"),
    ],
)
def test_what_cannot_be_is_said_before_any_training(
    run: Run, rows_file: Path, folder: Path, options: list[str], message: str
) -> None:
    ran = run("fit", rows_file, "--target", "answer", *QUICK, "--learning-curve", *options)
    assert (ran.status, message in ran.err) == (2, True)
    assert list(folder.iterdir()) == []


def test_ctrl_c_in_the_curve_keeps_the_model(
    run: Run, rows_file: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_train", interrupted)
    ran = run("fit", rows_file, *CURVE, "--report", "page.html")
    assert ran.status == 130
    assert "interrupted before enough shares were done: there is no learning curve" in ran.err
    assert "Twice the rows" not in ran.out
    assert load(folder / "rows.tabcohort").report.stop_reason is None
    assert "Would more rows help?" not in (folder / "page.html").read_text(encoding="utf-8")
