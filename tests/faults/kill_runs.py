"""End commands at random moments, run them again, and compare what is left with an undisturbed run.

    make faults
    python tests/faults/kill_runs.py 500
    python tests/faults/kill_runs.py 500 fit tune

Each run is ended by SIGKILL after a random time, by SIGKILL before a random change to a file, or by the system in the
middle of a write. The table says of each command how many runs were ended, how many of the second runs resumed from a
checkpoint, how many gave the files of the undisturbed run, and how many temporary files were left.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tabcohort.container import read_container, write_container
from tabcohort.live.recording import read_recording
from tabcohort.server.prediction_log import KEY_FILE, prepare_folder, read_log

WARM = Path(__file__).with_name("warm_process.py")
MODULES = ("onnx", "uvicorn", "tabcohort.server.app", "sklearn.ensemble", "tabcohort.model.onnx_graph")
SHARES = {"fit": 0.38, "tune": 0.14, "decide": 0.14, "export": 0.08, "predict": 0.08, "serve": 0.18}  # of the kills
OPTIONS = ("--target", "y", "--settings", "settings.toml", "--folds", "3", "--seeds", "1", "--threads", "2")
COMMANDS: dict[str, tuple[str, ...]] = {
    "fit": ("fit", "table.csv", *OPTIONS, "--model", "mlp", "--checkpoint", "run/kept", "--record", "run/fit.jsonl",
            "--out", "run/model.tabcohort"),
    "tune": ("tune", "table.csv", *OPTIONS, "--grid", "grid.toml", "--checkpoint", "run/kept",
             "--out", "run/model.tabcohort"),
    "decide": ("decide", "model.tabcohort", "--threshold", "f1", "--out", "run/model.tabcohort"),
    "export": ("export", "model.tabcohort", "--onnx", "run/model.onnx"),
    "predict": ("predict", "model.tabcohort", "table.csv", "--out", "run/predictions.csv"),
}  # fmt: skip
MAX_SERVING_SECONDS = 3.0


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Args:
        status: its exit status; negative for a signal.
        seconds: how long it took.
        n_events: changes to files.
        messages: what it wrote to standard error.
    """

    status: int
    seconds: float
    n_events: int
    messages: str


class WarmProcess:
    """Runs commands in forks of a process that has imported everything; see `warm_process.py`.

    Args:
        folder: where commands run; temporary folders are made in its `tmp`.
        modules: that are imported besides those of training.
    """

    def __init__(self, folder: Path, modules: Sequence[str] = ()) -> None:
        self.folder = folder
        (folder / "tmp").mkdir(exist_ok=True)
        environment = {**os.environ, "TMPDIR": str(folder / "tmp")}
        command = [sys.executable, str(WARM), *modules]
        self._process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def run(self, *arguments: object, moment: dict[str, Any] | None = None, exits: bool = False) -> Ended:
        """Run a command, which ends at some moment if one is given."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        messages = self.folder / "messages.txt"
        request = {"arguments": list(map(str, arguments)), "messages": str(messages), "exits": exits, "moment": moment}
        print(json.dumps(request), file=self._process.stdin, flush=True)
        return Ended(*json.loads(self._process.stdout.readline()), messages.read_text(encoding="utf-8"))

    def close(self) -> None:
        """End the process."""
        self._process.communicate(timeout=60)


@contextmanager
def warm_process(folder: Path, modules: Sequence[str] = ()) -> Iterator[WarmProcess]:
    """Make the inputs of the commands in a folder, and give a process that runs them there."""
    make_inputs(folder)
    process = WarmProcess(folder, modules)
    try:
        ended = process.run(*COMMANDS["fit"][:-6], "--out", "model.tabcohort")
        assert ended.status == 0, ended.messages
        yield process
    finally:
        process.close()


def make_inputs(folder: Path) -> None:
    """Write a small table, settings of a config, and a grid of networks and trees."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, 4))
    labels = np.where(X[:, 0] + 0.5 * rng.normal(size=120) > 0, "yes", "no")
    rows = [",".join([*(f"{value:.4f}" for value in row), label]) for row, label in zip(X, labels, strict=True)]
    (folder / "table.csv").write_text("\n".join(["a,b,c,d,y", *rows]), encoding="utf-8")
    settings = "hidden = [8]\nmax_epochs = 20\npatience = 20\nlearning_rate = 0.02\n"
    (folder / "settings.toml").write_text(settings, encoding="utf-8")
    grid = 'model = ["mlp", "logistic", "trees", "residual"]\nlearning_rate = [0.003, 0.01, 0.03]\n'
    (folder / "grid.toml").write_text(grid, encoding="utf-8")
    (folder / "run").mkdir(exist_ok=True)


# -- what is compared ------------------------------------------------------------------------------------------------


