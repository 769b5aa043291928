"""The events that an observer makes of a run."""

from __future__ import annotations

import json
import math
import threading

from fake_training import Clock
from live_runs import FALLING, LAYER, after, description, events_of_a_run

from tabcohort.live.checks import EventChecker
from tabcohort.live.events import Event, EventObserver


def test_the_events_of_a_run_are_in_the_order_in_which_they_happen() -> None:
    events = events_of_a_run()
    names = [event["event"] for event in events]
    assert names[0] == "start"
    assert names[-1] == "end"
    assert (names.count("begin"), names.count("epoch"), names.count("stop"), names.count("drop")) == (4, 11, 4, 1)
    seconds = [event["seconds"] for event in events]
    assert seconds == sorted(seconds)
    assert (seconds[0], seconds[-1]) == (0.0, 5.5)


def test_every_event_is_one_that_a_reader_takes() -> None:
    checker = EventChecker()
    for event in events_of_a_run():
        assert checker.check(json.loads(json.dumps(event, allow_nan=False))) == event


def test_an_epoch_has_its_losses_and_figures_about_layers() -> None:
    (event, *_) = (event for event in events_of_a_run() if event["event"] == "epoch" and event["member"] == 0)
    assert event["seconds"] == 1.5
    expected = {"epoch": 1, "learning_rate": 0.01, "train_loss": 0.7, "val_loss": 0.7, "val_accuracy": 0.9}
    assert expected.items() <= event.items()
    assert event["layers"] == [
        {
            "name": "output.weight",
            "n": 4,
            "quantiles": [-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0],
            "rms": 1.25,
            "gradient_rms": 0.01,
        }
    ]


def test_epochs_that_are_told_together_are_events_of_their_own_and_told_once() -> None:
    """Processes tell of several at a time, and a checkpoint holds all epochs before it."""
    events: list[Event] = []
    observer = EventObserver(events.append)
    observer.on_start(description())
    observer.on_epoch(0, after(*FALLING[:2], layers=(LAYER,)))
    observer.on_epoch(0, after(*FALLING[:1]))
    observer.on_epoch(0, after(*FALLING))
    told = [(event["epoch"], "layers" in event) for event in events[1:]]
    assert told == [(1, False), (2, True), (3, False)]


def test_the_time_left_is_told_twice_a_second_at_most_and_a_dropped_config_once() -> None:
    events: list[Event] = []
    clock = Clock()
    observer = EventObserver(events.append, clock=clock)
    observer.on_start(description())
    for step in range(4):
        observer.on_progress(math.nan if step == 0 else 10.0 - step, {1: 5} if step > 1 else {})
        clock.now += 0.25
    assert [event["seconds_left"] for event in events if event["event"] == "time_left"] == [None, 8.0]
    assert [event["config"] for event in events if event["event"] == "drop"] == [1]


def test_figures_that_are_not_finite_are_unknown() -> None:
    events: list[Event] = []
    observer = EventObserver(events.append)
    observer.on_start(description())
    observer.on_epoch(0, after((0.5, 0.5), layers=(LAYER._replace(rms=math.inf, gradient_rms=math.nan),)))
    (layer,) = events[-1]["layers"]
    assert (layer["rms"], layer["gradient_rms"]) == (None, None)
    json.dumps(events, allow_nan=False)


def test_a_second_run_begins_again() -> None:
    events: list[Event] = []
    observer = EventObserver(events.append)
    for _ in range(2):
        observer.on_start(description())
        observer.on_epoch(0, after(*FALLING))
        observer.on_end(None)
    assert [event["event"] for event in events] == ["start", "epoch", "epoch", "epoch", "end"] * 2


def test_events_of_several_threads_come_one_at_a_time() -> None:
    inside: list[int] = []
    most: list[int] = []

    def sink(event: Event) -> None:
        inside.append(1)
        most.append(len(inside))
        inside.pop()

    observer = EventObserver(sink)
    observer.on_start(description(n_members=4))
    threads = [
        threading.Thread(target=lambda place=place: [observer.on_begin(place) for _ in range(200)])
        for place in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(most), max(most)) == (801, 1)
