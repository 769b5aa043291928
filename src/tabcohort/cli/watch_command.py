"""Training that is seen as it happens: `--live` and `--record` of `fit` and `tune`, and the command `watch`."""

from __future__ import annotations

import argparse
import functools
import math
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tabcohort.cli.output import consoles, print_json, print_lines
from tabcohort.errors import ModelFileError, SettingsError

if TYPE_CHECKING:
    from rich.console import Console

    from tabcohort.cohort.progress import ProgressCallback, RunProgress
    from tabcohort.live.event_log import EventLog
    from tabcohort.live.events import Event, Sink
    from tabcohort.live.recording import RecordingReader
    from tabcohort.training.observer import TrainingObserver

AUTO = "auto"  # the port: any that is free


@dataclass(frozen=True)
class Watching:
    """How a command shows its training while it runs.

    Args:
        callback: called with the progress.
        observer: called after every epoch; None unless a page or a recording is requested.
    """

    callback: ProgressCallback
    observer: TrainingObserver | None


@dataclass(frozen=True)
class LiveView:
    """The page of a training.

    Args:
        address: where a browser reaches it.
        log: the events that it shows.
    """

    address: str
    log: EventLog


@contextmanager
def watching(options: argparse.Namespace, live: LiveView | None, messages: Console) -> Iterator[Watching]:
    """Show a training, and record it, as the options of the command say.

    Args:
        options: of the command line.
        live: the page of `--live`; None without that option.
        messages: the console of standard error.
    """
    from tabcohort.reporting.progress_displays import ProgressDisplay, ProgressLog

    sinks: list[Sink] = []
    callback: ProgressCallback
    with ExitStack() as stack:
        if options.record:
            from tabcohort.live.recording import RecordingFile

            recording = RecordingFile(options.record)
            stack.callback(recording.close)
            sinks.append(recording)
        if live is not None:
            from tabcohort.live.grid import GridDisplay

            sinks += [live.log, stack.enter_context(GridDisplay(messages))]

            callback = functools.partial(_print_price, messages)
        elif options.verbose:
            callback = stack.enter_context(ProgressLog(messages))
        else:
            callback = stack.enter_context(ProgressDisplay(messages))
        if not sinks:
            yield Watching(callback, None)
            return
        from tabcohort.live.events import EventObserver

        yield Watching(callback, EventObserver(*sinks))


def _print_price(messages: Console, progress: RunProgress) -> None:
    """Print before training what it will take."""
    from tabcohort.reporting.progress_displays import describe_price

    if progress.n_epochs == 0:
        messages.print(describe_price(progress))


@contextmanager
def live_page(options: argparse.Namespace, messages: Console) -> Iterator[LiveView | None]:
    """Serve the page of `--live` while the context lasts, which gives it; None without that option.

    Raises:
        SettingsError: the port is in use, or not possible.
    """
    if options.live is None:
        yield None
        return
    from tabcohort.live.event_log import EventLog
    from tabcohort.live.live_server import LiveServer

    log = EventLog()
    with LiveServer(log, port_of(options.live)) as server:
        print_lines(messages, f"live     {server.address}")
        yield LiveView(server.address, log)


def keep_up(live: LiveView | None, messages: Console) -> None:
    """Wait for Enter or Ctrl-C where a person is at the terminal: small tables are trained before a page has opened.

    Args:
        live: the page; None if there is none.
        messages: the console of standard error.
    """
    if live is None or messages.quiet or not (messages.is_terminal and _is_at_terminal()):
        return
    sys.stdout.flush()
    print_lines(messages, "", f"The page is at {live.address} until you press Enter.")
    try:
        sys.stdin.readline()
    except KeyboardInterrupt:
        print_lines(messages, "")


def _is_at_terminal() -> bool:
    """Return whether standard input is a terminal from which this process may read: in the background it would stop."""
    if sys.stdin is None or not sys.stdin.isatty():
        return False
    return not hasattr(os, "tcgetpgrp") or os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()


def port_of(text: str) -> int:
    """Return the port that an option names; 0 for "auto".

    Raises:
        SettingsError: it is neither a port nor "auto".
    """
    if text == AUTO:
        return 0
    if not (text.isascii() and text.isdecimal() and int(text) <= 65_535):
        raise SettingsError(f"the port must be 0 to 65535, or auto; it is {text!r}")
    return int(text)


def watch(options: argparse.Namespace) -> int:
    """Replay a recording, in the terminal or as a page, and follow one that is still being written."""
    from tabcohort.live.player import check_speed
    from tabcohort.live.recording import RecordingReader

    is_page = options.page or options.port is not None
    _check_options(options, is_page)
    if options.speed is not None:
        check_speed(options.speed)
    with RecordingReader(options.recording) as reader:
        if options.json:
            print_json(_facts(reader))
        elif is_page:
            _watch_page(reader, options.port or AUTO)
        else:
            _watch_terminal(reader, options.speed)
    return 0


def _check_options(options: argparse.Namespace, is_page: bool) -> None:
    """Refuse options that would have no effect.

    Raises:
        SettingsError: there is one.
    """
    if options.json and (is_page or options.speed is not None):
        raise SettingsError("--json prints the state at the end; leave out --page, --port and --speed")
    if is_page and options.speed is not None:
        raise SettingsError("--speed is of a replay in the terminal; choose the speed on the page itself")


def _first_events(reader: RecordingReader) -> list[Event]:
    """Return what a recording holds now.

    Raises:
        ModelFileError: not even its first line is complete.
    """
    events = reader.read()
    if not events and not reader.is_being_written():
        raise ModelFileError(f"{str(reader.path)!r} was cut before the end of its first line; nothing can be replayed")
    return events


def _facts(reader: RecordingReader) -> dict[str, object]:
    from tabcohort.live.run_state import RunState

    state = RunState()
    for event in _first_events(reader):
        state.apply(event)
    return state.facts()


def _watch_terminal(reader: RecordingReader, speed: float | None) -> None:
    """Replay a recording on standard output; what is still being written is shown as it comes."""
    from tabcohort.live.grid import GridDisplay
    from tabcohort.live.player import default_speed, follow, play

    out, _ = consoles()
    is_live = reader.is_being_written()
    events = _first_events(reader)
    if speed is None:
        is_at_once = is_live or not out.is_terminal
        speed = math.inf if is_at_once else default_speed(events[-1]["seconds"])
    with GridDisplay(out) as display:
        play(events, display, speed)
        for event in follow(reader):
            display(event)
    if not display.run.is_over:
        print_lines(out, "The recording ends before the training did.")


def _watch_page(reader: RecordingReader, port: str) -> None:
    """Serve the page of a recording until Ctrl-C."""
    from tabcohort.live.event_log import EventLog
    from tabcohort.live.live_server import LiveServer
    from tabcohort.live.player import follow

    log = EventLog(is_open=reader.is_being_written())
    for event in _first_events(reader):
        log(event)
    _, messages = consoles()
    with LiveServer(log, port_of(port)) as server:
        print_lines(messages, f"ready    {server.address}; press Ctrl-C to stop")
        try:
            for event in follow(reader):
                log(event)
            log.is_open = False
            threading.Event().wait()
        except KeyboardInterrupt:
            print_lines(messages, "stopped")
