"""Whether the events of a recording are what they should be: nothing that shows them checks them again."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from tabcohort.live.events import FORMAT, KIND, Event

Check = Callable[[Any], bool]


class EventError(ValueError):
    """An event that is not what it should be; the message says why."""


def is_count(value: Any) -> bool:
    """Return whether a value is a whole number from 0 on."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def is_number(value: Any) -> bool:
    """Return whether a value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def is_number_or_none(value: Any) -> bool:
    """Return whether a value is a finite number, or unknown."""
    return value is None or is_number(value)


def is_text(value: Any) -> bool:
    """Return whether a value is a string."""
    return isinstance(value, str)


def list_of(check: Check) -> Check:
    """Return a check that a value is a list whose items pass another check."""
    return lambda value: isinstance(value, list) and all(map(check, value))


def mapping_of(checks: Mapping[str, Check]) -> Check:
    """Return a check that a value is a mapping whose values pass the checks of these names."""
    return lambda value: (
        isinstance(value, dict) and all(name in value and check(value[name]) for name, check in checks.items())
    )


_LAYER = mapping_of(
    {
        "name": is_text,
        "n": is_count,
        "quantiles": list_of(is_number_or_none),
        "rms": is_number_or_none,
        "gradient_rms": is_number_or_none,
    }
)
FIELDS: dict[str, dict[str, Check]] = {
    "start": {
        "version": is_text,
        "began": is_text,
        "target": is_text,
        "n_rows": is_count,
        "configs": list_of(is_text),
        "kinds": list_of(lambda value: value in ("network", "trees")),
        "max_epochs": list_of(is_count),
        "monitors": list_of(is_text),
        "lower_is_better": list_of(lambda value: isinstance(value, bool)),
        "members": list_of(mapping_of(dict.fromkeys(("config", "repeat", "fold"), is_count))),
    },
    "begin": {"member": is_count},
    "epoch": {
        "member": is_count,
        "epoch": is_count,
        **dict.fromkeys(("learning_rate", "train_loss", "val_loss", "val_accuracy", "score"), is_number),
    },
    "stop": {"member": is_count, "reason": is_text, "message": is_text},
    "drop": {"config": is_count, "epochs": is_count},
    "left": {"seconds_left": is_number_or_none},
    "end": {"reason": lambda value: value is None or is_text(value)},
}


class EventChecker:
    """Checks the events of one run in their order."""

    def __init__(self) -> None:
        self._n_configs = -1
        self._n_epochs: list[int] = []  # of each member

    def check(self, event: Any) -> Event:
        """Return an event that is what it should be.

        Raises:
            EventError: it is not.
        """
        name = event.get("event") if isinstance(event, dict) else None
        if not isinstance(name, str) or name not in FIELDS:
            raise EventError("it is no event of a training")
        if (name == "start") != (self._n_configs < 0):
            raise EventError("a recording begins with one line on what is trained, and has no other such line")
        if name == "start":
            _check_format(event)
        wrong = next((field for field, check in FIELDS[name].items() if not check(event.get(field))), None)
        if wrong is None and not (is_number(event.get("seconds")) and event["seconds"] >= 0):
            wrong = "seconds"
        if wrong is not None:
            raise EventError(f"the value of {wrong!r} is missing or not a possible one")
        self._check_places(event)
        return event

    def _check_places(self, event: Event) -> None:
        """Check that configs and members are there, and that epochs follow each other."""
        if event["event"] == "start":
            self._n_configs = len(event["configs"])
            lengths = {len(event[name]) for name in ("kinds", "max_epochs", "monitors", "lower_is_better")}
            if lengths != {self._n_configs} or not event["members"]:
                raise EventError("its lists of configs and members do not fit each other")
            self._n_epochs = [0] * len(event["members"])
        configs = [member["config"] for member in event.get("members", ())] + [event.get("config", 0)]
        if max(configs) >= self._n_configs or event.get("member", 0) >= len(self._n_epochs):
            raise EventError("it names a config or a member that there is not")
        if event["event"] == "epoch":
            self._n_epochs[event["member"]] += 1
            if event["epoch"] != self._n_epochs[event["member"]]:
                raise EventError("an epoch is missing before it, or repeated")
            if not list_of(_LAYER)(event.get("layers", [])):
                raise EventError("the value of 'layers' is not a possible one")


def _check_format(event: Event) -> None:
    if event.get("kind") != KIND:
        raise EventError("it is not the beginning of a recording")
    if event.get("format") != FORMAT:
        raise EventError(
            f"it has format {event.get('format')!r} and this version reads format {FORMAT}; install the version of "
            "tabcohort that wrote it"
        )
