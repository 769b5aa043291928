"""`--live` and `--record` of `fit` and `tune`, and `watch`, from the command line."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from shell import QUICK, SMALL, Run, start

from tabcohort.container import fingerprint_of
from tabcohort.live.events import Event
from tabcohort.live.recording import RecordingFile, read_recording

TABLE = ["--target", "answer", "--key", "id", *SMALL]


@pytest.fixture(scope="module")
def recording(csv_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording of three networks."""
    from tabcohort.cli.main import main

    path = tmp_path_factory.mktemp("recording") / "run.jsonl"
    arguments = ["fit", csv_file, *TABLE, *QUICK, "--record", path, "--out", path.with_name("m.tabcohort"), "--quiet"]
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        assert main(list(map(str, arguments))) == 0
    return path


# While training


def test_a_model_is_the_same_with_a_page_and_a_recording(run: Run, csv_file: Path, folder: Path) -> None:
    plain = run("fit", csv_file, *TABLE, *QUICK, "--out", "plain.tabcohort", "--json")
    shown = run(
        "fit", csv_file, *TABLE, *QUICK, "--out", "shown.tabcohort", "--json", "--live", "--record", "run.jsonl"
    )
    assert (plain.status, shown.status) == (0, 0)
    one, other = (json.loads(ran.out) for ran in (plain, shown))
    assert one["evaluation"] == other["evaluation"]
    assert [member["best_epoch"] for member in one["report"]["members"]] == [
        member["best_epoch"] for member in other["report"]["members"]
    ]
    assert one["coefficients"] == other["coefficients"]
    assert read_recording(folder / "run.jsonl")[-1]["event"] == "end"


def test_the_address_comes_first_and_members_are_lines_where_there_is_no_terminal(run: Run, csv_file: Path) -> None:
    ran = run("fit", csv_file, *TABLE, *QUICK, "--live")
    assert ran.status == 0
    lines = ran.err.splitlines()
    assert re.fullmatch(r"live     http://127\.0\.0\.1:\d+/\?token=[\w-]+", lines[0])
    assert len([line for line in lines if re.match(r"fold \d: epoch \d+  train loss ", line)]) == 3
    assert any(line.startswith("training 3 members") for line in lines)
    assert re.search(r"^3/3 members trained  [\d,]+ epochs  ended after [\d.]+ s$", ran.err, re.MULTILINE)
    assert "live" not in ran.out


def test_nothing_is_said_where_it_is_to_be_quiet(run: Run, csv_file: Path) -> None:
    assert run("fit", csv_file, *TABLE, *QUICK, "--live", "--quiet").err == ""


def test_tune_records_what_it_drops(run: Run, csv_file: Path, quick: Path) -> None:
    ran = run("tune", csv_file, *TABLE, "--configs", "5", "--settings", quick, "--record", "run.jsonl")
    assert ran.status == 0, ran.err
    events = read_recording("run.jsonl")
    assert len(events[0]["configs"]) == 5
    assert events[-1]["event"] == "end"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--live", "99999"], "argument --live: the port must be 0 to 65535, or auto; it is '99999'"),
        (
            ["--live", "sample:wine"],
            "argument --live: the port must be 0 to 65535, or auto; it is 'sample:wine'; if it",
        ),
        (["--live", "soon"], "argument --live: the port must be 0 to 65535, or auto; it is 'soon'"),
        (["--record", "no/such/run.jsonl"], "there is no folder 'no/such' to write to; make it first"),
        (["--record", "m.tabcohort", "--out", "m.tabcohort"], "'m.tabcohort' is named twice"),
        (["--record", "other.txt"], "'other.txt' exists and is not a recording of a training; name another file"),
        (["--record", "."], "'.' is a folder; name a file"),
    ],
)
def test_what_cannot_be_done_is_said_before_training(
    run: Run, csv_file: Path, folder: Path, options: list[str], message: str
) -> None:
    (folder / "other.txt").write_text("a letter", encoding="utf-8")
    ran = run("fit", csv_file, *TABLE, *QUICK, *options)
    assert (ran.status, ran.out) == (2, "")
    assert ran.err.startswith(f"tabcohort: {message}")
    assert ran.err.count("\n") == 1
    assert (folder / "other.txt").read_text(encoding="utf-8") == "a letter"


def test_the_table_is_not_overwritten_by_its_recording(run: Run, csv_file: Path) -> None:
    before = csv_file.read_bytes()
    ran = run("fit", csv_file, *TABLE, *QUICK, "--record", csv_file)
    assert ran.status == 2
    assert "is what this command reads; write to another file" in ran.err
    assert csv_file.read_bytes() == before


