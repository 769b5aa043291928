"""The entry point: exit statuses, messages on standard error, Ctrl-C, closed pipes, and what is imported."""

from __future__ import annotations

import importlib
import os
import re
import signal
import subprocess
import sys
import threading
import tomllib
import warnings
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from helpers import make_rows
from shell import QUICK, SMALL, Ran, Run, python, start

from tabcohort import Predictor, __version__, load, load_sample, read_frame
from tabcohort.cli.main import main, program
from tabcohort.cohort.progress import RunProgress
from tabcohort.container import read_container, write_container
from tabcohort.errors import TabcohortWarning

# What is imported


def test_nothing_heavy_is_imported_before_it_is_needed() -> None:
    """That the command line's help imports nothing heavy either is for `test_parser.py`."""
    code = "import tabcohort, sys\ndir(tabcohort)\n"
    ran = python(f"{code}print(sorted({{'torch', 'sklearn', 'polars', 'numpy'}} & set(sys.modules)))")
    assert ran.stdout == "[]\n"


def test_info_does_not_import_torch(model_file: Path) -> None:
    code = f"from tabcohort.cli.main import main\nimport sys\nassert main(['info', {str(model_file)!r}]) == 0"
    ran = python(f"{code}\nprint(sorted({{'torch', 'sklearn', 'polars'}} & set(sys.modules)))")
    assert "logistic predicts answer from 3 features" in ran.stdout
    assert ran.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("module", ["tabcohort", "tabcohort.cli"])
def test_the_module_runs_the_same_program_as_the_script(module: str) -> None:
    command = [sys.executable, "-m", module]
    ran = subprocess.run([*command, "--version"], capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stdout) == (0, f"tabcohort {__version__}\n")
    ran = subprocess.run([*command, "info", "nothing"], capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stdout, ran.stderr) == (2, "", "tabcohort: there is no file 'nothing'\n")
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    place, name = project["scripts"]["tabcohort"].split(":")
    assert getattr(importlib.import_module(place), name) is program


# Status and messages


def test_no_command_shows_the_help_as_an_error(run: Run) -> None:
    ran = run()
    assert (ran.status, ran.out) == (2, "")
    assert ran.err.lower().startswith("usage: tabcohort")
    assert "Start here: tabcohort fit sample:breast-cancer" in ran.err


