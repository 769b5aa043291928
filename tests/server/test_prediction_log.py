"""The log of predictions: complete lines, keyed hashes, and no record unless asked."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tabcohort import Predictor, SettingsError
from tabcohort.server.prediction_log import (
    KEY_FILE,
    LogError,
    LogPolicy,
    PredictionLog,
    answer_facts,
    entries_of,
    folder_key,
    hash_of,
    read_log,
)


def entry(number: int) -> dict[str, Any]:
    """Return a line of the log."""
    return {"row": number, "fingerprint": "f", "answer": {"label": "caf\u00e9\n", "probability": {"a": 0.1 + 0.2}}}


def test_lines_are_read_as_they_were_written(tmp_path: Path) -> None:
    log = PredictionLog(LogPolicy(tmp_path / "log"))
    log.append([entry(0), entry(1)])
    log.append([entry(2)])
    log.close()
    assert list(read_log(tmp_path / "log")) == [entry(0), entry(1), entry(2)]
    with pytest.raises(LogError, match="closed"):
        log.append([entry(3)])


def test_a_log_cut_at_any_byte_has_all_complete_lines(tmp_path: Path) -> None:
    text = "".join(f"{json.dumps(entry(number), ensure_ascii=False)}\n" for number in range(3)).encode()
    ends = [place + 1 for place, byte in enumerate(text) if byte == 10]
    path = tmp_path / "predictions-x.jsonl"
    for cut in range(len(text) + 1):
        path.write_bytes(text[:cut])
        lines = list(read_log(path))
        n_complete = sum(end <= cut for end in ends)
        assert lines[:n_complete] == [entry(number) for number in range(n_complete)]
        assert lines[n_complete:] == ([None] if cut not in (0, *ends) else [])


@pytest.mark.parametrize(
    "line", [b"{}\n", b"[]\n", b"x\n", b'{"answer": 1, "fingerprint": 2}\n', b"[" * 10_000 + b"\n"]
)
def test_a_damaged_line_is_none_and_the_others_are_read(line: bytes, tmp_path: Path) -> None:
    path = tmp_path / "predictions-x.jsonl"
    good = f"{json.dumps(entry(0))}\n".encode()
    path.write_bytes(good + line + good)
    assert list(read_log(tmp_path)) == [entry(0), None, entry(0)]


def test_a_full_file_is_followed_by_another(tmp_path: Path) -> None:
    log = PredictionLog(LogPolicy(tmp_path, max_file_bytes=200))
    for number in range(10):
        log.append([entry(number)])
    log.close()
    assert len(list(tmp_path.glob("*.jsonl"))) > 2
    assert [own["row"] for own in read_log(tmp_path) if own] == list(range(10))


def test_what_cannot_be_written_whole_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = PredictionLog(LogPolicy(tmp_path))
    log.append([entry(0)])
    write, sizes = os.write, iter([7, None])

    def full(file: int, text: bytes) -> int:
        size = next(sizes)
        if size is None:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(file, text[:size])

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(LogError, match="cannot be used: No space left on device"):
        log.append([entry(1)])
    monkeypatch.setattr(os, "write", write)
    log.append([entry(2)])
    log.close()
    assert list(read_log(tmp_path)) == [entry(0), entry(2)]


@pytest.mark.parametrize(("sync", "expected"), [("always", 5), ("second", 1), ("never", 0)])
def test_the_disk_has_it_as_often_as_the_policy_says(
    sync: str, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = PredictionLog(LogPolicy(tmp_path, sync=sync))
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    monkeypatch.setattr("tabcohort.server.prediction_log.time.monotonic", lambda: 100.0)
    for number in range(5):
        log.append([entry(number)])
    assert len(synced) == expected
    with pytest.raises(SettingsError, match="always, second, never; it is 'often'"):
        LogPolicy(tmp_path, sync="often")


def test_the_key_is_made_once_and_its_owner_s_alone(tmp_path: Path) -> None:
    one, other = PredictionLog(LogPolicy(tmp_path)), PredictionLog(LogPolicy(tmp_path))
    row = np.array([1.0, np.nan])
    assert one.hash_of(row) == other.hash_of(row) == hash_of(row, folder_key(tmp_path, create=False))
    assert one.hash_of(row) != one.hash_of(np.array([1.0, 2.0]))
    for path in tmp_path.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".jsonl", ".jsonl", ".key"]
    (tmp_path / KEY_FILE).write_bytes(b"short")
    with pytest.raises(LogError, match="is not a key of 32 bytes"):
        PredictionLog(LogPolicy(tmp_path))


def test_a_folder_that_cannot_be_written_to_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LogError, match=r"the log .*file' cannot be used: File exists"):
        PredictionLog(LogPolicy(tmp_path / "file"))
    with pytest.raises(LogError, match="there is no log of predictions in"):
        list(read_log(tmp_path))


def test_an_entry_holds_all_digits_and_no_record(predictor: Predictor) -> None:
    prediction = predictor.predict_row({"x0": 1, "x1": 2, "x2": 3})
    (own,) = entries_of("id-1", "two", "abc", [prediction], ["hash"])
    assert list(own) == ["time", "request", "row", "model", "fingerprint", "hash", "answer"]
    answer = json.loads(json.dumps(own))["answer"]
    assert answer == answer_facts(prediction)
    assert list(answer["probability"].values()) == list(prediction.probability.values())