def test_a_port_in_use_is_said_before_training(run: Run, csv_file: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        ran = run("fit", csv_file, *TABLE, *QUICK, "--live", port)
    assert ran.status == 2
    assert f"127.0.0.1:{port} cannot be listened at: Address already in use; name another port, or auto" in ran.err


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")
def test_in_a_terminal_the_page_stays_until_somebody_presses_enter(csv_file: Path, tmp_path: Path) -> None:
    import pty
    import subprocess

    controller, terminal = pty.openpty()
    arguments = ["fit", csv_file, *TABLE, *QUICK, "--live", "--out", tmp_path / "m.tabcohort"]
    command = [sys.executable, "-m", "tabcohort", *map(str, arguments)]
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), terminal)
    with subprocess.Popen(command, **streams, preexec_fn=lambda: login(terminal)) as process:
        os.close(terminal)
        try:
            shown = read_until(controller, "until you press Enter")
            (address, *_) = re.findall(r"http://127\.0\.0\.1:\d+/\?token=[\w-]+", shown)
            with urllib.request.urlopen(address.replace("/?", "/events?run=0&from=0&"), timeout=10) as answer:
                assert json.load(answer)["events"][-1]["event"] == "end"
            os.write(controller, b"\n")
            assert process.wait(timeout=60) == 0
        finally:
            process.kill()
            os.close(controller)


def login(terminal: int) -> None:
    """Make this process the one in the foreground of a terminal, as a shell does."""
    import fcntl
    import termios

    os.setsid()
    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)


def read_until(controller: int, text: str, seconds: float = 60.0) -> str:
    """Return what a terminal shows until it has shown a text."""
    shown, end = "", time.monotonic() + seconds
    while text not in shown:
        assert time.monotonic() < end, shown
        if select.select([controller], [], [], 0.5)[0]:
            shown += os.read(controller, 65_536).decode(errors="replace")
    return shown


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_training_that_was_ended_leaves_a_recording(
    run: Run, csv_file: Path, folder: Path, number: signal.Signals
) -> None:
    (folder / "long.toml").write_text('model = "mlp"\nmax_epochs = 1000000\npatience = 1000000\n', encoding="utf-8")
    arguments = ["fit", csv_file, *TABLE, "--settings", "long.toml", "--record", "run.jsonl", "--out", "m.tabcohort"]
    with start(*arguments) as process:
        end = time.monotonic() + 60
        while not (folder / "run.jsonl").exists() or b'"epoch":5,' not in (folder / "run.jsonl").read_bytes():
            assert time.monotonic() < end, "it has not begun"
            time.sleep(0.1)
        process.send_signal(number)
        process.communicate(timeout=60)
    assert process.returncode == (130 if number == signal.SIGINT else -number)
    last, watched = read_recording("run.jsonl")[-1], run("watch", "run.jsonl")
    assert watched.status == 0
    if number == signal.SIGINT:
        assert (last["event"], last["reason"]) == ("end", "interrupted")
        assert re.search(r"ended after [\d.]+ s: interrupted\n$", watched.out)
    else:
        assert watched.out.endswith("The recording ends before the training did.\n")


# Watching


def test_a_recording_is_replayed_as_lines(run: Run, recording: Path) -> None:
    began = time.perf_counter()
    ran = run("watch", recording)
    assert (ran.status, ran.err) == (0, "")
    assert len(re.findall(r"^fold \d: epoch \d+  train loss [\d.]+  validation loss", ran.out, re.MULTILINE)) == 3
    assert "\n3/3 members trained  " in ran.out
    assert time.perf_counter() - began < 10


def test_a_recording_is_one_json_document(run: Run, recording: Path) -> None:
    facts = json.loads(run("watch", recording, "--json").out)
    assert (facts["target"], facts["n_rows"], facts["is_complete"]) == ("answer", 90, True)
    assert [member["status"] for member in facts["members"]] == ["done"] * 3
    assert json.loads(run("watch", "nothing.jsonl", "--json").out) == {"error": "there is no file 'nothing.jsonl'"}


@pytest.mark.parametrize("options", [["--page"], ["--port", "0"], ["--speed", "5"]])
def test_json_takes_no_options_that_it_would_ignore(run: Run, recording: Path, options: list[str]) -> None:
    ran = run("watch", recording, "--json", *options)
    message = "--json prints the state at the end; leave out --page, --port and --speed"
    assert (ran.status, json.loads(ran.out)) == (2, {"error": message})


