"""Reading JSON values that someone else wrote: each is checked when it is read, and an error names it by its path."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MAX_WHOLE = 2**53  # up to which JSON numbers are exact everywhere
MAX_SHOWN = 40


@dataclass(frozen=True)
class PlainValues:
    """A JSON object, read value by value.

    Every method raises `ValueError` with the path of a value that is missing or not what it must be.

    Args:
        values: the object, as `json.loads` gives it.
        path: where it is in the document, such as "report.members[3]".

    Examples:
        >>> values = PlainValues({"n_rows": 3, "share": 1.5}, "report")
        >>> values.whole("n_rows", low=1)
        3
        >>> values.number("share", low=0, high=1)
        Traceback (most recent call last):
        ValueError: report.share must be a number from 0 to 1, and is 1.5
    """

    values: Mapping[str, Any]
    path: str

    def only(self, names: Iterable[str]) -> None:
        """Check that no names but these are there."""
        if unknown := self.values.keys() - names:
            raise ValueError(f"{self.path or 'the document'} has the unknown part {shown(min(unknown))}")

    def get(self, name: str) -> Any:
        """Return a value, whatever it is."""
        if name not in self.values:
            raise ValueError(f"{self._place(name)} is missing")
        return self.values[name]

    def is_null(self, name: str) -> bool:
        """Return whether a value is null."""
        return self.get(name) is None

    def whole(self, name: str, low: int = 0, high: int = MAX_WHOLE) -> int:
        """Return a whole number."""
        value = self.get(name)
        if type(value) is not int or not low <= value <= high:
            upper = "" if high == MAX_WHOLE else f" to {high}"
            raise self._error(name, f"a whole number from {low}{upper}")
        return value

    def number(self, name: str, low: float = -math.inf, high: float = math.inf) -> float:
        """Return a finite number."""
        return _number(self.get(name), self._place(name), low, high)

    def number_or_nan(self, name: str, low: float = -math.inf, high: float = math.inf) -> float:
        """Return a finite number, NaN where it is null."""
        return math.nan if self.is_null(name) else self.number(name, low, high)

    def numbers(self, name: str, low: float = -math.inf, high: float = math.inf) -> list[float]:
        """Return a list of finite numbers."""
        values, place = self._list(name), self._place(name)
        if values and set(map(type, values)) == {float}:  # histories are long: no loop in Python
            lowest, highest = max(low, -sys.float_info.max), min(high, sys.float_info.max)
            if lowest <= min(values) and max(values) <= highest and not math.isnan(sum(values)):
                return list(values)
        return [_number(value, f"{place}[{number}]", low, high) for number, value in enumerate(values)]

    def numbers_or_nan(self, name: str, low: float = -math.inf, high: float = math.inf) -> list[float]:
        """Return a list of finite numbers, NaN where one is null."""
        place = self._place(name)
        return [
            math.nan if value is None else _number(value, f"{place}[{number}]", low, high)
            for number, value in enumerate(self._list(name))
        ]

    def wholes(self, name: str) -> tuple[int, ...]:
        """Return a list of whole numbers from 0."""
        values = self._list(name)
        if not all(type(value) is int and 0 <= value <= MAX_WHOLE for value in values):
            raise self._error(name, "a list of whole numbers from 0")
        return tuple(values)

    def text(self, name: str, choices: Sequence[str] = ()) -> str:
        """Return a text, one of these if there are any."""
        value = self.get(name)
        if not isinstance(value, str) or (choices and value not in choices):
            raise self._error(name, f"one of {', '.join(map(repr, choices))}" if choices else "a text")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a list of texts."""
        values = self._list(name)
        if not all(isinstance(value, str) for value in values):
            raise self._error(name, "a list of texts")
        return tuple(values)

    def flag(self, name: str) -> bool:
        """Return true or false."""
        value = self.get(name)
        if not isinstance(value, bool):
            raise self._error(name, "true or false")
        return value

    def child(self, name: str) -> PlainValues:
        """Return an object."""
        return plain_values(self.get(name), self._place(name))

    def children(self, name: str) -> list[PlainValues]:
        """Return a list of objects."""
        return [plain_values(value, f"{self._place(name)}[{place}]") for place, value in enumerate(self._list(name))]

    def _list(self, name: str) -> list[Any]:
        value = self.get(name)
        if not isinstance(value, list):
            raise self._error(name, "a list")
        return value

    def _place(self, name: str) -> str:
        text = name if name.isidentifier() or (len(name) < MAX_SHOWN and name.isprintable()) else shown(name)
        return f"{self.path}.{text}" if self.path else text

    def _error(self, name: str, what: str) -> ValueError:
        return ValueError(f"{self._place(name)} must be {what}, and is {shown(self.values[name])}")


def plain_values(value: Any, path: str) -> PlainValues:
    """Return an object to be read.

    Raises:
        ValueError: it is something else.
    """
    if not isinstance(value, dict):
        raise ValueError(f"{path or 'the document'} must be an object, and is {shown(value)}")
    return PlainValues(value, path)


def refuse_constant(text: str) -> float:
    """Refuse NaN and infinity, which Python reads from JSON and the standard does not have: see `json.loads`.

    Raises:
        ValueError: always.
    """
    raise ValueError(f"{text} is no JSON number")


def _number(value: Any, place: str, low: float, high: float) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    is_finite = is_number and -sys.float_info.max <= value <= sys.float_info.max
    if not is_finite or not low <= value <= high:
        limits = f" from {low:g}" if low > -math.inf else ""
        limits += f" to {high:g}" if high < math.inf else ""
        raise ValueError(f"{place} must be a number{limits}, and is {shown(value)}")
    return float(value)


def shown(value: Any) -> str:
    """Return a value as text that fits a line, without control characters."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    text = "null" if value is None else repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"
