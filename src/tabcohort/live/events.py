"""The events of a run: small plain dictionaries, one for each thing that happens, which JSON can hold.

    start     what is trained: configs, members, rows; the first event of every run
    begin     a member's training begins or goes on
    epoch     a member had an epoch: its losses, and at times figures about the layers of its network
    stop      a member ended or paused, and why
    drop      a config was dropped
    time_left the time left, estimated
    end       no member trains any more

Each has its `event`, and its `seconds`, which are relative to the start of the run.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from tabcohort import __version__
from tabcohort.engines.layers import LayerStatistics
from tabcohort.training.loop import EpochRecord, TrainingState
from tabcohort.training.observer import RunDescription

FORMAT = 1
KIND = "tabcohort training"
SECONDS_BETWEEN = 0.5  # estimates of the time left
DIGITS = 5  # of figures about layers

Event = dict[str, Any]
Sink = Callable[[Event], None]


class EventObserver:
    """Makes events of what a run tells its observer, and hands each of them to some functions, one at a time.

    Args:
        sinks: called with each event, in the order in which they happen.
        clock: returns seconds.
    """

    def __init__(self, *sinks: Sink, clock: Callable[[], float] = time.perf_counter) -> None:
        self.sinks, self.clock = sinks, clock
        self._lock = threading.Lock()
        self._began = clock()
        self._n_epochs: dict[int, int] = {}  # of each member, as far as there are events
        self._dropped: set[int] = set()
        self._left_at = -math.inf

    def on_start(self, run: RunDescription) -> None:
        """Begin with the event that says what is trained."""
        with self._lock:
            self._began, self._left_at = self.clock(), -math.inf
            self._n_epochs, self._dropped = {}, set()
            began = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
            values = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(run).items()}
            self._send("start", kind=KIND, format=FORMAT, version=__version__, began=began, **values)

    def on_begin(self, member: int) -> None:
        """Say that a member's training begins or goes on."""
        with self._lock:
            self._send("begin", member=member)

    def on_epoch(self, member: int, state: TrainingState) -> None:
        """Say what happened in each epoch since the last call."""
        with self._lock:
            n_before = self._n_epochs.get(member, 0)
            for record in state.history[n_before:]:
                layers = state.layers if record.epoch == state.n_epochs else ()
                self._send("epoch", member=member, **epoch_values(record, layers))
            self._n_epochs[member] = max(n_before, state.n_epochs)

    def on_stop(self, member: int, reason: str, message: str = "") -> None:
        """Say that a member's training ended or paused."""
        with self._lock:
            self._send("stop", member=member, reason=reason, message=message)

    def on_progress(self, seconds_left: float, dropped: Mapping[int, int]) -> None:
        """Say which configs were dropped since the last call, and at times how much time is left."""
        with self._lock:
            for config in sorted(dropped.keys() - self._dropped):
                self._send("drop", config=config, epochs=dropped[config])
            self._dropped.update(dropped)
            if self.clock() - self._left_at >= SECONDS_BETWEEN:
                self._left_at = self.clock()
                self._send("time_left", seconds_left=round(seconds_left, 2) if math.isfinite(seconds_left) else None)

    def on_end(self, reason: str | None) -> None:
        """Say that no member trains any more."""
        with self._lock:
            self._send("end", reason=reason)

    def _send(self, name: str, **values: Any) -> None:
        event = {"event": name, "seconds": round(self.clock() - self._began, 4), **values}
        for sink in self.sinks:
            sink(event)


def epoch_values(record: EpochRecord, layers: tuple[LayerStatistics, ...]) -> Event:
    """Return the fields of an epoch event but `member` and `seconds`, which is relative to the start of the run."""
    values = {name: value for name, value in record._asdict().items() if name != "seconds"}
    if layers:
        values["layers"] = [_layer_values(layer) for layer in layers]
    return values


def _layer_values(layer: LayerStatistics) -> Event:
    return {
        "name": layer.name,
        "n": layer.n,
        "quantiles": [_rounded(value) for value in layer.quantiles],
        "rms": _rounded(layer.rms),
        "gradient_rms": _rounded(layer.gradient_rms),
    }


def _rounded(value: float) -> float | None:
    """Return a number with a few digits; None where it is not finite, which JSON cannot hold."""
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