def test_the_options_of_the_command_are_not_changed() -> None:
    import argparse

    from rich.console import Console

    from tabcohort.cli.watch_command import live_page, watching

    options = argparse.Namespace(live="auto", record=None, verbose=False, quiet=True)
    before, messages = dict(vars(options)), Console(quiet=True)
    with live_page(options, messages) as live, watching(options, live, messages) as how:
        assert live is not None
        assert how.observer is not None
    assert vars(options) == before


def test_a_recording_that_was_cut_is_replayed_as_far_as_it_goes(run: Run, recording: Path) -> None:
    data = recording.read_bytes()
    Path("cut.jsonl").write_bytes(data[: len(data) // 2])
    ran = run("watch", "cut.jsonl")
    assert ran.status == 0
    assert ran.out.endswith("The recording ends before the training did.\n")
    Path("cut.jsonl").write_bytes(data[:100])
    ran = run("watch", "cut.jsonl")
    assert ran.status == 2
    assert ran.err == "tabcohort: 'cut.jsonl' was cut before the end of its first line; nothing can be replayed\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["nothing.jsonl"], "there is no file 'nothing.jsonl'"),
        (["letter.txt"], "'letter.txt' is not a recording of a training; tabcohort fit TABLE --record FILE writes one"),
        (["run.jsonl", "--speed", "0"], "the speed must be above 0, such as 10 for ten times as fast; it is 0"),
        (["run.jsonl", "--speed", "nan"], "the speed must be above 0"),
        (
            ["run.jsonl", "--page", "--speed", "5"],
            "--speed is of a replay in the terminal; choose the speed on the page",
        ),
        (["run.jsonl", "--port", "0", "--speed", "5"], "--speed is of a replay in the terminal"),
        (["run.jsonl", "--port", "no"], "the port must be 0 to 65535, or auto; it is 'no'"),
        (
            ["later.jsonl"],
            "'later.jsonl' cannot be read as a recording: it has format 2 and this version reads format 1",
        ),
        (["damaged.jsonl"], "'damaged.jsonl' is damaged in line 2: it is not JSON"),
    ],
)
def test_what_cannot_be_watched_is_a_sentence(
    run: Run, recording: Path, folder: Path, options: list[str], message: str
) -> None:
    data = recording.read_bytes()
    (folder / "run.jsonl").write_bytes(data)
    (folder / "later.jsonl").write_bytes(data.replace(b'"format":1', b'"format":2', 1))
    (folder / "damaged.jsonl").write_bytes(data.replace(b"\n", b"\n?\n", 1))
    (folder / "letter.txt").write_text("a letter", encoding="utf-8")
    ran = run("watch", *options)
    assert (ran.status, ran.out) == (2, "")
    assert ran.err.startswith(f"tabcohort: {message}")
    assert ran.err.count("\n") == 1


def test_a_recording_that_is_being_written_is_followed_to_its_end(recording: Path, tmp_path: Path) -> None:
    events = read_recording(recording)
    path = tmp_path / "growing.jsonl"
    file = RecordingFile(path)
    for event in events[: len(events) // 2]:
        file(event)
    with start("watch", path) as process:
        assert process.stdout is not None
        time.sleep(2)
        assert process.poll() is None, "it ended before the training did"
        for event in events[len(events) // 2 :]:
            file(event)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert "3/3 members trained" in out


@pytest.fixture
def page(recording: Path) -> Iterator[tuple[str, object]]:
    """The address of a recording's page, and the process that serves it."""
    with start("watch", recording, "--page") as process:
        assert process.stderr is not None
        try:
            yield process.stderr.readline().split()[1].rstrip(";"), process
        finally:
            process.kill()


def test_a_recording_is_a_page_until_ctrl_c(page: tuple[str, object], recording: Path) -> None:
    address, process = page
    with urllib.request.urlopen(address, timeout=10) as answer:
        assert b"<title>Training - tabcohort</title>" in answer.read()
    with urllib.request.urlopen(address.replace("/?", "/events?run=0&from=0&"), timeout=10) as answer:
        served: list[Event] = json.load(answer)["events"]
    assert [event["event"] for event in served] == [event["event"] for event in read_recording(recording)]
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (0, "", "stopped\n")


def test_watching_changes_no_recording(run: Run, recording: Path) -> None:
    before = recording.read_bytes()
    run("watch", recording)
    assert recording.read_bytes() == before
    assert fingerprint_of(recording.with_name("m.tabcohort"))
