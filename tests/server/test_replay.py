"""A log is repeated to the bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from asking import Server, record_of

from tabcohort import Predictor
from tabcohort.container import fingerprint_of
from tabcohort.server.prediction_log import LogError, LogPolicy
from tabcohort.server.replay import replay


def log_of(server: Server, visits: pl.DataFrame, mixed: Predictor, policy: LogPolicy) -> Path:
    """Ask for predictions of all rows, as records and as CSV, and return the log."""
    client = server("mixed", log=policy)
    names = mixed.schema.features
    records = [record_of(visits, row, names) for row in range(len(visits))]
    for record in records[:5]:
        assert client.post("/v1/models/mixed/predict", json={"records": [record]}).status_code == 200
    assert client.post("/v1/models/mixed/predict", json={"records": records}).status_code == 200
    headers = {"content-type": "text/csv"}
    assert client.post("/v1/models/mixed/predict", content=visits.write_csv(), headers=headers).status_code == 200
    return policy.folder


def test_every_answer_with_its_record_is_reproduced(
    server: Server, visits: pl.DataFrame, mixed: Predictor, files: Path, tmp_path: Path
) -> None:
    folder = log_of(server, visits, mixed, LogPolicy(tmp_path / "log", keeps_records=True))
    facts = replay(folder, mixed, fingerprint_of(files / "mixed.tabcohort"))
    assert facts == {
        "n_equal": 125, "n_different": 0, "n_other_models": 0, "n_without_record": 0, "n_damaged": 0, "different": [],
    }  # fmt: skip


def test_records_are_looked_up_by_hash_where_the_log_has_none(
    server: Server, visits: pl.DataFrame, mixed: Predictor, files: Path, tmp_path: Path
) -> None:
    folder = log_of(server, visits, mixed, LogPolicy(tmp_path / "log"))
    text = "".join(path.read_text(encoding="utf-8") for path in folder.glob("*.jsonl"))
    assert "record" not in text
    assert "Oslo" not in text
    fingerprint = fingerprint_of(files / "mixed.tabcohort")
    assert replay(folder, mixed, fingerprint)["n_without_record"] == 125
    assert replay(folder, mixed, fingerprint, visits)["n_equal"] == 125
    assert replay(folder, mixed, fingerprint, visits[:30])["n_without_record"] > 0
    (folder / "hash.key").unlink()
    with pytest.raises(LogError, match=r"the key of the hashes in .* cannot be read"):
        replay(folder, mixed, fingerprint, visits)


def test_another_answer_model_or_line_is_counted(
    server: Server, visits: pl.DataFrame, mixed: Predictor, files: Path, tmp_path: Path
) -> None:
    folder = log_of(server, visits, mixed, LogPolicy(tmp_path / "log", keeps_records=True))
    (path,) = folder.glob("*.jsonl")
    lines: list[Any] = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    lines[3]["answer"]["spread"] += 1e-16 if lines[3]["answer"]["spread"] < 0.1 else 1e-15
    lines[4]["fingerprint"] = "another"
    del lines[5]["record"], lines[5]["hash"]
    lines[6]["record"]["size"] = "large"
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines) + "{", encoding="utf-8")
    facts = replay(folder, mixed, fingerprint_of(files / "mixed.tabcohort"))
    assert (facts["n_equal"], facts["n_different"], facts["n_other_models"]) == (121, 1, 1)
    assert (facts["n_without_record"], facts["n_damaged"]) == (2, 1)
    assert facts["different"] == [{name: lines[3][name] for name in ("time", "request", "row")}]
