"""The events in memory, asked for again and again."""

from __future__ import annotations

import json

import pytest
from live_runs import events_of_a_run

from tabcohort.live import event_log
from tabcohort.live.event_log import EventLog


def filled(n_events: int | None = None) -> EventLog:
    log = EventLog()
    for event in events_of_a_run()[:n_events]:
        log(event)
    return log


def test_events_come_once_without_their_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_log, "MAX_EVENTS", 4)
    log, position, events = filled(), 0, []
    while True:
        answer = log.events(1, position)
        assert len(answer["events"]) <= 4
        events += answer["events"]
        position = answer["next"]
        if not answer["more"]:
            break
    expected = [{name: value for name, value in event.items() if name != "layers"} for event in events_of_a_run()]
    assert [event | {"began": ""} for event in events] == [event | {"began": ""} for event in expected]
    assert log.events(1, position)["events"] == []
    json.dumps(answer, allow_nan=False)


def test_layers_are_asked_for_by_member() -> None:
    log = filled()
    epochs = log.layers(1, 0, 0)["epochs"]
    assert [measured["epoch"] for measured in epochs] == [1, 2, 3, 4, 5, 6]
    assert epochs[0]["layers"][0]["name"] == "output.weight"
    assert log.layers(1, 0, 4) == {"run": 1, "member": 0, "from": 4, "epochs": epochs[4:]}
    assert log.layers(1, 2, 0)["epochs"] == [], "trees have none"
    assert log.layers(1, 99, 0)["epochs"] == []


def test_another_run_is_sent_from_its_beginning() -> None:
    log = filled()
    for event in events_of_a_run()[:2]:
        log(event)
    answer = log.events(1, 20)
    assert (answer["run"], answer["next"]) == (2, 2)
    assert answer["events"][0]["event"] == "start"
    assert log.layers(1, 0, 3) == {"run": 2, "member": 0, "from": 0, "epochs": []}


def test_positions_that_there_are_not_give_nothing() -> None:
    assert filled().events(1, 10**6)["events"] == []


def test_whether_more_may_come_is_said() -> None:
    log = filled()
    assert log.events(1, 0)["isOpen"]
    log.is_open = False
    assert not log.events(1, 0)["isOpen"]
    assert EventLog().events(0, 0) == {"run": 0, "events": [], "next": 0, "more": False, "isOpen": True}
