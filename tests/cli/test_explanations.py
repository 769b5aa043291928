"""`explain` and `predict --explain`: the same figures as the library's, as a chart, as JSON and as text."""

from __future__ import annotations

import csv
import io
import json
import re
import signal
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from helpers import fit_quickly, make_rows, make_small_table
from shell import Run, start

from tabcohort import Predictor, TableError, load, read_frame, save
from tabcohort.cli.explanations import groups_of


def test_a_chart_has_the_figures_of_the_library(run: Run, csv_file: Path, model_file: Path) -> None:
    ran = run("explain", model_file, csv_file, "--row", "3")
    frame, predictor = read_frame(csv_file), load(model_file)
    found = predictor.explain(frame[2:3], frame).of_class("yes")
    lines = ran.out.splitlines()
    probability = predictor.predict_proba(frame[2:3])[0, 1]
    assert ran.status == 0
    assert lines[0] == f"row 3 of {csv_file}: yes with a probability of {probability:.4f}"
    assert lines[1] == "contributions to its log odds, compared with 90 background rows: exact"
    assert lines[4].split() == ["background", "on", "average", f"{found.base:+.3f}"]
    assert lines[8].split() == ["this", "row", f"{found.output:+.3f}", f"{probability:.4f}"]
    shown = {line.split()[0]: line for line in lines[5:8]}
    sizes = [abs(float(line.split()[2])) for line in lines[5:8]]
    assert sizes == sorted(sizes, reverse=True)
    for name, contribution in zip(["x0", "x1", "x2"], found.contributions, strict=True):
        assert f"{contribution:+.3f}" in shown[name]
        assert shown[name].endswith("for yes" if contribution > 0 else "against yes")
        assert f"{float(frame[name][2]):.6g}" in shown[name]


def test_a_row_that_the_model_was_trained_on_is_named(run: Run, csv_file: Path, model_file: Path) -> None:
    words = "the model was trained on this row"
    assert words in run("explain", model_file, csv_file, "--row", "3").err
    frame = read_frame(csv_file)
    frame.with_columns(x0=pl.lit(0.5)).write_csv("other.csv")
    frame.drop("answer").write_csv("no_answers.csv")
    for other in ("other.csv", "no_answers.csv"):
        assert words not in run("explain", model_file, other, "--row", "3").err


def test_predictions_say_of_which_class_their_reasons_are(
    run: Run, csv_file: Path, model_file: Path, three_classes: Predictor
) -> None:
    save(three_classes, "three.tabcohort")
    read_frame(csv_file).head(30).write_csv("few.csv")
    for model, words in (
        (model_file, "log odds of 'yes'"),
        ("three.tabcohort", "log probability minus the mean over classes of each row's predicted class"),
    ):
        assert f"reasons  contributions to the {words}\n" in run("predict", model, "few.csv", "--explain", "1").err


def test_json_has_the_same(run: Run, csv_file: Path, model_file: Path) -> None:
    document = json.loads(run("explain", model_file, csv_file, "--row", "3", "--class", "no", "--json").out)
    frame, predictor = read_frame(csv_file), load(model_file)
    found = predictor.explain(frame[2:3], frame)
    by_name = {column["name"]: column for column in document["columns"]}
    for place, name in enumerate(found.names):
        assert by_name[name]["contribution"] == pytest.approx(-found.contributions[place, 0], abs=1e-12)
        assert by_name[name]["value"] == float(frame[name][2])
    total = document["base"]["score"] + sum(column["contribution"] for column in document["columns"])
    assert total == pytest.approx(document["output"]["score"], abs=1e-9)
    assert document["class"] == "no"
    top = json.loads(run("explain", model_file, csv_file, "--row", "3", "--class", "no", "--json", "--top", "1").out)
    assert top["columns"] == document["columns"][:1]


def test_a_record_is_explained_beside_a_table(run: Run, csv_file: Path, model_file: Path) -> None:
    frame = read_frame(csv_file)
    record = json.dumps({name: float(frame[name][4]) for name in ("x0", "x1", "x2")})
    row = run("explain", model_file, csv_file, "--row", "5", "--json").out
    assert run("explain", model_file, "--record", record, "--background", csv_file, "--json").out == row
    assert run("explain", model_file, csv_file, "--record", record, "--json").out == row
    assert run("explain", model_file, csv_file, "--record", record).out.startswith("the record: yes with a prob")


def test_the_largest_contributions_are_shown_and_the_others_are_one_line(
    run: Run, csv_file: Path, model_file: Path
) -> None:
    whole, top = (run("explain", model_file, csv_file, "--row", "3", *more).out for more in ((), ("--top", "1")))
    lines = top.splitlines()
    assert len(lines) == len(whole.splitlines()) - 1
    rest = sum(float(line.split()[2]) for line in whole.splitlines()[6:8])
    assert lines[6].startswith("2 more")
    assert float(lines[6].split()[2]) == pytest.approx(rest, abs=2e-3)


def test_a_page_shows_the_same(run: Run, csv_file: Path, model_file: Path) -> None:
    chart = run("explain", model_file, csv_file, "--row", "3", "--top", "2").out
    ran = run("explain", model_file, csv_file, "--row", "3", "--top", "2", "--html", "row.html")
    page = Path("row.html").read_text(encoding="utf-8")
    assert ran.out == chart
    assert ran.err.endswith("written  row.html\n")
    figures = re.findall(r"[+-]\d+\.\d{3}", chart)
    assert len(figures) >= 5  # base, two columns, the other one, output
    assert all(figure in page for figure in figures)
    assert chart.splitlines()[0] in page
    ran = run("explain", model_file, csv_file, "--row", "3", "--html", csv_file)
    assert ran.status == 2
    assert "is what this command reads" in ran.err


