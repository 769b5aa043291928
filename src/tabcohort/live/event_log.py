"""The events of a run in memory, for those who ask again and again for what is new."""

from __future__ import annotations

import threading
from typing import Any

from tabcohort.live.events import Event

MAX_EVENTS = 4_000  # of an answer


class EventLog:
    """Keeps the events of a run; figures about layers apart, as they are most of it and asked for by member.

    Args:
        is_open: whether more events may come. Whoever adds them sets it to False when there will be no more.
    """

    def __init__(self, is_open: bool = True) -> None:
        self.is_open = is_open
        self._lock = threading.Lock()
        self._run = 0  # the number of starts: positions are of one run
        self._events: list[Event] = []
        self._layers: dict[int, list[Event]] = {}

    def __call__(self, event: Event) -> None:
        """Add an event; the start of another run removes those of the one before."""
        with self._lock:
            if event["event"] == "start":
                self._run, self._events, self._layers = self._run + 1, [], {}
            if event.get("layers"):
                measured = {name: event[name] for name in ("epoch", "seconds", "layers")}
                self._layers.setdefault(event["member"], []).append(measured)
            self._events.append({name: value for name, value in event.items() if name != "layers"})

    def events(self, run: int, start: int) -> dict[str, Any]:
        """Return the events from a position on, or from the first one if another run has begun since.

        Args:
            run: number of the run that the position is of.
            start: number of events that are known.

        Returns:
            The `events`, the `run` that they are of, the position `next` after them, whether there are `more` already,
            and whether any may still come (`isOpen`).
        """
        is_open = self.is_open  # before the events, as the last ones come before it changes
        with self._lock:
            start = min(start, len(self._events)) if run == self._run else 0
            events = self._events[start : start + MAX_EVENTS]
            end = start + len(events)
            return {
                "run": self._run,
                "events": events,
                "next": end,
                "more": end < len(self._events),
                "isOpen": is_open,
            }

    def layers(self, run: int, member: int, start: int) -> dict[str, Any]:
        """Return figures about the layers of a member from a position on, with the epochs that they are of.

        Args:
            run: number of the run that the position is of.
            member: the member.
            start: number of measured epochs that are known.

        Returns:
            The `run` and the `member`, the position `from` which there are `epochs`, and those: each has its `epoch`,
            its `seconds` and its `layers`.
        """
        with self._lock:
            measured = self._layers.get(member, [])
            start = min(start, len(measured)) if run == self._run else 0
            return {"run": self._run, "member": member, "from": start, "epochs": measured[start:]}
