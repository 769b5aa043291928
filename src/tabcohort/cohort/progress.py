"""How far a cohort is: what each member has done so far, which config is best, and how much time is left."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from tabcohort.cohort.plan import CohortPlan, Member
from tabcohort.training.loop import TrainingState

# Of real tables on a core of 2.6 GHz: most cohorts take between half and twice the time expected by these.
PRODUCTS_PER_SECOND = 7e9
EPOCHS_OF_NETWORKS, EPOCHS_OF_TREES = 40, 120


@dataclass(frozen=True)
class RunProgress:
    """How far a cohort is.

    Args:
        n_members: number of members to train, without those of dropped configs.
        n_done: number of finished members.
        n_configs: number of configs that were not dropped.
        n_epochs: epochs of all members so far, those before a checkpoint included.
        best_loss: the lowest mean validation loss of a config so far; NaN before there is one.
        best_config: number of the config that has it, counted from 0; -1 before there is one.
        seconds: since training began.
        seconds_left: until the last member ends, estimated; NaN before anything can be said.
        dropped: for each config that was dropped, the epochs after which it was.
    """

    n_members: int
    n_done: int
    n_configs: int
    n_epochs: int
    best_loss: float
    best_config: int
    seconds: float
    seconds_left: float
    dropped: Mapping[int, int] = field(default_factory=dict)


ProgressCallback = Callable[[RunProgress], None]


def expected_seconds(plan: CohortPlan, n_workers: int) -> float:
    """Return how long training a cohort will take, roughly, before any of it is known."""
    seconds = sum(
        expected_member_seconds(member, plan.configs[member.config].max_epochs) for member in plan.members
    )  # fmt: skip
    return seconds / min(n_workers, len(plan.members))


def expected_member_seconds(member: Member, max_epochs: float = math.inf) -> float:
    """Return how long training a member will take, roughly: its products in an epoch (rows x parameters) x epochs."""
    n_epochs = min(max_epochs, EPOCHS_OF_TREES if member.is_trees else EPOCHS_OF_NETWORKS)
    return member.cost * n_epochs / PRODUCTS_PER_SECOND


class _MeanOfLarger:
    """The mean of those of some numbers that are larger than a given one; NaN where none is."""

    def __init__(self, numbers: Sequence[int]) -> None:
        self._ascending = np.sort(numbers)
        self._means = np.cumsum(self._ascending[::-1])[::-1] / np.arange(len(numbers), 0, -1)

    def __call__(self, number: int) -> float:
        place = np.searchsorted(self._ascending, number, side="right")
        return float(self._means[place]) if place < len(self._means) else math.nan


class ProgressTracker:
    """What is known of all members while they train.

    Args:
        members: all that may train.
        budget_seconds: the time limit, if there is one.
        clock: returns seconds.
        expected_seconds: what is left before any member ends is estimated from this; NaN where nothing is expected.
    """

    def __init__(
        self,
        members: Sequence[Member],
        budget_seconds: float | None,
        clock: Callable[[], float] = time.perf_counter,
        expected_seconds: float = math.nan,
    ) -> None:
        self.members, self.budget_seconds, self.clock = members, budget_seconds, clock
        self.expected_seconds = expected_seconds
        self.began = clock()
        self.latest: dict[Member, TrainingState] = {}
        self.n_before: dict[Member, int] = {}  # epochs that a checkpoint held

    def update(self, member: Member, state: TrainingState) -> None:
        """Remember what a member has done, without the engine's states, which would stay in memory.

        A state of fewer epochs than are known is ignored: a process's message may come later than its result.
        """
        n_before = state.n_epochs - 1  # to within one
        self.n_before[member] = min(n_before, self.n_before.get(member, n_before))
        if state.n_epochs >= self._n_epochs(member):
            self.latest[member] = replace(state, best_state={}, engine_state={})

    def seconds(self) -> float:
        """Return the time since training began."""
        return self.clock() - self.began

    def is_finished(self, member: Member) -> bool:
        """Return whether a member's training has ended by itself."""
        return member in self.latest and self.latest[member].is_finished

    def progress(self, active: Sequence[Member]) -> RunProgress:
        """Return how far the cohort is, given the members whose configs were not dropped."""
        losses: dict[int, list[float]] = {}
        for member in active:
            if state := self.latest.get(member):
                losses.setdefault(member.config, []).append(state.history[state.best_epoch - 1].val_loss)
        means = {config: sum(of_members) / len(of_members) for config, of_members in losses.items()}
        best = min(means, key=means.__getitem__, default=-1)
        return RunProgress(
            n_members=len(active),
            n_done=sum(self.is_finished(member) for member in active),
            n_configs=len({member.config for member in active}),
            n_epochs=sum(state.n_epochs for state in self.latest.values()),
            best_loss=means.get(best, math.nan),
            best_config=best,
            seconds=self.seconds(),
            seconds_left=self._seconds_left(active),
        )

    def seconds_saved(self, dropped: Mapping[int, int]) -> float:
        """Return the time that dropping configs after this many epochs saved, extrapolated from the time per epoch."""
        done, n_more = self._cost_of_epochs(), self._epochs_to_come()
        saved = sum(
            member.cost * n_more(member.config, dropped[member.config])
            for member in self.members
            if member.config in dropped and n_more is not None and not self.is_finished(member)
        )
        return self.seconds() * saved / done if done and saved else 0.0

    def _seconds_left(self, active: Sequence[Member]) -> float:
        done, n_more = self._cost_of_epochs(), self._epochs_to_come()
        to_come = sum(
            member.cost * n_more(member.config, self._n_epochs(member))
            for member in active
            if n_more is not None and not self.is_finished(member)
        )
        if done and n_more is not None:
            left = self.seconds() * to_come / done
        else:
            left = self.expected_seconds - (self.seconds() if self.latest else 0.0)
            left = left if left > 0 else math.nan  # it takes longer than expected
        if self.budget_seconds is None:
            return left
        at_most = max(0.0, self.budget_seconds - self.seconds())
        return at_most if math.isnan(left) else min(left, at_most)

    def _cost_of_epochs(self) -> float:
        """Return the cost of all epochs of this run."""
        return sum(member.cost * (self._n_epochs(member) - before) for member, before in self.n_before.items())

    def _epochs_to_come(self) -> Callable[[int, int], float] | None:
        """Return the expected number of epochs that a member still trains, by its config and its epochs so far.

        It is that of those finished members of its config, or else of all, that trained longer than it has. Configs
        differ, as a round of boosting counts as an epoch. None before any member has finished.
        """
        finished = [member for member in self.members if self.is_finished(member)]
        if not finished:
            return None
        of_config: dict[int, list[int]] = {}
        for member in finished:
            of_config.setdefault(member.config, []).append(self._n_epochs(member))
        of_all = _MeanOfLarger([self._n_epochs(member) for member in finished])
        means = {config: _MeanOfLarger(counts) for config, counts in of_config.items()}

        def n_more(config: int, n_epochs: int) -> float:
            total = means[config](n_epochs) if config in means else math.nan
            total = of_all(n_epochs) if math.isnan(total) else total
            return 0.0 if math.isnan(total) else total - n_epochs

        return n_more

    def _n_epochs(self, member: Member) -> int:
        return self.latest[member].n_epochs if member in self.latest else 0
