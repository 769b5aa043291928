"""Replays of recordings: events one by one, when they happened, faster or at once; and those that still come."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator

from tabcohort.errors import SettingsError
from tabcohort.live.events import Event, Sink
from tabcohort.live.recording import RecordingReader

MAX_SECONDS = 20.0  # that a replay takes where no speed is given
SECONDS_BETWEEN = 0.25  # looks at a file that is being written


def default_speed(seconds: float) -> float:
    """Return the default replay speed: at most 20 s for the whole run.

    Args:
        seconds: that the run took.

    Examples:
        >>> default_speed(8.0), default_speed(600.0)
        (1.0, 30.0)
    """
    return max(1.0, seconds / MAX_SECONDS)


def check_speed(speed: float) -> None:
    """Raise `SettingsError` if a replay cannot have this speed."""
    if not speed > 0:
        raise SettingsError(f"the speed must be above 0, such as 10 for ten times as fast; it is {speed:g}")


def play(events: Iterable[Event], sink: Sink, speed: float, sleep: Callable[[float], None] = time.sleep) -> None:
    """Hand over events in their order, at their times.

    Args:
        events: of a run.
        sink: called with each of them.
        speed: how many times as fast as they happened; infinity hands them over at once.
        sleep: waits for some seconds.
    """
    seconds = 0.0  # of the run, that have passed
    for event in events:
        if event["seconds"] > seconds and math.isfinite(speed):
            sleep((event["seconds"] - seconds) / speed)
            seconds = event["seconds"]
        sink(event)


def follow(reader: RecordingReader, sleep: Callable[[float], None] = time.sleep) -> Iterator[Event]:
    """Yield the events that are in a recording, and those that come, until it is closed.

    Raises:
        ModelFileError: a line is damaged.
    """
    while True:
        is_being_written = reader.is_being_written()  # before reading, as lines may come between
        yield from reader.read()
        if not is_being_written:
            return
        sleep(SECONDS_BETWEEN)
