"""Recordings: what is written is read again whatever ended the writing, and nothing else is overwritten."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from helpers import SMALL, assert_same, config_of, table_of
from live_runs import events_of_a_run, observe

from tabcohort import CohortClassifier, ModelFileError, TrainingRecorder, fit
from tabcohort.live import recording
from tabcohort.live.recording import RecordingFile, RecordingReader, line_of, read_recording


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A recording of a run of four members."""
    path = tmp_path / "run.jsonl"
    observe(RecordingFile(path))
    return path


# Writing and reading


def test_what_is_written_is_read_again(path: Path) -> None:
    expected, read = events_of_a_run(), read_recording(path)
    assert [{**event, "began": ""} for event in read] == [{**event, "began": ""} for event in expected]
    assert path.read_bytes().count(b"\n") == len(read)


def test_a_recorded_cohort_has_the_same_bits_and_its_losses_are_in_the_file(tmp_path: Path) -> None:
    table, configs = table_of(), [config_of(max_epochs=8, dropout=0.2, batch_size=16), config_of(model="trees")]
    recorded = fit(table, configs, SMALL, observer=TrainingRecorder(tmp_path / "run.jsonl"))
    assert_same(recorded, fit(table, configs, SMALL))
    events = read_recording(tmp_path / "run.jsonl")
    for number, report in enumerate(recorded.report.members):
        epochs = [event for event in events if event["event"] == "epoch" and event["member"] == number]
        assert [(event["train_loss"], event["val_loss"]) for event in epochs] == [
            (record.train_loss, record.val_loss) for record in report.history
        ]


def test_a_classifier_records_its_training(tmp_path: Path) -> None:
    table = table_of(60)
    classifier = CohortClassifier(model="logistic", max_epochs=3, folds=3, seeds=1, record=tmp_path / "run.jsonl")
    classifier.fit(table.X, table.y)
    assert read_recording(tmp_path / "run.jsonl")[-1]["event"] == "end"


def test_a_recording_is_replaced_by_the_next_run(path: Path) -> None:
    before = path.read_bytes()
    file = RecordingFile(path)
    assert path.read_bytes() == before, "until the next run begins"
    file(events_of_a_run()[0])
    assert [event["event"] for event in read_recording(path)] == ["start"]
    file.close()


@pytest.mark.parametrize("content", [b"age,city\n31,Oslo\n", b"{}\n", b'{"event":"stop"}\n', b"\x00" * 40])
def test_another_file_is_never_overwritten(tmp_path: Path, content: bytes) -> None:
    other = tmp_path / "table.csv"
    other.write_bytes(content)
    with pytest.raises(ModelFileError, match="exists and is not a recording of a training; name another file"):
        TrainingRecorder(other)
    assert other.read_bytes() == content


def test_a_folder_is_refused_and_an_empty_file_taken(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="is a folder; name a file"):
        TrainingRecorder(tmp_path)
    (tmp_path / "empty").touch()
    observe(RecordingFile(tmp_path / "empty"))
    assert read_recording(tmp_path / "empty")[-1]["event"] == "end"


def test_a_disk_that_is_full_ends_the_recording_and_not_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    n_written = []

    def write(file: Any, data: bytes) -> None:
        n_written.append(1)
        if len(n_written) == 5:
            raise OSError(28, "No space left on device")
        file.write(data)

    monkeypatch.setattr(recording, "_write_all", write)
    with pytest.warns(match=r"the recording '.*run.jsonl' ends here, as it cannot be written: No space left on device"):
        observe(RecordingFile(tmp_path / "run.jsonl"))
    assert len(n_written) == 5
    assert len(read_recording(tmp_path / "run.jsonl")) == 5


KILLED = """
    import os, sys
    sys.path[:0] = {paths!r}
    from live_runs import events_of_a_run
    from tabcohort.live.recording import RecordingFile
    file = RecordingFile({path!r})
    for event in events_of_a_run()[:7]:
        file(event)
    os.kill(os.getpid(), 9)
"""


def test_a_recording_whose_process_was_killed_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    folders = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]
    code = textwrap.dedent(KILLED.format(paths=folders, path=str(path)))
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == -9
    with RecordingReader(path) as reader:
        assert len(reader.read()) == 7
        assert not reader.is_being_written()


# What is cut, damaged, or something else


def test_a_recording_can_be_cut_anywhere(path: Path) -> None:
    """The first line, which says what is trained, may be cut too: then there is no event."""
    data, whole = path.read_bytes(), read_recording(path)
    for length in range(len(recording.FIRST), len(data), 37):
        path.write_bytes(data[:length])
        assert read_recording(path) == whole[: data[:length].count(b"\n")]


