"""Files that cannot be written: one sentence, exit status 2, and the old file as it was, with nothing beside it."""

from __future__ import annotations

import contextlib
import io
import os
import resource
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import QUICK, SMALL, make_small_table

from tabcohort import Config, ModelFileError, TabcohortWarning, fit, load, save
from tabcohort.cli.files import check_outputs, reserved
from tabcohort.cli.main import main
from tabcohort.cohort.progress import RunProgress
from tabcohort.errors import SettingsError
from tabcohort.live.recording import TrainingRecorder, read_recording
from tabcohort.server.prediction_log import LogError, LogPolicy, PredictionLog, read_log

N_BYTES = 500  # more than any message, and less than any output
OLD = b"what was there before"
COMMANDS = {
    "a model": ("decide", "good.tabcohort", "--threshold", "f1", "--out", "model.tabcohort"),
    "a report": ("report", "good.tabcohort", "--out", "report.html"),
    "a model card": ("report", "good.tabcohort", "--card", "card.md"),
    "predictions": ("predict", "good.tabcohort", "rows.csv", "--out", "predictions.csv"),
    "predictions in Parquet": ("predict", "good.tabcohort", "rows.csv", "--out", "predictions.parquet"),
    "an ONNX graph": ("export", "good.tabcohort", "--onnx", "graph.onnx"),
    "a look": ("look", "rows.csv", "--html", "look.html"),
    "a training": (
        "fit", "rows.csv", "--target", "y", "--model", "logistic", "--members", "3", "--out", "model.tabcohort",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model and the table it was trained on."""
    folder = tmp_path_factory.mktemp("good")
    table = make_small_table()
    fit(table, Config(**QUICK), SMALL)  # compiles kernels that could not be kept later
    save(fit(table, Config(**{**QUICK, "model": "logistic"}), SMALL), folder / "good.tabcohort")
    rows = [",".join([*map(str, row), table.schema.classes[code]]) for row, code in zip(table.X, table.y, strict=True)]
    (folder / "rows.csv").write_text("\n".join([",".join([*table.schema.features, "y"]), *rows]))
    return folder


@pytest.fixture
def folder(good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with the model and the table; other temporary folders are in it, too."""
    shutil.copytree(good, tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def run(*arguments: object) -> tuple[int, str]:
    """Run a command in this process, and return its exit status and its messages."""
    err = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(err), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return main(list(map(str, arguments))), err.getvalue()


@contextlib.contextmanager
def small_files(n_bytes: int = N_BYTES) -> Iterator[None]:
    """Let no file get longer than this, as on a disk that is full or with a quota."""
    before, sys.dont_write_bytecode = (resource.getrlimit(resource.RLIMIT_FSIZE), sys.dont_write_bytecode), True
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[0][1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before[0])
        sys.dont_write_bytecode = before[1]


@contextlib.contextmanager
def mounted(folder: Path, n_bytes: int) -> Iterator[Path]:
    """Give a folder on a disk of this size."""
    place = folder / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={n_bytes}", "tmpfs", str(place)]
    if os.geteuid() or shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("name", COMMANDS)
def test_an_output_that_is_too_long_for_the_disk_is_a_sentence_and_leaves_the_old_file(name: str, folder: Path) -> None:
    out = folder / COMMANDS[name][-1]
    out.write_bytes(OLD)
    before = sorted(os.listdir(folder))
    with small_files():
        status, err = run(*COMMANDS[name])
    assert status == 2
    *_, last = err.splitlines()
    assert last.startswith(f"tabcohort: '{out.name}' cannot be written: File too large")
    assert out.read_bytes() == OLD
    assert sorted(os.listdir(folder)) == before


def test_a_full_disk_and_one_that_becomes_read_only_leave_the_old_file(folder: Path) -> None:
    with mounted(folder, 32_768) as disk:
        shutil.copy("good.tabcohort", disk)
        old = (disk / "good.tabcohort").read_bytes()
        with contextlib.suppress(OSError), (disk / "filler").open("wb", buffering=0) as filler:
            while filler.write(bytes(1_024)):
                pass
        for name, reason in (("full", "No space left on device"), ("read-only", "Read-only file system")):
            if name == "read-only":
                subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
            status, err = run("decide", "good.tabcohort", "--threshold", "f1", "--out", disk / "good.tabcohort")
            assert (status, err.splitlines()[-1][-len(reason) :]) == (2, reason)
            assert (disk / "good.tabcohort").read_bytes() == old
            assert sorted(os.listdir(disk)) == ["filler", "good.tabcohort"]


def test_a_checkpoint_that_cannot_be_written_ends_the_run_in_a_sentence_and_can_be_resumed(folder: Path) -> None:
    table, config = make_small_table(), Config(**QUICK)
    with small_files(), pytest.raises(ModelFileError, match=r"\.checkpoint' cannot be written: File too large$"):
        fit(table, config, SMALL, checkpoint=folder / "kept")
    assert os.listdir(folder / "kept") == []
    fit(table, config, SMALL, checkpoint=folder / "kept")
    assert len(os.listdir(folder / "kept")) == 3


def test_a_checkpoint_whose_folder_goes_away_ends_the_run_in_a_sentence(folder: Path) -> None:
    def remove(progress: RunProgress) -> None:
        shutil.rmtree(folder / "kept", ignore_errors=True)

    with pytest.raises(ModelFileError, match=r"\.checkpoint' cannot be written: No such file or directory$"):
        fit(make_small_table(), Config(**QUICK), SMALL, remove, folder / "kept")


def test_a_recording_that_cannot_go_on_is_a_warning_and_can_be_read(folder: Path) -> None:
    recorder = TrainingRecorder(folder / "run.jsonl")
    with (
        small_files(2_000),
        pytest.warns(TabcohortWarning, match=r"the recording .* ends here, as it cannot be written: "),
    ):
        fit(make_small_table(), Config(**QUICK), SMALL, observer=recorder)
    data = (folder / "run.jsonl").read_bytes()
    assert data[:10] == b'{"event":"'
    assert read_recording(folder / "run.jsonl")[0]["event"] == "start"


def test_a_log_of_predictions_that_cannot_go_on_has_complete_lines(folder: Path) -> None:
    log = PredictionLog(LogPolicy(folder / "log"))
    entry = {"fingerprint": "f", "answer": {"label": "yes"}}
    with small_files(), pytest.raises(LogError, match="cannot be used: File too large"):  # noqa: PT012
        while True:
            log.append([entry, entry])
    log.close()
    entries = list(read_log(folder / "log"))
    assert entries == [entry] * len(entries)
    assert len(entries) >= 2


def test_two_runs_cannot_write_one_file(folder: Path) -> None:
    with reserved:
        check_outputs(["model.tabcohort"], [])
        with pytest.raises(
            SettingsError, match=f"'model.tabcohort' is written by another run, process {os.getpid()}; "
        ):
            check_outputs(["model.tabcohort"], [])
        status, err = run("decide", "good.tabcohort", "--threshold", "f1", "--out", folder / "model.tabcohort")
    assert (status, "is written by another run" in err, err.count("\n")) == (2, True, 1)
    assert not (folder / "model.tabcohort").exists()
    assert run("decide", "good.tabcohort", "--threshold", "f1", "--out", "model.tabcohort")[0] == 0
    assert sorted(os.listdir(folder)) == ["good.tabcohort", "model.tabcohort", "rows.csv"]


def test_a_clock_that_is_set_back_changes_no_duration(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(10**9, 0, -1_000))
    monkeypatch.setattr("time.time", lambda: float(next(clock)))
    status, err = run(*COMMANDS["a training"], "--budget", "60")
    assert status == 0, err
    report = load("model.tabcohort").report
    assert 0 < report.fit_seconds < 60
    assert report.stop_reason is None
    seconds = [record.seconds for member in report.members for record in member.history]
    assert min(seconds) > 0
