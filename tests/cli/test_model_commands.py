"""The commands that take a model: `predict`, `evaluate`, `info` and `decide`."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from helpers import make_rows
from shell import QUICK, SMALL, Run

from tabcohort import load, read_frame
from tabcohort.container import FORMAT

INPUTS = "id,x0,x1,x2,answer"
HEADER = "predicted,probability no,probability yes,spread,set,warnings"

# Decide


def test_decide_writes_a_changed_model_and_leaves_the_old_one(
    run: Run, csv_file: Path, model_file: Path, tmp_path: Path
) -> None:
    before, new = model_file.read_bytes(), tmp_path / "new.tabcohort"
    ran = run("decide", model_file, "--threshold", "cost=10:1", "--coverage", "0.8", "--out", new)
    assert ran.status == 0
    assert ran.out.endswith(f"\n\nmodel    {new}; all of it: tabcohort info {new}\n")
    assert "training" not in ran.out
    assert re.search(
        r"threshold +yes from a probability of 0\.\d{4} on, for cost=10:1; the figures above are with", ran.out
    )
    assert "requested: 80% of each class" in ran.out
    assert model_file.read_bytes() == before
    assert run("predict", new, csv_file).out == run(
        "predict", model_file, csv_file, "--threshold", "cost=10:1", "--coverage", "0.8"
    ).out  # fmt: skip


def test_decide_shows_the_figures_of_both_rules_side_by_side_first(run: Run, model_file: Path, flowers: Path) -> None:
    ran = run("decide", model_file, "--threshold", "0.2", "--coverage", "0.8")
    lines = [re.split(r"\s{2,}(?!\()", line) for line in ran.out.split("\n\n")[0].splitlines()]
    before, after = (json.loads(text)["evaluation"]["metrics"] for text in (
        run("info", model_file, "--json").out, run("decide", model_file, "--threshold", "0.2", "--json").out
    ))  # fmt: skip
    assert lines[:3] == [["out of fold", "before", "after"], ["threshold", "-", "0.2000"], ["coverage", "90%", "80%"]]
    assert [line[0] for line in lines[3:]] == ["sensitivity", "specificity", "precision", "accuracy"]
    for name, *texts in lines[3:]:
        shown = [f"{own['value']:.4f}  ({own['low']:.4f} to {own['high']:.4f})" for own in (before[name], after[name])]
        assert texts == shown
    several = run("decide", flowers, "--coverage", "0.8").out.split("\n\n")[0].splitlines()
    assert [line.split()[0] for line in several] == ["out", "coverage", "accuracy"]


def test_what_is_not_changed_stays(run: Run, model_file: Path, tmp_path: Path) -> None:
    new = tmp_path / "new.tabcohort"
    run("decide", model_file, "--threshold", "0.3", "--out", new)
    assert run("decide", new, "--coverage", "0.7", "--out", new).status == 0  # its own file may be written over
    rule = load(new).decision_rule
    assert (rule.objective, rule.threshold, rule.coverage) == ("0.3", 0.3, 0.7)
    run("decide", new, "--threshold", "f1", "--out", new)
    assert (load(new).decision_rule.objective, load(new).decision_rule.coverage) == ("f1", 0.7)
    run("decide", new, "--threshold", "none", "--out", new)
    rule = load(new).decision_rule
    assert (rule.objective, rule.threshold, rule.coverage) == (None, None, 0.7)


def test_decide_without_out_only_shows(run: Run, model_file: Path, tmp_path: Path) -> None:
    before = model_file.read_bytes()
    ran = run("decide", model_file, "--coverage", "0.7")
    assert ran.status == 0
    assert "requested: 70% of each class" in ran.out
    assert ran.out.endswith("\nnot kept: add --out MODEL.tabcohort to keep this change\n")
    assert model_file.read_bytes() == before


def test_a_model_of_three_classes_has_no_threshold_but_sets(run: Run, csv_file: Path, flowers: Path) -> None:
    for command in (["decide", flowers], ["predict", flowers, csv_file]):
        ran = run(*command, "--threshold", "f1")
        assert (ran.status, ran.out) == (2, "")
        assert "a threshold is for two classes; there are 3" in ran.err
    assert run("decide", flowers, "--coverage", "0.7").status == 0


# Predict


def rows_of(text: str) -> list[dict[str, str]]:
    """Return the rows of CSV text."""
    return list(csv.DictReader(io.StringIO(text)))


def test_predictions_are_csv_and_equal_those_of_the_library(run: Run, csv_file: Path, model_file: Path) -> None:
    ran = run("predict", model_file, csv_file)
    assert ran.status == 0
    rows = rows_of(ran.out)
    assert list(rows[0]) == [*INPUTS.split(","), *HEADER.split(",")]
    frame, predictor = read_frame(csv_file), load(model_file)
    assert [{name: row[name] for name in frame.columns} for row in rows] == frame.to_dicts()
    assert [row["predicted"] for row in rows] == predictor.predict(frame).tolist()
    proba = [[float(row["probability no"]), float(row["probability yes"])] for row in rows]
    np.testing.assert_allclose(proba, predictor.predict_proba(frame), rtol=5e-6)
    np.testing.assert_allclose([float(row["spread"]) for row in rows], predictor.predict_uncertainty(frame), rtol=5e-6)
    digits = [re.sub(r"e.*|^0\.0*|\.", "", row[name]) for row in rows for name in ("probability no", "spread")]
    assert max(map(len, digits)) == 6
    sets = [[is_in in row["set"].split("|") for is_in in ("no", "yes")] for row in rows]
    assert (np.array(sets) == predictor.predict_set(frame)).all()


def test_a_set_of_several_classes_has_bars_between_and_one_of_none_is_empty(
    run: Run, csv_file: Path, flowers: Path
) -> None:
    wide, narrow = (run("predict", flowers, csv_file, "--coverage", share).out for share in (0.98, 0.2))
    assert "may|no|yes" in [row["set"] for row in rows_of(wide)]
    assert "" in [row["set"] for row in rows_of(narrow)]


@pytest.mark.parametrize("name", ["out.csv", "out.parquet", None])
def test_the_most_probable_classes_are_written_instead_of_a_column_for_each(
    run: Run, csv_file: Path, model_file: Path, tmp_path: Path, name: str | None
) -> None:
    expected = load(model_file).predict_frame(read_frame(csv_file), [], top=1)
    options = ["--json"] if name is None else ["--out", tmp_path / name]
    ran = run("predict", model_file, csv_file, "--columns", "none", "--top", "1", *options)
    assert ran.status == 0
    if name is None:
        written = pl.DataFrame(json.loads(ran.out)["predictions"])
    else:
        written = pl.read_csv(tmp_path / name) if name.endswith("csv") else pl.read_parquet(tmp_path / name)
    assert written.columns == ["predicted", "class 1", "probability 1", "spread", "set", "warnings"]
    assert written["class 1"].to_list() == expected["class 1"].to_list()
    np.testing.assert_allclose(written["probability 1"], expected["probability 1"], rtol=1e-5)


def test_another_threshold_or_coverage_changes_the_predictions_and_not_the_file(
    run: Run, csv_file: Path, model_file: Path
) -> None:
    before = model_file.read_bytes()
    frame, predictor = read_frame(csv_file), load(model_file)
    for options, changed in (
        (["--threshold", "cost=20:1"], predictor.with_decision_rule("cost=20:1")),
        (["--threshold", "0.9"], predictor.with_decision_rule(0.9)),
        (["--coverage", "0.5"], predictor.with_decision_rule(None, 0.5)),
    ):
        rows = rows_of(run("predict", model_file, csv_file, *options).out)
        assert [row["predicted"] for row in rows] == changed.predict(frame).tolist()
        sets = [[is_in in row["set"].split("|") for is_in in ("no", "yes")] for row in rows]
        assert (np.array(sets) == changed.predict_set(frame)).all()
        unchanged = predictor.predict_set(frame) if "--coverage" in options else predictor.predict(frame)
        assert (unchanged != (changed.predict_set(frame) if "--coverage" in options else changed.predict(frame))).any()
    assert model_file.read_bytes() == before


@pytest.mark.parametrize(
    ("columns", "header"), [("all", f"{INPUTS},{HEADER}"), ("none", HEADER), ("x1,id", f"x1,id,{HEADER}")]
)
def test_columns_of_the_input_are_those_that_were_asked_for(
    run: Run, csv_file: Path, model_file: Path, columns: str, header: str
) -> None:
    lines = run("predict", model_file, csv_file, "--columns", columns).out.splitlines()
    assert lines[0] == header
    every = rows_of(run("predict", model_file, csv_file).out)
    assert rows_of("\n".join(lines)) == [{name: row[name] for name in header.split(",")} for row in every]


def test_a_column_whose_name_has_commas_can_be_asked_for(
    run: Run, csv_file: Path, model_file: Path, tmp_path: Path
) -> None:
    read_frame(csv_file).rename({"id": "a,b"}).write_csv(tmp_path / "new.csv")
    rows = rows_of(run("predict", model_file, tmp_path / "new.csv", "--columns", "a,b").out)
    assert list(rows[0]) == ["a,b", *HEADER.split(",")]


def test_predictions_can_be_predicted_for_again(run: Run, csv_file: Path, model_file: Path, tmp_path: Path) -> None:
    run("predict", model_file, csv_file, "--out", tmp_path / "once.csv")
    ran = run("predict", model_file, tmp_path / "once.csv", "--columns", "predicted")
    rows = rows_of(ran.out)
    assert [row["predicted (input)"] for row in rows] == [row["predicted"] for row in rows]
    assert "note: the column 'predicted' is written as 'predicted (input)': the predictions have a column" in ran.err


def test_a_row_that_is_unusual_says_so(run: Run, csv_file: Path, model_file: Path, tmp_path: Path) -> None:
    frame = read_frame(csv_file).head(3).with_columns(x1=pl.Series(["0", None, "1e9"]))
    frame.write_csv(tmp_path / "new.csv")
    ran = run("predict", model_file, tmp_path / "new.csv")
    texts = ["", "missing 'x1'", "far from the training rows in 'x1'"]
    assert [row["warnings"] for row in rows_of(ran.out)] == texts
    assert "note: missing cells in columns where no training row had one: 'x1' (1 row)\n" in ran.err


def test_any_type_of_column_can_be_carried_along(run: Run, csv_file: Path, model_file: Path, tmp_path: Path) -> None:
    new = read_frame(csv_file).head(2).with_columns(
        day=pl.Series(["2026-01-02", None]).str.to_date(), raw=pl.Series([b"\xff", None]),
        ratio=pl.Series([np.inf, 0.5]), tags=pl.Series([["a"], []]),
        span=pl.Series([1, 2]).cast(pl.Duration("us")), part=pl.Series([{"a": 1}, None]),
    )  # fmt: skip
    new.write_parquet(tmp_path / "new.parquet")
    predict = ["predict", model_file, tmp_path / "new.parquet"]
    rows = rows_of(run(*predict).out)
    names = ("day", "raw", "ratio", "tags", "part")
    assert [rows[0][name] for name in names] == ["2026-01-02", r"b'\xff'", "inf", "['a']", "{'a': 1}"]
    row = json.loads(run(*predict, "--json").out)["predictions"][0]
    assert [row[name] for name in names] == ["2026-01-02", r"b'\xff'", None, "['a']", "{'a': 1}"]
    assert run(*predict, "--out", tmp_path / "out.parquet").status == 0
    assert pl.read_parquet(tmp_path / "out.parquet").select(new.columns).equals(new)


def test_predictions_go_to_a_file(run: Run, csv_file: Path, model_file: Path, tmp_path: Path) -> None:
    shown = run("predict", model_file, csv_file).out
    ran = run("predict", model_file, csv_file, "--out", tmp_path / "answers.csv")
    assert (ran.status, ran.out) == (0, "")
    assert f"90 predictions in {tmp_path / 'answers.csv'}" in ran.err
    assert (tmp_path / "answers.csv").read_text(encoding="utf-8") == shown
    run("predict", model_file, csv_file, "--out", tmp_path / "answers.parquet")
    exact = load(model_file).predict_proba(read_frame(csv_file))
    parquet = pl.read_parquet(tmp_path / "answers.parquet")
    assert (parquet["probability no", "probability yes"].to_numpy() == exact).all()
    assert parquet.columns == shown.splitlines()[0].split(",")
    assert {path.name for path in tmp_path.iterdir()} == {"answers.csv", "answers.parquet"}


def test_columns_in_any_order_and_others_beside_them_are_fine(
    run: Run, csv_file: Path, model_file: Path, tmp_path: Path
) -> None:
    frame = read_frame(csv_file)
    frame.select("x2", pl.lit("text").alias("remark"), "id", "x0", "x1").write_csv(tmp_path / "new.csv")
    ran = run("predict", model_file, tmp_path / "new.csv", "--columns", "id")
    assert ran.out == run("predict", model_file, csv_file, "--columns", "id").out
    assert "ignored, as the model was trained without them: remark\n" in ran.err


def test_no_rows_give_a_header(run: Run, csv_file: Path, model_file: Path, tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_text("x0,x1,x2\n", encoding="utf-8")
    ran = run("predict", model_file, tmp_path / "new.csv")
    assert (ran.status, ran.out) == (0, f"x0,x1,x2,{HEADER}\n")


def test_keys_of_dates_and_of_numbers_that_are_missing_fit_into_json(
    run: Run, csv_file: Path, model_file: Path, tmp_path: Path
) -> None:
    new = read_frame(csv_file).head(3)
    days = pl.Series("id", ["2026-01-02", "2026-01-03", None]).str.to_date()
    new.with_columns(days).write_parquet(tmp_path / "dates.parquet")
    predictions = json.loads(run("predict", model_file, tmp_path / "dates.parquet", "--json").out)["predictions"]
    assert [row["id"] for row in predictions] == ["2026-01-02", "2026-01-03", None]
    new.with_columns(pl.Series("id", [1.5, float("nan"), 3.0])).write_parquet(tmp_path / "numbers.parquet")
    ran = run("predict", model_file, tmp_path / "numbers.parquet", "--json")
    assert [row["id"] for row in json.loads(ran.out)["predictions"]] == [1.5, None, 3.0]
    assert "NaN" not in ran.out


# Evaluate and info


def test_evaluate_measures_a_new_table(run: Run, model_file: Path, tmp_path: Path) -> None:
    X, codes = make_rows(seed=5)
    labels = np.array(["no", "yes"])[codes]
    frame = pl.DataFrame(X, schema=["x0", "x1", "x2"]).with_columns(answer=pl.Series(labels))
    frame.write_csv(tmp_path / "new.csv")
    ran = run("evaluate", model_file, tmp_path / "new.csv")
    assert ran.status == 0
    assert f"measured on 90 rows of {tmp_path / 'new.csv'}; positive class yes" in ran.out
    assert "trained on" not in ran.err
    document = json.loads(run("evaluate", model_file, tmp_path / "new.csv", "--json").out)
    expected = (load(model_file).predict(X) == labels).mean()
    assert document["metrics"]["accuracy"]["value"] == pytest.approx(expected)
    in_set = load(model_file).predict_set(X)[np.arange(len(X)), codes]
    assert document["sets"]["covered"] == pytest.approx(in_set.mean())
    assert f"sets            hold the true class for {in_set.mean():.1%} of the rows" in ran.out


def test_evaluate_warns_of_rows_that_are_unlike_those_of_training(run: Run, model_file: Path, tmp_path: Path) -> None:
    X, codes = make_rows(seed=5)
    frame = pl.DataFrame(X, schema=["x0", "x1", "x2"]).with_columns(answer=pl.Series(["no", "yes"])[codes.tolist()])
    frame.with_columns(x1=pl.col("x1") * 1000).write_csv(tmp_path / "other units.csv")
    ran = run("evaluate", model_file, tmp_path / "other units.csv")
    assert ran.status == 0
    assert "standard deviations from the training rows' mean (a wrong unit?)" in ran.err
    frame.write_csv(tmp_path / "new.csv")
    assert "standard deviations" not in run("evaluate", model_file, tmp_path / "new.csv").err


def write_sites(folder: Path) -> tuple[Path, Path]:
    """Write a table with three rows of each site, and one without the site's column."""
    X, codes = make_rows(seed=5)
    site = pl.Series([f"s{i // 3}" for i in range(len(codes))])
    frame = pl.DataFrame(X, schema=["x0", "x1", "x2"]).with_columns(site=site, answer=pl.Series(codes))
    frame.write_csv(folder / "table.csv")
    frame.drop("site").write_csv(folder / "new.csv")
    return folder / "table.csv", folder / "new.csv"


