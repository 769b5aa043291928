"""What sees a training as it happens and cannot change it, such as a recording or a page that shows it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from tabcohort.engines.layers import layer_statistics
from tabcohort.engines.protocol import Engine
from tabcohort.settings import Config
from tabcohort.training.loop import EpochCallback, TrainingState

EVERY_EPOCH_UP_TO = 128  # layers are measured after every epoch up to this one, and in twice as many every second one


@dataclass(frozen=True)
class MemberPlace:
    """Which member of a run it is: numbers of its config, of its repeat and of its fold, counted from 0."""

    config: int
    repeat: int
    fold: int


@dataclass(frozen=True)
class RunDescription:
    """What is going to be trained.

    Args:
        target: the column that is predicted.
        n_rows: of the table.
        configs: a line on each config.
        kinds: "network" or "trees" for each config.
        max_epochs: the limit of epochs of each config.
        monitors: the metric of the validation rows that decides which epoch of each config is the best one.
        lower_is_better: whether a lower value of that metric is better, for each config.
        members: the networks and trees to train; an observer knows them by their places in this list.
    """

    target: str
    n_rows: int
    configs: tuple[str, ...]
    kinds: tuple[str, ...]
    max_epochs: tuple[int, ...]
    monitors: tuple[str, ...]
    lower_is_better: tuple[bool, ...]
    members: tuple[MemberPlace, ...]


class TrainingObserver(Protocol):
    """Is told what happens in a run; several threads may call it at a time.

    Members are numbers: places in `RunDescription.members`.
    """

    def on_start(self, run: RunDescription) -> None:
        """The run begins."""
        ...

    def on_begin(self, member: int) -> None:
        """A member's training was submitted, for the first time or after a pause: it begins when a worker is free."""
        ...

    def on_epoch(self, member: int, state: TrainingState) -> None:
        """A member had an epoch, or several since the last call; a later call always has more epochs.

        A member whose training had ended in an earlier run, and is read from its checkpoint, has one call with its
        final state.

        Args:
            member: the member.
            state: its training so far; `layers`, where they are not empty, are of the last epoch.
        """
        ...

    def on_stop(self, member: int, reason: str, message: str = "") -> None:
        """A member's training ended or paused.

        Args:
            member: the member.
            reason: `TrainingState.stop_reason`, "paused", or "failed" with the error's message.
            message: of the error.
        """
        ...

    def on_progress(self, seconds_left: float, dropped: Mapping[int, int]) -> None:
        """Called a few times a second.

        Args:
            seconds_left: until the last member ends, estimated; NaN where nothing can be said.
            dropped: for each config that was dropped, the epochs after which it was.
        """
        ...

    def on_end(self, reason: str | None) -> None:
        """No member trains any more; "interrupted", "budget" or "failed" where that is the reason."""
        ...


def describe_training(name: str, target: str, n_rows: int, config: Config) -> RunDescription:
    """Return what a run trains that consists of one network."""
    return RunDescription(
        target=target,
        n_rows=n_rows,
        configs=(name,),
        kinds=("network",),
        max_epochs=(config.max_epochs,),
        monitors=(config.monitor,),
        lower_is_better=(config.lower_is_better,),
        members=(MemberPlace(0, 0, 0),),
    )


def train_observed(
    observer: TrainingObserver,
    run: RunDescription,
    engine: Engine,
    train: Callable[[EpochCallback], TrainingState],
    callback: EpochCallback,
) -> TrainingState:
    """Train one network and tell an observer what happens.

    Args:
        observer: called as it happens.
        run: describes the network.
        engine: that trains it.
        train: trains it, given a callback.
        callback: called after every epoch with the training so far.
    """

    n_observed = 0

    def observe(state: TrainingState) -> str | None:
        nonlocal n_observed
        n_observed = state.n_epochs
        observer.on_epoch(0, state)
        return callback(state)

    observer.on_start(run)
    observer.on_begin(0)
    reason, message = "failed", ""
    try:
        state = train(with_layer_statistics(observe, engine))
        if state.n_epochs > n_observed:  # it had ended before: its checkpoint has all epochs
            observer.on_epoch(0, state)
        reason = str(state.stop_reason)
    except KeyboardInterrupt:
        reason = "interrupted"
        raise
    except Exception as error:
        message = str(error)
        raise
    finally:
        observer.on_stop(0, reason, message)
        observer.on_end(reason if reason in ("failed", "interrupted") else None)
    return state


def with_layer_statistics(callback: EpochCallback, engine: Engine) -> EpochCallback:
    """Return a callback that calls another one with statistics of the layers of the network.

    They are measured after every epoch at first, and in long trainings after fewer and fewer: see `is_measured`. This
    reads the engine's state and changes nothing.
    """

    def measure(state: TrainingState) -> str | None:
        if not is_measured(state.n_epochs):
            return callback(state)
        return callback(replace(state, layers=tuple(map(layer_statistics, engine.layer_arrays(state.n_epochs)))))

    return measure


def is_measured(epoch: int) -> bool:
    """Return whether layers are measured after an epoch: each time that their number doubles, half as often.

    Examples:
        >>> [sum(map(is_measured, range(1, n + 1))) for n in (128, 256, 512, 1024)]
        [128, 192, 256, 320]
    """
    step = 1
    while EVERY_EPOCH_UP_TO * step < epoch:
        step *= 2
    return epoch % step == 0
