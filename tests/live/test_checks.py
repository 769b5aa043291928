"""What a reader of events refuses: whatever passes can be shown without another check."""

from __future__ import annotations

import copy
import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from live_runs import events_of_a_run
from rich.console import Console

from tabcohort.live.checks import EventChecker, EventError
from tabcohort.live.events import Event
from tabcohort.live.grid import GridDisplay, grid
from tabcohort.live.player import play
from tabcohort.live.run_state import RunState

EVENTS = events_of_a_run()
START, EPOCH = EVENTS[0], next(event for event in EVENTS if event["event"] == "epoch")

MEASURED = {"name": "w", "n": 4, "quantiles": [0.0] * 7, "rms": 1, "gradient_rms": None}


def checked(*events: Any) -> EventChecker:
    checker = EventChecker()
    for event in events:
        checker.check(event)
    return checker


@pytest.mark.parametrize(
    ("event", "message"),
    [
        ({**START, "format": 2}, "it has format 2 and this version reads format 1; install the version of tabcohort"),
        ({**START, "format": None}, "start.format must be a whole number from 0, and is null"),
        ({**START, "kind": "another"}, "it is not the beginning of a recording"),
        ({**START, "configs": "mlp"}, "start.configs must be a list, and is 'mlp'"),
        ({**START, "configs": [], "kinds": [], "max_epochs": [], "monitors": [], "lower_is_better": []}, "do not fit"),
        ({**START, "configs": ["mlp"]}, "its lists of configs and members do not fit each other"),
        ({**START, "members": []}, "its lists of configs and members do not fit each other"),
        (
            {**START, "members": [{"config": 2, "repeat": 0, "fold": 0}]},
            "start.members.0..config must be a whole number from 0 to 1",
        ),
        ({**START, "members": [{"config": 0}]}, "start.members.0..repeat is missing"),
        ({**START, "kinds": ["network", "forest"]}, "start.kinds must be a list of 'network' and 'trees'"),
        ({**START, "n_rows": True}, "start.n_rows must be a whole number from 0, and is True"),
        ({**START, "lower_is_better": [0, 1]}, "start.lower_is_better must be a list of true and false"),
        ({**START, "seconds": -1}, "start.seconds must be a number from 0 to 1e.09, and is -1"),
        ({**START, "another": 1}, "start has the unknown part 'another'"),
        ({"event": "end", "seconds": 0, "reason": None}, "a recording begins with one line on what is trained"),
        ([1], "it is not a training event"),
        ({"event": "stat"}, "it is not a training event"),
        ({"event": ["start"]}, "it is not a training event"),
    ],
)
def test_a_first_event_that_says_not_what_is_trained_is_refused(event: Any, message: str) -> None:
    with pytest.raises(EventError, match=message):
        checked(event)


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (START, "has no other such line"),
        ({**EPOCH, "member": 4}, "epoch.member must be a whole number from 0 to 3, and is 4"),
        ({**EPOCH, "member": -1}, "epoch.member must be a whole number from 0 to 3, and is -1"),
        ({**EPOCH, "epoch": 2}, "an epoch is missing before it, or repeated"),
        ({**EPOCH, "val_loss": None}, "epoch.val_loss must be a number from -1e.300 to 1e.300, and is null"),
        ({**EPOCH, "val_loss": float("inf")}, "epoch.val_loss must be a number"),
        ({**EPOCH, "val_loss": 10**308}, "epoch.val_loss must be a number"),
        ({**EPOCH, "val_loss": 10**400}, "epoch.val_loss must be a number"),
        ({**EPOCH, "config": [[]]}, "epoch has the unknown part 'config'"),
        ({**EPOCH, "members": 5}, "epoch has the unknown part 'members'"),
        ({**EPOCH, "seconds": 10**400}, "epoch.seconds must be a number from 0 to 1e.09"),
        ({**EPOCH, "seconds": 2e9}, "epoch.seconds must be a number from 0 to 1e.09"),
        ({**EPOCH, "layers": [{"name": "w"}]}, "epoch.layers.0..quantiles is missing"),
        (
            {**EPOCH, "layers": [{**MEASURED, "quantiles": [1]}]},
            "epoch.layers.0..quantiles must have 7 numbers, and has 1",
        ),
        ({"event": "drop", "seconds": 1, "config": 2, "epochs": 1}, "drop.config must be a whole number from 0 to 1"),
        ({"event": "stop", "seconds": 1, "member": 0, "reason": "patience"}, "stop.message is missing"),
        (
            {"event": "time_left", "seconds": 1, "seconds_left": "5"},
            "time_left.seconds_left must be a number, and is '5'",
        ),
        ({"event": "end", "seconds": 1, "reason": 5}, "end.reason must be a text, and is 5"),
    ],
)
def test_a_later_event_that_does_not_fit_is_refused(event: Any, message: str) -> None:
    with pytest.raises(EventError, match=message):
        checked(START, event)


