"""Replays: the order and the times of events, and those that still come."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from live_runs import events_of_a_run

from tabcohort import SettingsError
from tabcohort.live.events import Event
from tabcohort.live.player import check_speed, default_speed, follow, play
from tabcohort.live.recording import RecordingFile, RecordingReader


def test_events_are_handed_over_in_their_order_at_their_times() -> None:
    events, happened, now = events_of_a_run(), [], [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    play(events, lambda event: happened.append((event, now[0])), 2.0, sleep)
    assert [event for event, _ in happened] == events
    for event, seconds in happened:
        assert seconds == pytest.approx(event["seconds"] / 2)


def test_an_infinite_speed_waits_for_nothing() -> None:
    handed: list[Event] = []

    def sleep(seconds: float) -> None:
        raise AssertionError

    play(events_of_a_run(), handed.append, math.inf, sleep)
    assert handed == events_of_a_run()


def test_a_long_run_is_replayed_in_twenty_seconds_where_nobody_says() -> None:
    assert (default_speed(5.0), default_speed(20.0), default_speed(3_600.0)) == (1.0, 1.0, 180.0)


@pytest.mark.parametrize("speed", [0.0, -1.0, math.nan])
def test_a_speed_that_leads_nowhere_is_refused(speed: float) -> None:
    with pytest.raises(SettingsError, match="the speed must be above 0, such as 10 for ten times as fast; it is"):
        check_speed(speed)


def test_events_that_come_are_followed_until_the_end(tmp_path: Path) -> None:
    events = events_of_a_run()
    file, waiting = RecordingFile(tmp_path / "run.jsonl"), iter(events[3:])
    for event in events[:3]:
        file(event)

    def sleep(seconds: float) -> None:
        """Let the run go on by an event."""
        file(next(waiting))

    with RecordingReader(tmp_path / "run.jsonl") as reader:
        assert list(follow(reader, sleep)) == events


def test_a_recording_that_nobody_writes_any_more_is_followed_to_where_it_ends(tmp_path: Path) -> None:
    file = RecordingFile(tmp_path / "run.jsonl")
    for event in events_of_a_run()[:5]:
        file(event)
    file.close()
    with RecordingReader(tmp_path / "run.jsonl") as reader:
        assert list(follow(reader)) == events_of_a_run()[:5]