def test_columns_move_together(run: Run, csv_file: Path, model_file: Path) -> None:
    document = json.loads(run("explain", model_file, csv_file, "--row", "3", "--together", "x2,x0", "--json").out)
    assert {column["name"] for column in document["columns"]} == {"x0 + x2", "x1"}
    assert groups_of(["a,b", "c,d"], ["c,d"][:0]) == [["a", "b"], ["c", "d"]]
    with pytest.raises(TableError, match="is one column"):
        groups_of(["a,b"], ["a,b"])  # a name with a comma


def test_of_three_classes_the_predicted_one_is_explained(run: Run, csv_file: Path, flowers: Path) -> None:
    predicted = load(flowers).predict(read_frame(csv_file)[:1])[0]
    assert json.loads(run("explain", flowers, csv_file, "--row", "1", "--json").out)["class"] == predicted
    for label in ("may", "no", "yes"):
        ran = run("explain", flowers, csv_file, "--row", "1", "--class", label)
        assert f"row 1 of {csv_file}: {label} with a probability of " in ran.out
        assert "contributions to its log probability minus the mean over classes" in ran.out


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model of 14 columns, too many for all coalitions, and its table."""
    folder = tmp_path_factory.mktemp("wide")
    predictor = fit_quickly(make_small_table(n_features=14), max_epochs=30)
    save(predictor, folder / "wide.tabcohort")
    X, _ = make_rows(n_features=14)
    pl.DataFrame(X, schema=list(predictor.schema.features)).write_csv(folder / "wide.csv")
    return folder / "wide.tabcohort", folder / "wide.csv"


def test_errors_are_shown_and_a_limit_is_said(run: Run, wide: tuple[Path, Path]) -> None:
    model, table = wide
    ran = run("explain", model, table, "--row", "1", "--tolerance", "1e-9", "--max-rounds", "2")
    words = "compared with 90 background rows: from 360 permutations, +- one standard error, which is larger than asked"
    assert words in ran.out
    assert re.search(r"^x0 +\S+ +\+?-?\d\.\d{3} +0\.\d{3} ", ran.out, re.MULTILINE)
    ran = run("explain", model, table, "--row", "1", "--tolerance", "0.5")
    assert "from 360 permutations, +- one standard error\n" in ran.out


def test_a_seed_repeats_an_explanation_and_another_does_not(run: Run, wide: tuple[Path, Path]) -> None:
    explain = ["explain", *wide, "--row", "1", "--json", "--seed"]
    one, same, other = (run(*explain, seed).out for seed in ("3", "3", "4"))
    assert one == same != other


# Predict


def test_predictions_have_their_reasons(run: Run, csv_file: Path, model_file: Path) -> None:
    ran = run("predict", model_file, csv_file, "--explain", "2", "--columns", "none")
    rows = list(csv.DictReader(io.StringIO(ran.out)))
    assert list(rows[0])[-2:] == ["warnings", "reasons"]
    frame, predictor = read_frame(csv_file), load(model_file)
    explanations = predictor.explain_rows(frame)
    for place in (0, 40, 89):
        found, names = explanations[place].contributions[:, 0], explanations[place].names
        texts = [
            f"{names[i]} = {float(frame[names[i]][place]):.6g} ({found[i]:+.2f})"
            for i in np.argsort(-np.abs(found))[:2]
        ]
        assert rows[place]["reasons"] == "; ".join(texts)
    without = run("predict", model_file, csv_file, "--columns", "none").out.splitlines()
    assert [line.partition(",reasons")[0] for line in ran.out.splitlines()[:1]] == without[:1]


def test_reasons_are_beside_another_table_if_one_is_named(run: Run, csv_file: Path, model_file: Path) -> None:
    one = read_frame(csv_file).head(1)
    one.write_csv("one.csv")
    ran = run("predict", model_file, "one.csv", "--explain", "1", "--background", csv_file, "--json")
    (row,) = json.loads(ran.out)["predictions"]
    assert re.fullmatch(r"x\d = \S+ \([+-]\d\.\d\d\)", row["reasons"])
    ran = run("predict", model_file, "one.csv", "--explain", "1")
    assert (ran.status, ran.out) == (2, "")
    assert "the background has 1 row; at least 2 are needed: name the table of the training rows" in ran.err


def test_a_column_called_reasons_is_kept_beside_those_of_the_predictions(
    run: Run, csv_file: Path, model_file: Path
) -> None:
    read_frame(csv_file).rename({"id": "reasons"}).write_csv("new.csv")
    ran = run("predict", model_file, "new.csv", "--explain", "1", "--columns", "reasons")
    assert next(csv.DictReader(io.StringIO(ran.out)))["reasons (input)"] == "p0"


def test_ctrl_c_ends_an_explanation_cleanly(wide: tuple[Path, Path]) -> None:
    model, table = wide
    with start("explain", model, table, "--row", "1", "--tolerance", "0", "--max-rounds", "1000000") as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        while "explaining" not in line:
            assert line, "it ended without progress"
            line = process.stderr.readline()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert (out, err.splitlines()[-1]) == ("", "tabcohort: interrupted")
    assert "Traceback" not in err
