from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import patients
import pytest
from fhir.resources.R4B.operationoutcome import OperationOutcome
from hypothesis import given, settings
from hypothesis import strategies as st
from patients import BASE, glucose, mapping, observation, patient, predictor

from tabcohort.server.medical.fhir_problems import FhirProblem
from tabcohort.server.medical.fhir_reading import read_bundle
from tabcohort.server.record_input import RecordReader

WELL_FORMED, MALFORMED = list(patients.well_formed()), list(patients.malformed())


def test_there_are_at_least_60_of_each() -> None:
    assert len(WELL_FORMED) >= 60
    assert len(MALFORMED) >= 60


@pytest.mark.parametrize(("bundle", "record"), [own[1:] for own in WELL_FORMED], ids=[own[0] for own in WELL_FORMED])
def test_a_well_formed_bundle_gives_exactly_its_record(bundle: Any, record: dict[str, Any]) -> None:
    assert read_bundle(bundle, mapping()).record == record


@pytest.mark.parametrize(
    ("bundle", "status", "code", "expression"), [own[1:] for own in MALFORMED], ids=[own[0] for own in MALFORMED]
)
def test_a_malformed_bundle_is_refused(bundle: Any, status: int, code: str, expression: str) -> None:
    with pytest.raises(FhirProblem) as raised:
        read_bundle(bundle, mapping())
    issue = raised.value.issues[0]
    assert (raised.value.status, issue.code, issue.expressions[0]) == (status, code, expression)


def test_what_is_missing_and_what_is_not_used_is_listed() -> None:
    evidence = read_bundle(
        patients.full_bundle(
            glucose("g2", 99.0, status="preliminary"), smoker=None, who=patient(birthDate=None),
            score=observation("score", patients.SCORE, dataAbsentReason={"text": "refused"}),
        ),
        mapping(),
    )  # fmt: skip
    assert evidence.missing == (
        ("age", "the Patient has no birthDate"), ("score", "its value is absent"),
        ("smoker", "there is no Observation that can be used"),
    )  # fmt: skip
    assert evidence.not_used == (("glucose", "preliminary"),)
    assert evidence.patient == "Patient/p1"
    assert evidence.record == {**BASE, "age": None, "score": None, "smoker": None}


def test_without_a_day_there_is_no_age() -> None:
    own = {name: {**each, "effectiveDateTime": "2024-03"} for name, each in patients.observations().items()}
    evidence = read_bundle(patients.bundle(patient(), *own.values()), mapping())
    assert evidence.missing == (("age", "no Observation that is used has a day"),)


def test_a_column_that_is_required_must_be_there() -> None:
    columns = tuple(replace(own, is_required=own.name in ("smoker", "age")) for own in mapping().columns)
    bundle = patients.full_bundle(smoker=None, who=patient(birthDate=None))
    with pytest.raises(FhirProblem) as raised:
        read_bundle(bundle, replace(mapping(), columns=columns))
    assert [(issue.code, issue.diagnostics) for issue in raised.value.issues] == [
        ("incomplete", "'age' is required, and the Patient has no birthDate"),
        ("incomplete", "'smoker' is required, and there is no Observation that can be used"),
    ]


def test_the_number_of_observations_that_are_not_used_is_said() -> None:
    bundle = patients.bundle(patient(), glucose(status="preliminary"), glucose("g2", status="registered"))
    with pytest.raises(FhirProblem, match="; 2 with a status other than final, amended or corrected"):
        read_bundle(bundle, mapping())


def test_there_is_an_end_of_entries_and_of_units() -> None:
    with pytest.raises(FhirProblem, match="a Bundle may have 10,000 entries at most"):
        read_bundle(patients.bundle(*[{"resource": {"resourceType": "Basic"}}] * 10_001), mapping())
    many = [glucose(f"g{power}", 1.0, f"10*{power}.mg/dL", status="preliminary") for power in range(101)]
    with pytest.raises(FhirProblem, match="the Observations have more than 100 units; use fewer"):
        read_bundle(patients.bundle(patient(), *many), mapping())


def paths_of(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield where the values in nested lists and dictionaries are."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, item in items:
        yield from paths_of(item, (*path, name))


def changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """Return a value with another one at a place; `OMITTED` takes it away."""
    if not path:
        return new
    name, *rest = path
    items = dict(value) if isinstance(value, dict) else dict(enumerate(value))
    items[name] = changed(items[name], tuple(rest), new)
    kept = {own: item for own, item in items.items() if item is not OMITTED}
    return kept if isinstance(value, dict) else list(kept.values())


OMITTED = object()
FULL = patients.full_bundle(
    glucose("g2", 140.0, effectiveDateTime="2024-03-03"),
    observation("panel", patients.PANEL, component=[{"code": patients.concept("8462-4"), "valueString": "x"}]),
)
PATHS = list(paths_of(FULL))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8)
    | st.sampled_from(["final", "Patient/p1", "mg/dL", "<", "2024", "next", "Observation", "outcome", OMITTED]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["coding", "code", "system", "value", "reference", "resourceType"]), inner),
    max_leaves=6,
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(PATHS), JSON), min_size=1, max_size=2))
def test_whatever_is_changed_in_a_bundle_it_is_read_or_refused(changes: list[tuple[tuple[Any, ...], Any]]) -> None:
    bundle: Any = FULL
    for path, new in changes:
        with contextlib.suppress(KeyError, IndexError, TypeError):  # the first change took the place away
            bundle = changed(bundle, path, new)
    try:
        record = read_bundle(bundle, mapping()).record
    except FhirProblem as problem:
        OperationOutcome.model_validate(problem.to_dict())
    else:
        assert predictor().predict_inputs(RecordReader(predictor().schema).inputs([record]))
