"""Observations of FHIR R4: what each says of a column of the model, and which one is used where there are several."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tabcohort.data.columns import MAX_MAGNITUDE
from tabcohort.server.medical import ucum
from tabcohort.server.medical.fhir_mapping import BOOLEAN, CODED, QUANTITY, Code, MappedColumn
from tabcohort.server.medical.fhir_problems import FhirProblem, refused
from tabcohort.server.medical.fhir_times import FhirTime, is_later, parse_time

USABLE = ("final", "amended", "corrected")
NOT_USED = ("registered", "preliminary", "cancelled", "entered-in-error", "unknown")
VALUES = tuple(
    f"value{kind}"
    for kind in (
        "Quantity", "CodeableConcept", "String", "Boolean", "Integer", "Range", "Ratio", "SampledData", "Time",
        "DateTime", "Period",
    )
)  # fmt: skip
MODIFIERS = ("modifierExtension", "implicitRules")  # which change what a resource means
MAX_COMPONENTS = 100
ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")


class Entry(NamedTuple):
    """A resource and where it is.

    Args:
        resource: the Observation or component.
        path: of the resource, as FHIRPath.
        full_url: that the bundle gives it.
    """

    resource: Mapping[str, Any]
    path: str
    full_url: str | None = None

    @property
    def reference(self) -> str:
        """What refers to it.

        Raises:
            FhirProblem: there is neither an id nor a full URL.
        """
        identity = self.resource.get("id")
        kind = self.resource["resourceType"]
        if identity is not None and not (isinstance(identity, str) and ID.fullmatch(identity)):
            raise refused("value", "an id must be 1 to 64 letters, digits, - and .", f"{self.path}.id")
        if identity is not None:
            return f"{kind}/{identity}"
        if self.full_url is not None:
            return self.full_url
        raise refused("required", f"the {kind} needs an id, or its entry a fullUrl, to refer to it", f"{self.path}.id")

    def is_referred_to(self, reference: str) -> bool:
        """Return whether a reference is to this resource, or to a version of it."""
        target = reference.partition("/_history/")[0]
        if target in (self.full_url, self.reference):
            return True
        return self.full_url is None and "://" in target and target.endswith(f"/{self.reference}")


class Measurement(NamedTuple):
    """What an observation, or a component of one, says of a column.

    Args:
        column: of the model.
        cell: None where the value is absent.
        time: when, if it is given as a point in time.
        status: of the observation.
        reference: to it.
        path: of it, as FHIRPath.
        unit: that it was sent in, if it has one.
    """

    column: MappedColumn
    cell: Any
    time: FhirTime | None
    status: str
    reference: str
    path: str
    unit: str | None = None

    @property
    def is_usable(self) -> bool:
        """Whether its status lets it be used."""
        return self.status in USABLE


def read_observation(entry: Entry, patient: Entry, columns: Mapping[Code, MappedColumn]) -> list[Measurement]:
    """Return what an observation says of columns; nothing, where none has its code.

    Args:
        entry: the observation.
        patient: whom it must be about.
        columns: by the codes of their observations.

    Raises:
        FhirProblem: it is not valid, is about someone else, or has a value that cannot be used.
    """
    resource, path = entry.resource, entry.path
    _check_subject(resource, path, patient)
    parts = [(resource, path), *_components(resource, path)]
    mapped = [(column, part, where) for part, where in parts if (column := _column(part, where, columns)) is not None]
    if not mapped:
        return []
    refuse_modifiers(resource, path)
    if resource.get("focus"):
        raise refused("not-supported", "an Observation with a focus is about something else", f"{path}.focus")
    status, reference = _status(resource, path), entry.reference
    time = _time(resource, path)
    usable = status in USABLE
    return [
        Measurement(
            column, _cell(column, part, where) if usable else None, time, status, reference, where, _sent_unit(part)
        )
        for column, part, where in mapped
    ]


def latest(measurements: Sequence[Measurement]) -> Measurement:
    """Return the measurement of a column that is used: the latest.

    Args:
        measurements: of one column, all usable.

    Raises:
        FhirProblem: it is not known which is the latest, and they say different things.
    """
    timed = [(own, own.time) for own in measurements if own.time is not None]
    last = [own for own, time in timed if not any(is_later(other, time) for _, other in timed)]
    if all(_is_same(own.cell, measurements[0].cell) for own in measurements):
        return (last or measurements)[0]
    name = measurements[0].column.name
    if len(timed) < len(measurements):
        without = [f"{own.path}.effective" for own in measurements if own.time is None]
        raise refused(
            "multiple-matches", f"there are several Observations for {name!r} with different values, and to know the "
            "latest each needs an effectiveDateTime or effectiveInstant", *without,
        )  # fmt: skip
    if not last or not all(_is_same(own.cell, last[0].cell) for own in last):
        raise refused(
            "multiple-matches", f"Observations for {name!r} contradict each other: they have different values at times "
            "of which none is surely the latest; send the one that holds", *(own.path for own in last or measurements),
        )  # fmt: skip
    return last[0]


def _is_same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and one == other


def refuse_modifiers(resource: Mapping[str, Any], path: str) -> None:
    """Raise an error for what changes the meaning of an element in a way that is not known here."""
    for name in MODIFIERS:
        if name in resource:
            raise refused(
                "extension", f"{name} changes what the element means, and is not known here", f"{path}.{name}"
            )


def _check_subject(resource: Mapping[str, Any], path: str, patient: Entry) -> None:
    subject = resource.get("subject")
    reference = subject.get("reference") if isinstance(subject, dict) else None
    if not isinstance(reference, str):
        raise refused("required", "an Observation needs a subject with a reference to the Patient", f"{path}.subject")
    if not patient.is_referred_to(reference):
        raise refused(
            "business-rule", "an Observation must be about the Patient of the request", f"{path}.subject.reference"
        )


def _components(resource: Mapping[str, Any], path: str) -> list[tuple[Mapping[str, Any], str]]:
    components = resource.get("component", [])
    if not isinstance(components, list) or not all(isinstance(own, dict) for own in components):
        raise refused("structure", "component must be a list of objects", f"{path}.component")
    if len(components) > MAX_COMPONENTS:
        raise refused("too-long", f"at most {MAX_COMPONENTS} components are read", f"{path}.component")
    return [(own, f"{path}.component[{place}]") for place, own in enumerate(components)]


def _column(part: Mapping[str, Any], path: str, columns: Mapping[Code, MappedColumn]) -> MappedColumn | None:
    """Return the column that has the code of an observation or component, if there is one."""
    found = {
        column.name: column for code in codes_of(part.get("code"), f"{path}.code") if (column := columns.get(code))
    }
    if len(found) > 1:
        raise refused("multiple-matches", "the codes must be those of one column of the mapping", f"{path}.code.coding")
    return next(iter(found.values()), None)


def codes_of(concept: Any, path: str) -> list[Code]:
    """Return the systems and codes of a CodeableConcept.

    Raises:
        FhirProblem: the value is not a CodeableConcept.
    """
    if concept is None:
        raise refused("required", "a code is needed", path)
    codings = concept.get("coding", []) if isinstance(concept, dict) else None
    if not isinstance(codings, list) or not all(isinstance(coding, dict) for coding in codings):
        raise refused("structure", "a CodeableConcept must be an object with a list of codings", path)
    if not codings and not isinstance(concept.get("text"), str):
        raise refused("required", "a CodeableConcept needs a coding or a text", path)
    codes = [(coding.get("system"), coding.get("code")) for coding in codings]
    if not all(isinstance(part, str | None) for code in codes for part in code):
        raise refused("structure", "system and code of a coding must be text", f"{path}.coding")
    return [(system, code) for system, code in codes if system is not None and code is not None]


def _status(resource: Mapping[str, Any], path: str) -> str:
    status = resource.get("status")
    if status is None:
        raise refused("required", "an Observation needs a status", f"{path}.status")
    if status not in (*USABLE, *NOT_USED):
        raise refused("code-invalid", f"the status must be one of {', '.join((*USABLE, *NOT_USED))}", f"{path}.status")
    return str(status)


def _time(resource: Mapping[str, Any], path: str) -> FhirTime | None:
    """Return when an observation was made; None where it is not a point in time."""
    names = [name for name in resource if re.fullmatch("effective[A-Z][A-Za-z]*", name)]
    if len(names) > 1:
        raise refused("structure", "an Observation has one effective time at most", f"{path}.effective")
    name = names[0] if names else ""
    if name not in ("effectiveDateTime", "effectiveInstant"):
        return None
    try:
        return parse_time(resource[name])
    except ValueError:
        raise refused(
            "value",
            f"{name} must be YYYY, YYYY-MM, YYYY-MM-DD or YYYY-MM-DDThh:mm:ss with a time zone",
            f"{path}.effective",
        ) from None


# -- values ----------------------------------------------------------------------------------------------------------


def _cell(column: MappedColumn, part: Mapping[str, Any], path: str) -> Any:
    """Return the cell for the value of an observation or component; None where the value is absent."""
    refuse_modifiers(part, path)
    names = [name for name in part if re.fullmatch("value[A-Z][A-Za-z]*", name)]
    unknown = [name for name in names if name not in VALUES]
    if len(names) > 1 or unknown:
        raise refused("structure", "an Observation has one value at most, of a type of R4", f"{path}.value")
    if "dataAbsentReason" in part:
        if names:
            raise refused("invariant", "a value and a dataAbsentReason exclude each other", f"{path}.dataAbsentReason")
        codes_of(part["dataAbsentReason"], f"{path}.dataAbsentReason")
        return None
    if not names:
        raise refused("required", f"the Observation for {column.name!r} needs a value or a dataAbsentReason", path)
    return _VALUES[column.kind](column, names[0], part[names[0]], f"{path}.value")


def _quantity(column: MappedColumn, name: str, value: Any, path: str) -> float:
    if name == "valueInteger" and column.unit == "1":
        return _number(column, value, path)
    _require_type(column, name, "valueQuantity", path)
    if not isinstance(value, dict):
        raise refused("structure", "a Quantity must be an object", path)
    refuse_modifiers(value, path)
    if "comparator" in value:
        raise refused(
            "not-supported", f"the value for {column.name!r} has a comparator (<, <=, >=, >), and the model needs a "
            "value that is known: leave the Observation out, or send a dataAbsentReason", f"{path}.comparator",
        )  # fmt: skip
    if value.get("value") is None:
        raise refused("required", "a Quantity needs a value", f"{path}.value")
    number = _number(column, value["value"], f"{path}.value")
    unit = _unit(column, value, path)
    if unit == column.unit or unit in column.same_units:
        return number
    try:
        own = ucum.converted(number, unit, column.unit)
    except ucum.UnitError as error:
        raise refused("not-supported", f"the column {column.name!r}: {error}", f"{path}.code") from None
    return _number(column, own, f"{path}.value")


def _unit(column: MappedColumn, value: Mapping[str, Any], path: str) -> str:
    """Return the unit of a Quantity."""
    system, unit = value.get("system"), value.get("code")
    if system is None or unit is None:
        raise refused(
            "required", f"the value for {column.name!r} needs a unit: system {ucum.SYSTEM} and its code, such as "
            f"{column.unit}", f"{path}.{'system' if system is None else 'code'}",
        )  # fmt: skip
    if system != ucum.SYSTEM:
        raise refused("not-supported", f"the system of a unit must be {ucum.SYSTEM}", f"{path}.system")
    try:
        if not isinstance(unit, str):
            raise ucum.UnitError("the unit is no code of UCUM; see ucum.org")
        ucum.check_unit(unit)
    except ucum.UnitError as error:
        raise refused("code-invalid", f"the column {column.name!r}: {error}", f"{path}.code") from None
    return unit


def _sent_unit(part: Mapping[str, Any]) -> str | None:
    value = part.get("valueQuantity")
    unit = value.get("code") if isinstance(value, dict) else None
    return unit if isinstance(unit, str) else None


def _number(column: MappedColumn, value: Any, path: str) -> float:
    is_number = type(value) in (int, float)
    try:
        number = float(value) if is_number else 0.0
    except OverflowError:
        is_number, number = False, 0.0
    if not is_number or abs(number) > MAX_MAGNITUDE:
        raise refused("value", f"the value for {column.name!r} must be a number of at most 1e100", path)
    return number + 0.0  # -0.0 becomes 0.0


def _coded(column: MappedColumn, name: str, value: Any, path: str) -> Any:
    _require_type(column, name, "valueCodeableConcept", path)
    levels = [column.levels[code] for code in codes_of(value, path) if code in column.levels]
    if not levels:
        raise refused("code-invalid", f"the value for {column.name!r} has no code of the mapping", f"{path}.coding")
    if any(not _is_same(level, levels[0]) for level in levels):
        raise refused("multiple-matches", f"the codes of the value for {column.name!r} mean different levels", path)
    return levels[0]


def _boolean(column: MappedColumn, name: str, value: Any, path: str) -> bool:
    _require_type(column, name, "valueBoolean", path)
    if not isinstance(value, bool):
        raise refused("value", f"the value for {column.name!r} must be true or false", path)
    return value


def _require_type(column: MappedColumn, name: str, own: str, path: str) -> None:
    if name != own:
        raise refused("not-supported", f"the value for {column.name!r} must be a {own}, and is a {name}", path)


_VALUES = {QUANTITY: _quantity, CODED: _coded, BOOLEAN: _boolean}


def problems_of(problems: Sequence[FhirProblem]) -> FhirProblem:
    """Return several problems as one."""
    return FhirProblem([issue for problem in problems for issue in problem.issues])
