"""`compare`, from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers import fit_quickly
from shell import Run

from tabcohort import Table, read_frame, save


@pytest.fixture(scope="module")
def other_file(csv_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another model of the table of `model_file`."""
    path = tmp_path_factory.mktemp("other") / "other.tabcohort"
    table = Table.from_frame(read_frame(csv_file), "answer", keys=["id"])
    save(fit_quickly(table, model="logistic", learning_rate=1e-5), path)
    return path


def test_models_are_compared_on_their_out_of_fold_predictions(run: Run, model_file: Path, other_file: Path) -> None:
    ran = run("compare", model_file, other_file)
    assert ran.status == 0
    lines = ran.out.splitlines()
    assert lines[0] == "compared on 90 rows, each predicted by members that never saw it"
    assert lines[2] == f"baseline {model_file}, model {other_file}"
    assert lines[3].split() == ["metric", "baseline", "model", "difference", "(95", "%", "interval)"]
    assert lines[-2].startswith(f"{other_file} has a higher log loss than {model_file}, by 0.")
    assert ran.err == ""


def test_a_comparison_on_a_table_says_which_and_warns_of_models_that_know_it(
    run: Run, model_file: Path, other_file: Path, csv_file: Path
) -> None:
    ran = run("compare", model_file, other_file, "--table", csv_file)
    assert ran.status == 0
    assert ran.out.startswith(f"compared on 90 rows of {csv_file}\n")
    for path in (model_file, other_file):
        assert f"note: {path} was trained on this table" in ran.err


def test_a_comparison_is_one_json_document(run: Run, model_file: Path, other_file: Path) -> None:
    facts = json.loads(run("compare", model_file, other_file, "--json").out)
    assert facts["models"] == [str(model_file), str(other_file)]
    assert facts["comparisons"][0]["told_apart"] is True


def test_models_of_different_tables_are_a_user_error_that_says_what_to_do(
    run: Run, model_file: Path, flowers: Path
) -> None:
    ran = run("compare", model_file, flowers)
    assert ran.status == 2
    assert "trained on different tables" in ran.err
    assert "(--table TABLE)" in ran.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{model}"], "the following arguments are required: MODEL"),
        (["{model}", "{model}"], "a model is named twice"),
        (["{model}", "missing.tabcohort"], "missing.tabcohort"),
        (["{model}", "{other}", "--query", "SELECT 1"], "--query says what to read from the database that --table"),
    ],
)
def test_what_cannot_be_compared_is_a_user_error(
    run: Run, model_file: Path, other_file: Path, arguments: list[str], words: str
) -> None:
    names = {"{model}": str(model_file), "{other}": str(other_file)}
    ran = run("compare", *(names.get(argument, argument) for argument in arguments))
    assert ran.status == 2
    assert words in ran.err
    assert "Traceback" not in ran.err
