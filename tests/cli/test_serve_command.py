"""The commands `serve` and `replay`."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from shell import Run

from tabcohort import load
from tabcohort.container import fingerprint_of
from tabcohort.server.prediction_log import LogPolicy, PredictionLog, entries_of

RECORD = {"x0": 1.0, "x1": 2.0, "x2": 3.0}


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The plans that would have been served."""
    plans: list[Any] = []

    def serve(plan: Any, listening: Any, on_ready: Any) -> int:
        listening.close()
        on_ready()
        plans.append(plan)
        return 0

    monkeypatch.setattr("tabcohort.server.processes.serve", serve)
    return plans


def test_the_options_say_what_is_served(
    run: Run, model_file: Path, csv_file: Path, served: list[Any], tmp_path: Path
) -> None:
    keys = tmp_path / "keys"
    keys.write_text("a-key-of-enough-characters\n", encoding="utf-8")
    ran = run(
        "serve", model_file, f"new={model_file}", "--port", 0, "--workers", 2, "--background", csv_file, "--shadow",
        f"new={model_file}", "--api-key-file", keys, "--allow-host", "models.clinic", "--log", tmp_path / "log",
        "--log-records", "--log-sync", "always",
    )  # fmt: skip
    assert ran.status == 0, ran.err
    assert "ready    http://127.0.0.1:" in ran.err
    (plan,) = served
    assert list(plan.store.models) == ["patients", "new"]
    assert plan.store.shadow_of("new") is not None
    assert plan.store.get("new").explainer is not None
    assert (plan.options.n_workers, plan.options.allowed_hosts) == (2, ("models.clinic",))
    assert plan.options.keys == ("a-key-of-enough-characters",)
    assert plan.log == LogPolicy(tmp_path / "log", keeps_records=True, sync="always")


def test_each_model_may_have_rows_of_its_own_to_compare_with(
    run: Run, model_file: Path, csv_file: Path, served: list[Any]
) -> None:
    ran = run("serve", model_file, f"new={model_file}", "--port", 0, "--background", f"new={csv_file}")
    assert ran.status == 0, ran.err
    (plan,) = served
    assert [model.can_explain for model in plan.store.models.values()] == [False, True]
    ran = run(
        "serve", model_file, f"new={model_file}", "--port", 0, "--background", csv_file, "--background",
        "new=sample:wine",
    )  # fmt: skip
    assert ran.status == 2
    assert "sample:wine has the columns of no model" in ran.err
    ran = run("serve", model_file, "--port", 0, "--background", csv_file, "--background", "sample:wine")
    assert ran.status == 2
    assert "--background is given twice for all models" in ran.err
    ran = run("serve", model_file, "--port", 0, "--background", f"other={csv_file}")
    assert ran.status == 2
    assert "--background: there is no model 'other'; there are patients" in ran.err


def test_where_it_is_served_is_a_json_document(run: Run, model_file: Path, served: list[Any]) -> None:
    ran = run("serve", model_file, "--port", 0, "--json")
    assert ran.status == 0
    document = json.loads(ran.out)
    assert document["address"].startswith("http://127.0.0.1:")
    assert list(document["models"]) == ["patients"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--host", "0.0.0.0"], "give a key with --api-key-file FILE, or say --no-auth"),
        (["--log-records"], "go with --log FOLDER"),
        (["--shadow", "x"], "--shadow is NAME=MODEL"),
        (["--port", "99999"], "the port must be"),
        (["--api-key-file", "nothing"], "cannot be read"),
        (["--workers", "0"], "at least 1 worker"),
    ],
)
def test_what_cannot_be_served_is_a_sentence(
    options: list[str], words: str, run: Run, model_file: Path, served: list[Any]
) -> None:
    ran = run("serve", model_file, *options)
    assert ran.status == 2
    assert words in ran.err
    assert not served


def test_rows_that_no_model_can_use_and_a_log_that_cannot_be_written_are_said_before_it_begins(
    run: Run, model_file: Path, served: list[Any], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    for options, words in (
        (["--background", "nothing.csv"], "there is no file 'nothing.csv'"),
        (["--background", "sample:wine"], "sample:wine has the columns of no model"),
        (["--log", tmp_path / "file"], "file' cannot be used: File exists"),
    ):
        ran = run("serve", model_file, *options, "--port", 0)
        assert ran.status == 2
        assert words in ran.err
        assert len(ran.err.splitlines()) <= 2
        assert "ready" not in ran.err
    assert not served


def test_a_missing_package_is_named_with_the_extra(run: Run, model_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "uvicorn" else find(name))
    ran = run("serve", model_file)
    assert ran.status == 2
    assert "a server needs uvicorn: pip install 'tabcohort[serve]'" in ran.err


def written_log(model_file: Path, folder: Path, keeps_records: bool) -> None:
    """Write the log of three predictions, of which the last one is another's."""
    model, log = load(model_file), PredictionLog(LogPolicy(folder))
    from tabcohort.data.inputs import row_inputs

    prediction = model.predict_row(RECORD)
    digest = log.hash_of(row_inputs(RECORD, model.schema.columns)[0])
    entries = entries_of("r", "patients", fingerprint_of(model_file), [prediction] * 2, [digest] * 2)
    for entry in entries if keeps_records else ():
        entry["record"] = RECORD
    log.append([*entries, {**entries[0], "fingerprint": "another"}])
    log.close()


def test_replay_says_that_answers_are_equal(run: Run, model_file: Path, tmp_path: Path) -> None:
    written_log(model_file, tmp_path / "log", keeps_records=True)
    ran = run("replay", tmp_path / "log", model_file)
    assert ran.status == 0
    assert "equal      2 answers, to the bit" in ran.out
    assert "1 of other models" in ran.out


def test_replay_finds_records_in_a_table_and_says_what_differs(run: Run, model_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "log"
    written_log(model_file, folder, keeps_records=False)
    assert "give the records with --table TABLE" in run("replay", folder, model_file).err
    table = tmp_path / "records.csv"
    table.write_text("x0,x1,x2\n1,2,3\n5,6,7\n", encoding="utf-8")
    facts = json.loads(run("replay", folder, model_file, "--table", table, "--json").out)
    assert (facts["n_equal"], facts["n_without_record"]) == (2, 0)
    (path,) = folder.glob("*.jsonl")
    path.write_text(path.read_text(encoding="utf-8").replace('"spread": 0', '"spread": 1', 1), encoding="utf-8")
    ran = run("replay", folder, model_file, "--table", table)
    assert ran.status == 1
    assert "different  1" in ran.out
    assert "request r, row 0" in ran.out


def test_a_log_that_is_not_there_is_a_sentence(run: Run, model_file: Path, tmp_path: Path) -> None:
    ran = run("replay", tmp_path, model_file)
    assert (ran.status, "there is no log of predictions" in ran.err) == (2, True)
