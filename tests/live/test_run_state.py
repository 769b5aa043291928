"""The state of a run, made of its events."""

from __future__ import annotations

import math

import pytest
from live_runs import FALLING, OVERFITTING, after, description, events_of_a_run

from tabcohort.live.events import Event, EventObserver
from tabcohort.live.run_state import MIN_RISE, MemberState, RunState, Status


def run_after(n_events: int | None = None) -> RunState:
    run = RunState()
    for event in events_of_a_run()[:n_events]:
        run.apply(event)
    return run


def member_with(*losses: tuple[float, float], lower_is_better: bool = True) -> MemberState:
    events: list[Event] = []
    observer = EventObserver(events.append)
    observer.on_start(description())
    observer.on_epoch(0, after(*losses))
    member = MemberState(0, 0, 0, lower_is_better)
    for event in events[1:]:
        member.add(event)
    return member


def test_before_the_first_event_nothing_is_known() -> None:
    run = RunState()
    assert (run.start, run.members, run.n_epochs, run.latest) == (None, [], 0, -1)
    assert math.isnan(run.seconds_left)


def test_members_wait_train_pause_end_fail_and_are_dropped() -> None:
    events = events_of_a_run()
    run, seen = RunState(), [set() for _ in range(4)]
    for event in events:
        run.apply(event)
        for statuses, member in zip(seen, run.members, strict=False):
            statuses.add(member.status)
    assert seen == [
        {Status.WAITING, Status.TRAINING, Status.DONE},
        {Status.WAITING, Status.TRAINING, Status.FAILED},
        *[{Status.WAITING, Status.TRAINING, Status.PAUSED, Status.DROPPED}] * 2,
    ]
    assert run.members[1].message == "the loss stopped being finite"
    assert run.dropped == {1: 1}
    assert (run.is_over, run.reason, run.seconds, run.n_epochs) == (True, None, 5.5, 11)


def test_what_a_member_of_a_dropped_config_does_later_does_not_matter() -> None:
    run = run_after()
    run.apply({"event": "stop", "seconds": 6.0, "member": 2, "reason": "paused", "message": ""})
    assert run.members[2].status == Status.DROPPED


def test_the_best_epoch_is_the_earliest_of_the_best_score() -> None:
    member = member_with((0.5, 0.4), (0.4, 0.3), (0.3, 0.3), (0.2, 0.5))
    assert (member.best_epoch, member.best_loss) == (2, 0.3)
    assert member_with((0.5, 0.4), (0.4, 0.6), (0.3, 0.6), lower_is_better=False).best_epoch == 2


def test_overfitting_is_a_validation_loss_that_rises_while_the_training_loss_falls() -> None:
    assert member_with(*OVERFITTING).rise == pytest.approx(0.6)
    assert member_with(*FALLING).rise == 0
    assert member_with(*OVERFITTING[:5]).rise == 0, "two epochs say little"
    both_rise = [(train_loss + epoch, val_loss) for epoch, (train_loss, val_loss) in enumerate(OVERFITTING)]
    assert member_with(*both_rise).rise == 0
    slightly = [(0.7 - 0.1 * epoch, 0.5 * (1 + MIN_RISE / 2 * (epoch > 0))) for epoch in range(5)]
    assert member_with(*slightly).rise == 0


def test_a_config_has_the_mean_loss_of_its_members_best_epochs() -> None:
    run = run_after()
    assert run.mean_loss(0) == pytest.approx(0.5)
    assert run.mean_loss(1) == pytest.approx(0.9)
    assert math.isnan(run_after(1).mean_loss(0))


def test_a_second_run_begins_again() -> None:
    run = run_after()
    run.apply(events_of_a_run()[0])
    assert (run.n_epochs, run.is_over, run.dropped) == (0, False, {})
    assert run.counts == {Status.WAITING: 4}


def test_the_facts_are_plain_values() -> None:
    facts = run_after().facts()
    assert facts["is_complete"] is True
    assert [config["val_loss"] for config in facts["configs"]] == pytest.approx([0.5, 0.9])
    assert facts["configs"][1]["dropped_after"] == 1
    assert facts["members"][0] == {
        "config": 0, "repeat": 0, "fold": 0, "status": "done", "stop_reason": "patience", "n_epochs": 6,
        "best_epoch": 3, "train_loss": 0.4, "val_loss": 0.5, "rise": pytest.approx(0.6),
    }  # fmt: skip
    assert RunState().facts()["configs"] == []
