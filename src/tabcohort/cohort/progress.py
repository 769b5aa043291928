"""How far a cohort is: what each member has done so far, which settings are ahead, and how much time is left."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tabcohort.network.program import Network
from tabcohort.training.loop import ENDINGS, Progress
from tabcohort.types import FloatArray


@dataclass(frozen=True)
class Member:
    """One network of a cohort.

    Args:
        setting: which settings, counted from 0.
        repeat, fold: of which seed's folds, counted from 0.
        number: of its draws: the same member of other settings has the same number, and sees the same rows.
        cost: multiplications and additions of an epoch, for the order in which members are trained.
    """

    setting: int
    repeat: int
    fold: int
    number: int
    cost: float


@dataclass(frozen=True)
class Trained:
    """What is left of a member's training so far.

    Args:
        network: with the weights of its best epoch; None where its settings were dropped.
        progress: what happened.
        engine, device: what ran the epochs.
        proba: what it says of the rows that it scores, `(n_score, n_classes)`.
    """

    network: Network | None
    progress: Progress
    engine: str
    device: str
    proba: FloatArray


@dataclass(frozen=True)
class RunProgress:
    """How far a cohort is.

    Args:
        n_members, n_done: how many are to train, without those of settings that were dropped, and how many have ended.
        n_settings: how many settings are still in.
        epochs: how many all members have had, also before a checkpoint.
        best_loss, best_setting: the lowest mean stopping loss so far, and of which setting; NaN and -1 before any.
        seconds: since training began.
        seconds_left: until the last member ends, as it looks now; NaN before anything can be said.
    """

    n_members: int
    n_done: int
    n_settings: int
    epochs: int
    best_loss: float
    best_setting: int
    seconds: float
    seconds_left: float


RunWatcher = Callable[[RunProgress], None]


class Standing:
    """What is known of all members while they train.

    Args:
        members: all that may train.
        budget_seconds: how long they may, if there is a limit.
    """

    def __init__(self, members: Sequence[Member], budget_seconds: float | None) -> None:
        self.members, self.budget_seconds = members, budget_seconds
        self.began = time.perf_counter()
        self.latest: dict[Member, Progress] = {}
        self.n_before: dict[Member, int] = {}  # epochs that a checkpoint held

    def note(self, member: Member, progress: Progress) -> None:
        """Keep what a member has done, but for its states, which would stay in memory."""
        self.n_before.setdefault(member, len(progress.history) - 1)  # to within one
        self.latest[member] = replace(progress, best_state={}, state={})

    def seconds(self) -> float:
        """Return how long it is since training began."""
        return time.perf_counter() - self.began

    def has_ended(self, member: Member) -> bool:
        """Return whether a member's training has ended by itself."""
        return member in self.latest and self.latest[member].stop_reason in ENDINGS

    def progress(self, in_race: Sequence[Member]) -> RunProgress:
        """Return how far the cohort is, given the members that are not out of the race."""
        losses: dict[int, list[float]] = {}
        for member in in_race:
            if progress := self.latest.get(member):
                losses.setdefault(member.setting, []).append(progress.history[progress.best_epoch - 1].stop_loss)
        means = {setting: sum(of_members) / len(of_members) for setting, of_members in losses.items()}
        setting = min(means, key=means.__getitem__, default=-1)
        return RunProgress(
            n_members=len(in_race),
            n_done=sum(self.has_ended(member) for member in in_race),
            n_settings=len({member.setting for member in in_race}),
            epochs=sum(len(progress.history) for progress in self.latest.values()),
            best_loss=means.get(setting, math.nan),
            best_setting=setting,
            seconds=self.seconds(),
            seconds_left=self._seconds_left(in_race),
        )

    def seconds_saved(self, dropped: Mapping[int, int]) -> float:
        """Return how much longer it would have taken without dropping settings after so many epochs, extrapolated."""
        done, epochs = self._work()
        saved = sum(
            member.cost * max(0.0, epochs - dropped[member.setting])
            for member in self.members
            if member.setting in dropped and not self.has_ended(member)
        )
        return self.seconds() * saved / done if done and saved else 0.0

    def _seconds_left(self, in_race: Sequence[Member]) -> float:
        done, epochs = self._work()
        to_come = sum(
            member.cost * max(0.0, epochs - self._n_epochs(member)) for member in in_race if not self.has_ended(member)
        )
        left = self.seconds() * to_come / done if done and not math.isnan(epochs) else math.nan
        if self.budget_seconds is None:
            return left
        at_most = max(0.0, self.budget_seconds - self.seconds())
        return at_most if math.isnan(left) else min(left, at_most)

    def _work(self) -> tuple[float, float]:
        """Return the cost of all epochs of this run, and the mean number of epochs of members that have ended."""
        done = sum(member.cost * (self._n_epochs(member) - before) for member, before in self.n_before.items())
        ended = [self._n_epochs(member) for member in self.members if self.has_ended(member)]
        return done, float(np.mean(ended)) if ended else math.nan

    def _n_epochs(self, member: Member) -> int:
        return len(self.latest[member].history) if member in self.latest else 0