def test_lines_that_are_damaged_are_named(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    for damaged, message in (
        (b"no JSON\n", "line 4: it is not JSON; the lines before it"),
        (b"\xff\xfe\n", "line 4: it is not JSON"),
        (b"[" * 100_000 + b"\n", "line 4: it is not JSON"),
        (b'{"event":"time_left","seconds":1,"seconds_left":NaN}\n', "line 4: it is not JSON"),
        (b'{"event":"leap"}\n', "line 4: it is not a training event"),
        (b"\n", "line 4: it is not JSON"),
    ):
        path.write_bytes(b"".join([*lines[:3], damaged, *lines[3:]]))
        with pytest.raises(ModelFileError, match=message):
            read_recording(path)
    (first,) = (place for place, line in enumerate(lines) if b'"member":0,"epoch":1,' in line)
    path.write_bytes(b"".join([*lines[:first], *lines[first + 1 :]]))
    with pytest.raises(ModelFileError, match=rf"is damaged in line {first + 1}: an epoch is missing before it"):
        read_recording(path)


def test_a_later_version_is_refused(path: Path) -> None:
    first, rest = path.read_bytes().split(b"\n", 1)
    path.write_bytes(first.replace(b'"format":1', b'"format":9') + b"\n" + rest)
    with pytest.raises(ModelFileError, match="it has format 9 and this version reads format 1; install the version"):
        read_recording(path)


@pytest.mark.parametrize("content", [b"", b"age,city\n31,Oslo\n", b'{"event":"stop"}\n', b"\x93NUMPY" * 9])
def test_another_file_is_no_recording(tmp_path: Path, content: bytes) -> None:
    other = tmp_path / "other"
    other.write_bytes(content)
    with pytest.raises(ModelFileError, match="is not a recording of a training; tabcohort fit TABLE --record FILE"):
        read_recording(other)


def test_a_file_that_is_not_there_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="there is no file"):
        read_recording(tmp_path / "none.jsonl")
    with pytest.raises(ModelFileError, match="cannot be read: Is a directory"):
        read_recording(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such pipes")
def test_a_pipe_is_refused_before_it_is_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ModelFileError, match=r"pipe' cannot be read: it is a device, a pipe or a socket"):
        read_recording(tmp_path / "pipe")


# While it is being written


def test_events_are_read_as_they_come_and_a_line_without_an_end_waits(tmp_path: Path) -> None:
    path, events = tmp_path / "run.jsonl", events_of_a_run()
    file = RecordingFile(path)
    file(events[0])
    with RecordingReader(path) as reader:
        assert reader.read() == events[:1]
        assert reader.is_being_written()
        file(events[1])
        assert reader.read() == events[1:2]
        assert reader.read() == []
        line = line_of(events[2])
        with path.open("ab") as appended:
            appended.write(line[:20])
            appended.flush()
            assert reader.read() == []
            appended.write(line[20:])
        assert reader.read() == events[2:3]
        file(events[-1])
        assert not reader.is_being_written(), "the end closes the file"


def test_without_locks_nobody_knows_whether_it_is_being_written(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "fcntl", None)
    file = RecordingFile(path)
    file(events_of_a_run()[0])
    with RecordingReader(path) as reader:
        assert not reader.is_being_written()
    file.close()


def test_a_recording_is_locked_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that opens it at once must not take it for one that nobody writes."""
    seen: list[bool] = []
    replace = os.replace

    def replace_and_look(source: Any, target: Any) -> None:
        replace(source, target)
        with RecordingReader(target) as reader:
            seen.append(reader.is_being_written())

    monkeypatch.setattr("tabcohort.container.os.replace", replace_and_look)
    file = RecordingFile(tmp_path / "run.jsonl")
    file(events_of_a_run()[0])
    file.close()
    assert seen == [True]


def test_a_reader_that_looks_whether_it_is_being_written_ends_no_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    """A reader holds a lock for a moment; the writer's own waits for it."""
    lock = fcntl.flock

    def flock(file: Any, operation: int) -> None:
        if operation & fcntl.LOCK_EX and operation & fcntl.LOCK_NB:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        lock(file, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    observe(RecordingFile(tmp_path / "run.jsonl"))
    assert read_recording(tmp_path / "run.jsonl")[-1]["event"] == "end"
    assert not recwarn.list


def test_where_a_file_system_has_no_locks_recordings_are_written_and_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    def flock(file: Any, operation: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", flock)
    observe(RecordingFile(tmp_path / "run.jsonl"))
    with RecordingReader(tmp_path / "run.jsonl") as reader:
        assert reader.read()[-1]["event"] == "end"
        assert not reader.is_being_written()
    assert not recwarn.list


def test_an_error_without_words_of_the_system_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(file: Any, data: bytes) -> None:
        raise OSError("out of luck")

    monkeypatch.setattr(recording, "_write_all", write)
    with pytest.warns(match="as it cannot be written: out of luck"):
        observe(RecordingFile(tmp_path / "run.jsonl"))


def test_a_line_is_json_without_what_json_does_not_have() -> None:
    event = {"event": "time_left", "seconds_left": None, "text": "a\nb"}
    assert line_of(event).count(b"\n") == 1
    assert json.loads(line_of(event)) == event
    with pytest.raises(ValueError, match="not JSON compliant"):
        line_of({"seconds": float("nan")})
