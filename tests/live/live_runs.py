"""Runs whose events are known, for the tests of what shows and records them."""

from __future__ import annotations

import functools
from typing import Any

from fake_training import Clock, record_of

from tabcohort.engines.layers import LayerStatistics
from tabcohort.live.events import Event, EventObserver, Sink
from tabcohort.training.loop import EpochRecord, TrainingState
from tabcohort.training.observer import MemberPlace, RunDescription

LAYER = LayerStatistics("output.weight", 4, (-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0), 1.25, 0.01)
HOSTILE = "<img src=x onerror=window.x=1>\x1b[31m"


def description(
    n_members: int = 2, names: tuple[str, ...] = ("mlp 8, dropout 0", "trees"), target: str = "outcome"
) -> RunDescription:
    """Return a run of two configs, a network and trees, with this many members each."""
    return RunDescription(
        target=target,
        n_rows=120,
        configs=names,
        kinds=("network", "trees"),
        max_epochs=(50, 50),
        monitors=("log_loss", "log_loss"),
        lower_is_better=(True, True),
        members=tuple(MemberPlace(config, 0, fold) for config in range(2) for fold in range(n_members)),
    )


def after(*losses: tuple[float, float], layers: tuple[LayerStatistics, ...] = ()) -> TrainingState:
    """Return a training with these training and validation losses."""
    history = tuple(
        EpochRecord(epoch, 0.01, train_loss, val_loss, 0.9, val_loss, 0.0)
        for epoch, (train_loss, val_loss) in enumerate(losses, 1)
    )
    return TrainingState(history, layers=layers)


FALLING = ((0.7, 0.7), (0.5, 0.6), (0.4, 0.5))
OVERFITTING = (*FALLING, (0.3, 0.55), (0.2, 0.65), (0.1, 0.8))


def observe(*sinks: Sink, names: tuple[str, ...] = ("mlp 8, dropout 0", "trees"), target: str = "outcome") -> None:
    """Tell an observer of a run of four members: one overfits, one fails, and two are dropped with their config."""
    clock = Clock()
    observer = EventObserver(*sinks, clock=clock)
    observer.on_start(description(names=names, target=target))
    observer.on_progress(4.0, {})
    for place in range(2, 4):
        observer.on_begin(place)
        clock.now += 0.5
        observer.on_epoch(place, TrainingState((record_of(1, 0.9),)))
        observer.on_stop(place, "paused")
    observer.on_progress(3.0, {1: 1})
    for place, losses in enumerate((OVERFITTING, FALLING)):
        observer.on_begin(place)
        for n_epochs in range(1, len(losses) + 1):
            clock.now += 0.5
            observer.on_epoch(place, after(*losses[:n_epochs], layers=(LAYER,)))
        reason = ("patience", "") if place == 0 else ("failed", "the loss stopped being finite")
        observer.on_stop(place, *reason)
    observer.on_end(None)


@functools.cache  # the time at which it began is always the same
def events_of_a_run(**texts: Any) -> list[Event]:
    """Return the events of `observe`."""
    events: list[Event] = []
    observe(events.append, **texts)
    return events
