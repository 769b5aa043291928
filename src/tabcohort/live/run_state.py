"""The state of a run, made of its events one by one: what each member has done so far, and what it does now."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from tabcohort.live.events import Event

MIN_EPOCHS_SINCE_BEST, MIN_RISE = 3, 0.02  # from which on a rising validation loss is called overfitting
MAX_RISE = 1e6  # above a loss that is close to 0 a rise has no limit


class Status(StrEnum):
    """What a member does."""

    WAITING = "waiting"
    TRAINING = "training"
    PAUSED = "paused"
    DONE = "done"
    STOPPED = "stopped"
    DROPPED = "dropped"
    FAILED = "failed"


OF_REASON = {
    "patience": Status.DONE, "max_epochs": Status.DONE, "paused": Status.PAUSED, "failed": Status.FAILED,
}  # fmt: skip


@dataclass
class MemberState:
    """A member of a run.

    Args:
        config, repeat, fold: which one it is, counted from 0.
        lower_is_better: whether the best epoch is that of the lowest score.
        status: what it does.
        epochs: the events of its epochs.
        best_epoch: the epoch of the best score; of several, the earliest. 0 before the first.
        lowest: the epoch of the lowest validation loss; 0 before the first.
        reason: why it ended or paused; empty before.
        message: of the error that ended it; otherwise empty.
    """

    config: int
    repeat: int
    fold: int
    lower_is_better: bool
    status: Status = Status.WAITING
    epochs: list[Event] = field(default_factory=list)
    best_epoch: int = 0
    lowest: int = 0
    reason: str = ""
    message: str = ""

    def add(self, epoch: Event) -> None:
        """Add an epoch."""
        self.epochs.append(epoch)
        if not self.best_epoch or self._is_better(epoch["score"], self.epochs[self.best_epoch - 1]["score"]):
            self.best_epoch = epoch["epoch"]
        if not self.lowest or epoch["val_loss"] < self.epochs[self.lowest - 1]["val_loss"]:
            self.lowest = epoch["epoch"]

    @property
    def best_loss(self) -> float:
        """The validation loss of the best epoch; NaN before the first."""
        return self.epochs[self.best_epoch - 1]["val_loss"] if self.epochs else math.nan

    @property
    def rise(self) -> float:
        """How much higher the validation loss is now than at its lowest, as a share of that; 0 where it is not.

        It counts only where the training loss has fallen meanwhile, for some epochs: this is overfitting.
        """
        if len(self.epochs) - self.lowest < MIN_EPOCHS_SINCE_BEST:
            return 0.0
        now, then = self.epochs[-1], self.epochs[self.lowest - 1]
        rise = (now["val_loss"] - then["val_loss"]) / max(then["val_loss"], 1e-12)
        return min(rise, MAX_RISE) if rise >= MIN_RISE and now["train_loss"] < then["train_loss"] else 0.0

    def _is_better(self, score: float, best: float) -> bool:
        return score < best if self.lower_is_better else score > best


class RunState:
    """The state of a run: that of all its members, as its events say.

    Attributes:
        start: the first event, which says what is trained; None before it.
        members: their states, in the order of the first event.
        dropped: for each config that was dropped, the epochs after which it was.
        latest: number of the member that had the last epoch; -1 before any.
        seconds: of the last event.
        seconds_left: estimated; NaN where it is not known.
        is_over: whether the run has ended.
        reason: why it ended early; None where it did not.
    """

    def __init__(self) -> None:
        self.start: Event | None = None
        self.members: list[MemberState] = []
        self.dropped: dict[int, int] = {}
        self.latest = -1
        self.seconds, self.seconds_left = 0.0, math.nan
        self.is_over, self.reason = False, None

    def apply(self, event: Event) -> None:
        """Take over an event."""
        HANDLERS[event["event"]](self, event)
        self.seconds = event["seconds"]

    def _on_start(self, event: Event) -> None:
        """Begin, also once more where several runs follow each other."""
        vars(self).update(vars(RunState()))
        lower = event["lower_is_better"]
        self.start = event
        self.members = [
            MemberState(place["config"], place["repeat"], place["fold"], lower[place["config"]])
            for place in event["members"]
        ]

    def _on_begin(self, event: Event) -> None:
        self.members[event["member"]].status = Status.TRAINING

    def _on_epoch(self, event: Event) -> None:
        self.latest = event["member"]
        self.members[self.latest].add(event)

    def _on_stop(self, event: Event) -> None:
        member = self.members[event["member"]]
        if member.config in self.dropped:
            return
        member.status = OF_REASON.get(event["reason"], Status.STOPPED)
        member.reason, member.message = event["reason"], event["message"]

    def _on_drop(self, event: Event) -> None:
        self.dropped[event["config"]] = event["epochs"]
        for member in self.members:
            if member.config == event["config"]:
                member.status = Status.DROPPED

    def _on_time_left(self, event: Event) -> None:
        self.seconds_left = math.nan if event["seconds_left"] is None else event["seconds_left"]

    def _on_end(self, event: Event) -> None:
        self.is_over, self.reason, self.seconds_left = True, event["reason"], 0.0

    @property
    def counts(self) -> Counter[Status]:
        """Number of members of each status."""
        return Counter(member.status for member in self.members)

    @property
    def n_epochs(self) -> int:
        """Epochs of all members."""
        return sum(len(member.epochs) for member in self.members)

    def of_config(self, config: int) -> list[MemberState]:
        """Return the members of a config."""
        return [member for member in self.members if member.config == config]

    def mean_loss(self, config: int) -> float:
        """Return the mean validation loss of the best epochs of a config's members; NaN before any."""
        losses = [member.best_loss for member in self.of_config(config) if member.epochs]
        return sum(losses) / len(losses) if losses else math.nan

    def facts(self) -> dict[str, Any]:
        """Return the state as plain values."""
        start = self.start or {}
        return {
            "target": start.get("target"),
            "n_rows": start.get("n_rows"),
            "began": start.get("began"),
            "seconds": self.seconds,
            "is_complete": self.is_over,
            "stop_reason": self.reason,
            "configs": [self._config_facts(config) for config in range(len(start.get("configs", ())))],
            "members": [_member_facts(member) for member in self.members],
        }

    def _config_facts(self, config: int) -> dict[str, Any]:
        start, loss = self.start or {}, self.mean_loss(config)
        return {
            "name": start["configs"][config],
            "kind": start["kinds"][config],
            "n_members": len(self.of_config(config)),
            "dropped_after": self.dropped.get(config),
            "val_loss": None if math.isnan(loss) else loss,
        }


HANDLERS: dict[str, Callable[[RunState, Event], None]] = {
    "start": RunState._on_start,
    "begin": RunState._on_begin,
    "epoch": RunState._on_epoch,
    "stop": RunState._on_stop,
    "drop": RunState._on_drop,
    "time_left": RunState._on_time_left,
    "end": RunState._on_end,
}


def _member_facts(member: MemberState) -> dict[str, Any]:
    best = member.epochs[member.best_epoch - 1] if member.epochs else None
    return {
        "config": member.config,
        "repeat": member.repeat,
        "fold": member.fold,
        "status": str(member.status),
        "stop_reason": member.reason or None,
        "n_epochs": len(member.epochs),
        "best_epoch": member.best_epoch or None,
        "train_loss": None if best is None else best["train_loss"],
        "val_loss": None if best is None else best["val_loss"],
        "rise": member.rise,
    }
