"""An observer that keeps what it is told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tabcohort.training.loop import TrainingState
from tabcohort.training.observer import RunDescription


class KeepingObserver:
    """Keeps what an observer is told.

    Attributes:
        runs: the descriptions of runs.
        calls: of `on_begin`, `on_stop` and `on_end`, each as its name and its arguments.
        states: of each member, in the order in which they came.
        dropped: for each config that was dropped, the epochs after which it was.
        n_progress_calls: number of calls of `on_progress`.
    """

    def __init__(self) -> None:
        self.runs: list[RunDescription] = []
        self.calls: list[tuple[Any, ...]] = []
        self.states: dict[int, list[TrainingState]] = {}
        self.dropped: dict[int, int] = {}
        self.n_progress_calls = 0

    def on_start(self, run: RunDescription) -> None:
        self.runs.append(run)

    def on_begin(self, member: int) -> None:
        self.calls.append(("begin", member))

    def on_epoch(self, member: int, state: TrainingState) -> None:
        self.states.setdefault(member, []).append(state)

    def on_stop(self, member: int, reason: str, message: str = "") -> None:
        self.calls.append(("stop", member, reason, message))

    def on_progress(self, seconds_left: float, dropped: Mapping[int, int]) -> None:
        self.n_progress_calls += 1
        self.dropped.update(dropped)

    def on_end(self, reason: str | None) -> None:
        self.calls.append(("end", reason))

    @property
    def n_epochs(self) -> dict[int, int]:
        """Epochs of each member."""
        return {member: states[-1].n_epochs for member, states in self.states.items()}

    def stops(self, member: int) -> list[str]:
        """Return the reasons for which a member stopped."""
        return [call[2] for call in self.calls if call[:2] == ("stop", member)]
