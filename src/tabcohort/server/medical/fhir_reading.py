"""From a Bundle of FHIR R4, a Patient and Observations, to a record of the model and what it rests on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from tabcohort.server.medical.fhir_mapping import AGE, GENDERS, FhirMapping, MappedColumn
from tabcohort.server.medical.fhir_observations import (
    Entry,
    Measurement,
    latest,
    problems_of,
    read_observation,
    refuse_modifiers,
)
from tabcohort.server.medical.fhir_problems import MAX_ISSUES, FhirProblem, refused
from tabcohort.server.medical.fhir_times import age_in_years, parse_time

BUNDLE_TYPES = ("collection", "searchset")
MAX_ENTRIES = 10_000
MAX_UNITS = 100  # each takes some milliseconds when it is first converted
MAX_AGE = 150


class Gap(NamedTuple):
    """A cell that is missing, or an observation that is not used.

    Args:
        column: of the model.
        reason: in a few words.
    """

    column: str
    reason: str


@dataclass(frozen=True)
class Evidence:
    """The record of a patient, and what it rests on.

    Args:
        record: a cell for each column of the mapping.
        patient: a reference to the patient.
        basis: references to the observations that are used, in the order of the columns.
        missing: cells that are None.
        not_used: observations with a code of the mapping whose status keeps them from being used.
    """

    record: Mapping[str, Any]
    patient: str
    basis: tuple[str, ...]
    missing: tuple[Gap, ...] = ()
    not_used: tuple[Gap, ...] = ()


def read_bundle(bundle: Any, mapping: FhirMapping) -> Evidence:
    """Return the record that a Bundle of one Patient and Observations holds; other resources in it are ignored.

    Raises:
        FhirProblem: it is not valid, not of one patient, contradicts itself, or holds nothing that the model uses.
    """
    entries = bundle_entries(bundle, "Bundle")
    patients = [entry for entry in entries if entry.resource["resourceType"] == "Patient"]
    if not patients:
        raise refused("required", "the Bundle needs the Patient whom the Observations are about", "Bundle.entry")
    if len(patients) > 1:
        paths = [entry.path for entry in patients]
        raise refused("business-rule", "the Bundle must be of one Patient; send a Bundle for each", *paths)
    return read_evidence(patients[0], entries, mapping)


def bundle_entries(bundle: Any, path: str) -> list[Entry]:
    """Return the resources of a Bundle.

    Args:
        bundle: the Bundle.
        path: of it, as FHIRPath.

    Raises:
        FhirProblem: it is none, is of another type, is one page of several, or holds a resource twice.
    """
    if not isinstance(bundle, dict) or bundle.get("resourceType") != "Bundle":
        raise refused("structure", "a resource of the type Bundle is needed", path)
    refuse_modifiers(bundle, path)
    if bundle.get("type") not in BUNDLE_TYPES:
        raise refused("not-supported", f"the type of a Bundle must be {' or '.join(BUNDLE_TYPES)}", f"{path}.type")
    links, entries = bundle.get("link", []), bundle.get("entry", [])
    for name, values in (("link", links), ("entry", entries)):
        if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
            raise refused("structure", f"{name} must be a list of objects", f"{path}.{name}")
    if any(link.get("relation") == "next" for link in links):
        raise refused("incomplete", "the Bundle is one page of several; send all of them in one", f"{path}.link")
    if len(entries) > MAX_ENTRIES:
        raise refused("too-long", f"a Bundle may have {MAX_ENTRIES:,} entries at most", f"{path}.entry")
    read = [_entry(entry, f"{path}.entry[{place}]") for place, entry in enumerate(entries)]
    _refuse_repeated(read)
    return [entry for entry in read if entry is not None]


def _entry(entry: Mapping[str, Any], path: str) -> Entry | None:
    """Return the resource of an entry; None for a message of the server that searched."""
    resource, full_url, search = entry.get("resource"), entry.get("fullUrl"), entry.get("search", {})
    if not isinstance(resource, dict):
        raise refused("required", "an entry needs a resource", f"{path}.resource")
    if not isinstance(resource.get("resourceType"), str):
        raise refused("structure", "a resource needs a resourceType", f"{path}.resource")
    if full_url is not None and not (isinstance(full_url, str) and full_url):
        raise refused("value", "a fullUrl must be a URL", f"{path}.fullUrl")
    if isinstance(search, dict) and search.get("mode") == "outcome":
        return None
    return Entry(resource, f"{path}.resource", full_url)


def _refuse_repeated(entries: Sequence[Entry | None]) -> None:
    """Raise an error where two entries are of one resource."""
    seen: dict[str, str] = {}
    for entry in entries:
        if entry is None or entry.resource["resourceType"] not in ("Patient", "Observation"):
            continue
        names = {entry.full_url, entry.reference} - {None}
        for name in map(str, names):
            if name in seen:
                raise refused("duplicate", "a resource is in the Bundle twice; send it once", seen[name], entry.path)
        seen.update(dict.fromkeys(map(str, names), entry.path))


def read_evidence(patient: Entry, entries: Sequence[Entry], mapping: FhirMapping) -> Evidence:
    """Return the record of a patient.

    Args:
        patient: the resource.
        entries: resources, of which the observations are read.
        mapping: of the model.

    Raises:
        FhirProblem: something is not valid or cannot be used; all issues are named, up to a number.
    """
    resource, path = patient.resource, patient.path
    refuse_modifiers(resource, path)
    if resource.get("active") is False:
        raise refused("business-rule", "the record of the Patient is not in use: active is false", f"{path}.active")
    reference = patient.reference
    measurements = _measurements(patient, entries, mapping)
    used = _used(measurements)
    cells = {name: own.cell for name, own in used.items()}
    gaps = {name: "its value is absent" for name, cell in cells.items() if cell is None}
    for column in mapping.columns:
        if column.code is None:
            cells[column.name], reason = _patient_cell(column, patient, used)
            gaps |= {column.name: reason} if reason else {}
        elif column.name not in cells:
            cells[column.name], gaps[column.name] = None, "there is no Observation that can be used"
    _refuse_gaps(mapping, gaps, measurements)
    return Evidence(
        record={column.name: cells[column.name] for column in mapping.columns},
        patient=reference,
        basis=tuple(dict.fromkeys(used[column.name].reference for column in mapping.columns if column.name in used)),
        missing=tuple(Gap(column.name, gaps[column.name]) for column in mapping.columns if column.name in gaps),
        not_used=tuple(Gap(own.column.name, own.status) for own in measurements if not own.is_usable),
    )


def _measurements(patient: Entry, entries: Sequence[Entry], mapping: FhirMapping) -> list[Measurement]:
    """Return what the observations say of columns."""
    columns = mapping.by_code
    units: set[str | None] = set()
    measurements: list[Measurement] = []
    problems: list[FhirProblem] = []
    for entry in entries:
        if entry.resource["resourceType"] != "Observation":
            continue
        try:
            own = read_observation(entry, patient, columns)
        except FhirProblem as problem:
            problems.append(problem)
            if len(problems) == MAX_ISSUES:
                break
            continue
        measurements += own
        units.update(measurement.unit for measurement in own)
        if len(units) > MAX_UNITS:
            raise refused("too-costly", f"the Observations have more than {MAX_UNITS} units; use fewer", "Bundle.entry")
    if problems:
        raise problems_of(problems)
    return measurements


def _used(measurements: Sequence[Measurement]) -> dict[str, Measurement]:
    """Return the measurement of each column that is used."""
    by_column: dict[str, list[Measurement]] = {}
    for own in measurements:
        if own.is_usable:
            by_column.setdefault(own.column.name, []).append(own)
    used, problems = {}, []
    for name, several in by_column.items():
        try:
            used[name] = latest(several)
        except FhirProblem as problem:
            problems.append(problem)
    if problems:
        raise problems_of(problems)
    return used


def _patient_cell(column: MappedColumn, patient: Entry, used: Mapping[str, Measurement]) -> tuple[Any, str]:
    """Return a cell that the Patient gives, and why it is missing if it is."""
    return (_age if column.kind == AGE else _gender)(column, patient, used)


def _age(column: MappedColumn, patient: Entry, used: Mapping[str, Measurement]) -> tuple[Any, str]:
    """Return the completed years at the time of the latest observation that is used."""
    text, path = patient.resource.get("birthDate"), f"{patient.path}.birthDate"
    if text is None:
        return None, "the Patient has no birthDate"
    try:
        birth = parse_time(text)
        if birth.instant is not None:
            raise ValueError("it has a time of day")
    except ValueError:
        raise refused("value", "birthDate must be a date", path) from None
    days = [day for own in used.values() if own.time is not None and (day := own.time.day) is not None]
    if birth.day is None:
        return None, "the birthDate has no day"
    if not days:
        return None, "no Observation that is used has a day"
    age = age_in_years(birth.day, max(days))
    if not 0 <= age <= MAX_AGE:
        raise refused(
            "business-rule", f"the age at the time of the Observations must be 0 to {MAX_AGE} years for "
            f"{column.name!r}; birthDate and effective times contradict each other", path,
        )  # fmt: skip
    return float(age), ""


def _gender(column: MappedColumn, patient: Entry, _: Mapping[str, Measurement]) -> tuple[Any, str]:
    gender, path = patient.resource.get("gender"), f"{patient.path}.gender"
    if gender is None:
        return None, "the Patient has no gender"
    if gender not in GENDERS:
        raise refused("code-invalid", f"gender must be one of {', '.join(GENDERS)}", path)
    if gender in column.levels:
        return column.levels[gender], ""
    if gender == "unknown":
        return None, "the gender of the Patient is unknown"
    raise refused("not-supported", f"the mapping has no level of {column.name!r} for this gender", path)


def _refuse_gaps(mapping: FhirMapping, gaps: Mapping[str, str], measurements: Sequence[Measurement]) -> None:
    """Raise an error where a cell is missing that is required, or all are."""
    needed = [column for column in mapping.columns if column.is_required and column.name in gaps]
    if needed:
        raise problems_of([
            refused("incomplete", f"{column.name!r} is required, and {gaps[column.name]}", "Bundle.entry")
            for column in needed
        ])  # fmt: skip
    if all(column.name in gaps for column in mapping.by_code.values()):
        n_unused = len({own.reference for own in measurements if not own.is_usable})
        more = f"; {n_unused:,} with a status other than final, amended or corrected" if n_unused else ""
        raise refused("incomplete", f"there is no Observation of which the model uses the value{more}", "Bundle.entry")
