"""Single observations; the Bundles of `patients` have all that can be wrong with them."""

from __future__ import annotations

from typing import Any

import patients
import pytest
from patients import GLUCOSE, SYSTOLIC, concept, glucose, mapping, observation, patient, quantity

from tabcohort.server.medical.fhir_observations import Entry, latest, read_observation
from tabcohort.server.medical.fhir_problems import FhirProblem

PATIENT = Entry(patient(), "Patient")


def read(resource: dict[str, Any], who: Entry = PATIENT) -> Any:
    return read_observation(Entry(resource, "Observation"), who, mapping().by_code)


def test_an_observation_says_a_cell_with_its_time_and_reference() -> None:
    (own,) = read(glucose("g", 1.105, "g/L"))
    assert (own.column.name, own.cell, own.reference, own.path) == ("glucose", 110.5, "Observation/g", "Observation")
    assert (own.unit, own.status, own.is_usable) == ("g/L", "final", True)


def test_an_observation_that_is_not_used_has_no_cell_and_may_have_any_value() -> None:
    (own,) = read(glucose(status="cancelled", valueQuantity={"comparator": "<"}))
    assert (own.cell, own.is_usable) == (None, False)


def test_components_have_cells_of_their_own() -> None:
    parts = [{"code": concept(code), "valueQuantity": quantity(value, unit)} for code, value, unit in (
        (SYSTOLIC, 118, "mm[Hg]"), (GLUCOSE, 99, "mg/dL"), ("8462-4", 70, "mm[Hg]"),
    )]  # fmt: skip
    cells = {
        own.column.name: (own.cell, own.path) for own in read(observation("panel", patients.PANEL, component=parts))
    }
    assert cells == {"systolic": (118.0, "Observation.component[0]"), "glucose": (99.0, "Observation.component[1]")}


def test_there_is_an_end_of_components() -> None:
    parts = [{"code": concept("8462-4")}] * 101
    with pytest.raises(FhirProblem, match="at most 100 components are read"):
        read(observation("panel", patients.PANEL, component=parts))


def test_minus_zero_is_zero() -> None:
    (own,) = read(glucose(value=-0.0))
    assert str(own.cell) == "0.0"


@pytest.mark.parametrize(
    ("full_url", "reference", "is_it"),
    [
        (None, "Patient/p1", True), (None, "Patient/p1/_history/2", True), (None, "https://a.example/Patient/p1", True),
        (None, "Patient/p2", False), (None, "https://a.example/Patient/p12", False), (None, "#p1", False),
        (None, "p1", False), (None, "Group/p1", False), (None, "", False),
        ("https://a.example/Patient/p1", "https://a.example/Patient/p1", True),
        ("https://a.example/Patient/p1", "Patient/p1", True),
        ("https://a.example/Patient/p1", "https://b.example/Patient/p1", False),
        ("urn:uuid:61ebe359-bfdc-4613-8bf2-c5e300945f0a", "urn:uuid:61ebe359-bfdc-4613-8bf2-c5e300945f0a", True),
        ("urn:uuid:61ebe359-bfdc-4613-8bf2-c5e300945f0a", "urn:uuid:61ebe359-bfdc-4613-8bf2-c5e300945f0b", False),
    ],
)  # fmt: skip
def test_references_are_followed_exactly(full_url: str | None, reference: str, is_it: bool) -> None:
    assert Entry(patient(), "Patient", full_url).is_referred_to(reference) is is_it


def test_the_latest_of_equal_values_is_the_one_that_is_used() -> None:
    several = [
        *read(glucose("a", effectiveDateTime="2023")),
        *read(glucose("b")),
        *read(glucose("c", effectiveDateTime=None)),
    ]
    assert latest(several).reference == "Observation/b"


def test_times_in_a_circle_are_a_contradiction() -> None:
    """A day between two date-times in far time zones is later than one and earlier than the other."""
    times = ("2024-05-02", "2024-05-03T00:00:00+14:00", "2024-05-01T23:59:00-12:00")
    several = [read(glucose(f"g{value}", value, effectiveDateTime=time))[0] for value, time in enumerate(times, 100)]
    with pytest.raises(FhirProblem, match="contradict each other"):
        latest(several)


def test_true_and_one_are_different_values() -> None:
    one, other = read(glucose(value=1))[0], read(glucose(value=1))[0]._replace(cell=True)
    with pytest.raises(FhirProblem, match="contradict each other"):
        latest([one, other])
