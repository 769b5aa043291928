"""Members side by side: the longest first, on all cores, until they end, the hopeless are dropped, or time is up.

No result depends on the threads: a member is a function of its table, settings and number. Only a budget of seconds,
and Ctrl-C, make what is there at their end depend on the machine.
"""

from __future__ import annotations

import functools
import math
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tabcohort.cohort.executors import in_threads
from tabcohort.cohort.progress import Member, RunWatcher, Standing, Trained
from tabcohort.engines.protocol import State
from tabcohort.errors import TrainingError
from tabcohort.settings import CohortSettings
from tabcohort.training.loop import Progress

FIRST_RUNG, RUNG_FACTOR = 20, 3  # the first rung is a 20th of the epochs, and each next one three times as many
FEWEST_FIRST_EPOCHS = 5
KEPT_SHARE, FEWEST_SETTINGS = 1 / 3, 4  # so many go on after a rung: fewer would leave no ensemble
RESERVES = 16  # places down to which those that do not go on may still answer, with the weights that they have
SECONDS_BETWEEN = 0.1
SHARE_OF_BUDGET = 0.95  # the rest is for the predictions and their measures


Train = Callable[[Member, Progress | None, Callable[[Progress], str | None]], Trained]


@dataclass(frozen=True)
class Ended:
    """What a run left.

    Args:
        trained: the members that have weights, by member.
        dropped: for each setting that was dropped, after how many epochs.
        failed: for each setting of which a member's loss stopped being finite, the sentence that says so.
        reason: "budget" or "interrupted" where one of these ended it; else None.
        seconds: how long it took.
        seconds_saved: how much longer it would have taken without dropping, extrapolated from the time per epoch.
    """

    trained: dict[Member, Trained]
    dropped: dict[int, int]
    failed: dict[int, str]
    reason: str | None
    seconds: float
    seconds_saved: float


def n_kept(n_settings: int) -> int:
    """Return how many of so many settings stay in the race after a rung."""
    return max(FEWEST_SETTINGS, math.ceil(n_settings * KEPT_SHARE))


class Shelf:
    """The states of paused members, in files of a folder, so that memory does not grow with their number."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def _path(self, member: Member) -> Path:
        return self.folder / f"{member.setting}-{member.number}.safetensors"

    def put(self, member: Member, progress: Progress) -> Progress:
        """Return a progress without its states, which are kept if it is to be gone on from."""
        from safetensors.numpy import save_file

        if progress.stop_reason == "paused":
            arrays = {f"now.{name}": array for name, array in progress.state.items()}
            arrays.update({f"best.{name}": array for name, array in progress.best_state.items()})
            save_file({name: np.asarray(array, order="C") for name, array in arrays.items()}, self._path(member))
        return replace(progress, state={}, best_state={})

    def take(self, member: Member, progress: Progress) -> Progress:
        """Return a progress with the states that were kept of it."""
        from safetensors.numpy import load_file

        states: dict[str, State] = {"now": {}, "best": {}}
        for key, array in load_file(self._path(member)).items():
            which, name = key.split(".", 1)
            states[which][name] = array
        self.remove(member)
        return replace(progress, state=states["now"], best_state=states["best"])

    def remove(self, member: Member) -> None:
        """Forget a member's states."""
        self._path(member).unlink(missing_ok=True)


