"""A process that has imported everything and forks one that runs a command, for each line of its input.

A line is a JSON object: the `arguments` of `tabcohort`, the file `messages` that gets standard error, whether the
process `exits` as Python does, which takes a while, and one `moment` at which the run ends, or none:

    {"seconds": 0.3, "signals": [2, 2], "gap": 0.01}    signals are sent, the first after these seconds
    {"event": 17}        SIGKILL before the 17th time that a file is opened to write, renamed or removed
    {"n_bytes": 4000}    the system ends it in the write that makes a file longer than this

It answers when the process has ended: its exit status, negative for a signal, how many seconds it took, and how many
events there were. No thread may be started here: a fork has only one.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import resource
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NoReturn

FOLDER = str(Path.cwd())
EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link"}
WRITING = os.O_WRONLY | os.O_RDWR
counted, last = [0], [0]


def count(event: str, arguments: tuple[Any, ...]) -> None:
    """Count what is about to happen to a file of this folder, and end the process before the last of these."""
    if event not in EVENTS or not str(arguments[0]).startswith(FOLDER):
        return
    if event == "open" and not int(arguments[2] or 0) & WRITING:
        return
    counted[0] += 1
    if counted[0] == last[0]:
        os.kill(os.getpid(), signal.SIGKILL)


def warm_up(modules: list[str]) -> None:
    """Import what commands import, and load the kernels."""
    sys.dont_write_bytecode = True  # it would be cut, too
    tempfile.gettempdir()  # Python writes a file there to find out whether it can, once in a process
    for module in ("tabcohort.cli.main", "tabcohort.cohort.fit", "tabcohort.cohort.presets", *modules):
        importlib.import_module(module)
    from tabcohort.engines.compiled import engine, inference
    from tabcohort.training import checkpoint

    engine.compile_kernels("float32")
    inference.compile_loop("float32")
    inference.compile_trees()
    checkpoint.SECONDS_BETWEEN = 0.03  # small trainings end before ten seconds have passed
    gc.collect()
    gc.freeze()  # forks share the memory


def run(request: dict[str, Any], ended: int) -> NoReturn:
    """Run a command and end this process; the number of events is told before."""
    from tabcohort.cli.main import main, program

    moment = request.get("moment") or {}
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.dup2(os.open(request["messages"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if "n_bytes" in moment:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_FSIZE, (moment["n_bytes"],) * 2)
    last[0] = moment.get("event", 0)
    sys.addaudithook(count)
    if request.get("exits"):
        sys.argv = ["tabcohort", *request["arguments"]]
        program()
    status = main(request["arguments"])
    os.write(ended, str(counted[0]).encode())
    os._exit(status)


def send(pid: int, moment: dict[str, Any]) -> None:
    """Send the signals of a moment to a process, as long as it runs."""
    for place, number in enumerate(moment.get("signals", ())):
        seconds = moment["gap"] if place else moment["seconds"]
        if signal.sigtimedwait({signal.SIGCHLD}, seconds) is not None:
            return
        os.kill(pid, number)


def main() -> None:
    """Answer lines until there are no more."""
    warm_up(sys.argv[1:])
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    print("ready", flush=True)
    while line := sys.stdin.readline():
        request = json.loads(line)
        reading, writing = os.pipe()
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
        began = time.perf_counter()
        pid = os.fork()
        if pid == 0:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            run(request, writing)
        send(pid, request.get("moment") or {})
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        seconds = time.perf_counter() - began
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        os.close(writing)
        n_events = os.read(reading, 20)
        os.close(reading)
        print(json.dumps([status, seconds, int(n_events or 0)]), flush=True)


if __name__ == "__main__":
    main()