def untimed(path: Path) -> bytes:
    """Return the bytes that a model file would have if it had been trained in no time."""
    arrays, document = read_container(path, "model")
    kept = {name: value for name, value in document.items() if name not in ("times", "kind", "format")}
    with tempfile.TemporaryDirectory() as folder:
        write_container(Path(folder, "model"), "model", arrays, kept)
        return Path(folder, "model").read_bytes()


def content(path: Path) -> object:
    """Return what must be equal in a file of two runs."""
    if path.suffix == ".tabcohort":
        return untimed(path)
    if path.suffix == ".jsonl":
        return read_recording(path)[-1]["event"]  # the order of the others is up to the threads
    return path.read_bytes()


def contents(folder: Path) -> dict[str, object]:
    """Return what must be equal in each file of a folder; checkpoints have times, and are only named."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): None if path.suffix == ".checkpoint" else content(path) for path in files}


# -- runs that end ---------------------------------------------------------------------------------------------------


@dataclass
class Tally:
    """What became of the runs of a command.

    Args:
        counts: of runs by what they are.
        failures: what went wrong.
    """

    counts: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def note(self, what: str, is_so: bool = True) -> None:
        """Count a run as what it is, if it is."""
        self.counts[what] += is_so


def random_moment(rng: random.Random, reference: Ended, n_bytes: int) -> dict[str, Any]:
    """Return a moment of a run: in half of the cases a time, else a change to a file or a place in a write."""
    kind = rng.choice(("time", "time", "event", "write"))
    if kind == "event":
        return {"event": rng.randint(1, reference.n_events)}
    if kind == "write":
        return {"n_bytes": rng.randint(1, n_bytes - 1)}
    return {"seconds": rng.uniform(0, reference.seconds), "signals": [signal.SIGKILL]}


def end_and_repeat(process: WarmProcess, name: str, n_kills: int, rng: random.Random) -> Tally:
    """End runs of a command at random moments until this many were killed, and run each again."""
    folder, command, tally = process.folder / "run", COMMANDS[name], Tally()
    reference, expected, n_bytes = undisturbed(process, command)
    old = {name: bytes(reversed(path.read_bytes())) for name, path in files_of(folder).items()}
    while tally.counts["killed"] < n_kills:
        place(folder, old if rng.random() < 0.5 else {})
        before = {name: path.read_bytes() for name, path in files_of(folder).items()}
        moment = random_moment(rng, reference, n_bytes)
        ended = process.run(*command, moment=moment)
        tally.note("runs")
        tally.note("killed", ended.status in (-signal.SIGKILL, -signal.SIGXFSZ))
        tally.note("in a write", ended.status == -signal.SIGXFSZ)
        where = f"{name} {moment}"
        if ended.status not in (0, -signal.SIGKILL, -signal.SIGXFSZ):
            tally.failures.append(f"{where}: status {ended.status}: {ended.messages[-300:]}")
        for file, path in files_of(folder).items():
            is_old = path.read_bytes() == before.get(file)
            if not is_old and path.suffix != ".jsonl" and content(path) != expected[file]:
                tally.failures.append(f"{where}: {file} is neither the old nor the new file")
        again = process.run(*command)
        if again.status:
            tally.failures.append(f"{where}: the second run failed: {again.messages[-300:]}")
            continue
        tally.note("resumed", "resuming from the checkpoint" in again.messages)
        left = contents(folder)
        tally.note("equal", {name: left.get(name) for name in expected} == expected)
        if {name: left.get(name) for name in expected} != expected:
            tally.failures.append(f"{where}: {[name for name in expected if left.get(name) != expected[name]]} differ")
        leftovers = [*(left.keys() - expected.keys()), *os.listdir(process.folder / "tmp")]
        tally.counts["leftovers"] += len(leftovers)
        if leftovers:
            tally.failures.append(f"{where}: left {leftovers}")
    return tally


def undisturbed(process: WarmProcess, command: Sequence[str]) -> tuple[Ended, dict[str, object], int]:
    """Run a command to its end; return how it ended, what its files hold, and the size of the largest one."""
    folder = process.folder / "run"
    place(folder, {})
    ended = process.run(*command)
    assert ended.status == 0, ended.messages
    return ended, contents(folder), max(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def files_of(folder: Path) -> dict[str, Path]:
    """Return the files in a folder that are not temporary, by their names."""
    return {path.name: path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")}


def place(folder: Path, files: dict[str, bytes]) -> None:
    """Make a folder anew, with these files in it; a recording is replaced only by another."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, data in files.items():
        if not name.endswith(".jsonl"):
            (folder / name).write_bytes(data)


# -- a server that is killed -----------------------------------------------------------------------------------------