def test_rows_without_a_target_are_a_note(run: Run, csv_file: Path, quick: Path, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text(csv_file.read_text(encoding="utf-8") + "p90,1,2,3,\np91,1,2,3,\n", encoding="utf-8")
    ran = run("fit", table, "--target", "answer", "--key", "id", *SMALL, "--settings", quick)
    assert ran.status == 0
    assert "note: 2 rows with no value in 'answer' are left out\n" in ran.err


def test_warnings_of_others_keep_their_category(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def warns(options: Any) -> int:
        warnings.warn("something is old", DeprecationWarning, stacklevel=1)
        warnings.warn("something is odd", TabcohortWarning, stacklevel=1)
        return 0

    monkeypatch.setattr("tabcohort.cli.parser.COMMANDS", {"info": command_that(warns)})
    ran = run("info", "model")
    assert (ran.status, ran.err) == (0, "DeprecationWarning: something is old\nnote: something is odd\n")


def command_that(function: Any) -> Any:
    """Return the command `info` with another function to run."""
    from dataclasses import replace

    from tabcohort.cli.parser import COMMANDS

    return replace(COMMANDS["info"], run=function)


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (KeyboardInterrupt(), 130, "tabcohort: interrupted\n"),
        (OSError("the disk is gone"), None, "the disk is gone"),  # not for a person to fix: a traceback is right
    ],
)
def test_errors_that_are_no_user_errors(
    error: BaseException, status: int | None, message: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(options: Any) -> int:
        raise error

    monkeypatch.setattr("tabcohort.cli.parser.COMMANDS", {"info": command_that(fails)})
    if status is None:
        with pytest.raises(type(error), match=message):
            run("info", "model")
    else:
        ran = run("info", "model")
        assert (ran.status, ran.out, ran.err) == (status, "", message)


def test_a_table_before_the_model_is_a_user_error_that_says_the_order(
    run: Run, model_file: Path, csv_file: Path
) -> None:
    for command in ("predict", "evaluate", "report"):
        ran = run(command, csv_file, *(("--table",) if command == "report" else ()), model_file)
        assert (ran.status, ran.err.count("\n")) == (2, 1)
        assert ran.err.endswith(f"{str(csv_file)!r} is not a tabcohort file; the model comes before the table\n")
    assert "the model comes" not in run("predict", csv_file, csv_file).err


def test_a_model_file_with_a_part_missing_is_a_user_error(run: Run, model_file: Path, tmp_path: Path) -> None:
    arrays, document = read_container(model_file, "model")
    for name in ("schema", "report"):
        part = {key: value for key, value in document.items() if key != name}
        write_container(tmp_path / name, "model", arrays, part)
    for ran in (run("info", tmp_path / "schema"), run("evaluate", tmp_path / "report", "sample:iris")):
        assert ran.status == 2
        assert "is not a valid model file" in ran.err
        assert ran.err.count("\n") == 1


def test_a_file_that_cannot_be_written_is_a_user_error_and_leaves_nothing(
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


def interrupted(*arguments: object) -> Ran:
    """Run a command, and press Ctrl-C once it says that its networks train."""
    with start(*arguments) as process:
        assert process.stderr is not None
        watchdog = threading.Timer(30, process.kill)  # rather than wait for ever
        watchdog.start()
        for line in process.stderr:
            if re.match(r"\d+/\d+ members .*trained", line):
                process.send_signal(signal.SIGINT)
                break
        out, err = process.communicate(timeout=60)
        watchdog.cancel()
    return Ran(process.returncode, out, err)


@pytest.fixture
def long(tmp_path: Path) -> list[object]:
    """A table and options with which training never ends."""
    X, codes = make_rows(n_rows=3000)
    pl.DataFrame(X, schema=["a", "b", "c"]).with_columns(y=pl.Series(codes)).write_csv(tmp_path / "table.csv")
    settings = "max_epochs = 1000000\npatience = 1000000\nhidden = [16]\n"
    (tmp_path / "long.toml").write_text(settings, encoding="utf-8")
    return [tmp_path / "table.csv", "--target", "y", "--threads", "3", "--settings", tmp_path / "long.toml"]


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent otherwise there")
def test_ctrl_c_keeps_the_best_weights_so_far(tmp_path: Path, long: list[object]) -> None:
    model = tmp_path / "model"
    ran = interrupted("fit", *long, *SMALL, "--out", model)
    assert ran.status == 130, ran.err
    assert "Traceback" not in ran.err
    assert re.search(r"; it was interrupted( \(.*\))?; the best weights so far are kept\n", ran.out)
    assert "note: interrupted: 3 of 3 members have weights (0 trained to their end)" in ran.err
    predictor = load(model)
    assert isinstance(predictor, Predictor)
    assert predictor.report.stop_reason == "interrupted"
    assert {member.stop_reason for member in predictor.report.members} == {"interrupted"}
    assert predictor.predict(make_rows(n_rows=3000)[0]).shape == (3000,)


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent otherwise there")
def test_ctrl_c_ends_tuning_with_a_model_of_what_is_there(tmp_path: Path, long: list[object]) -> None:
    (tmp_path / "grid.toml").write_text("learning_rate = [0.001, 0.01]\n", encoding="utf-8")
    model = tmp_path / "model"
    ran = interrupted("tune", *long, *SMALL, "--grid", tmp_path / "grid.toml", "--out", model)
    assert ran.status == 130, ran.err
    assert "Traceback" not in ran.err
    assert re.search(r"; it was interrupted( \(.*\))?; the best weights so far are kept\n", ran.out)
    assert "note: interrupted: " in ran.err
    assert load(model).predict(make_rows(n_rows=3000)[0]).shape == (3000,)


def press_ctrl_c(*_: object) -> None:
    raise KeyboardInterrupt


def press_ctrl_c_after_an_epoch(_: object, progress: RunProgress) -> None:
    if progress.n_epochs:
        raise KeyboardInterrupt


def test_ctrl_c_before_the_first_epoch_is_one_line(
    run: Run, csv_file: Path, quick: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tabcohort.engines.compiled.engine.CompiledEngine.run_epoch", press_ctrl_c)
    ran = run("fit", csv_file, "--target", "answer", "--drop", "id", *SMALL, "--settings", quick)
    assert ran.status == 130
    assert ran.err.splitlines()[-1] == "tabcohort: interrupted"


def test_an_interrupted_training_leaves_the_model_that_is_there(
    run: Run, csv_file: Path, model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "kept.tabcohort"
    out.write_bytes(model_file.read_bytes())
    monkeypatch.setattr("tabcohort.cohort.runner.SECONDS_BETWEEN", 0.0)
    monkeypatch.setattr("tabcohort.reporting.progress_displays.ProgressDisplay.__call__", press_ctrl_c_after_an_epoch)
    ran = run("fit", csv_file, "--target", "answer", "--key", "id", "--out", out, *SMALL)
    assert ran.status == 130
    assert out.read_bytes() == model_file.read_bytes()
    other = tmp_path / "kept.interrupted.tabcohort"
    assert f"{out} is unchanged; the interrupted model is in {other}" in ran.err
    assert load(other).report.stop_reason == "interrupted"


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


# Warnings that concern a whole command


def test_a_row_far_from_all_that_trained_is_noted(run: Run, csv_file: Path, model_file: Path, tmp_path: Path) -> None:
    assert "standard deviations" not in run("predict", model_file, csv_file).err
    new = read_frame(csv_file)
    cells = new["x1"].to_list()
    cells[4] = "1000"
    new.with_columns(pl.Series("x1", cells)).write_csv(tmp_path / "new.csv")
    ran = run("predict", model_file, tmp_path / "new.csv")
    assert ran.status == 0
    note = (
        r"note: row 5, column 'x1' holds 1000\D.* standard deviations from the training rows' mean \(a wrong unit\?\); "
        "do not rely on the prediction for it"
    )
    assert re.search(note + "$", ran.err, re.MULTILINE)
    assert len(ran.out.splitlines()) == 91
    cells[2] = cells[7] = "900"
    new.with_columns(pl.Series("x1", cells)).write_csv(tmp_path / "new.csv")
    ran = run("predict", model_file, tmp_path / "new.csv")
    assert re.search(note + " and for 2 other rows like it$", ran.err, re.MULTILINE)


def test_a_key_that_repeats_is_noted(run: Run, csv_file: Path, quick: Path, tmp_path: Path) -> None:
    visits = read_frame(csv_file).with_columns(pl.Series("id", [f"p{i // 3}" for i in range(90)]))
    visits.write_csv(tmp_path / "visits.csv")
    ran = run("fit", tmp_path / "visits.csv", "--target", "answer", "--key", "id", *SMALL, "--settings", quick, *QUICK)
    assert ran.status == 0
    assert "note: 90 rows have 30 different values of id; rows of one value stay together\n" in ran.err


def test_main_takes_the_arguments_of_the_process_when_it_is_given_none(
    model_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["tabcohort", "info", str(model_file)])
    assert main() == 0
    assert "logistic predicts answer from 3 features" in capsys.readouterr().out
