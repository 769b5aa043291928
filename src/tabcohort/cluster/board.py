"""The actor through which workers and the driver of a run talk; it imports nothing, so that it starts at once."""

from __future__ import annotations


class MessageBoard:
    """Keeps what workers say of their members, and whether all are to stop."""

    def __init__(self) -> None:
        self._latest: dict[tuple[int, int], bytes] = {}
        self._must_stop = False

    def tell(self, member: tuple[int, int], message: bytes) -> bool:
        """Note a member's latest message, and return whether the worker is to stop.

        Args:
            member: its config and its number.
            message: a pickled `(Member, TrainingState)`.
        """
        self._latest[member] = message
        return self._must_stop

    def must_stop(self) -> bool:
        """Return whether workers are to stop."""
        return self._must_stop

    def collect(self, must_stop: bool) -> list[bytes]:
        """Return the messages since the last call, and let the workers stop from now on if they are to."""
        self._must_stop = must_stop
        told, self._latest = self._latest, {}
        return list(told.values())
