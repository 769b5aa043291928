"""Processes answer until a signal, replace what has died, and load what has changed."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tabcohort import Predictor, SettingsError, save
from tabcohort.server.options import ServerOptions
from tabcohort.server.processes import address_of, listen

RECORDS = json.dumps({"records": [{"x0": 1, "x1": 2, "x2": 3}]}).encode()
WAIT = 60.0  # seconds, on a busy machine


class Running:
    """A server in processes of its own.

    Args:
        arguments: of the command.
    """

    def __init__(self, *arguments: object) -> None:
        command = [sys.executable, "-m", "tabcohort", "serve", *map(str, arguments), "--port", "0"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert self.process.stdout is not None
        self.lines: list[str] = []
        while not self.lines or not self.lines[-1].startswith("ready"):
            line = self.process.stdout.readline()
            assert line, "".join(self.lines)
            self.lines.append(line)
        self.address = self.lines[-1].split()[1]

    def ask(self, path: str, body: bytes | None = None) -> tuple[Any, Any]:
        """Return the JSON of an answer, and its headers."""
        request = urllib.request.Request(self.address + path, body, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=WAIT) as answer:
            return json.loads(answer.read()), answer.headers

    def children(self) -> list[int]:
        """Return the ids of the processes that answer."""
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in path.read_text().split()]

    def until(self, condition: Any) -> None:
        """Wait until a condition holds."""
        end = time.monotonic() + WAIT
        while not condition():
            assert time.monotonic() < end
            time.sleep(0.02)

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, and return the exit status."""
        self.process.send_signal(number)
        return self.process.wait(WAIT)


def is_running(pid: int) -> bool:
    """Return whether a process has not ended; one that nobody waits for has no command line any more."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() != b""
    except OSError:
        return False


@pytest.fixture
def own(files: Path, tmp_path: Path) -> Path:
    """A model file that a test may change."""
    path = tmp_path / "own.tabcohort"
    shutil.copy(files / "two.tabcohort", path)
    return path


@pytest.fixture
def started() -> Iterator[Any]:
    """Return a function that starts a server, which ends with the test."""
    servers: list[Running] = []

    def start(*arguments: object) -> Running:
        servers.append(Running(*arguments))
        return servers[-1]

    yield start
    for server in servers:
        if server.process.poll() is None:
            server.process.send_signal(signal.SIGTERM)
            server.process.wait(WAIT)
        server.process.stdout.close()  # type: ignore[union-attr]


def test_one_process_answers_loads_what_has_changed_and_ends(
    own: Path, predictor: Predictor, started: Any, tmp_path: Path
) -> None:
    server = started(own, "--log", tmp_path / "log")
    body, headers = server.ask("/v1/models/own/predict", RECORDS)
    assert body["predictions"][0]["label"] == predictor.predict_row({"x0": 1, "x1": 2, "x2": 3}).label
    save(predictor.with_decision_rule(0.2), own)
    server.process.send_signal(signal.SIGHUP)
    server.until(lambda: server.ask("/readyz")[0]["models"]["own"] != headers["x-model-version"])
    assert server.end() == 0
    assert len(list((tmp_path / "log").glob("*.jsonl"))) == 1


def test_what_comes_while_it_starts_is_answered_before_a_signal_ends_it(files: Path) -> None:
    """The signal comes when the socket listens, and before the application has been imported."""
    code = f"""
import os, signal, sys
from tabcohort.server import processes
from tabcohort.server.model_store import ModelStore
from tabcohort.server.options import ServerOptions
answer = processes._answer
def signal_and_answer(*arguments):
    print(processes.address_of(listening), flush=True)
    sys.stdin.readline()
    os.kill(os.getpid(), signal.SIGTERM)
    return answer(*arguments)
processes._answer = signal_and_answer
options = ServerOptions(port=0)
listening = processes.listen(options)
store = ModelStore({{"two": {str(files / "two.tabcohort")!r}}})
sys.exit(processes.serve(processes.Plan(store, options), listening))
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        assert process.stdin is not None
        try:
            address = urlsplit(process.stdout.readline().strip())
            with socket.create_connection((address.hostname, address.port), timeout=WAIT) as connection:
                connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
                process.stdin.write("\n")
                process.stdin.flush()
                assert connection.recv(1_000).startswith(b"HTTP/1.1 200")
            assert process.wait(WAIT) == 0
        finally:
            process.kill()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="several workers are forks")
def test_several_processes_share_counts_replace_each_other_and_load_what_has_changed(
    own: Path, predictor: Predictor, started: Any
) -> None:
    server = started(own, "--workers", 2)
    server.until(lambda: len(server.children()) == 2)
    for _ in range(20):
        server.ask("/v1/models/own/predict", RECORDS)
    with urllib.request.urlopen(f"{server.address}/metrics", timeout=WAIT) as answer:
        text = answer.read().decode()
    counts = [line for line in text.splitlines() if line.startswith("tabcohort_predictions_total")]
    assert sum(float(line.split()[-1]) for line in counts) == 20
    first = set(server.children())
    os.kill(min(first), signal.SIGKILL)
    server.until(lambda: len(server.children()) == 2 and set(server.children()) != first)
    _, headers = server.ask("/v1/models/own/predict", RECORDS)
    save(predictor.with_decision_rule(0.2), own)
    server.until(
        lambda: {server.ask("/readyz")[0]["models"]["own"] for _ in range(8)}.isdisjoint({headers["x-model-version"]})
    )
    own.write_bytes(own.read_bytes()[:-1])
    server.process.send_signal(signal.SIGHUP)
    server.until(lambda: "is damaged" in server.ask("/readyz")[0]["not_loaded"].get("own", ""))
    assert server.end(signal.SIGINT) == 0


def test_open_connections_are_answered_until_no_request_comes(own: Path, started: Any) -> None:
    server = started(own)
    address = urlsplit(server.address)
    clients = [http.client.HTTPConnection(str(address.hostname), address.port, timeout=WAIT) for _ in range(6)]

    def ask(client: http.client.HTTPConnection) -> str | None:
        client.request("GET", "/healthz")
        answer = client.getresponse()
        assert json.loads(answer.read()) == {"status": "alive"}
        return answer.getheader("connection")

    assert [ask(client) for client in clients] == [None] * 6
    server.process.send_signal(signal.SIGTERM)
    for client in clients:
        time.sleep(0.3)
        assert ask(client) == "close"
    assert server.process.wait(WAIT) == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="several workers are forks")
def test_workers_end_when_their_supervisor_is_killed(own: Path, started: Any) -> None:
    server = started(own, "--workers", 2)
    server.until(lambda: len(server.children()) == 2)
    workers = server.children()
    server.ask("/healthz")
    server.end(signal.SIGKILL)
    server.until(lambda: not any(map(is_running, workers)))


def test_an_address_that_is_taken_is_a_sentence() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=f"127.0.0.1:{port} cannot be listened at: .*; try another --port"):
            listen(ServerOptions(port=port))


def test_an_address_is_one_for_a_browser() -> None:
    with listen(ServerOptions(port=0)) as own:
        assert address_of(own) == f"http://127.0.0.1:{own.getsockname()[1]}"
    if socket.has_ipv6:
        with listen(ServerOptions(host="::1", port=0)) as own:
            assert address_of(own).startswith("http://[::1]:")
