"""What a person can fix: one line that says what, status 2, and no file that is touched."""

from __future__ import annotations

from pathlib import Path

import pytest
from shell import SMALL, Run

BAD: dict[str, tuple[list[str], str]] = {
    "no such table": (
        ["fit", "patient.csv", "--target", "answer"],
        "there is no file 'patient.csv' (did you mean 'pat",
    ),
    "no such sample": (["fit", "sample:irs"], "there is no sample 'irs' (did you mean 'iris'?)"),
    "no target": (
        ["fit", "patients.csv"],
        "name the column to predict: --target COLUMN (one of id, x0, x1, x2, answer)",
    ),
    "another target": (["fit", "patients.csv", "--target", "anser"], "no column 'anser' (did you mean 'answer'?)"),
    "another key": (
        ["fit", "patients.csv", "--target", "answer", "--key", "idd"],
        "no column 'idd' (did you mean 'id'?)",
    ),
    "another column to drop": (["fit", "patients.csv", "--target", "answer", "--drop", "x9"], "no column 'x9'"),
    "another positive class": (
        ["fit", "patients.csv", "--target", "answer", "--drop", "id", "--positive", "maybe"],
        "the positive class 'maybe' is not in 'answer', whose classes are 'no', 'yes'",
    ),
    "an unknown setting": (
        ["fit", "sample:iris", "--settings", "unknown.toml"],
        "no setting 'droput' (did you mean 'drop",
    ),
    "a setting out of range": (
        ["fit", "sample:iris", "--settings", "range.toml"],
        "the setting 'dropout' must be a number",
    ),
    "settings that are not TOML": (["fit", "sample:iris", "--settings", "bad.toml"], "'bad.toml' is not valid TOML: "),
    "settings that are a folder": (["fit", "sample:iris", "--settings", "."], "'.' cannot be read"),
    "no such settings": (["fit", "sample:iris", "--settings", "none.toml"], "there is no settings file 'none.toml'"),
    "no such cluster": (
        ["fit", "sample:iris", "--cluster", "nowhere"],
        "the cluster must be local, auto, HOST:PORT or ray://HOST:PORT; it is 'nowhere'",
    ),
    "threads of other machines": (
        ["tune", "sample:iris", "--cluster", "auto", "--threads", "2"],
        "--threads is of this machine, and so of --cluster local; leave it out",
    ),
    "reasons on a cluster": (
        ["predict", "none.tabcohort", "rows", "--cluster", "auto", "--out", "new", "--explain", "2"],
        "--cluster writes predictions only: leave out --explain",
    ),
    "no folder on a cluster": (
        ["predict", "none.tabcohort", "rows", "--cluster", "auto"],
        "--cluster writes a file for each file that it reads: say where with --out FOLDER",
    ),
    "no grid": (["tune", "sample:iris", "--grid", "none.toml"], "there is no grid 'none.toml'"),
    "a grid that is not TOML": (["tune", "sample:iris", "--grid", "bad.toml"], "'bad.toml' is not valid TOML: "),
    "an unknown setting in a grid": (
        ["tune", "sample:iris", "--grid", "unknown.toml"],
        "there is no setting 'droput' (did you mean 'dropout'?)",
    ),
    "a setting out of range in a grid": (
        ["tune", "sample:iris", "--grid", "range.toml"],
        "the setting 'dropout' must be a number in [0, 1); it is 1.5",
    ),
    "no value in a grid": (
        ["tune", "sample:iris", "--grid", "no_value.toml"],
        "the grid has no value for 'dropout'; give one, or leave the name out",
    ),
    "too many configs in a grid": (
        ["tune", "sample:iris", "--grid", "many.toml"],
        "the grid has 16,384 combinations, and at most 10,000 can be tried",
    ),
    "no configs to try": (
        ["tune", "sample:iris", "--configs", "0"],
        "the number of configs must be from 1 to 10,000; it is 0",
    ),
    "no settings for tuning": (
        ["tune", "sample:iris", "--settings", "none.toml"],
        "there is no settings file 'none.toml'",
    ),
    "a model over its grid": (
        ["tune", "sample:iris", "--grid", "range.toml", "--out", "range.toml"],
        "'range.toml' is what this command reads; write to another file",
    ),
    "two folds": (
        ["fit", "sample:iris", "--folds", "2"],
        "the setting 'folds' must be 1, or 3 and more, as rows train, validate and test in turn; it is 2",
    ),
    "two members": (
        ["fit", "sample:iris", "--members", "2"],
        "a cohort has 1 member, or 3 and more, as rows train, validate and test in turn; asked for 2",
    ),
    "no threads": (["fit", "sample:iris", "--threads", "0"], "the setting 'threads' must be a whole number"),
    "no seconds": (
        ["fit", "sample:iris", "--budget", "0"],
        "argument --budget: it must be a number of seconds above 0, and is '0'",
    ),
    "all rows to be covered": (["fit", "sample:iris", "--coverage", "1"], "the setting 'coverage' must be a number in"),
    "a threshold for three classes": (
        ["fit", "sample:iris", "--threshold", "f1"],
        "a threshold is for two classes; there are 3",
    ),
    "a threshold for nothing": (
        ["fit", "sample:breast-cancer", "--threshold", "recall"],
        "the threshold must be a probability in (0, 1), 'balanced_accuracy', 'f1', 'sensitivity>=0.95'",
    ),
    "a group that is not a column": (["fit", "sample:iris", "--group", "ward"], "no column 'ward'"),
    "a time that is not a column": (["fit", "sample:iris", "--time", "day"], "no column 'day'"),
    "predictions with a threshold for nothing": (
        ["predict", "MODEL", "patients.csv", "--threshold", "recall"],
        "the threshold must be a probability in (0, 1)",
    ),
    "nothing to change": (["decide", "MODEL"], "say what to change: --threshold OBJECTIVE, --coverage SHARE, or both"),
    "a share beyond all": (
        ["decide", "MODEL", "--coverage", "1.5", "--out", "new.tabcohort"],
        "the setting 'coverage' must be a number in (0, 1); it is 1.5",
    ),
    "a grid of an experiment without one": (
        ["reproduce", "wine", "--grid"],
        "--grid is the tuning of 'patent'; 'wine' has none",
    ),
    "seeds of a grid": (
        ["reproduce", "patent", "--grid", "--seeds", "2"],
        "--grid trains each of its folds once; leave out --seeds",
    ),
    "no seeds of an experiment": (["reproduce", "wine", "--seeds", "0"], "--seeds must be at least 1; it is 0"),
    "a negative seed": (["fit", "sample:iris", "--seed", "-1"], "the setting 'seed' must be a whole number"),
    "a type that there is not": (
        ["fit", "sample:iris", "--settings", "types.toml"],
        "the column 'a' in 'types.toml' cannot have the type 'word'; the types are number, category",
    ),
    "a type of a column that is not there": (
        ["fit", "sample:iris", "--settings", "absent.toml"],
        "there is no column 'note'",
    ),
    "two types of a column": (
        ["fit", "patients.csv", "--target", "answer", "--text", "id", "--drop", "id"],
        "the column 'id' is given two types: --text and --drop",
    ),
    "a layer that is too wide": (
        ["fit", "sample:iris", "--settings", "wide.toml"],
        "'hidden' must be a sequence of at most 1,000 positive whole numbers such as (256, 128), each at most 10,000",
    ),
    "a network that is too large": (
        ["fit", "sample:iris", "--settings", "large.toml"],
        "parameters is too large, at most 50,000,000 are possible",
    ),
    "a device for a model": (
        ["fit", "sample:iris", "--out", "/dev/null"],
        "'/dev/null' is a device, a pipe or a socket and would be replaced; name a file",
    ),
    "a column to write that is not there": (
        ["predict", "MODEL", "patients.csv", "--columns", "id,x9"],
        "there is no column 'x9'",
    ),
    "a row that is not there": (
        ["explain", "MODEL", "patients.csv", "--row", "91"],
        "there is no row 91; the table has 90 rows, counted from 1",
    ),
    "a row before the first": (["explain", "MODEL", "patients.csv", "--row", "0"], "--row counts from 1; it is 0"),
    "a row of no table": (
        ["explain", "MODEL", "--row", "1"],
        "--row is a row of a table; name the table after the mod",
    ),
    "a record without other rows": (
        ["explain", "MODEL", "--record", '{"x0": 1, "x1": 2, "x2": 3}'],
        "an explanation compares a record with other rows, and a model file holds none: name the table of the training",
    ),
    "a record that is not JSON": (
        ["explain", "MODEL", "patients.csv", "--record", "x0=1"],
        """the record must be a JSON object, such as '{"age": 51, "city": "Oslo"}'; it cannot be read: Expecting""",
    ),
    "a record that is a list": (
        ["explain", "MODEL", "patients.csv", "--record", "[1, 2, 3]"],
        """the record must be a JSON object, such as '{"age": 51, "city": "Oslo"}'; it is list""",
    ),
    "a record of several values": (
        ["explain", "MODEL", "patients.csv", "--record", '{"x0": [1, 2]}'],
        'a record has one value for each column, such as \'{"age": 51, "city": "Oslo"}\'; \'x0\' has several',
    ),
    "a record that lacks a column": (
        ["explain", "MODEL", "patients.csv", "--record", '{"x0": 1, "x1": 2}'],
        "the record lacks 'x2': 3 columns are needed; it has x0, x1; a missing cell is null (None in Python)",
    ),
    "another class to explain": (
        ["explain", "MODEL", "patients.csv", "--row", "1", "--class", "yse"],
        "there is no class 'yse' (did you mean 'yes'?); the classes are no, yes",
    ),
    "one column that moves together": (
        ["explain", "MODEL", "patients.csv", "--row", "1", "--together", "x0"],
        "'x0' is one column; name those that move together with commas between",
    ),
    "another column that moves together": (
        ["explain", "MODEL", "patients.csv", "--row", "1", "--together", "x0,id"],
        "the model has no column 'id'; its columns are x0, x1, x2",
    ),
    "no columns to show": (
        ["explain", "MODEL", "patients.csv", "--row", "1", "--top", "0"],
        "--top must be at least 1",
    ),
    "a report that is no page": (
        ["report", "MODEL", "--out", "a.pdf"],
        "a report is a page, so 'a.pdf' must end in .html",
    ),
    "no classes to write": (["predict", "MODEL", "patients.csv", "--top", "0"], "--top must be at least 1; it is 0"),
    "one round": (
        ["explain", "MODEL", "patients.csv", "--row", "1", "--max-rounds", "1"],
        "at least 2 background rows and 2 rounds are needed; max_background is 100, max_rounds 1",
    ),
    "a negative tolerance": (
        ["explain", "MODEL", "patients.csv", "--row", "1", "--tolerance", "-1"],
        "the tolerance must be a share, at least 0; it is -1.0",
    ),
    "a negative seed of an explanation": (
        ["explain", "MODEL", "patients.csv", "--row", "1", "--seed", "-1"],
        "the setting 'seed' must be a whole number",
    ),
    "no reasons": (
        ["predict", "MODEL", "patients.csv", "--explain", "0"],
        "--explain is a number of reasons, at least",
    ),
    "a background for nothing": (
        ["predict", "MODEL", "patients.csv", "--background", "patients.csv"],
        "--background goes with --explain K",
    ),
    "a background of another table": (
        ["explain", "MODEL", "patients.csv", "--row", "1", "--background", "one.csv"],
        "the table lacks 'x0', 'x1', 'x2'",
    ),
    "no such folder": (["fit", "sample:iris", "--out", "no/m"], "there is no folder 'no' to write to; make it first"),
    "a folder for a file": (["fit", "sample:iris", "--out", "."], "'.' is a folder; name a file"),
    "an empty table": (["fit", "empty.csv", "--target", "a"], "'empty.csv' is empty"),
    "a table of one class": (["fit", "one.csv", "--target", "y"], "the target 'y' must have at least two classes"),
    "no such model": (["predict", "m.tabcohort", "patients.csv"], "there is no file 'm.tabcohort'"),
    "a table for a model": (["predict", "patients.csv", "patients.csv"], "'patients.csv' is not a tabcohort file"),
    "a model for a table": (["predict", "MODEL", "MODEL"], "is a tabcohort model, not a table"),
    "a lacking column": (
        ["predict", "MODEL", "one.csv"],
        "the table lacks 'x0', 'x1', 'x2': 3 columns are needed; it has a, y",
    ),
    "predictions into no folder": (
        ["predict", "MODEL", "patients.csv", "--out", "no/a.csv"],
        "there is no folder 'no'",
    ),
    "evaluate without a target": (
        ["evaluate", "MODEL", "one.csv"],
        "the table lacks 'answer', which the model predicts, so nothing can be measured; it has a, y",
    ),
    "info of a table": (["info", "patients.csv"], "'patients.csv' is not a tabcohort file"),
    "info of nothing": (["info", "m.tabcohort"], "there is no file 'm.tabcohort'"),
    "info of a folder": (["info", "."], "'.' cannot be read: Is a directory"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_user_error_is_one_line_with_status_2(
    run: Run, csv_file: Path, model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    files = {
        "patients.csv": csv_file.read_text(encoding="utf-8"),
        "empty.csv": "",
        "one.csv": "a,y\n1,u\n2,u\n",
        "unknown.toml": "droput = 0.3\n",
        "range.toml": "dropout = 1.5\n",
        "bad.toml": "dropout 0.3\n",
        "types.toml": '[columns]\na = "word"\n',
        "absent.toml": '[columns]\nnote = "drop"\n',
        "wide.toml": "hidden = [1000000000]\n",
        "large.toml": "hidden = [9000, 9000]\n",
        "no_value.toml": "dropout = []\n",
        "many.toml": "".join(
            f"{name} = [{', '.join(f'0.{digit}' for digit in range(1, 9))}]\n"
            for name in ("dropout", "momentum", "beta1", "beta2")
        )
        + "learning_rate = [0.1, 0.2, 0.3, 0.4]\n",
    }
    for file, text in files.items():
        (tmp_path / file).write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    arguments, message = BAD[name]
    ran = run(*(str(model_file) if argument == "MODEL" else argument for argument in arguments))
    assert ran.status == 2
    assert ran.out == ""
    last = ran.err.splitlines()[-1]
    assert last.startswith("tabcohort: ")
    assert message in last
    assert "Traceback" not in ran.err
    assert {path.name for path in tmp_path.iterdir()} == set(files)


# Files that must not be lost


@pytest.mark.parametrize("option", ["--out", "--curves", "--checkpoint"])
def test_fit_refuses_to_write_over_what_it_reads(
    run: Run, csv_file: Path, quick: Path, tmp_path: Path, option: str
) -> None:
    table = tmp_path / "table.png"
    table.write_bytes(csv_file.read_bytes())
    (tmp_path / "sub").mkdir()
    fit = ["fit", table, "--target", "answer", "--drop", "id", *SMALL, "--settings", quick]
    for read in (table, tmp_path / "sub" / ".." / "table.png", quick):
        before = read.read_bytes()
        ran = run(*fit, option, read)
        assert ran.status == 2
        if option == "--curves" and read == quick:
            continue  # which is no image, and refused for that
        message = "is what this command reads; write to another file"
        if option == "--checkpoint":
            message = "must be a folder, for a file per member"
        assert f"{str(read)!r} {message}" in ran.err
        assert read.read_bytes() == before


def test_predict_refuses_to_write_over_what_it_reads(run: Run, csv_file: Path, model_file: Path) -> None:
    for read in (csv_file, model_file):
        before = read.read_bytes()
        ran = run("predict", model_file, csv_file, "--out", read)
        assert ran.status == 2
        assert f"{str(read)!r} is what this command reads; write to another file" in ran.err
        assert read.read_bytes() == before


@pytest.mark.parametrize("name", ["answers.txt", "answers", "answers.xlsx"])
def test_predictions_are_written_as_csv_or_parquet_only(
    run: Run, csv_file: Path, model_file: Path, tmp_path: Path, name: str
) -> None:
    ran = run("predict", model_file, csv_file, "--out", tmp_path / name)
    assert ran.status == 2
    assert f"{name}' must end in .csv or .parquet" in ran.err
    assert not list(tmp_path.iterdir())


def test_two_outputs_of_one_name_are_refused(run: Run, csv_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "model.png"
    ran = run("fit", csv_file, "--target", "answer", "--out", out, "--curves", out)
    assert ran.status == 2
    assert "model.png' is named twice, and one would overwrite the other; name different files" in ran.err
    assert not out.exists()
    ran = run("fit", csv_file, "--target", "answer", "--out", out, "--checkpoint", out)
    assert "is what this command reads; write to another file" in ran.err