def test_rows_of_one_group_count_as_such_in_intervals(run: Run, tmp_path: Path) -> None:
    table, new = write_sites(tmp_path)
    model = tmp_path / "site.tabcohort"
    ran = run("fit", table, "--target", "answer", "--group", "site", "--seeds", "1", "--out", model)
    line = (
        "in 30 groups (rows of one key or group, or copies of a row): the intervals allow for rows of a group being "
        "alike\n"
    )
    assert line in ran.out
    assert line in run("info", model).out
    assert line in run("evaluate", model, table).out
    assert "site" not in run("predict", model, table).err
    assert " groups " not in run("evaluate", model, new).out


def test_a_table_without_the_groups_of_the_model_is_noted_where_these_connected_rows(run: Run, tmp_path: Path) -> None:
    table, new = write_sites(tmp_path)
    model = tmp_path / "site.tabcohort"
    assert run("fit", table, "--target", "answer", "--group", "site", "--out", model, *SMALL, *QUICK).status == 0
    note = (
        "note: the table has no 'site', which grouped rows where the model was trained: without it, the intervals "
        "treat rows as independent\n"
    )
    assert note in run("evaluate", model, new).err
    assert note not in run("evaluate", model, table).err


def test_evaluate_on_the_training_table_warns(run: Run, csv_file: Path, model_file: Path) -> None:
    ran = run("evaluate", model_file, csv_file)
    assert ran.status == 0
    note = "note: the model was trained on this table: these figures flatter it; those of `info` are honest\n"
    assert note in ran.err


