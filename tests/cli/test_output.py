"""Standard output and error: full disks, closed pipes, streams without a buffer, and words that a terminal lacks."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from tabcohort import load_sample
from tabcohort.cli.output import (
    ClosedPipeError,
    Messages,
    Results,
    checked_streams,
    consoles,
    print_lines,
    report_error_as_json,
)
from tabcohort.errors import TabcohortError

CODE = "import sys\nfrom tabcohort.cli.main import main\nsys.exit(main(sys.argv[1:]))"
ON_LINUX = pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
FULL = "standard output cannot be written: No space left on device"


def shell(line: str, *arguments: object, unbuffered: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command in a shell line, where it is called `$@`."""
    command = ["bash", "-c", line, "bash", sys.executable, "-c", CODE, *map(str, arguments)]
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """A table of more rows than a pipe holds."""
    sample = load_sample("iris").frame.drop("target")
    path = tmp_path / "many.csv"
    pl.concat([sample] * 40).rename(dict(zip(sample.columns, ["x0", "x1", "x2", "more"], strict=True))).write_csv(path)
    return path


@ON_LINUX
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_is_one_sentence(model_file: Path, many: Path, unbuffered: str) -> None:
    for arguments in (["predict", model_file, many], ["info", model_file], ["info", "--help"]):
        ran = shell('"$@" > /dev/full', *arguments, unbuffered=unbuffered)
        assert (ran.returncode, ran.stderr.splitlines()[-1]) == (2, f"tabcohort: {FULL}"), arguments
        assert "Traceback" not in ran.stderr
    ran = shell('"$@" > /dev/full', "info", "nothing", "--json", unbuffered=unbuffered)
    assert (ran.returncode, ran.stderr) == (2, "tabcohort: there is no file 'nothing'\n")


@ON_LINUX
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_disk_that_fills_up_on_the_way_is_found(
    model_file: Path, many: Path, tmp_path: Path, unbuffered: str
) -> None:
    """A file may have 64 KiB here; a stream without a buffer writes a part of the rows, and says only how much."""
    ran = shell(f'ulimit -f 64; "$@" > {tmp_path}/out', "predict", model_file, many, unbuffered=unbuffered)
    assert ran.returncode == 2
    assert ran.stderr.splitlines()[-1] == "tabcohort: standard output cannot be written: File too large"


@ON_LINUX
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_all_rows_arrive(model_file: Path, many: Path, unbuffered: str) -> None:
    ran = shell('"$@" | cat', "predict", model_file, many, unbuffered=unbuffered)
    assert len(ran.stdout.splitlines()) == 6001
    assert ran.stdout.endswith("\n")


@ON_LINUX
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_closed_pipe_is_silent(model_file: Path, many: Path, unbuffered: str) -> None:
    for arguments in (["predict", model_file, many, "--quiet"], ["info", model_file]):
        ran = shell('"$@" | head -1; exit ${PIPESTATUS[0]}', *arguments, unbuffered=unbuffered)
        assert (ran.returncode, ran.stderr) == (0, ""), arguments


@ON_LINUX
def test_messages_that_cannot_be_written_change_nothing(model_file: Path, many: Path) -> None:
    ran = shell('"$@" 2> /dev/full', "predict", model_file, many)
    assert (ran.returncode, len(ran.stdout.splitlines())) == (0, 6001)
    assert shell('"$@" 2>&- >&-', "predict", model_file, many).returncode == 0
    assert shell('"$@" 2> /dev/full', "info", "nothing").returncode == 2


class Broken(io.StringIO):
    """A stream that fails, and has no number."""

    def __init__(self, error: OSError) -> None:
        super().__init__()
        self.error = error

    def write(self, text: str) -> int:
        raise self.error

    def flush(self) -> None:
        raise self.error


def test_results_fail_with_words_and_messages_do_not() -> None:
    full = Broken(OSError(28, "No space left on device"))
    with pytest.raises(TabcohortError, match=f"^{FULL}$"):
        Results(full).write("rows")
    with pytest.raises(TabcohortError, match=f"^{FULL}$"):
        Results(full).flush()
    with pytest.raises(ClosedPipeError):
        Results(Broken(BrokenPipeError())).write("rows")
    assert Messages(full).write("note") == 4
    Messages(full).flush()


def test_letters_that_an_encoding_lacks_are_escaped() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", write_through=True)
    assert Results(stream).write("größe\n") == 6
    assert stream.buffer.getvalue() == rb"gr\xf6\xdfe" + b"\n"  # type: ignore[attr-defined]


class Slow(io.RawIOBase):
    """A file that takes three bytes at a time."""

    def __init__(self) -> None:
        self.data = b""

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self.data += bytes(data[:3])
        return min(3, len(data))


def test_a_stream_without_a_buffer_gets_everything() -> None:
    raw = Slow()
    stream = io.TextIOWrapper(raw, encoding="utf-8", write_through=True)  # type: ignore[arg-type]
    Results(stream).write("größe in Gramm\n")
    assert raw.data.decode() == "größe in Gramm\n"


def test_the_streams_are_back_after_a_command() -> None:
    before = sys.stdout, sys.stderr
    with checked_streams():
        assert isinstance(sys.stdout, Results)
        assert isinstance(sys.stderr, Messages)
    assert (sys.stdout, sys.stderr) == before


def test_lines_are_printed_as_they_are_but_for_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    out, messages = consoles()
    print_lines(out, "[bold]\x1b[31m", "a\nb")
    print_lines(messages, "note")
    print_lines(consoles(is_quiet=True)[1], "nothing")
    assert tuple(capsys.readouterr()) == ("[bold]\\x1b[31m\na\\nb\n", "note\n")


def test_an_error_as_json_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    report_error_as_json('a "quoted"\nname')
    assert json.loads(capsys.readouterr().out) == {"error": 'a "quoted"\nname'}
