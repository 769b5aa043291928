"""`report`, and `fit --report`, from the command line."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from shell import QUICK, SMALL, Run

from tabcohort import load


def test_report_writes_a_page_named_after_the_model_and_overwrites_nothing(
    run: Run, model_file: Path, folder: Path
) -> None:
    for name in ("patients.html", "patients-2.html"):
        ran = run("report", model_file)
        assert (ran.status, ran.out) == (0, "")
        assert ran.err == f"report   {name}\n"
        page = (folder / name).read_text(encoding="utf-8")
        assert page.startswith("<!doctype html>")
        assert "<h1>patients.tabcohort</h1>" in page
        (folder / name).write_bytes(b"kept")
    assert {path.read_bytes() for path in folder.iterdir()} == {b"kept"}


def test_report_with_the_training_table_shows_its_cells(
    run: Run, model_file: Path, csv_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "report.html"
    ran = run("report", model_file, "--table", csv_file, "--by", "x0", "--by", "x1", "--out", out)
    assert ran.status == 0
    assert "not trained on" not in ran.err
    page = out.read_text(encoding="utf-8")
    assert "each predicted by members that never saw it" in page
    assert "<h3>x0</h3>" in page
    assert "<h3>x1</h3>" in page


def test_report_prints_the_facts_as_json_and_writes_no_page_unasked(
    run: Run, model_file: Path, csv_file: Path, folder: Path
) -> None:
    ran = run("report", model_file, "--table", csv_file, "--by", "x0", "--json")
    facts = json.loads(ran.out)
    assert facts["measured"]["on"] == "out_of_fold"
    assert [column["name"] for column in facts["subgroups"]["columns"]] == ["x0"]
    assert list(folder.iterdir()) == []
    again = run("report", model_file, "--json", "--out", "page.html")
    assert json.loads(again.out)["subgroups"] is None
    assert (folder / "page.html").exists()


def test_another_table_is_measured_and_said_to_be_another(
    run: Run, model_file: Path, csv_file: Path, tmp_path: Path
) -> None:
    rows = csv_file.read_text(encoding="utf-8").splitlines()
    new, out = tmp_path / "next year.csv", tmp_path / "report.html"
    new.write_text("\n".join(rows[:50]) + "\n", encoding="utf-8")
    ran = run("report", model_file, "--table", new, "--out", out)
    assert (
        "note: this is not the table that the model was trained on: the report measures the model on its rows"
        in ran.err
    )
    page = out.read_text(encoding="utf-8")
    assert f"The figures of this page are of the 49 rows of {new}</strong>, which is not the table" in page


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--by", "x0"], "--by, --weight and --query are about a table: name one with --table"),
        (["--weight", "x0"], "name one with --table"),
        (["--table", "TABLE", "--by", "x9"], "there is no column 'x9'"),
        (["--table", "TABLE", "--weight", "x9"], "there is no column 'x9'"),
        (["--table", "TABLE", "--weight", "x0"], "has no weight in 'x0'"),
        (["--table", "nothing.csv"], "nothing.csv"),
        (["--out", "MODEL"], "is what this command reads"),
        (["--table", "TABLE", "--out", "TABLE"], "is what this command reads"),
        (["--out", "no/folder.html"], "there is no folder"),
    ],
)
def test_mistakes_are_errors_and_nothing_is_written(
    run: Run, model_file: Path, csv_file: Path, folder: Path, options: list[str], message: str
) -> None:
    before = csv_file.read_bytes(), model_file.read_bytes()
    ran = run("report", model_file, *({"TABLE": csv_file, "MODEL": model_file}.get(word, word) for word in options))
    assert ran.status == 2
    assert message in ran.err
    assert "Traceback" not in ran.err
    assert list(folder.iterdir()) == []
    assert (csv_file.read_bytes(), model_file.read_bytes()) == before


def test_a_page_that_is_there_is_replaced_when_the_new_one_is_complete(
    run: Run, model_file: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "page.html").write_text("old", encoding="utf-8")

    def fail(*_: object) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("tabcohort.reporting.report_page.report_page", fail)
        ran = run("report", model_file, "--out", "page.html")
        assert (ran.status, ran.err) == (130, "tabcohort: interrupted before the report was complete\n")
    assert (folder / "page.html").read_text(encoding="utf-8") == "old"
    assert run("report", model_file, "--out", "page.html").status == 0
    assert (folder / "page.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert len(list(folder.iterdir())) == 1


def test_fit_writes_a_report_of_its_table(run: Run, csv_file: Path, quick: Path, tmp_path: Path) -> None:
    model, page = tmp_path / "new.tabcohort", tmp_path / "new.html"
    options = [csv_file, "--target", "answer", "--key", "id", *SMALL, "--settings", quick, "--out", model]
    ran = run("fit", *options, "--report", page)
    assert ran.status == 0
    assert ran.out.endswith(f"report   {page}\n")
    text = page.read_text(encoding="utf-8")
    assert "each predicted by members that never saw it" in text
    assert "This page holds cells of" in text
    assert "not trained on this table" not in ran.err


def test_ctrl_c_while_facts_are_computed_leaves_no_page_and_says_where_a_trained_model_is(
    run: Run, model_file: Path, csv_file: Path, quick: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tabcohort.model.report_facts.learned_facts", interrupt)
    ran = run("report", model_file, "--table", csv_file, "--out", "page.html")
    assert (ran.status, ran.out) == (130, "")
    assert ran.err.endswith(" columns\ntabcohort: interrupted before the report was complete\n")
    assert list(folder.iterdir()) == []
    options = [csv_file, "--target", "answer", "--key", "id", *SMALL, "--settings", quick, "--out", "new.tabcohort"]
    ran = run("fit", *options, "--report", "page.html", "--card", "card.md")
    assert ran.status == 130
    assert ran.err.endswith(
        "tabcohort: interrupted before all files were written; the model was kept as 'new.tabcohort'\n"
    )
    assert [path.name for path in folder.iterdir()] == ["new.tabcohort"]


def test_quiet_says_nothing(run: Run, model_file: Path, csv_file: Path, folder: Path) -> None:
    ran = run("report", model_file, "--table", csv_file, "--out", "page.html", "--quiet")
    assert (ran.status, ran.out, ran.err) == (0, "", "")
    assert (folder / "page.html").is_file()


def test_fit_names_the_command_that_writes_a_report(run: Run, csv_file: Path, quick: Path, tmp_path: Path) -> None:
    model = tmp_path / "new.tabcohort"
    ran = run("fit", csv_file, "--target", "answer", *SMALL, "--settings", quick, "--out", model)
    assert f"next     tabcohort predict {model} NEW_TABLE\n         tabcohort report {model}\n" in ran.out


def test_the_report_of_fit_knows_its_weights(run: Run, csv_file: Path, quick: Path, tmp_path: Path) -> None:
    rows = csv_file.read_text(encoding="utf-8").splitlines()
    table, page = tmp_path / "weighted.csv", tmp_path / "page.html"
    lines = [f"{rows[0]},w", *(f"{row},{number % 3}" for number, row in enumerate(rows[1:]))]
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    model = tmp_path / "weighted.tabcohort"
    options = ["--target", "answer", "--drop", "id", "--weight", "w", *SMALL, "--settings", quick, "--out", model]
    ran = run("fit", table, *options, "--report", page)
    assert "not trained on this table" not in ran.err
    assert "The rows have weights" in page.read_text(encoding="utf-8")
    again = run("report", model, "--table", table, "--weight", "w", "--json")
    assert json.loads(again.out)["measured"]["on"] == "out_of_fold"


def test_a_report_may_not_overwrite_what_fit_reads_or_writes(run: Run, csv_file: Path, tmp_path: Path) -> None:
    before = csv_file.read_bytes()
    assert run("fit", csv_file, "--target", "answer", "--report", csv_file).status == 2
    same = tmp_path / "same"
    ran = run("fit", csv_file, "--target", "answer", "--out", same, "--report", same)
    assert (ran.status, "named twice" in ran.err) == (2, True)
    assert csv_file.read_bytes() == before


def test_names_cells_and_file_names_of_a_real_table_are_text(run: Run, tmp_path: Path, quick: Path) -> None:
    """From the file to the page, with what a browser would run in every place."""
    names = ["<script>alert(1)</script>", '"><img src=x onerror=alert(2)>', "{{ 7*7 }}", "</style><b>"]
    table = tmp_path / "<svg onload=alert(3)>.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        for i in range(90):
            label = ("<i>no</i>", "{% if %}")[i * 7 % 10 < 4]
            writer.writerow([i * 13 % 17 + (i * 7 % 10) / 10, ("<u>a", "'b'")[i // 3 % 2], f"<key {i}>", label])
    page = tmp_path / "page.html"
    options = ["--target", names[3], "--key", names[2], *SMALL, *QUICK, "--settings", quick]
    model = tmp_path / "<b>m.tabcohort"
    ran = run("fit", table, *options, "--out", model, "--report", page)
    assert ran.status == 0, ran.err
    text = page.read_text(encoding="utf-8")
    assert load(model).schema.classes == ("<i>no</i>", "{% if %}")
    assert not any(word in text for word in ("<script>alert", "<img", "<svg onload", "<i>no", "<u>a", "<key", "<b>"))
    for word in ("&lt;script&gt;alert(1)", "{{ 7*7 }}", "{% if %}", "&lt;i&gt;no&lt;/i&gt;", "&lt;key "):
        assert word in text


def test_report_writes_a_card_and_a_page_only_if_it_is_named(run: Run, model_file: Path, folder: Path) -> None:
    ran = run("report", model_file, "--card", "card.md")
    assert (ran.status, ran.out, ran.err) == (0, "", "card     card.md\npage     add --out FILE to write it, too\n")
    assert [path.name for path in folder.iterdir()] == ["card.md"]
    assert "# Model Card for patients.tabcohort\n" in (folder / "card.md").read_text(encoding="utf-8")
    ran = run("report", model_file, "--card", "card.md", "--out", "page.html")
    assert ran.err == "report   page.html\ncard     card.md\n"
    assert "page  " not in run("report", model_file, "--card", "card.md", "--json").err
    assert (folder / "page.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    ran = run("report", model_file, "--card", "same", "--out", "same")
    assert (ran.status, "'same' is named twice" in ran.err) == (2, True)


def test_fit_writes_a_card_of_its_table(run: Run, csv_file: Path, quick: Path, tmp_path: Path) -> None:
    model, card = tmp_path / "new.tabcohort", tmp_path / "new.md"
    options = [csv_file, "--target", "answer", "--key", "id", *SMALL, "--settings", quick, "--out", model]
    ran = run("fit", *options, "--card", card)
    assert ran.status == 0
    assert ran.out.endswith(f"         tabcohort report {model}\ncard     {card}\n")
    assert "No part of the rows was found" in card.read_text(encoding="utf-8")


def test_a_card_without_a_name_is_beside_the_page_and_overwrites_nothing(
    run: Run, model_file: Path, folder: Path
) -> None:
    (folder / "pages").mkdir()
    for name in ("model_card.md", "model_card-2.md"):
        ran = run("report", model_file, "--out", "pages/report.html", "--card")
        assert ran.err == f"report   pages/report.html\ncard     pages/{name}\n"
        card = (folder / "pages" / name).read_text(encoding="utf-8")
        assert "\ntabcohort predict patients.tabcohort TABLE.csv\n" in card
        assert '\npredictor = tabcohort.load("patients.tabcohort")\n' in card
    assert run("report", model_file, "--card").err.startswith("card     model_card.md\n")
    assert sorted(path.name for path in folder.iterdir()) == ["model_card.md", "pages"]


def test_the_card_of_fit_is_beside_the_page_or_the_model(run: Run, csv_file: Path, quick: Path, folder: Path) -> None:
    (folder / "models").mkdir()
    options = [csv_file, "--target", "answer", "--key", "id", *SMALL, "--settings", quick]
    assert run("fit", *options, "--out", "models/new.tabcohort", "--card").status == 0
    card = (folder / "models" / "model_card.md").read_text(encoding="utf-8")
    assert "# Model Card for new.tabcohort\n" in card
    (folder / "pages").mkdir()
    ran = run("fit", *options, "--out", "models/new.tabcohort", "--report", "pages/new.html", "--card")
    assert ran.out.endswith("report   pages/new.html\ncard     pages/model_card.md\n")
    assert run("fit", *options, "--card").status == 0
    assert (folder / "model_card.md").is_file()
