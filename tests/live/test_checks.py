"""What a reader of events refuses: whatever passes can be shown without another check."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from live_runs import events_of_a_run

from tabcohort.live.board import Board
from tabcohort.live.checks import EventChecker, EventError

EVENTS = events_of_a_run()
START, EPOCH = EVENTS[0], next(event for event in EVENTS if event["event"] == "epoch")


def checked(*events: Any) -> EventChecker:
    checker = EventChecker()
    for event in events:
        checker.check(event)
    return checker


@pytest.mark.parametrize(
    ("event", "message"),
    [
        ({**START, "format": 2}, "it has format 2 and this version reads format 1; install the version of tabcohort"),
        ({**START, "format": None}, "it has format None"),
        ({**START, "kind": "another"}, "it is not the beginning of a recording"),
        ({**START, "configs": "mlp"}, "the value of 'configs' is missing or not a possible one"),
        ({**START, "configs": ["mlp"]}, "its lists of configs and members do not fit each other"),
        ({**START, "members": []}, "its lists of configs and members do not fit each other"),
        ({**START, "members": [{"config": 2, "repeat": 0, "fold": 0}]}, "a config or a member that there is not"),
        ({**START, "members": [{"config": 0}]}, "the value of 'members' is missing"),
        ({**START, "kinds": ["network", "forest"]}, "the value of 'kinds' is missing"),
        ({**START, "n_rows": True}, "the value of 'n_rows' is missing"),
        ({**START, "seconds": -1}, "the value of 'seconds' is missing or not a possible one"),
        ({"event": "end", "seconds": 0, "reason": None}, "a recording begins with one line on what is trained"),
        ([1], "it is no event of a training"),
        ({"event": "stat"}, "it is no event of a training"),
        ({"event": ["start"]}, "it is no event of a training"),
    ],
)
def test_a_first_event_that_says_not_what_is_trained_is_refused(event: Any, message: str) -> None:
    with pytest.raises(EventError, match=message):
        checked(event)


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (START, "has no other such line"),
        ({**EPOCH, "member": 4}, "it names a config or a member that there is not"),
        ({**EPOCH, "member": -1}, "the value of 'member' is missing or not a possible one"),
        ({**EPOCH, "epoch": 2}, "an epoch is missing before it, or repeated"),
        ({**EPOCH, "val_loss": None}, "the value of 'val_loss' is missing"),
        ({**EPOCH, "val_loss": float("inf")}, "the value of 'val_loss' is missing"),
        ({**EPOCH, "layers": [{"name": "w"}]}, "the value of 'layers' is not a possible one"),
        ({"event": "drop", "seconds": 1, "config": 2, "epochs": 1}, "a config or a member that there is not"),
        ({"event": "stop", "seconds": 1, "member": 0, "reason": "patience"}, "the value of 'message' is missing"),
        ({"event": "left", "seconds": 1, "seconds_left": "5"}, "the value of 'seconds_left' is missing"),
        ({"event": "end", "seconds": 1, "reason": 5}, "the value of 'reason' is missing"),
    ],
)
def test_a_later_event_that_does_not_fit_is_refused(event: Any, message: str) -> None:
    with pytest.raises(EventError, match=message):
        checked(START, event)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 300) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*START, *EPOCH]), inner, max_size=3),
    max_leaves=5,
)


@given(st.integers(0, len(EVENTS) - 1), st.data())
def test_what_passes_can_be_shown(place: int, data: st.DataObject) -> None:
    """One value of one event is replaced by something else."""
    events = copy.deepcopy(EVENTS)
    name = data.draw(st.sampled_from([*events[place], "layers"]))
    events[place][name] = data.draw(VALUES)
    checker, board = EventChecker(), Board()
    try:
        for event in events:
            board.apply(checker.check(event))
    except EventError:
        return
    json.dumps(board.facts(), allow_nan=False)
