"""The command line: results on standard output, words on standard error, and a sentence for what can be mended."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from helpers import make_rows

from tabcohort import Predictor, load, load_sample, read_frame, save
from tabcohort.cli.main import main
from tabcohort.container import FORMAT
from tabcohort.model.report import ConfigReport

QUICK = ["--model", "logistic"]
SMALL = ["--folds", "3", "--seeds", "1"]


@dataclass
class Ran:
    """What a command gave back."""

    status: int
    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs a command in this process as a shell would."""

    def call(*arguments: object) -> Ran:
        with warnings.catch_warnings():  # a shell shows warnings; the tests make errors of them
            warnings.simplefilter("default")
            try:
                status: Any = main([str(argument) for argument in arguments])
            except SystemExit as leaving:
                status = leaving.code
        return Ran(status, *capsys.readouterr())

    return call


@pytest.fixture
def quick(tmp_path: Path) -> Path:
    """A settings file for a few epochs."""
    path = tmp_path / "quick.toml"
    path.write_text("max_epochs = 3\nhidden = [8]\nlearning_rate = 0.02\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def flowers(three_classes: Predictor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of three classes."""
    path = tmp_path_factory.mktemp("flowers") / "flowers.tabcohort"
    save(three_classes, path)
    return path


def python(code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)


# What is imported


@pytest.mark.parametrize(
    "code",
    [
        "import tabcohort; dir(tabcohort)",
        "import tabcohort.cli",
        "from tabcohort.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass",
        "from tabcohort.cli import main\ntry: main(['fit', '--help'])\nexcept SystemExit: pass",
    ],
)
def test_nothing_heavy_is_imported_before_it_is_needed(code: str) -> None:
    ran = python(f"{code}\nimport sys\nprint(sorted({{'torch', 'sklearn', 'polars', 'numpy'}} & set(sys.modules)))")
    assert ran.stdout.splitlines()[-1] == "[]"


def test_info_does_not_import_torch(model_file: Path) -> None:
    code = f"from tabcohort.cli import main\nimport sys\nassert main(['info', {str(model_file)!r}]) == 0"
    ran = python(f"{code}\nprint(sorted({{'torch', 'sklearn', 'polars'}} & set(sys.modules)))")
    assert "logistic predicts answer from 3 columns" in ran.stdout
    assert ran.stdout.splitlines()[-1] == "[]"


# Fit


def test_help_and_version_are_on_standard_output(run: Run) -> None:
    ran = run("--help")
    assert ran.status == 0
    commands = ("fit", "tune", "predict", "evaluate", "info", "decide", "reproduce", "sample:breast-cancer")
    assert all(command in ran.out for command in commands)
    assert run("--version").out.startswith("tabcohort 0.")


def test_fit_writes_a_model_and_says_how_good_it_is(run: Run, csv_file: Path, quick: Path, tmp_path: Path) -> None:
    out = tmp_path / "new.tabcohort"
    ran = run("fit", csv_file, "--target", "answer", "--key", "id", *SMALL, "--settings", quick, "--out", out)
    assert ran.status == 0
    assert "mlp 8 predicts answer from 3 columns: 3 networks with 123 parameters in all" in ran.out
    assert "measured on 90 rows, each judged by networks that never saw it" in ran.out
    assert "positive class yes" in ran.out
    assert f"next     tabcohort predict {out} NEW_TABLE" in ran.out
    assert "positive class: yes (the last in sorted order; name another with --positive)" in ran.err
    assert "90 rows, 3 columns" in ran.err
    schema = load(out).schema
    assert (schema.features, schema.keys, schema.target) == (("x0", "x1", "x2"), ("id",), "answer")


def test_a_sample_knows_its_target_and_positive_class(run: Run, quick: Path, tmp_path: Path) -> None:
    ran = run("fit", "sample:breast-cancer", *SMALL, "--settings", quick, *QUICK, "--out", tmp_path / "model")
    assert ran.status == 0
    assert "positive class malignant" in ran.out
    assert "positive class:" not in ran.err
    assert "strongest of 30 weights" in ran.out


def test_without_out_nothing_is_kept_and_that_is_said(run: Run, csv_file: Path, quick: Path, tmp_path: Path) -> None:
    before = {*tmp_path.iterdir(), *csv_file.parent.iterdir()}
    ran = run("fit", csv_file, "--target", "answer", "--drop", "id", *SMALL, "--settings", quick)
    assert ran.status == 0
    assert "not kept: add --out MODEL.tabcohort to keep this model and predict with it" in ran.out
    assert {*tmp_path.iterdir(), *csv_file.parent.iterdir()} == before


def test_options_win_over_the_settings_file(run: Run, csv_file: Path, tmp_path: Path) -> None:
    settings, out = tmp_path / "settings.toml", tmp_path / "model"
    settings.write_text('model = "residual"\nseed = 5\nmax_epochs = 2\npositive = "yes"\n', encoding="utf-8")
    options = ["--model", "logistic", "--seed", "7", "--positive", "no", "--device", "cpu", "--engine", "torch"]
    ran = run(
        "fit", csv_file, "--target", "answer", "--drop", "id", "--settings", settings, *options, *SMALL, "--out", out
    )
    assert ran.status == 0
    predictor = load(out)
    assert (predictor.settings.model, predictor.settings.seed, predictor.settings.max_epochs) == ("logistic", 7, 2)
    assert predictor.schema.classes[predictor.schema.positive or 0] == "no"


def test_the_positive_class_of_the_settings_file_is_taken(run: Run, csv_file: Path, tmp_path: Path) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text('model = "logistic"\nmax_epochs = 2\npositive = "no"\n', encoding="utf-8")
    ran = run("fit", csv_file, "--target", "answer", "--drop", "id", *SMALL, "--settings", settings)
    assert "positive class no" in ran.out
    assert "positive class:" not in ran.err


def test_curves_are_drawn(run: Run, csv_file: Path, quick: Path, tmp_path: Path) -> None:
    picture = tmp_path / "curves.png"
    ran = run("fit", csv_file, "--target", "answer", "--drop", "id", *SMALL, "--settings", quick, "--curves", picture)
    assert ran.status == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert f"curves   {picture}" in ran.out


def test_a_bad_ending_for_curves_is_refused_before_training(
    run: Run, csv_file: Path, quick: Path, tmp_path: Path
) -> None:
    ran = run(
        "fit",
        csv_file,
        "--target",
        "answer",
        "--drop",
        "id",
        *SMALL,
        "--settings",
        quick,
        "--curves",
        tmp_path / "c.doc",
    )
    assert ran.status == 2
    assert "c.doc' must end in .png, .svg or .pdf" in ran.err
    assert "loading PyTorch" not in ran.err


def test_brackets_in_a_file_name_are_printed_as_they_are(run: Run, csv_file: Path, quick: Path, tmp_path: Path) -> None:
    table, out = tmp_path / "[old].csv", tmp_path / "[bold]"
    table.write_bytes(csv_file.read_bytes())
    ran = run("fit", table, "--target", "answer", "--drop", "id", *SMALL, "--settings", quick, "--out", out)
    assert str(table) in ran.err
    assert f"model    {out}\nnext     tabcohort predict {out} NEW_TABLE" in ran.out


def test_a_checkpoint_is_gone_on_from(run: Run, csv_file: Path, quick: Path, tmp_path: Path) -> None:
    command = ["fit", csv_file, "--target", "answer", "--drop", "id", *SMALL, "--settings", quick]
    first = run(*command, "--checkpoint", tmp_path / "kept", "--out", tmp_path / "one")
    second = run(*command, "--checkpoint", tmp_path / "kept", "--out", tmp_path / "two")
    assert first.status == second.status == 0
    one, two = load(tmp_path / "one"), load(tmp_path / "two")
    assert all((a.parameters == b.parameters).all() for a, b in zip(one.networks, two.networks, strict=True))
    assert one.report.members == two.report.members  # with the seconds of each epoch: none was run again
    other = run(*command, "--checkpoint", tmp_path / "kept", "--seed", "9")
    assert len(list((tmp_path / "kept").iterdir())) == 3  # a position of each network
    assert other.status == 2
    assert "is of other settings or data; remove its folder, or name another" in other.err


def test_rows_without_a_target_are_a_note(run: Run, csv_file: Path, quick: Path, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text(csv_file.read_text(encoding="utf-8") + "p90,1,2,3,\np91,1,2,3,\n", encoding="utf-8")
    ran = run("fit", table, "--target", "answer", "--key", "id", *SMALL, "--settings", quick)
    assert ran.status == 0
    assert "note: 2 rows without a 'answer' are left out\n" in ran.err


def test_as_many_networks_are_trained_as_asked_for(run: Run, csv_file: Path, quick: Path) -> None:
    fit = ["fit", csv_file, "--target", "answer", "--drop", "id", "--settings", quick, "--json"]
    for options, n_folds, n_seeds in (
        (["--folds", "4", "--seeds", "2"], 4, 2),
        (["--members", "1"], 1, 1),
        (["--members", "5"], 5, 1),
        (["--folds", "3", "--members", "6"], 3, 2),
    ):
        members = json.loads(run(*fit, *options, "--threads", "1").out)["report"]["members"]
        expected = [(repeat, fold) for repeat in range(n_seeds) for fold in range(n_folds)]
        assert [(each["repeat"], each["fold"]) for each in members] == expected


def test_the_number_of_threads_changes_no_weight(run: Run, csv_file: Path, quick: Path, tmp_path: Path) -> None:
    fit = ["fit", csv_file, "--target", "answer", "--drop", "id", *SMALL, "--settings", quick]
    for threads in (1, 3):
        assert run(*fit, "--threads", threads, "--out", tmp_path / str(threads)).status == 0
    one, three = (load(tmp_path / str(threads)) for threads in (1, 3))
    assert all((a.parameters == b.parameters).all() for a, b in zip(one.networks, three.networks, strict=True))


def test_columns_of_groups_and_of_time_do_not_predict(run: Run, csv_file: Path, quick: Path, tmp_path: Path) -> None:
    visits = read_frame(csv_file).with_columns(
        pl.Series("id", [f"p{i // 3}" for i in range(90)]), day=pl.Series(range(90))
    )
    visits.write_csv(tmp_path / "visits.csv")
    fit = ["fit", tmp_path / "visits.csv", "--target", "answer", *SMALL, "--settings", quick]
    of_groups = run(*fit, "--group", "id", "--drop", "day")
    assert of_groups.status == 0
    assert "columns    x0, x1, x2\n" in of_groups.out
    assert "note: 90 rows have 30 different values of id; rows of one value get one role" in of_groups.err
    in_time = run(*fit, "--time", "day", "--drop", "id", "--json")
    document = json.loads(in_time.out)
    assert document["schema"]["features"] == ["x0", "x1", "x2"]
    assert document["report"]["evaluation"]["n_rows"] < 90  # the first days have no rows before them


def test_threshold_and_coverage_are_those_that_were_asked_for(run: Run, csv_file: Path, quick: Path) -> None:
    fit = ["fit", csv_file, "--target", "answer", "--drop", "id", *SMALL, "--settings", quick]
    ran = run(*fit, "--threshold", "sensitivity>=0.95", "--coverage", "0.8")
    assert ran.status == 0
    assert re.search(
        r"threshold +yes from a probability of 0\.\d{4} on, for sensitivity>=0\.95; above, each row", ran.out
    )
    assert "asked for: 80% of each class" in ran.out


def test_a_budget_ends_a_fit_with_what_is_there(run: Run, csv_file: Path, tmp_path: Path) -> None:
    settings = tmp_path / "long.toml"
    settings.write_text("max_epochs = 4000\npatience = 1000000\nhidden = [8]\n", encoding="utf-8")
    fit = ["fit", csv_file, "--target", "answer", "--drop", "id", *SMALL, "--settings", settings]
    ran = run(*fit, "--budget", "0.001", "--out", tmp_path / "model")
    assert ran.status == 0
    assert "its budget of seconds was spent, and the best weights so far are kept" in ran.out
    assert "note: the budget of seconds is spent: 3 of 3 members have weights" in ran.err
    # All have begun, as each row is to be judged; none has the first twentieth of its epochs, after which it may pause.
    epochs = [len(each.history) for each in load(tmp_path / "model").report.members]
    assert all(1 <= each < 200 for each in epochs)


# Tune


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    """A file of five rates, of which the low ones are far behind."""
    path = tmp_path / "grid.toml"
    path.write_text("learning_rate = [0.0001, 0.05, 0.0002, 0.04, 0.0003]\n", encoding="utf-8")
    return path


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A settings file for as many epochs as it takes to drop settings after five of them."""
    path = tmp_path / "base.toml"
    path.write_text('max_epochs = 8\nhidden = [8]\nmodel = "residual"\n', encoding="utf-8")
    return path


RANKED = r"^ +(\d+) +(\d\.\d{4})  (?:([+]\d\.\d{4})  \(([+-]\d\.\d{4}) to ([+]\d\.\d{4})\))? +(\d+%|-)  (.*)$"


def test_tune_ranks_its_settings_the_best_first(
    run: Run, csv_file: Path, grid: Path, base: Path, tmp_path: Path
) -> None:
    tune = ["tune", csv_file, "--target", "answer", "--key", "id", *SMALL, "--base", base, "--grid", grid]
    ran = run(*tune, "--out", tmp_path / "model")
    assert ran.status == 0
    rows = re.findall(RANKED, ran.out, re.MULTILINE)
    assert [row[0] for row in rows] == ["1", "2", "3", "4", "5"]
    settings = {f"learning_rate {each.settings.learning_rate:.3g}": each for each in load_settings(tmp_path / "model")}
    for _, loss, behind, low, high, share, what in rows:
        each = settings[what.removeprefix("only 5 epochs: ")]
        assert loss == f"{each.log_loss.value:.4f}"
        shown = (behind, low, high) if behind else ("+0.0000",) * 3
        assert shown == tuple(f"{value:+.4f}" for value in (each.behind.value, each.behind.low, each.behind.high))
        assert share == (f"{each.weight:.0%}" if each.weight else "-")
        assert what.startswith("only 5 epochs: ") == (each.dropped_after == 5)
    losses = [float(row[1]) for row in rows]
    assert losses == sorted(losses)
    assert [row[6] for row in rows if row[6].startswith("only")] == ["only 5 epochs: learning_rate 0.0001"]
    assert re.search(
        r"^1 of 5 settings were behind after their first epochs, .* about \d+ s more \(extrapolated\)$",
        ran.out,
        re.MULTILINE,
    )
    head = next(line for line in ran.out.splitlines() if line.startswith("rank  "))
    first = next(line for line in ran.out.splitlines() if line.startswith("   1  "))
    assert head.index("settings") == first.index("learning_rate")


def load_settings(path: Path) -> tuple[ConfigReport, ...]:
    """Return what a model file says of the settings that were tried."""
    return load(path).report.configs


def test_without_halving_all_settings_are_trained_to_the_end(
    run: Run, csv_file: Path, grid: Path, base: Path, tmp_path: Path
) -> None:
    tune = ["tune", csv_file, "--target", "answer", "--key", "id", *SMALL, "--base", base, "--grid", grid]
    ran = run(*tune, "--no-halving", "--out", tmp_path / "model")
    assert ran.status == 0
    assert "dropped" not in ran.out
    assert [len(each.history) for each in load(tmp_path / "model").report.members] == [8] * 15


def test_random_settings_are_the_same_again_and_begin_with_the_base(run: Run, csv_file: Path, quick: Path) -> None:
    tune = ["tune", csv_file, "--target", "answer", "--drop", "id", *SMALL, "--base", quick, "--json"]
    one, other = (json.loads(run(*tune, "--settings", number).out)["report"]["settings"] for number in (3, 2))
    assert [each["settings"] for each in other] == [each["settings"] for each in one[:2]]
    assert (one[0]["settings"]["hidden"], one[0]["settings"]["max_epochs"]) == ([8], 3)
    assert len({str(each["settings"]) for each in one}) == 3


def test_options_are_those_of_all_settings_of_a_grid(run: Run, csv_file: Path, quick: Path, tmp_path: Path) -> None:
    (tmp_path / "grid.toml").write_text("dropout = [0.0, 0.3]\n", encoding="utf-8")
    tune = ["tune", csv_file, "--target", "answer", "--drop", "id", *SMALL, "--base", quick, "--json"]
    report = json.loads(run(*tune, *QUICK, "--seed", "4", "--grid", tmp_path / "grid.toml").out)["report"]
    found = [
        (each["settings"]["model"], each["settings"]["seed"], each["settings"]["dropout"])
        for each in report["settings"]
    ]
    assert found == [("logistic", 4, 0.0), ("logistic", 4, 0.3)]


def test_a_budget_ends_tuning_with_some_settings_that_judge_every_row(
    run: Run, csv_file: Path, grid: Path, tmp_path: Path
) -> None:
    base = tmp_path / "long.toml"
    base.write_text("max_epochs = 200\npatience = 1000000\nhidden = [8]\n", encoding="utf-8")
    tune = ["tune", csv_file, "--target", "answer", "--drop", "id", *SMALL, "--base", base, "--grid", grid]
    ran = run(*tune, "--budget", "0.001", "--json")
    report = json.loads(ran.out)["report"]
    assert (ran.status, report["reason"]) == (0, "budget")
    known = [each for each in report["settings"] if each["log_loss"]]
    assert 1 <= len(known) < len(report["settings"]), "one is whole; no more time is taken"
    assert report["evaluation"]["n_rows"] == 90


# Decide


def test_decide_writes_a_changed_model_and_leaves_the_old_one(
    run: Run, csv_file: Path, model_file: Path, tmp_path: Path
) -> None:
    before, new = model_file.read_bytes(), tmp_path / "new.tabcohort"
    ran = run("decide", model_file, "--threshold", "cost=10:1", "--coverage", "0.8", "--out", new)
    assert ran.status == 0
    assert ran.out == f"{run('info', new).out}\nmodel    {new}\n"
    assert re.search(r"threshold +yes from a probability of 0\.\d{4} on, for cost=10:1; above, each row", ran.out)
    assert "asked for: 80% of each class" in ran.out
    assert model_file.read_bytes() == before
    assert run("predict", new, csv_file).out == run(
        "predict", model_file, csv_file, "--threshold", "cost=10:1", "--coverage", "0.8"
    ).out  # fmt: skip


def test_what_is_not_decided_anew_stays(run: Run, model_file: Path, tmp_path: Path) -> None:
    new = tmp_path / "new.tabcohort"
    run("decide", model_file, "--threshold", "0.3", "--out", new)
    assert run("decide", new, "--coverage", "0.7", "--out", new).status == 0  # its own file may be written over
    decision = load(new).decision_rule
    assert (decision.aim, decision.threshold, decision.coverage) == ("0.3", 0.3, 0.7)
    run("decide", new, "--threshold", "f1", "--out", new)
    assert (load(new).decision_rule.objective, load(new).decision_rule.coverage) == ("f1", 0.7)


def test_decide_without_out_only_shows(run: Run, model_file: Path, tmp_path: Path) -> None:
    before = model_file.read_bytes()
    ran = run("decide", model_file, "--coverage", "0.7")
    assert ran.status == 0
    assert "asked for: 70% of each class" in ran.out
    assert ran.out.endswith("\nnot kept: add --out MODEL.tabcohort to keep this change\n")
    assert model_file.read_bytes() == before


def test_a_model_of_three_classes_has_no_threshold_but_sets(run: Run, csv_file: Path, flowers: Path) -> None:
    for command in (["decide", flowers], ["predict", flowers, csv_file]):
        ran = run(*command, "--threshold", "f1")
        assert (ran.status, ran.out) == (2, "")
        assert "a threshold is for two classes; there are 3" in ran.err
    assert run("decide", flowers, "--coverage", "0.7").status == 0


# Predict


def test_predictions_are_csv_and_equal_those_of_the_library(run: Run, csv_file: Path, model_file: Path) -> None:
    ran = run("predict", model_file, csv_file)
    assert ran.status == 0
    rows = list(csv.DictReader(io.StringIO(ran.out)))
    assert list(rows[0]) == ["id", "predicted", "probability no", "probability yes", "spread", "set"]
    frame, predictor = read_frame(csv_file), load(model_file)
    assert [row["id"] for row in rows] == frame["id"].to_list()
    assert [row["predicted"] for row in rows] == predictor.predict(frame).tolist()
    proba = [[float(row["probability no"]), float(row["probability yes"])] for row in rows]
    assert (np.array(proba) == predictor.predict_proba(frame)).all()
    assert [float(row["spread"]) for row in rows] == predictor.predict_uncertainty(frame).tolist()
    sets = [[is_in in row["set"].split("|") for is_in in ("no", "yes")] for row in rows]
    assert (np.array(sets) == predictor.predict_set(frame)).all()


def test_a_set_of_several_classes_has_bars_between_and_one_of_none_is_empty(
    run: Run, csv_file: Path, flowers: Path
) -> None:
    wide, narrow = (run("predict", flowers, csv_file, "--coverage", share).out for share in (0.98, 0.2))
    assert "may|no|yes" in [row["set"] for row in csv.DictReader(io.StringIO(wide))]
    assert "" in [row["set"] for row in csv.DictReader(io.StringIO(narrow))]


def test_another_threshold_or_coverage_changes_the_answers_and_not_the_file(
    run: Run, csv_file: Path, model_file: Path
) -> None:
    before = model_file.read_bytes()
    frame, predictor = read_frame(csv_file), load(model_file)
    for options, changed in (
        (["--threshold", "cost=20:1"], predictor.with_decision_rule("cost=20:1")),
        (["--threshold", "0.9"], predictor.with_decision_rule(0.9)),
        (["--coverage", "0.5"], predictor.with_decision_rule(None, 0.5)),
    ):
        rows = list(csv.DictReader(io.StringIO(run("predict", model_file, csv_file, *options).out)))
        assert [row["predicted"] for row in rows] == changed.predict(frame).tolist()
        sets = [[is_in in row["set"].split("|") for is_in in ("no", "yes")] for row in rows]
        assert (np.array(sets) == changed.predict_set(frame)).all()
        before_it = predictor.predict_set(frame) if "--coverage" in options else predictor.predict(frame)
        assert (before_it != (changed.predict_set(frame) if "--coverage" in options else changed.predict(frame))).any()
    assert model_file.read_bytes() == before


def test_rows_without_a_key_are_counted_from_one(run: Run, csv_file: Path, model_file: Path, tmp_path: Path) -> None:
    read_frame(csv_file).drop("id", "answer").head(3).write_csv(tmp_path / "new.csv")
    lines = run("predict", model_file, tmp_path / "new.csv").out.splitlines()
    assert lines[0] == "row,predicted,probability no,probability yes,spread,set"
    assert [line.split(",")[0] for line in lines[1:]] == ["1", "2", "3"]


def test_predictions_go_to_a_file(run: Run, csv_file: Path, model_file: Path, tmp_path: Path) -> None:
    shown = run("predict", model_file, csv_file).out
    ran = run("predict", model_file, csv_file, "--out", tmp_path / "answers.csv")
    assert (ran.status, ran.out) == (0, "")
    assert f"90 predictions in {tmp_path / 'answers.csv'}" in ran.err
    assert (tmp_path / "answers.csv").read_text(encoding="utf-8") == shown
    run("predict", model_file, csv_file, "--out", tmp_path / "answers.parquet")
    assert pl.read_parquet(tmp_path / "answers.parquet").write_csv() == shown
    assert {path.name for path in tmp_path.iterdir()} == {"answers.csv", "answers.parquet"}


def test_columns_in_any_order_and_others_beside_them_are_fine(
    run: Run, csv_file: Path, model_file: Path, tmp_path: Path
) -> None:
    frame = read_frame(csv_file)
    frame.select("x2", pl.lit("text").alias("remark"), "id", "x0", "x1").write_csv(tmp_path / "new.csv")
    ran = run("predict", model_file, tmp_path / "new.csv")
    assert ran.out == run("predict", model_file, csv_file).out
    assert "ignored, as the model was trained without them: remark\n" in ran.err


def test_no_rows_give_a_header(run: Run, csv_file: Path, model_file: Path, tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_text("x0,x1,x2\n", encoding="utf-8")
    ran = run("predict", model_file, tmp_path / "new.csv")
    assert (ran.status, ran.out) == (0, "row,predicted,probability no,probability yes,spread,set\n")


@pytest.mark.parametrize("key", ["predicted", "probability yes", "spread", "set"])
def test_a_key_called_like_a_column_of_the_answers_is_a_sentence(
    run: Run, csv_file: Path, quick: Path, tmp_path: Path, key: str
) -> None:
    read_frame(csv_file).rename({"id": key}).write_csv(tmp_path / "table.csv")
    model = tmp_path / "model"
    fit = [
        "fit",
        tmp_path / "table.csv",
        "--target",
        "answer",
        "--key",
        key,
        *SMALL,
        "--settings",
        quick,
        "--out",
        model,
    ]
    assert run(*fit).status == 0
    ran = run("predict", model, tmp_path / "table.csv")
    assert ran.status == 2
    assert f"the key {key!r} is called like a column of the answers; rename it" in ran.err


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
    assert f"sets            of classes hold the true one for {in_set.mean():.1%} of the rows" in ran.out


def test_rows_of_one_group_count_as_such_in_intervals(run: Run, tmp_path: Path) -> None:
    X, codes = make_rows(seed=5)
    site = pl.Series([f"s{i // 3}" for i in range(len(codes))])
    frame = pl.DataFrame(X, schema=["x0", "x1", "x2"]).with_columns(site=site, answer=pl.Series(codes))
    frame.write_csv(tmp_path / "table.csv")
    model = tmp_path / "site.tabcohort"
    ran = run("fit", tmp_path / "table.csv", "--target", "answer", "--group", "site", "--seeds", "1", "--out", model)
    told = "of 30 connected_groups (rows of one key or group): the intervals are as wide as that asks for"
    assert told in ran.out
    assert told in run("info", model).out
    assert told in run("evaluate", model, tmp_path / "table.csv").out
    assert "site" not in run("predict", model, tmp_path / "table.csv").err
    frame.drop("site").write_csv(tmp_path / "new.csv")
    assert "connected_groups" not in run("evaluate", model, tmp_path / "new.csv").out


def test_evaluate_on_the_training_table_says_so(run: Run, csv_file: Path, model_file: Path) -> None:
    ran = run("evaluate", model_file, csv_file)
    assert ran.status == 0
    assert "note: this is the table that the model was trained on: these figures flatter it" in ran.err


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
    """What cannot train can still be measured on: the metrics that it cannot tell are a dash."""
    frame = read_frame(csv_file)
    for n_yes in (0, 1):
        few = pl.concat([frame.filter(answer="no"), frame.filter(answer="yes").head(n_yes)])
        few.write_csv(tmp_path / "few.csv")
        ran = run("evaluate", model_file, tmp_path / "few.csv", "--json")
        assert ran.status == 0, ran.err
        assert json.loads(ran.out)["n_rows"] == 45 + n_yes


def test_info_shows_what_fit_showed(run: Run, csv_file: Path, quick: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    fitted = run(
        "fit", csv_file, "--target", "answer", "--key", "id", *SMALL, "--settings", quick, *QUICK, "--out", out
    )  # fmt: skip
    shown = run("info", out)
    assert shown.status == 0
    assert fitted.out.startswith(shown.out.rstrip("\n"))


# JSON


def test_each_command_prints_one_json_document(
    run: Run, csv_file: Path, model_file: Path, quick: Path, tmp_path: Path
) -> None:
    fit = [
        "fit",
        csv_file,
        "--target",
        "answer",
        "--key",
        "id",
        *SMALL,
        "--settings",
        quick,
        "--out",
        tmp_path / "model",
    ]
    answers = tmp_path / "answers.csv"
    commands: dict[str, list[Any]] = {
        "report": fit,
        "predictions": ["predict", model_file, csv_file],
        "metrics": ["evaluate", model_file, csv_file],
        "schema": ["info", model_file],
        "decision": ["decide", model_file, "--coverage", "0.8"],
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


# What a person can mend

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
    "a column of text": (["fit", "patients.csv", "--target", "answer"], "the column 'id' is text (row 1 holds 'p0')"),
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
    "settings that are no TOML": (["fit", "sample:iris", "--settings", "bad.toml"], "'bad.toml' is not valid TOML: "),
    "settings that are a folder": (["fit", "sample:iris", "--settings", "."], "'.' cannot be read"),
    "no such settings": (["fit", "sample:iris", "--settings", "none.toml"], "there is no settings file 'none.toml'"),
    "no grid": (["tune", "sample:iris", "--grid", "none.toml"], "there is no grid 'none.toml'"),
    "a grid that is no TOML": (["tune", "sample:iris", "--grid", "bad.toml"], "'bad.toml' is not valid TOML: "),
    "an unknown setting in a grid": (
        ["tune", "sample:iris", "--grid", "unknown.toml"],
        "there is no setting 'droput' (did you mean 'dropout'?); the README lists them all",
    ),
    "a setting out of range in a grid": (
        ["tune", "sample:iris", "--grid", "range.toml"],
        "the setting 'dropout' must be a number in [0, 1); it is 1.5",
    ),
    "no value in a grid": (
        ["tune", "sample:iris", "--grid", "no_value.toml"],
        "the grid gives no value for 'dropout'; give one, or leave the name out",
    ),
    "too many settings in a grid": (
        ["tune", "sample:iris", "--grid", "many.toml"],
        "the grid has 16,384 combinations, and at most 10,000 can be tried",
    ),
    "no settings to try": (
        ["tune", "sample:iris", "--settings", "0"],
        "the number of settings must be from 1 to 10,000; it is 0",
    ),
    "no base for tuning": (["tune", "sample:iris", "--base", "none.toml"], "there is no settings file 'none.toml'"),
    "a model over its grid": (
        ["tune", "sample:iris", "--grid", "range.toml", "--out", "range.toml"],
        "'range.toml' is what this command reads; write to another file",
    ),
    "two folds": (["fit", "sample:iris", "--folds", "2"], "the setting 'folds' must be 1, or 3 and more: rows train"),
    "two members": (["fit", "sample:iris", "--members", "2"], "a cohort has 1 network, or 3 and more: rows train"),
    "no threads": (["fit", "sample:iris", "--threads", "0"], "the setting 'threads' must be a whole number"),
    "no seconds": (["fit", "sample:iris", "--budget", "0"], "the setting 'budget_seconds' must be a number"),
    "all rows to be covered": (["fit", "sample:iris", "--coverage", "1"], "the setting 'coverage' must be a number in"),
    "a threshold for three classes": (
        ["fit", "sample:iris", "--threshold", "f1"],
        "a threshold is for two classes; there are 3",
    ),
    "a threshold for nothing": (
        ["fit", "sample:breast-cancer", "--threshold", "recall"],
        "the threshold must be a probability in (0, 1), 'balanced_accuracy', 'f1', 'sensitivity>=0.95'",
    ),
    "a group that is no column": (["fit", "sample:iris", "--group", "ward"], "no column 'ward'"),
    "a time that is no column": (["fit", "sample:iris", "--time", "day"], "no column 'day'"),
    "answers of a threshold for nothing": (
        ["predict", "MODEL", "patients.csv", "--threshold", "recall"],
        "the threshold must be a probability in (0, 1)",
    ),
    "nothing to decide": (["decide", "MODEL"], "say what to change: --threshold AIM, --coverage SHARE, or both"),
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
    "no such folder": (["fit", "sample:iris", "--out", "no/m"], "there is no folder 'no' to write to; make it first"),
    "a folder for a file": (["fit", "sample:iris", "--out", "."], "'.' is a folder; name a file"),
    "an empty table": (["fit", "empty.csv", "--target", "a"], "'empty.csv' is empty"),
    "a table of one class": (["fit", "one.csv", "--target", "y"], "the target 'y' must have at least two classes"),
    "a missing cell": (["fit", "hole.csv", "--target", "y"], "row 2, column 'a' is missing (NaN)"),
    "no such model": (["predict", "m.tabcohort", "patients.csv"], "there is no file 'm.tabcohort'"),
    "a table for a model": (["predict", "patients.csv", "patients.csv"], "'patients.csv' is not a tabcohort file"),
    "a model for a table": (["predict", "MODEL", "MODEL"], "is a tabcohort model, not a table"),
    "a lacking column": (
        ["predict", "MODEL", "one.csv"],
        "the table lacks 'x0', 'x1', 'x2': 3 columns are needed; it has a, y",
    ),
    "answers into no folder": (["predict", "MODEL", "patients.csv", "--out", "no/a.csv"], "there is no folder 'no'"),
    "evaluate without a target": (["evaluate", "MODEL", "one.csv"], "there is no column 'answer'"),
    "info of a table": (["info", "patients.csv"], "'patients.csv' is not a tabcohort file"),
    "info of nothing": (["info", "m.tabcohort"], "there is no file 'm.tabcohort'"),
    "info of a folder": (["info", "."], "'.' cannot be read: Is a directory"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_can_be_mended_is_one_sentence_and_status_2(
    run: Run, csv_file: Path, model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    files = {
        "patients.csv": csv_file.read_text(encoding="utf-8"),
        "empty.csv": "",
        "one.csv": "a,y\n1,u\n2,u\n",
        "hole.csv": "a,y\n1,u\n,u\n3,v\n4,v\n",
        "unknown.toml": "droput = 0.3\n",
        "range.toml": "dropout = 1.5\n",
        "bad.toml": "dropout 0.3\n",
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
    arguments, words = BAD[name]
    ran = run(*(str(model_file) if argument == "MODEL" else argument for argument in arguments))
    assert ran.status == 2
    assert ran.out == ""
    last = ran.err.splitlines()[-1]
    assert last.startswith("tabcohort: ")
    assert words in last
    assert "Traceback" not in ran.err
    assert {path.name for path in tmp_path.iterdir()} == set(files)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fitt"], "argument COMMAND: invalid choice: 'fitt'"),
        (["fit"], "the following arguments are required: TABLE; see tabcohort fit --help"),
        (["fit", "a.csv", "--model", "tree"], "argument --model: invalid choice: 'tree'"),
        (["fit", "a.csv", "--members", "3", "--seeds", "2"], "argument --seeds: not allowed with argument --members"),
        (["tune", "a.csv", "--grid", "g.toml", "--settings", "3"], "argument --settings: not allowed with argument"),
        (["predict", "m"], "the following arguments are required: TABLE; see tabcohort predict --help"),
    ],
)
def test_words_that_are_no_command_are_one_line_that_says_where_to_look(
    run: Run, arguments: list[str], words: str
) -> None:
    ran = run(*arguments)
    assert (ran.status, ran.out) == (2, "")
    assert ran.err.startswith(f"tabcohort: {words}")
    assert re.search(r"; see tabcohort( fit| predict| tune)? --help\n$", ran.err)
    assert ran.err.count("\n") == 1


def test_no_command_shows_the_help_as_an_error(run: Run) -> None:
    ran = run()
    assert (ran.status, ran.out) == (2, "")
    assert ran.err.startswith("usage: tabcohort")
    assert "Start here: tabcohort fit sample:breast-cancer" in ran.err


def test_a_model_file_with_a_part_missing_is_a_sentence(run: Run, model_file: Path, tmp_path: Path) -> None:
    from tabcohort.container import read_container, write_container

    arrays, document = read_container(model_file, "model")
    del document["report"]
    write_container(tmp_path / "model", "model", arrays, document)
    ran = run("info", tmp_path / "model")
    assert ran.status == 2
    assert "is not a valid model file" in ran.err


def test_a_file_that_cannot_be_written_is_a_sentence_and_leaves_nothing(
    run: Run, csv_file: Path, model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, target: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    ran = run("predict", model_file, csv_file, "--out", tmp_path / "answers.csv")
    assert ran.status == 2
    assert "answers.csv' cannot be written: " in ran.err
    assert not list(tmp_path.iterdir())


# Signals and pipes


def start(*arguments: object) -> subprocess.Popen[str]:
    """Start a command in a process of its own, where Ctrl-C works however the tests were started."""
    code = (
        "import signal, sys\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from tabcohort.cli import main\nsys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def interrupted(*arguments: object) -> Ran:
    """Run a command, and press Ctrl-C once it says that its networks train."""
    with start(*arguments) as process:
        assert process.stderr is not None
        watchdog = threading.Timer(30, process.kill)  # rather than wait for ever
        watchdog.start()
        for line in process.stderr:
            if re.match(r"\d+/\d+ networks .*trained", line):
                process.send_signal(signal.SIGINT)
                break
        out, err = process.communicate(timeout=60)
        watchdog.cancel()
    return Ran(process.returncode, out, err)


@pytest.fixture
def long(tmp_path: Path) -> list[object]:
    """A table and settings with which training never ends."""
    X, codes = make_rows(n_rows=3000)
    pl.DataFrame(X, schema=["a", "b", "c"]).with_columns(y=pl.Series(codes)).write_csv(tmp_path / "table.csv")
    settings = "max_epochs = 1000000\npatience = 1000000\nhidden = [16]\n"
    (tmp_path / "long.toml").write_text(settings, encoding="utf-8")
    return [tmp_path / "table.csv", "--target", "y", "--threads", "3"]


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent otherwise there")
def test_ctrl_c_keeps_the_best_weights_so_far(tmp_path: Path, long: list[object]) -> None:
    model = tmp_path / "model"
    ran = interrupted("fit", *long, *SMALL, "--settings", tmp_path / "long.toml", "--out", model)
    assert ran.status == 130, ran.err
    assert "Traceback" not in ran.err
    assert "; it was interrupted, and the best weights so far are kept" in ran.out
    assert "note: interrupted: 3 of 3 members have weights, 0 of them were trained to their end" in ran.err
    predictor = load(model)
    assert isinstance(predictor, Predictor)
    assert predictor.report.stop_reason == "interrupted"
    assert {member.stop_reason for member in predictor.report.members} == {"interrupted"}
    assert predictor.predict(make_rows(n_rows=3000)[0]).shape == (3000,)


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent otherwise there")
def test_ctrl_c_ends_tuning_with_a_model_of_what_is_there(tmp_path: Path, long: list[object]) -> None:
    (tmp_path / "grid.toml").write_text("learning_rate = [0.001, 0.01]\n", encoding="utf-8")
    model = tmp_path / "model"
    grid = ["--base", tmp_path / "long.toml", "--grid", tmp_path / "grid.toml"]
    ran = interrupted("tune", *long, *SMALL, *grid, "--out", model)
    assert ran.status == 130, ran.err
    assert "Traceback" not in ran.err
    assert "; it was interrupted, and the best weights so far are kept" in ran.out
    assert "note: interrupted: " in ran.err
    assert load(model).predict(make_rows(n_rows=3000)[0]).shape == (3000,)


def test_ctrl_c_before_the_first_epoch_is_one_line(
    run: Run, csv_file: Path, quick: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tabcohort.engines.compiled.engine.CompiledEngine.run_epochs", interrupt)
    ran = run("fit", csv_file, "--target", "answer", "--drop", "id", *SMALL, "--settings", quick)
    assert ran.status == 130
    assert ran.err.splitlines()[-1] == "tabcohort: interrupted"


def test_a_reader_that_goes_away_is_no_error(model_file: Path, tmp_path: Path) -> None:
    sample = load_sample("iris").frame.drop("target")
    many = pl.concat([sample] * 400).rename(dict(zip(sample.columns, ["x0", "x1", "x2", "more"], strict=True)))
    many.write_csv(tmp_path / "many.csv")
    with start("predict", model_file, tmp_path / "many.csv") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        err = process.stderr.read()
        assert process.wait(timeout=60) == 0
    assert "Traceback" not in err
    assert "BrokenPipe" not in err


# Files that must not be lost, and keys


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
            continue  # which is no picture, and refused for that
        words = "is what this command reads; write" if option != "--checkpoint" else "must be a folder, for a file of"
        assert f"{str(read)!r} {words}" in ran.err
        assert read.read_bytes() == before


def test_predict_refuses_to_write_over_what_it_reads(run: Run, csv_file: Path, model_file: Path) -> None:
    for read in (csv_file, model_file):
        before = read.read_bytes()
        ran = run("predict", model_file, csv_file, "--out", read)
        assert ran.status == 2
        assert f"{str(read)!r} is what this command reads; write to another file" in ran.err
        assert read.read_bytes() == before


@pytest.mark.parametrize("name", ["answers.txt", "answers", "answers.xlsx"])
def test_answers_are_written_as_csv_or_parquet_only(
    run: Run, csv_file: Path, model_file: Path, tmp_path: Path, name: str
) -> None:
    ran = run("predict", model_file, csv_file, "--out", tmp_path / name)
    assert ran.status == 2
    assert f"{name}' must end in .csv or .parquet" in ran.err
    assert not list(tmp_path.iterdir())


def test_keys_of_dates_and_of_numbers_that_are_missing_fit_into_json(
    run: Run, csv_file: Path, model_file: Path, tmp_path: Path
) -> None:
    new = read_frame(csv_file).head(3)
    days = pl.Series("id", ["2026-01-02", "2026-01-03", None]).str.to_date()
    new.with_columns(days).write_parquet(tmp_path / "dates.parquet")
    answers = json.loads(run("predict", model_file, tmp_path / "dates.parquet", "--json").out)["predictions"]
    assert [answer["id"] for answer in answers] == ["2026-01-02", "2026-01-03", None]
    new.with_columns(pl.Series("id", [1.5, float("nan"), 3.0])).write_parquet(tmp_path / "numbers.parquet")
    ran = run("predict", model_file, tmp_path / "numbers.parquet", "--json")
    assert [answer["id"] for answer in json.loads(ran.out)["predictions"]] == [1.5, None, 3.0]
    assert "NaN" not in ran.out


def test_a_row_far_from_all_that_trained_is_noted(run: Run, csv_file: Path, model_file: Path, tmp_path: Path) -> None:
    assert "standard deviations" not in run("predict", model_file, csv_file).err
    new = read_frame(csv_file)
    cells = new["x1"].to_list()
    cells[4] = "1000"
    new.with_columns(pl.Series("x1", cells)).write_csv(tmp_path / "new.csv")
    ran = run("predict", model_file, tmp_path / "new.csv")
    assert ran.status == 0
    told = r"note: row 5, column 'x1' holds 1000\D.* standard deviations from the .*; the answer for it"
    assert re.search(told + " means little", ran.err)
    assert len(ran.out.splitlines()) == 91
    cells[2] = cells[7] = "900"
    new.with_columns(pl.Series("x1", cells)).write_csv(tmp_path / "new.csv")
    ran = run("predict", model_file, tmp_path / "new.csv")
    assert re.search(told + " and for 2 other rows far from it means little", ran.err)


def test_a_key_that_repeats_is_noted(run: Run, csv_file: Path, quick: Path, tmp_path: Path) -> None:
    visits = read_frame(csv_file).with_columns(pl.Series("id", [f"p{i // 3}" for i in range(90)]))
    visits.write_csv(tmp_path / "visits.csv")
    ran = run("fit", tmp_path / "visits.csv", "--target", "answer", "--key", "id", *SMALL, "--settings", quick, *QUICK)
    assert ran.status == 0
    assert "note: 90 rows have 30 different values of id; rows of one value get one role" in ran.err


# What would be lost, or be done without a word


def test_two_outputs_of_one_name_are_refused(run: Run, csv_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "model.png"
    ran = run("fit", csv_file, "--target", "answer", "--out", out, "--curves", out)
    assert ran.status == 2
    assert "model.png' is named twice, and one would overwrite the other; name different files" in ran.err
    assert not out.exists()
    ran = run("fit", csv_file, "--target", "answer", "--out", out, "--checkpoint", out)
    assert "is what this command reads; write to another file" in ran.err


@pytest.mark.parametrize("option", ["--target", "--time", "--seed", "--threshold"])
def test_an_option_that_has_one_value_is_not_taken_twice(
    option: str, csv_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["fit", str(csv_file), option, "1", option, "2"])
    assert ended.value.code == 2
    assert f"argument {option}: it may be given once only" in capsys.readouterr().err


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_an_interrupted_training_leaves_the_model_that_is_there(
    run: Run, csv_file: Path, model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "kept.tabcohort"
    out.write_bytes(model_file.read_bytes())
    monkeypatch.setattr("tabcohort.cohort.runner.SECONDS_BETWEEN", 0.0)
    monkeypatch.setattr("tabcohort.reporting.terminal.ProgressDisplay.__call__", interrupt)
    ran = run("fit", csv_file, "--target", "answer", "--key", "id", "--out", out, *SMALL)
    assert ran.status == 130
    assert out.read_bytes() == model_file.read_bytes()
    assert f"{out} is left as it was; what was interrupted is in" in ran.err
    assert load(tmp_path / "kept.interrupted.tabcohort").report.stop_reason == "interrupted"


def test_a_number_of_members_that_is_no_product_is_told(run: Run, csv_file: Path) -> None:
    ran = run("fit", csv_file, "--target", "answer", "--key", "id", "--folds", "3", "--members", "4", *QUICK)
    assert "note: 3 folds x 2 seeds: 6 networks of each settings" in ran.err


def test_a_table_without_the_key_of_the_model_is_told_of_where_keys_tied_rows(run: Run, tmp_path: Path) -> None:
    X, codes = make_rows(seed=5)
    frame = pl.DataFrame(X, schema=["x0", "x1", "x2"])
    frame = frame.with_columns(site=pl.Series([f"s{i // 3}" for i in range(len(codes))]), answer=pl.Series(codes))
    frame.write_csv(tmp_path / "table.csv")
    frame.drop("site").write_csv(tmp_path / "new.csv")
    model = tmp_path / "site.tabcohort"
    fit = ["fit", tmp_path / "table.csv", "--target", "answer", "--group", "site", "--out", model, *SMALL, *QUICK]
    assert run(*fit).status == 0
    words = "note: the table has no 'site', which tied rows that may be alike where the model was trained"
    assert words in run("evaluate", model, tmp_path / "new.csv").err
    assert words not in run("evaluate", model, tmp_path / "table.csv").err


def test_a_set_is_a_list_in_json(run: Run, csv_file: Path, model_file: Path) -> None:
    answers = json.loads(run("predict", model_file, csv_file, "--json").out)["predictions"]
    assert {label for each in answers for label in each["set"]} <= {"no", "yes"}
    assert all(isinstance(each["set"], list) for each in answers)
    assert json.loads(run("evaluate", model_file, csv_file, "--json").out)["classes"] == ["no", "yes"]
