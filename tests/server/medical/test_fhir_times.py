from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabcohort.server.medical.fhir_times import age_in_years, is_later, parse_time


@pytest.mark.parametrize(
    ("text", "parts", "instant"),
    [
        ("2024", (2024,), None), ("2024-03", (2024, 3), None), ("2024-02-29", (2024, 2, 29), None),
        ("2024-03-02T08:00:00Z", (2024, 3, 2), "2024-03-02T08:00:00+00:00"),
        ("2024-03-02T08:00:00.123+05:30", (2024, 3, 2), "2024-03-02T08:00:00.123000+05:30"),
        ("2024-03-02T08:00:00.123456789-11:00", (2024, 3, 2), "2024-03-02T08:00:00.123456-11:00"),
    ],
)  # fmt: skip
def test_times_of_fhir_are_read(text: str, parts: tuple[int, ...], instant: str | None) -> None:
    time = parse_time(text)
    assert time.parts == parts
    assert (None if time.instant is None else time.instant.isoformat()) == instant
    assert time.day == (date(*parts) if len(parts) == 3 else None)


@pytest.mark.parametrize(
    "text",
    [
        "", "24", "2024-3", "2024-13", "2023-02-29", "0000", "2024-03-02T08:00Z", "2024-03-02T08:00:00",
        "2024-03-02 08:00", "2024-03-02T24:00:01Z", "2024-03-02T08:00:60Z", "2024-03-02T08:00:00+25:00", " 2024",
        "2024\n", "٢٠٢٤", 2024, None,
    ],
)  # fmt: skip
def test_what_is_no_time_of_fhir_is_refused(text: object) -> None:
    with pytest.raises(ValueError):
        parse_time(text)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("2024-03-02T08:00:01Z", "2024-03-02T08:00:00Z", True),
        ("2024-03-02T08:00:00-02:00", "2024-03-02T09:00:00Z", True),
        ("2024-03-02T08:00:00Z", "2024-03-02T10:00:00+02:00", False),
        ("2024-03-02", "2024-03-01T23:59:59-12:00", True),  # the day where it was measured counts
        ("2024-03-02", "2024-03-02T08:00:00Z", False),
        ("2024", "2023-12-31", True), ("2024", "2024-01-01", False), ("2024-04", "2024-03-31T08:00:00Z", True),
    ],
)  # fmt: skip
def test_a_time_is_later_only_where_it_surely_is(one: str, other: str, expected: bool) -> None:
    assert is_later(parse_time(one), parse_time(other)) is expected


TIMES = st.one_of(
    st.dates().map(str),
    st.datetimes(timezones=st.timezones()).map(
        lambda own: own.replace(microsecond=0).astimezone().isoformat() if own.year in range(2, 9998) else "2000"
    ),
).filter(lambda text: len(text) in (4, 10, 20, 25))


@given(TIMES, TIMES)
def test_no_time_is_both_later_and_earlier_than_another(one: str, other: str) -> None:
    times = parse_time(one), parse_time(other)
    assert not (is_later(*times) and is_later(*times[::-1]))


@given(st.dates(min_value=date(1900, 1, 1), max_value=date(2100, 1, 1)), st.integers(0, 120))
def test_an_age_changes_on_the_birthday(birth: date, age: int) -> None:
    year = birth.year + age
    birthday = date(year, 3, 1) if (birth.month, birth.day) == (2, 29) else birth.replace(year=year)
    before = date.fromordinal(birthday.toordinal() - 1)
    assert age_in_years(birth, birthday) == age
    if (before.month, before.day) != (2, 29):
        assert age_in_years(birth, before) == age - 1
