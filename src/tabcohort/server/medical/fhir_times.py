"""Dates and date-times of FHIR, which may be partial: their order, and ages."""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import NamedTuple

_TIME = re.compile(
    r"(\d{4})(?:-(\d{2})(?:-(\d{2})(?:T\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?(?:Z|[+-]\d{2}:\d{2}))?)?)?", re.ASCII
)


class FhirTime(NamedTuple):
    """A date or date-time.

    Args:
        parts: year, month and day, those that are given, where it was measured.
        instant: with its time zone; None for what has no time of day.
    """

    parts: tuple[int, ...]
    instant: datetime | None = None

    @property
    def day(self) -> date | None:
        """The day, if it is given."""
        return date(*self.parts) if len(self.parts) == 3 else None


def parse_time(text: object) -> FhirTime:
    """Return a time of FHIR: `YYYY`, `YYYY-MM`, `YYYY-MM-DD`, or `YYYY-MM-DDThh:mm:ss+zz:zz`.

    Raises:
        ValueError: it is not a FHIR date or time.
    """
    match = _TIME.fullmatch(text) if isinstance(text, str) else None
    if match is None or not isinstance(text, str):
        raise ValueError("no time of FHIR")
    parts = tuple(int(part) for part in match.groups() if part is not None)
    date(*(*parts, 1, 1)[:3])  # which checks it
    return FhirTime(parts, datetime.fromisoformat(text) if "T" in text else None)


def is_later(one: FhirTime, other: FhirTime) -> bool:
    """Return whether a time is surely later than another.

    Two date-times are compared as instants. Where one is partial, what both give is compared.
    """
    if one.instant is not None and other.instant is not None:
        return one.instant > other.instant
    n_common = min(len(one.parts), len(other.parts))
    return one.parts[:n_common] > other.parts[:n_common]


def age_in_years(birth: date, day: date) -> int:
    """Return the completed years of a person's life on a day; negative before it began.

    Examples:
        >>> from datetime import date
        >>> from tabcohort.server.medical.fhir_times import age_in_years
        >>> age_in_years(date(1960, 5, 17), date(2024, 5, 16)), age_in_years(date(1960, 5, 17), date(2024, 5, 17))
        (63, 64)
    """
    return day.year - birth.year - ((day.month, day.day) < (birth.month, birth.day))
