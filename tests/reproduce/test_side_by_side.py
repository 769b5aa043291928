"""Trainings side by side: results by key, the time left, and Ctrl-C."""

from __future__ import annotations

import functools
import threading

import pytest
from reproduce_helpers import silent_console
from rich.console import Console

from tabcohort.reproduce import side_by_side
from tabcohort.reproduce.side_by_side import STOPPED, Training, done_share, left_text, train_side_by_side
from tabcohort.training.loop import EpochCallback, TrainingState


def test_results_have_the_keys_and_the_order_of_the_trainings(
    messages: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(side_by_side, "SECONDS_BETWEEN_LINES", 0.0)

    def train(value: int, callback: EpochCallback) -> int:
        assert callback(TrainingState()) is None
        return value

    trainings = {
        key: Training(functools.partial(train, value), 3) for key, value in zip("ba", (1, 2), strict=True)
    }  # fmt: skip
    assert list(train_side_by_side(trainings, messages, 2).items()) == [("b", 1), ("a", 2)]
    assert "2/2 trainings, about " in messages.file.getvalue()  # type: ignore[attr-defined]


def test_ctrl_c_keeps_what_is_done_and_stops_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first training ends, which interrupts; the second trains until it is stopped; the third never begins."""
    reasons: list[str | None] = []
    began, begun = threading.Event(), []

    def endless(callback: EpochCallback) -> str:
        began.set()
        while (reason := callback(TrainingState())) is None:
            pass
        reasons.append(reason)
        return "stopped"

    def short(callback: EpochCallback) -> str:
        assert began.wait(30)
        return "done"

    def finish(bar: object, key: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(side_by_side._Bar, "finish", finish)
    trainings = {
        "short": Training(short, 1),
        "endless": Training(endless, 1),
        "another": Training(endless, 1),
        "late": Training(lambda callback: begun.append(1) or "late", 1),
    }
    messages = silent_console()
    assert train_side_by_side(trainings, messages, 2) == {"short": "done"}
    assert set(reasons) == {STOPPED}
    assert begun == []
    assert "interrupted: 1 of 4 trainings are done and kept" in messages.file.getvalue()  # type: ignore[attr-defined]


def test_an_error_of_a_training_is_raised_and_stops_the_others(messages: Console) -> None:
    def fail(callback: EpochCallback) -> None:
        raise ValueError("no such rows")

    def endless(callback: EpochCallback) -> None:
        while callback(TrainingState()) is None:
            pass

    with pytest.raises(ValueError, match="no such rows"):
        train_side_by_side({"a": Training(fail, 1), "b": Training(endless, 1)}, messages, 2)


def test_the_share_that_is_done_counts_epochs_and_never_exceeds_one() -> None:
    assert done_share({}, {"a": 10, "b": 30}) == 0
    assert done_share({"a": 10}, {"a": 10, "b": 30}) == 0.25
    assert done_share({"a": 40}, {"a": 10, "b": 40}) == 0.5
    assert done_share({"a": 7}, {"a": 7}) == 1.0
    assert done_share({}, {}) == 1.0
    assert (left_text(10.0, 0.0), left_text(10.0, 1.0), left_text(100.0, 0.2)) == ("an unknown time", "0 s", "7 min")
