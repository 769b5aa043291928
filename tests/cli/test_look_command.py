"""`look`, and the leak audit of `fit` and `tune`, from the command line."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from shell import QUICK, SMALL, Run

from tabcohort.evaluation.intervals import Estimate


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A table with an identifier, and a column that gives the target away in all rows but one."""
    path = tmp_path / "table.csv"
    rows = ["case,x,state,answer"]
    for i in range(60):
        answer = "yes" if i * 7 % 10 < 4 else "no"
        state = "away" if i == 5 else f"is {answer}"
        rows.append(f"c{i:03},{i * 13 % 17 + i * 7 % 10 / 10},{state},{answer}")
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def test_look_shows_each_column_and_what_is_wrong(run: Run, table: Path) -> None:
    ran = run("look", table, "--target", "answer")
    assert ran.status == 0
    assert ran.out.startswith("60 rows, 4 columns, 2 features\ntarget answer: no 60.0%, yes 40.0%\n")
    assert "[1] 'state' alone predicts 'answer' almost perfectly" in ran.out
    assert "Traceback" not in ran.err


def test_look_needs_no_target(run: Run, table: Path) -> None:
    ran = run("look", table, "--drop", "x")
    assert ran.out.startswith("60 rows, 4 columns, 2 features\n\n")
    assert run("look", "sample:iris").out.startswith("150 rows, 5 columns, 4 features\ntarget target: ")


def test_look_prints_its_facts_as_json(run: Run, table: Path) -> None:
    facts = json.loads(run("look", table, "--target", "answer", "--category", "x", "--json").out)
    assert [column["type"] for column in facts["columns"]] == ["drop", "category", "category", None]
    assert facts["findings"][0]["kind"] == "target"


def test_look_writes_a_page_and_the_types(run: Run, table: Path, tmp_path: Path) -> None:
    page, types = tmp_path / "look.html", tmp_path / "columns.toml"
    ran = run("look", table, "--target", "answer", "--html", page, "--write", types)
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    expected = {"case": "drop", "x": "number", "state": "category"}
    assert tomllib.loads(types.read_text(encoding="utf-8"))["columns"] == expected
    assert f"written  {types}" in ran.err


@pytest.mark.parametrize("option", ["--html", "--write"])
def test_look_does_not_overwrite_what_it_reads(run: Run, table: Path, option: str) -> None:
    before = table.read_bytes()
    ran = run("look", table, option, table)
    assert ran.status == 2
    assert "is what this command reads" in ran.err
    assert table.read_bytes() == before


def test_look_says_which_column_is_not_there(run: Run, table: Path) -> None:
    ran = run("look", table, "--target", "anser")
    assert ran.status == 2
    assert "did you mean 'answer'?" in ran.err


def test_fit_prints_what_the_audit_finds_unless_told_not_to(run: Run, table: Path, quick: Path) -> None:
    options = ["fit", table, "--target", "answer", *SMALL, *QUICK, "--settings", quick]
    note = "note: 'state' alone predicts 'answer' almost perfectly"
    assert note in run(*options).err
    assert note not in run(*options, "--no-audit").err


def test_what_the_target_alone_tells_is_said_once(run: Run, table: Path, quick: Path) -> None:
    upper = table.read_text(encoding="utf-8").replace("yes\n", "Yes\n", 8)
    table.write_text(upper, encoding="utf-8")
    words = "'answer' has levels that differ only in case, space or Unicode form ('Yes' and 'yes')"
    options = ["fit", table, "--target", "answer", *SMALL, *QUICK, "--settings", quick]
    assert run(*options).err.count(words) == 1
    assert run(*options, "--no-audit").err.count(words) == 1
    assert run("look", table, "--target", "answer").out.count(words) == 1


@pytest.mark.parametrize(
    ("auc", "words"),
    [
        (Estimate(0.52, 0.45, 0.6), "0.5200  (0.4500 to 0.6000); no better than chance, as it must be\n"),
        (Estimate(0.9, 0.8, 0.95), "0.9000  (0.8000 to 0.9500); better than chance, which must not be: do not trust"),
        (Estimate(*[float("nan")] * 3), "-; these rows cannot determine it"),
    ],
)
def test_the_audit_by_shuffled_labels_is_a_result(
    run: Run, table: Path, quick: Path, monkeypatch: pytest.MonkeyPatch, auc: Estimate, words: str
) -> None:
    monkeypatch.setattr("tabcohort.cohort.shuffled.fit_shuffled", lambda *_: auc)
    options = ["fit", table, "--target", "answer", *SMALL, *QUICK, "--settings", quick, "--audit", "shuffled"]
    line = f"audit    out-of-fold ROC AUC with shuffled labels {words}"
    assert line in run(*options).out
    quiet = run(*options, "--quiet")
    assert line in quiet.out
    assert quiet.err == ""
    shuffled = json.loads(run(*options, "--json").out)["shuffled"]
    known = {"value": auc.value, "low": auc.low, "high": auc.high}
    assert shuffled["roc_auc"] == (known if auc.value == auc.value else dict.fromkeys(known))
    assert shuffled["is_chance"] == {0.45: True, 0.8: False}.get(auc.low)


def test_shuffled_labels_are_trained_on_only_when_that_is_said(run: Run, table: Path, quick: Path) -> None:
    options = ["fit", table, "--target", "answer", *SMALL, *QUICK, "--settings", quick]
    assert "shuffled labels 0." in run(*options, "--audit", "shuffled").out
    ran = run(*options, "--json")
    assert "shuffled" not in json.loads(ran.out)


def test_audit_and_no_audit_exclude_each_other(run: Run, table: Path) -> None:
    ran = run("fit", table, "--target", "answer", "--no-audit", "--audit", "shuffled")
    assert ran.status == 2
    assert "not allowed with argument" in ran.err