def test_evaluate_refuses_a_class_that_the_model_does_not_know(
    run: Run, csv_file: Path, model_file: Path, tmp_path: Path
) -> None:
    text = csv_file.read_text(encoding="utf-8").replace("yes", "may")
    (tmp_path / "new.csv").write_text(text, encoding="utf-8")
    ran = run("evaluate", model_file, tmp_path / "new.csv")
    assert ran.status == 2
    assert "the model knows no class 'may' of 'answer'; its classes are 'no', 'yes'" in ran.err


def test_evaluate_measures_a_table_of_one_class_or_with_a_single_row_of_one(
    run: Run, csv_file: Path, model_file: Path, tmp_path: Path
) -> None:
    """What cannot train can still be measured on: the metrics that it cannot determine are a dash."""
    frame = read_frame(csv_file)
    for n_yes in (0, 1):
        few = pl.concat([frame.filter(answer="no"), frame.filter(answer="yes").head(n_yes)])
        few.write_csv(tmp_path / "few.csv")
        ran = run("evaluate", model_file, tmp_path / "few.csv", "--json")
        assert ran.status == 0, ran.err
        assert json.loads(ran.out)["n_rows"] == 45 + n_yes


def test_info_shows_what_fit_showed(run: Run, csv_file: Path, quick: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    fit = ["fit", csv_file, "--target", "answer", "--key", "id", *SMALL, "--settings", quick, *QUICK, "--out", out]
    fitted, shown = run(*fit), run("info", out)
    assert shown.status == 0
    assert fitted.out.startswith(shown.out.rstrip("\n"))


# JSON


def test_each_command_prints_one_json_document(
    run: Run, csv_file: Path, model_file: Path, quick: Path, tmp_path: Path
) -> None:
    fit = ["fit", csv_file, "--target", "answer", "--key", "id", *SMALL, "--settings", quick, "--out", tmp_path / "m"]
    answers = tmp_path / "answers.csv"
    commands: dict[str, list[Any]] = {
        "report": fit,
        "predictions": ["predict", model_file, csv_file],
        "metrics": ["evaluate", model_file, csv_file],
        "schema": ["info", model_file],
        "decision_rule": ["decide", model_file, "--coverage", "0.8"],
    }
    for key, command in commands.items():
        ran = run(*command, "--json")
        assert ran.status == 0
        assert key in json.loads(ran.out)
    written = run("predict", model_file, csv_file, "--out", answers, "--json")
    assert len(json.loads(written.out)["predictions"]) == 90
    assert answers.is_file()


def test_json_of_fit_and_info_is_the_same(run: Run, csv_file: Path, quick: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    fit = ["fit", csv_file, "--target", "answer", "--key", "id", *SMALL, "--settings", quick, "--out", out]
    fitted = json.loads(run(*fit, "--json").out)
    assert json.loads(run("info", out, "--json").out) == {**fitted, "format": FORMAT, "kind": "model"}


def test_histories_are_in_json_only_where_they_are_asked_for(run: Run, model_file: Path) -> None:
    for command in (["info", model_file], ["decide", model_file, "--coverage", "0.8"]):
        short, long = (json.loads(run(*command, "--json", *more).out) for more in ([], ["--history"]))
        for member in long["report"]["members"]:
            assert len(member.pop("history")["epoch"]) >= 1
        assert short == long


def test_errors_are_json_where_that_was_asked_for(run: Run, model_file: Path, csv_file: Path) -> None:
    for command in (["info", "nothing"], ["predict", "nothing", csv_file], ["evaluate", "nothing", csv_file]):
        ran = run(*command, "--json")
        assert (ran.status, ran.err) == (2, "")
        assert json.loads(ran.out) == {"error": "there is no file 'nothing'"}


def test_a_set_is_a_list_in_json(run: Run, csv_file: Path, model_file: Path) -> None:
    predictions = json.loads(run("predict", model_file, csv_file, "--json").out)["predictions"]
    assert {label for row in predictions for label in row["set"]} <= {"no", "yes"}
    assert all(isinstance(row["set"], list) for row in predictions)
    assert json.loads(run("evaluate", model_file, csv_file, "--json").out)["classes"] == ["no", "yes"]