class Run:
    """Trains members in rungs; see `run_members`."""

    def __init__(
        self,
        members: Sequence[Member],
        train: Train,
        cohort: CohortSettings,
        max_epochs: int,
        watch: RunWatcher,
        shelf: Shelf,
    ) -> None:
        self.members, self.train, self.cohort, self.max_epochs, self.watch = members, train, cohort, max_epochs, watch
        self.sizes = Counter(member.setting for member in members)  # members of each of the settings
        self.standing = Standing(members, cohort.budget_seconds)
        self.trained: dict[Member, Trained] = {}
        self.dropped: dict[int, int] = {}
        self.failures: dict[int, tuple[int, str]] = {}  # of each setting: whose turn it was first, and what was said
        self.reason: str | None = None
        self.shown, self.told = -math.inf, 0  # when the watcher was told last, and of how many epochs
        self.lock = threading.Lock()
        self.shelf = shelf

    def rungs(self) -> list[int]:
        """Return after how many epochs all members pause; the last is the end."""
        n_settings = len(self.sizes)
        drops = self.cohort.halving and n_settings > FEWEST_SETTINGS
        if not drops and self.cohort.budget_seconds is None:
            return [self.max_epochs]
        epochs = [max(FEWEST_FIRST_EPOCHS, self.max_epochs // FIRST_RUNG)]
        while drops and n_kept(n_settings) > FEWEST_SETTINGS and epochs[-1] * RUNG_FACTOR < self.max_epochs:
            epochs.append(epochs[-1] * RUNG_FACTOR)
            n_settings = n_kept(n_settings)
        return [each for each in epochs if each < self.max_epochs] + [self.max_epochs]

    def climb(self) -> Ended:
        """Train all members from rung to rung."""
        rungs = self.rungs()
        for rung in rungs:
            self._to(rung)
            if self.reason or rung == rungs[-1]:
                break
            if self.cohort.halving:
                self._drop(rung)
        if self.reason is None and (progress := self.standing.progress(self.in_race())).epochs > self.told:
            self.watch(progress)
        seconds = self.standing.seconds()
        if self.reason == "budget" and all(self.standing.has_ended(each) for each in self.in_race()):
            self.reason = None  # it was enough
        # Which members of a setting that failed were under way is up to the threads.
        kept = [each for each in self.members if each in self.trained and each.setting not in self.failures]
        return Ended(
            {each: self.trained[each] for each in kept},
            self.dropped,
            {setting: sentence for setting, (_, sentence) in sorted(self.failures.items())},
            self.reason,
            seconds,
            self.standing.seconds_saved(self.dropped),
        )

    def in_race(self) -> list[Member]:
        """Return the members of settings that were neither dropped nor failed."""
        out = self.dropped.keys() | self.failures.keys()
        return [each for each in self.members if each.setting not in out]

    def _to(self, rung: int) -> None:
        """Train all members that are in the race until they end, or have run so many epochs."""
        waiting = [each for each in self.in_race() if not self.standing.has_ended(each)]
        waiting.sort(key=self._place)
        jobs = [functools.partial(self._train_one, each, turn, rung) for turn, each in enumerate(waiting)]
        try:
            in_threads(jobs, self.cohort.threads, on_failure=self._interrupt)
        except KeyboardInterrupt:
            self._interrupt()
            if not self.trained:
                raise

    def _place(self, member: Member) -> tuple[float, float]:
        """Return a member's place in line: the longest first, so that the cores end together.

        With a budget, the first of several settings come first, and then those that cost least: as many as can be are
        judged before time is up.
        """
        if self.cohort.budget_seconds is None or len(self.sizes) == 1:
            return 0.0, -member.cost
        return float(not self._is_first(member)), member.cost

    def _is_first(self, member: Member) -> bool:
        """Return whether a member is of the first of several settings, which with a budget are trained to their end.

        What a budget ends is then as good as those settings alone.
        """
        return self.cohort.budget_seconds is not None and len(self.sizes) > 1 and member.setting == min(self.sizes)

    def _interrupt(self) -> None:
        """Let all members end after the epoch that they are at."""
        self.reason = "interrupted"

    def _train_one(self, member: Member, turn: int, rung: int) -> None:
        before = self.trained.get(member)
        if self._failed_before(member, turn) or (self._why_to_end() and not self._is_needed(member)):
            return

        def watch(progress: Progress) -> str | None:
            try:
                self._show(member, progress)
            except KeyboardInterrupt:  # pressed, or raised by the person's own watcher
                self._interrupt()
            reason = self._why_to_end()
            at_rung = len(progress.history) >= rung and rung < self.max_epochs
            if reason is None and at_rung and not self._is_first(member):
                reason = "paused"
            return reason

        resume_from = replace(self.shelf.take(member, before.progress), stop_reason=None) if before else None
        try:
            trained = self.train(member, resume_from, watch)
        except TrainingError as error:
            with self.lock:
                if not self._failed_before(member, turn):
                    self.failures[member.setting] = turn, str(error)
            return
        trained = replace(trained, progress=self.shelf.put(member, trained.progress))
        with self.lock:
            self.trained[member] = trained
            self.standing.note(member, trained.progress)  # a checkpoint may have held a training that has ended

    def _failed_before(self, member: Member, turn: int) -> bool:
        """Return whether one of the same setting failed whose turn was earlier: so it is for any number of threads."""
        return member.setting in self.failures and self.failures[member.setting][0] < turn

    def _why_to_end(self) -> str | None:
        budget = self.cohort.budget_seconds or math.inf
        if self.standing.seconds() > SHARE_OF_BUDGET * budget and self.reason is None:
            self.reason = "budget"
        return self.reason

    def _is_needed(self, member: Member) -> bool:
        """Return whether a member has to begin although time is up: without it no settings would judge every row."""
        with self.lock:
            begun = Counter(each.setting for each in self.trained)
        return self.reason == "budget" and not any(n == self.sizes[setting] for setting, n in begun.items())

    def _drop(self, rung: int) -> None:
        """Let those settings that are behind go no farther, by the mean loss of the stopping rows: most of the rows.

        The next best may still answer; of the others no weights are kept.
        """
        losses: dict[int, list[float]] = {}  # the lowest up to this rung; a checkpoint may have gone beyond
        for member in self.in_race():
            if self._is_first(member):
                continue
            history = self.trained[member].progress.history[:rung]
            losses.setdefault(member.setting, []).append(min(record.stop_loss for record in history))
        ranked = sorted(losses, key=lambda setting: (float(np.mean(losses[setting])), setting))
        place = {setting: number for number, setting in enumerate(ranked)}
        n_going_on = n_kept(len(ranked))
        self.dropped.update(dict.fromkeys(ranked[n_going_on:], rung))
        for member, each in self.trained.items():
            if place.get(member.setting, 0) >= n_going_on:
                self.shelf.remove(member)
                if place[member.setting] >= RESERVES:
                    self.trained[member] = replace(each, network=None)

    def _show(self, member: Member, progress: Progress) -> None:
        """Tell the watcher, if it was not told a moment ago."""
        with self.lock:
            self.standing.note(member, progress)
            now = time.perf_counter()
            if now - self.shown >= SECONDS_BETWEEN:
                self.shown = now
                progress_of_all = self.standing.progress(self.in_race())
                self.told = progress_of_all.epochs
                self.watch(progress_of_all)


def run_members(
    members: Sequence[Member],
    train: Train,
    cohort: CohortSettings,
    max_epochs: int,
    watch: RunWatcher = lambda progress: None,
) -> Ended:
    """Train members side by side, the longest first.

    With `cohort.halving` and more than a few settings, all pause after some epochs, and those settings whose mean loss
    is behind are dropped: successive halving (Jamieson & Talwalkar 2016). With a budget the first settings are
    trained to their end, and then all others for some epochs, those that cost least before others. Ctrl-C ends training
    with what there is.

    Args:
        members: whom to train.
        train: trains one, from where it paused if it did; it must ask the given watcher after every epoch.
        cohort: `halving`, `budget_seconds` and `threads` are used.
        max_epochs: the limit of the settings with the highest.
        watch: called after epochs of any member, a few times a second, by one thread at a time.

    Raises:
        TrainingError: of each setting a member's loss stopped being finite.
        KeyboardInterrupt: before the first member had an epoch.
    """
    with tempfile.TemporaryDirectory(prefix="tabcohort-") as folder:
        ended = Run(members, train, cohort, max_epochs, watch, Shelf(folder)).climb()
    if ended.failed and not {each.setting for each in ended.trained} - ended.dropped.keys():
        raise TrainingError(ended.failed[min(ended.failed)])
    return ended
