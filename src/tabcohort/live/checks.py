"""Whether the events of a recording are what they should be: nothing that shows them checks them again."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tabcohort.engines.layers import QUANTILE_LEVELS
from tabcohort.live.events import FORMAT, KIND, Event
from tabcohort.plain_values import PlainValues, plain_values

MAX_SECONDS = 1e9  # of a run, which is more than thirty years
MAX_LOSS = 1e300  # so that the sum of the losses of all members is finite
KINDS = ("network", "trees")
PLACE_FIELDS = ("config", "repeat", "fold")
LIST_FIELDS = ("configs", "kinds", "max_epochs", "monitors", "lower_is_better")  # one item for each config


class EventError(ValueError):
    """An event that is not what it should be; the message says why."""


@dataclass
class _Run:
    """What the events so far say: an event is checked against it.

    Args:
        n_configs: number of configs; 0 before the start.
        n_epochs: number of epochs of each member so far.
        layer_names: names of the layers of each member that was measured.
        seconds: of the last event.
    """

    n_configs: int = 0
    n_epochs: list[int] = field(default_factory=list)
    layer_names: dict[int, list[str]] = field(default_factory=dict)
    seconds: float = 0.0


class EventChecker:
    """Checks the events of one run in their order."""

    def __init__(self) -> None:
        self._run = _Run()

    def check(self, event: Any) -> Event:
        """Return an event that is what it should be, with floats for all numbers that are not counts.

        Raises:
            EventError: it is not.
        """
        name = event.get("event") if isinstance(event, dict) else None
        if not isinstance(name, str) or name not in READERS:
            raise EventError("it is not a training event")
        if (name == "start") != (self._run.n_configs == 0):
            raise EventError("a recording begins with one line on what is trained, and has no other such line")
        try:
            return self._read(name, plain_values(event, name))
        except EventError:
            raise
        except ValueError as error:
            raise EventError(str(error)) from None

    def _read(self, name: str, values: PlainValues) -> Event:
        if name == "start":
            _check_format(values)
        seconds = values.number("seconds", low=self._run.seconds, high=MAX_SECONDS)
        read = READERS[name](values, self._run)
        values.only(("event", "seconds", *read))
        self._run.seconds = seconds
        return {"event": name, "seconds": seconds, **read}


# -- one reader for each event: it returns all fields but `event` and `seconds` --------------------------------------


def _read_start(values: PlainValues, run: _Run) -> Event:
    event = {
        "kind": KIND,
        "format": FORMAT,
        "version": values.text("version"),
        "began": values.text("began"),
        "target": values.text("target"),
        "n_rows": values.whole("n_rows"),
        "configs": list(values.texts("configs")),
        "kinds": list(values.texts("kinds")),
        "max_epochs": list(values.wholes("max_epochs")),
        "monitors": list(values.texts("monitors")),
        "lower_is_better": values.get("lower_is_better"),
    }
    flags = event["lower_is_better"]
    if not isinstance(flags, list) or not all(isinstance(flag, bool) for flag in flags):
        raise EventError("start.lower_is_better must be a list of true and false")
    if not set(event["kinds"]) <= set(KINDS):
        raise EventError(f"start.kinds must be a list of {' and '.join(map(repr, KINDS))}")
    n_configs, places = len(event["configs"]), values.children("members")
    if {len(event[name]) for name in LIST_FIELDS} != {n_configs} or not n_configs or not places:
        raise EventError("its lists of configs and members do not fit each other")
    event["members"] = [_read_place(place, n_configs) for place in places]
    run.n_configs, run.n_epochs = n_configs, [0] * len(places)
    return event


def _read_place(values: PlainValues, n_configs: int) -> Event:
    values.only(PLACE_FIELDS)
    config = values.whole("config", high=n_configs - 1)
    return {"config": config, "repeat": values.whole("repeat"), "fold": values.whole("fold")}


def _read_begin(values: PlainValues, run: _Run) -> Event:
    return {"member": _member(values, run)}


def _read_epoch(values: PlainValues, run: _Run) -> Event:
    member, epoch = _member(values, run), values.whole("epoch")
    if epoch != run.n_epochs[member] + 1:
        raise EventError("an epoch is missing before it, or repeated")
    event: Event = {"member": member, "epoch": epoch, "learning_rate": values.number("learning_rate")}
    for name in ("train_loss", "val_loss", "val_accuracy", "score"):
        event[name] = values.number(name, low=-MAX_LOSS, high=MAX_LOSS)
    if "layers" in values.values:
        event["layers"] = [_read_layer(layer) for layer in values.children("layers")]
        names = [layer["name"] for layer in event["layers"]]
        if names != run.layer_names.setdefault(member, names):
            raise EventError("epoch.layers must have the layers of the member's first measured epoch")
    run.n_epochs[member] = epoch
    return event


def _read_layer(values: PlainValues) -> Event:
    values.only(("name", "n", "quantiles", "rms", "gradient_rms"))
    quantiles = values.numbers_or_nan("quantiles")
    if len(quantiles) != len(QUANTILE_LEVELS):
        raise EventError(f"{values.path}.quantiles must have {len(QUANTILE_LEVELS)} numbers, and has {len(quantiles)}")
    return {
        "name": values.text("name"),
        "n": values.whole("n"),
        "quantiles": list(map(_none_if_nan, quantiles)),
        "rms": _none_if_nan(values.number_or_nan("rms", low=0)),
        "gradient_rms": _none_if_nan(values.number_or_nan("gradient_rms", low=0)),
    }


def _read_stop(values: PlainValues, run: _Run) -> Event:
    return {"member": _member(values, run), "reason": values.text("reason"), "message": values.text("message")}


def _read_drop(values: PlainValues, run: _Run) -> Event:
    return {"config": values.whole("config", high=run.n_configs - 1), "epochs": values.whole("epochs")}


def _read_time_left(values: PlainValues, run: _Run) -> Event:
    return {"seconds_left": _none_if_nan(values.number_or_nan("seconds_left"))}


def _read_end(values: PlainValues, run: _Run) -> Event:
    return {"reason": None if values.is_null("reason") else values.text("reason")}


READERS: dict[str, Callable[[PlainValues, _Run], Event]] = {
    "start": _read_start,
    "begin": _read_begin,
    "epoch": _read_epoch,
    "stop": _read_stop,
    "drop": _read_drop,
    "time_left": _read_time_left,
    "end": _read_end,
}


def _member(values: PlainValues, run: _Run) -> int:
    return values.whole("member", high=len(run.n_epochs) - 1)


def _none_if_nan(value: float) -> float | None:
    return None if math.isnan(value) else value


def _check_format(values: PlainValues) -> None:
    if values.values.get("kind") != KIND:
        raise EventError("it is not the beginning of a recording")
    written = values.whole("format")
    if written != FORMAT:
        raise EventError(
            f"it has format {written} and this version reads format {FORMAT}; install the version of tabcohort that "
            "wrote it"
        )
