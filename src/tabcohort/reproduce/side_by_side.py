"""Many trainings side by side, with the time left; Ctrl-C keeps those that are done."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Generic, TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from tabcohort.engines.compiled.jit import n_cores
from tabcohort.training.loop import EpochCallback, TrainingState

SECONDS_BETWEEN_LINES = 10.0  # where there is no live bar
STOPPED = "interrupted"

Key = TypeVar("Key", bound=Hashable)
Result = TypeVar("Result")


@dataclass(frozen=True)
class Training(Generic[Result]):
    """A training that is to be run: a function of a callback, and about how many epochs it takes.

    Args:
        run: gives the callback to the training; what it returns is of no interest if the callback has stopped it.
        epochs: expected number, from which the time left is estimated.
    """

    run: Callable[[EpochCallback], Result]
    epochs: int


def train_side_by_side(
    trainings: Mapping[Key, Training[Result]], messages: Console, n_workers: int | None = None
) -> dict[Key, Result]:
    """Run trainings in threads, in their order, and return what they return.

    Args:
        trainings: by key.
        messages: where to show progress.
        n_workers: number of threads; one per core when omitted.

    Returns:
        The results by key; after Ctrl-C, of the trainings that were done by then.
    """
    results: dict[Key, Result] = {}
    must_stop = threading.Event()
    bar = _Bar(messages, {key: own.epochs for key, own in trainings.items()})
    with bar, ThreadPoolExecutor(n_workers or n_cores()) as pool:
        futures = {pool.submit(own.run, _callback(bar, key, must_stop)): key for key, own in trainings.items()}
        try:
            for future in as_completed(futures):
                results[futures[future]] = future.result()
                bar.finish(futures[future])
        except KeyboardInterrupt:
            messages.print(f"interrupted: {len(results)} of {len(trainings)} trainings are done and kept")
        finally:
            must_stop.set()
            for future in futures:
                future.cancel()
    return {key: results[key] for key in trainings if key in results}


def _callback(bar: _Bar, key: Hashable, must_stop: threading.Event) -> EpochCallback:
    def callback(state: TrainingState) -> str | None:
        bar.after_epoch(key, state.n_epochs)
        return STOPPED if must_stop.is_set() else None

    return callback


class _Bar:
    """A live bar in a terminal, and a line every ten seconds elsewhere.

    Args:
        messages: where to show it.
        expected: number of epochs of each training, by key.
    """

    def __init__(self, messages: Console, expected: Mapping[Hashable, int]) -> None:
        self.messages, self.expected = messages, dict(expected)
        self.began = self.shown = time.perf_counter()
        self.epochs: dict[Hashable, int] = {}
        self.n_done = 0
        self.lock = threading.Lock()
        self.bar = Progress(
            TextColumn("training"), BarColumn(bar_width=24), TextColumn("{task.description}"),
            console=messages, transient=True, disable=not messages.is_terminal,
        )  # fmt: skip
        self.task = self.bar.add_task("starting", total=1.0)

    def __enter__(self) -> _Bar:
        self.bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.bar.stop()

    def after_epoch(self, key: Hashable, n_epochs: int) -> None:
        """Count an epoch."""
        with self.lock:
            self.epochs[key] = n_epochs
            self.show()

    def finish(self, key: Hashable) -> None:
        """Count a training as done."""
        with self.lock:
            self.n_done += 1
            self.expected[key] = self.epochs.get(key, 0)  # those of the others are estimates
            self.show()

    def show(self) -> None:
        """Show how many trainings are done and the time left, if it is time to."""
        now = time.perf_counter()
        share = done_share(self.epochs, self.expected)
        line = f"{self.n_done}/{len(self.expected)} trainings, about {left_text(now - self.began, share)} left"
        if self.messages.is_terminal:
            self.bar.update(self.task, completed=share, description=line)
        elif now - self.shown >= SECONDS_BETWEEN_LINES:
            self.shown = now
            self.messages.print(line)


def done_share(epochs: Mapping[Hashable, int], expected: Mapping[Hashable, int]) -> float:
    """Return which share of the expected epochs is done; a training that takes longer is expected to end soon."""
    done = sum(epochs.values())
    total = sum(max(own, epochs.get(key, 0)) for key, own in expected.items())
    return done / total if total else 1.0


def left_text(seconds: float, share: float) -> str:
    """Return the time that is left after so many seconds, as text.

    Examples:
        >>> left_text(60.0, 0.25), left_text(5.0, 0.5)
        ('3 min', '5 s')
    """
    left = seconds * (1 - share) / share if share else math.inf
    if math.isinf(left):
        return "an unknown time"
    return f"{math.ceil(left)} s" if left < 100 else f"{round(left / 60)} min"