def test_an_event_cannot_come_before_the_one_before_it() -> None:
    later = {"event": "begin", "seconds": 5.0, "member": 0}
    checked(START, later, later)
    with pytest.raises(EventError, match=r"begin.seconds must be a number from 5 to 1e.09, and is 4.9"):
        checked(START, later, {**later, "seconds": 4.9})


def test_a_member_has_the_same_layers_in_every_epoch() -> None:
    second = {**EPOCH, "epoch": 2, "layers": [MEASURED]}
    third = {**EPOCH, "epoch": 3, "layers": [{**MEASURED, "name": "b"}]}
    message = "epoch.layers must have the layers of the member's first measured epoch"
    with pytest.raises(EventError, match=message):
        checked(START, EPOCH, second, third)
    with pytest.raises(EventError, match=message):
        checked(START, EPOCH, second, {**third, "layers": [MEASURED, MEASURED]})


def test_numbers_become_floats_and_counts_stay_whole() -> None:
    checker = checked(START)
    event = checker.check({**EPOCH, "seconds": 3, "val_loss": 1, "layers": [MEASURED]})
    values = (event["seconds"], event["val_loss"], event["layers"][0]["rms"], event["epoch"])
    assert [type(value) for value in values] == [float, float, float, int]
    assert event["layers"][0]["gradient_rms"] is None


HUGE = st.sampled_from([10**308, -(10**308), 10**400, 2**1024, 1e308, -1e308, 5e-324])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 300) | st.floats() | HUGE | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*START, *EPOCH]), inner, max_size=3),
    max_leaves=5,
)


def damaged(data: st.DataObject) -> list[Event]:
    """Return the events of a run of which one or two have other values or values more, such as layers or seconds."""
    events = copy.deepcopy(EVENTS)
    for place in data.draw(st.lists(st.integers(0, len(events) - 1), min_size=1, max_size=2)):
        event = events[place]
        name = data.draw(st.sampled_from([*event, "seconds", "layers", "config", "member", "members"]))
        layers = event.get("layers")
        if isinstance(layers, list) and layers and isinstance(layers[0], dict) and data.draw(st.booleans()):
            layer = layers[0]
            layer[data.draw(st.sampled_from(sorted(MEASURED)))] = data.draw(VALUES)
        else:
            event[name] = data.draw(VALUES)
    return events


@given(st.data())
def test_what_passes_can_be_shown_and_replayed(data: st.DataObject) -> None:
    checker = EventChecker()
    try:
        events = [checker.check(event) for event in damaged(data)]
    except EventError:
        return
    json.dumps(events, allow_nan=False)
    run = RunState()
    console = Console(width=60, file=io.StringIO())
    with GridDisplay(console) as display:
        for event in events:
            run.apply(event)
            console.print(grid(run))
        play(events, display, 1.0, sleep=lambda seconds: None)
    json.dumps(run.facts(), allow_nan=False)
    assert "\x1b" not in console.file.getvalue()