def end_serving(process: WarmProcess, n_kills: int, rng: random.Random) -> Tally:
    """Kill servers while they answer, and read what they have logged."""
    log, tally = process.folder / "log", Tally()
    while tally.counts["runs"] < n_kills:  # a server does not end by itself
        shutil.rmtree(log, ignore_errors=True)
        moment = {"seconds": rng.uniform(0, MAX_SERVING_SECONDS), "signals": [signal.SIGKILL]}
        moment |= rng.choice(({}, {}, {"event": rng.randint(1, 3)}, {"n_bytes": rng.randint(32, 20_000)}))
        ended, answered = serve_and_ask(process, log, moment)
        tally.note("runs")
        where = f"serve {moment}"
        tally.note("killed", ended.status in (-signal.SIGKILL, -signal.SIGXFSZ))
        tally.note("in a write", ended.status == -signal.SIGXFSZ)
        if ended.status not in (-signal.SIGKILL, -signal.SIGXFSZ):
            tally.failures.append(f"{where}: status {ended.status}: {ended.messages[-300:]}")
        prepare_folder(log)  # as the next server does
        leftovers = [path.name for path in log.iterdir() if path.suffix != ".jsonl" and path.name != KEY_FILE]
        leftovers += os.listdir(process.folder / "tmp")
        tally.counts["leftovers"] += len(leftovers)
        entries = list(read_log(log)) if any(log.glob("*.jsonl")) else []
        logged = {entry["request"] for entry in entries if entry is not None}
        n_cut = entries.count(None)
        is_readable = n_cut <= 1 and (not n_cut or entries[-1] is None) and answered <= logged
        if logged:
            is_readable &= process.run("replay", log, "model.tabcohort").status == 0
        tally.note("equal", is_readable)
        tally.counts["answers"] += len(logged)
        if leftovers or not is_readable:
            tally.failures.append(
                f"{where}: left {leftovers}, {n_cut} cut, {len(answered - logged)} answers not logged"
            )
    return tally


def serve_and_ask(process: WarmProcess, log: Path, moment: dict[str, Any]) -> tuple[Ended, set[str]]:
    """Run a server that ends at some moment, and send it records; return the ids of the requests that it answered."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    answered: set[str] = set()
    is_over = threading.Event()
    asking = threading.Thread(target=ask, args=(port, answered, is_over))
    asking.start()
    options = ("--port", port, "--log", log, "--log-records", "--no-auth")
    try:
        return process.run("serve", "model.tabcohort", *options, moment=moment), answered
    finally:
        is_over.set()
        asking.join()


def ask(port: int, answered: set[str], is_over: threading.Event) -> None:
    """Send records to a server until it has ended."""
    body = json.dumps({"records": [{"a": 0.1, "b": 0.2, "c": -0.3, "d": 1.0}]}).encode()
    while not is_over.is_set():
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/v1/models/model/predict", body, {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                answered.add(answer.headers["X-Request-ID"])
        except (OSError, urllib.error.URLError):
            time.sleep(0.02)


# -- the table -------------------------------------------------------------------------------------------------------


def kill_runs(
    process: WarmProcess, n_kills: dict[str, int], seed: int = 0, tell: Callable[[str], None] = print
) -> dict[str, Tally]:
    """End runs of each command until so many were killed, and return what became of them."""
    tallies = {}
    for name, number in n_kills.items():
        rng, began = random.Random(f"{seed} {name}"), time.monotonic()
        end = end_serving if name == "serve" else lambda *rest, name=name: end_and_repeat(rest[0], name, *rest[1:])
        tallies[name] = end(process, number, rng)
        tell(f"{name}: {number} kills in {time.monotonic() - began:.0f} s")
        for failure in tallies[name].failures:
            tell(f"  {failure}")
    return tallies


def table_of(tallies: dict[str, Tally]) -> str:
    """Return the table of what became of the runs."""
    columns = ("runs", "killed", "in a write", "resumed", "equal", "leftovers")
    rows = [
        f"| {name} | {' | '.join(str(tally.counts[column]) for column in columns)} |" for name, tally in tallies.items()
    ]
    heads = ("command", "runs", "killed", "of these in a write", "resumed", "equal", "leftovers")
    return "\n".join([f"| {' | '.join(heads)} |", f"|---{'|---:' * (len(heads) - 1)}|", *rows])


def main() -> int:
    """Print the table; the exit status is 1 if anything went wrong."""
    number, *names = sys.argv[1:] or ("500",)
    n_kills = {name: max(1, round(share * int(number))) for name, share in SHARES.items() if name in (names or SHARES)}
    with tempfile.TemporaryDirectory() as folder, warm_process(Path(folder), MODULES) as process:
        tallies = kill_runs(process, n_kills, tell=lambda line: print(line, flush=True))
    print(table_of(tallies))
    n_failures = sum(len(tally.failures) for tally in tallies.values())
    print(f"{sum(tally.counts['killed'] for tally in tallies.values())} kills, {n_failures} failures")
    return int(n_failures > 0)


if __name__ == "__main__":
    sys.exit(main())
