"""Synthetic patients: a model of their records, its mapping, and Bundles of FHIR, well-formed and not."""

from __future__ import annotations

import functools
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from helpers import fit_quickly
from starlette.testclient import TestClient

import tabcohort
from tabcohort import Prediction, Predictor, TabcohortWarning, Table
from tabcohort.server.app import create_app
from tabcohort.server.medical.fhir_mapping import FhirMapping, read_mapping
from tabcohort.server.model_store import ModelStore
from tabcohort.server.options import ServerOptions
from tabcohort.server.prediction_log import LogPolicy, PredictionLog

LOINC, SNOMED, UCUM = "http://loinc.org", "http://snomed.info/sct", "http://unitsofmeasure.org"
GLUCOSE, TEMPERATURE, LEUKOCYTES, SYSTOLIC, PANEL = "2345-7", "8310-5", "6690-2", "8480-6", "85354-9"
SMOKER, PREGNANT, SCORE = "72166-2", "82810-3", "69739-1"
NEVER, FORMER, CURRENT = "266919005", "8517006", "449868002"
MAPPING = f"""
model = "sepsis"
title = "Sepsis within a day"
probability = "fraction"

[outcomes.no]
text = "No sepsis"
[outcomes.yes]
text = "Sepsis"
system = "{SNOMED}"
code = "91302008"
display = "Sepsis (disorder)"

[columns.age]
patient = "age"
[columns.sex]
patient = "gender"
values = {{male = "m", female = "f"}}
[columns.glucose]
code = "{GLUCOSE}"
unit = "mg/dL"
[columns.temperature]
code = "{TEMPERATURE}"
unit = "Cel"
[columns.leukocytes]
code = "{LEUKOCYTES}"
unit = "10*9/L"
same_units = ["10*9{{cells}}/L"]
[columns.systolic]
code = "{SYSTOLIC}"
unit = "mm[Hg]"
[columns.score]
code = "{SCORE}"
system = "{LOINC}"
unit = "1"
[columns.pregnant]
code = "{PREGNANT}"
value = "boolean"
[columns.smoker]
code = "{SMOKER}"
[columns.smoker.values]
"{SNOMED}|{NEVER}" = "never"
"{SNOMED}|{FORMER}" = "former"
"{SNOMED}|{CURRENT}" = "current"
"""


def rows_of_patients(n_rows: int = 120, seed: int = 0) -> pl.DataFrame:
    """Return synthetic rows; some cells of each column are missing."""
    rng = np.random.default_rng(seed)
    ill = np.arange(n_rows) % 2
    frame = pl.DataFrame(
        {
            "age": rng.integers(20, 95, n_rows).astype(float),
            "sex": rng.choice(["m", "f"], n_rows),
            "glucose": 95 + 30 * ill + rng.normal(0, 15, n_rows),
            "temperature": 36.8 + 1.2 * ill + rng.normal(0, 0.4, n_rows),
            "leukocytes": 7 + 6 * ill + rng.normal(0, 2, n_rows),
            "systolic": 125 - 15 * ill + rng.normal(0, 12, n_rows),
            "score": rng.normal(3 + 2 * ill, 1.5, n_rows),
            "pregnant": rng.random(n_rows) < 0.1,
            "smoker": rng.choice(["never", "former", "current"], n_rows),
            "sepsis": np.array(["no", "yes"])[ill],
        }
    )
    holes = pl.int_range(n_rows) % 11 == 5
    return frame.with_columns(pl.when(holes).then(None).otherwise(pl.exclude("sepsis")).name.keep())


@functools.cache
def model_folder() -> Path:
    """Return a folder with the model and its mapping."""
    folder = Path(tempfile.mkdtemp(prefix="tabcohort-medical-"))
    table = Table.from_frame(rows_of_patients(), "sepsis", positive="yes")
    tabcohort.save(fit_quickly(table, model="logistic", max_epochs=20), folder / "sepsis.tabcohort")
    (folder / "mapping.toml").write_text(MAPPING, encoding="utf-8")
    return folder


@functools.cache
def predictor() -> Predictor:
    """Return the model as it is saved."""
    return tabcohort.load(model_folder() / "sepsis.tabcohort")


@functools.cache
def mapping() -> FhirMapping:
    """Return the mapping."""
    return read_mapping(model_folder() / "mapping.toml")


def start(own: FhirMapping | None = None, log: LogPolicy | None = None, **options: Any) -> TestClient:
    """Return a client of a server with the model."""
    store = ModelStore({"sepsis": model_folder() / "sepsis.tabcohort"})
    settings = ServerOptions(**{"reload_interval_seconds": 0.0, **options})
    app = create_app(store, settings, None if log is None else PredictionLog(log), own or mapping())
    return TestClient(app, base_url="http://localhost", raise_server_exceptions=False)


@functools.cache
def client() -> TestClient:
    """Return a client of a server with the model and the mapping."""
    return start()


def predicted(record: dict[str, Any]) -> Prediction:
    """Return what the model predicts for a record."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TabcohortWarning)
        return predictor().predict_row(record)


# -- resources -------------------------------------------------------------------------------------------------------

PATIENT_ID, TIME = "p1", "2024-03-02T08:00:00Z"
BASE: dict[str, Any] = {
    "age": 63.0, "sex": "f", "glucose": 110.5, "temperature": 37.9, "leukocytes": 11.2, "systolic": 118.0, "score": 4.0,
    "pregnant": False, "smoker": "former",
}  # fmt: skip


def patient(**changes: Any) -> dict[str, Any]:
    """Return a Patient; a change to None takes an element away."""
    own = {"resourceType": "Patient", "id": PATIENT_ID, "gender": "female", "birthDate": "1960-05-17", **changes}
    return {name: value for name, value in own.items() if value is not None}


def concept(code: str, system: str = LOINC) -> dict[str, Any]:
    """Return a CodeableConcept."""
    return {"coding": [{"system": system, "code": code}]}


def quantity(value: Any, unit: str, **changes: Any) -> dict[str, Any]:
    """Return a Quantity."""
    own = {"value": value, "unit": unit, "system": UCUM, "code": unit, **changes}
    return {name: item for name, item in own.items() if item is not None}


def observation(identity: str, code: str, /, **changes: Any) -> dict[str, Any]:
    """Return an Observation; a change to None takes an element away."""
    own = {
        "resourceType": "Observation", "id": identity, "status": "final", "code": concept(code),
        "subject": {"reference": f"Patient/{PATIENT_ID}"}, "effectiveDateTime": TIME, **changes,
    }  # fmt: skip
    return {name: value for name, value in own.items() if value is not None}


def glucose(identity: str = "glucose", value: Any = 110.5, unit: str = "mg/dL", **changes: Any) -> dict[str, Any]:
    """Return an Observation of glucose."""
    return observation(identity, GLUCOSE, **{"valueQuantity": quantity(value, unit), **changes})


def observations(**changes: Any) -> dict[str, dict[str, Any]]:
    """Return an Observation for each column of `BASE`, by the column; a change to None leaves one out."""
    own: dict[str, Any] = {
        "glucose": glucose(),
        "temperature": observation("temperature", TEMPERATURE, valueQuantity=quantity(37.9, "Cel")),
        "leukocytes": observation("leukocytes", LEUKOCYTES, valueQuantity=quantity(11.2, "10*9/L")),
        "systolic": observation("systolic", SYSTOLIC, valueQuantity=quantity(118, "mm[Hg]")),
        "score": observation("score", SCORE, valueInteger=4),
        "pregnant": observation("pregnant", PREGNANT, valueBoolean=False),
        "smoker": observation("smoker", SMOKER, valueCodeableConcept=concept(FORMER, SNOMED)),
        **changes,
    }
    return {name: value for name, value in own.items() if value is not None}


def bundle(*resources: Any, **changes: Any) -> dict[str, Any]:
    """Return a Bundle of resources; one that has a key `resource` is an entry already."""
    entries = [own if isinstance(own, dict) and "resource" in own else {"resource": own} for own in resources]
    own = {"resourceType": "Bundle", "type": "collection", "entry": entries, **changes}
    return {name: value for name, value in own.items() if value is not None}


def full_bundle(*more: Any, who: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """Return a Bundle of the patient and all observations; changes are made to these, and more resources follow."""
    return bundle(patient() if who is None else who, *observations(**changes).values(), *more)


def random_record(rng: np.random.Generator) -> dict[str, Any]:
    """Return a record whose numbers have few digits, as a laboratory gives them."""
    return {
        "age": float(rng.integers(20, 95)), "sex": str(rng.choice(["m", "f"])),
        "glucose": round(float(rng.normal(110, 25)), 1), "temperature": round(float(rng.normal(37.4, 0.8)), 2),
        "leukocytes": round(float(rng.normal(10, 3)), 2), "systolic": float(rng.integers(80, 170)),
        "score": float(rng.integers(0, 9)), "pregnant": bool(rng.random() < 0.2),
        "smoker": str(rng.choice(["never", "former", "current"])),
    }  # fmt: skip


def bundle_of(record: dict[str, Any]) -> dict[str, Any]:
    """Return the Bundle of a record."""
    code = {"never": NEVER, "former": FORMER, "current": CURRENT}[record["smoker"]]
    return full_bundle(
        who=patient(gender={"m": "male", "f": "female"}[record["sex"]], birthDate=f"{2024 - int(record['age'])}-03-02"),
        glucose=glucose(value=record["glucose"]),
        temperature=observation("temperature", TEMPERATURE, valueQuantity=quantity(record["temperature"], "Cel")),
        leukocytes=observation("leukocytes", LEUKOCYTES, valueQuantity=quantity(record["leukocytes"], "10*9/L")),
        systolic=observation("systolic", SYSTOLIC, valueQuantity=quantity(record["systolic"], "mm[Hg]")),
        score=observation("score", SCORE, valueQuantity=quantity(record["score"], "1")),
        pregnant=observation("pregnant", PREGNANT, valueBoolean=record["pregnant"]),
        smoker=observation("smoker", SMOKER, valueCodeableConcept=concept(code, SNOMED)),
    )


def well_formed() -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Yield names, Bundles, and the records that they hold."""
    rng = np.random.default_rng(7)
    for number in range(20):
        record = random_record(rng)
        yield f"random-{number}", bundle_of(record), record
    yield from _with_other_units()
    yield from _with_gaps()
    yield from _with_several_observations()
    yield from _in_other_forms()


def _base(**changes: Any) -> dict[str, Any]:
    return {**BASE, **changes}


def _with_other_units() -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """All factors are powers of ten, or exact by definition, so that a value is rounded once."""
    for value, unit, own in (
        (1.105, "g/L", 110.5),
        (1105, "mg/L", 110.5),
        (1.105, "mg/mL", 110.5),
        (1.1, "kg/m3", 110.0),
    ):
        yield f"glucose-{unit}", full_bundle(glucose=glucose(value=value, unit=unit)), _base(glucose=own)
    for value, unit, own in ((101.3, "[degF]", 38.5), (311.05, "K", 37.9)):
        changed = observation("temperature", TEMPERATURE, valueQuantity=quantity(value, unit))
        yield f"temperature-{unit}", full_bundle(temperature=changed), _base(temperature=own)
    for value, unit, own in (
        (11.2, "10*3/uL", 11.2), (11200, "/uL", 11.2), (11.2, "/nL", 11.2), (9.7, "10*9{cells}/L", 9.7),
    ):  # fmt: skip
        changed = observation("leukocytes", LEUKOCYTES, valueQuantity=quantity(value, unit))
        yield f"leukocytes-{unit}", full_bundle(leukocytes=changed), _base(leukocytes=own)
    changed = observation("systolic", SYSTOLIC, valueQuantity=quantity(0.118, "m[Hg]"))
    yield "systolic-m[Hg]", full_bundle(systolic=changed), _base(systolic=118.0)
    changed = observation("score", SCORE, valueQuantity=quantity(400, "%"))
    yield "score-%", full_bundle(score=changed), _base(score=4.0)


def _with_gaps() -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    for name in observations():
        yield f"without-{name}", full_bundle(**{name: None}), _base(**{name: None})
    absent = {
        "coding": [{"system": "http://terminology.hl7.org/CodeSystem/data-absent-reason", "code": "not-performed"}]
    }
    for name, own in observations().items():
        without = {key: value for key, value in own.items() if not key.startswith("value")}
        yield f"absent-{name}", full_bundle(**{name: {**without, "dataAbsentReason": absent}}), _base(**{name: None})
    for status in ("registered", "preliminary", "cancelled", "entered-in-error", "unknown"):
        yield f"only-{status}", full_bundle(glucose=glucose(status=status)), _base(glucose=None)
    yield "without-birth-date", full_bundle(who=patient(birthDate=None)), _base(age=None)
    yield "birth-year-only", full_bundle(who=patient(birthDate="1960")), _base(age=None)
    yield "without-gender", full_bundle(who=patient(gender=None)), _base(sex=None)
    yield "gender-unknown", full_bundle(who=patient(gender="unknown")), _base(sex=None)


def _with_several_observations() -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    at = "effectiveDateTime"
    yield "later-is-second", full_bundle(glucose("g2", 140.0, **{at: "2024-03-02T09:00:00Z"})), _base(glucose=140.0)
    yield "later-is-first", full_bundle(glucose("g2", 140.0, **{at: "2024-03-01T09:00:00Z"})), BASE
    yield "time-zones", full_bundle(glucose("g2", 140.0, **{at: "2024-03-02T09:30:00+02:00"})), BASE
    yield "dates", full_bundle(
        glucose=glucose(effectiveDateTime="2024-03-01"), more=glucose("g2", 140.0, effectiveDateTime="2024-03-02")
    ), _base(glucose=140.0)  # fmt: skip
    yield "date-and-time", full_bundle(glucose("g2", 140.0, effectiveDateTime="2024-03-01")), BASE
    yield "year-and-time", full_bundle(glucose("g2", 140.0, effectiveDateTime="2023")), BASE
    yield "instant", full_bundle(
        glucose("g2", 140.0, effectiveDateTime=None, effectiveInstant="2024-03-02T08:00:00.5Z")
    ), _base(glucose=140.0)  # fmt: skip
    yield "same-time-same-value", full_bundle(glucose("g2")), BASE
    yield "same-time-same-value-in-another-unit", full_bundle(glucose("g2", 1.105, "g/L")), BASE
    yield "no-time-same-value", full_bundle(glucose("g2", effectiveDateTime=None)), BASE
    yield "later-is-preliminary", full_bundle(
        glucose("g2", 140.0, status="preliminary", effectiveDateTime="2024-03-02T09:00:00Z")
    ), BASE  # fmt: skip
    yield "error-at-the-same-time", full_bundle(glucose("g2", 999.0, status="entered-in-error")), BASE
    yield "three", full_bundle(
        glucose("g2", 140.0, effectiveDateTime="2024-03-02T09:00:00Z"),
        glucose("g3", 150.0, effectiveDateTime="2024-03-02T10:00:00Z"),
    ), _base(glucose=150.0)  # fmt: skip


def _in_other_forms() -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    for status in ("amended", "corrected"):
        yield status, full_bundle(glucose=glucose(status=status)), BASE
    yield "other-resources", full_bundle({"resourceType": "Practitioner", "id": "e1", "active": True}), BASE
    yield "other-codes", full_bundle(observation("x", "9999-9", valueString="text")), BASE
    codings = {"coding": [{"system": "urn:example:lab", "code": "GLU"}, *concept(GLUCOSE)["coding"]], "text": "Glucose"}
    yield "two-codings", full_bundle(glucose=glucose(code=codings)), BASE
    parts = [
        {"code": concept(SYSTOLIC), "valueQuantity": quantity(118, "mm[Hg]")},
        {"code": concept("8462-4"), "valueQuantity": quantity(70, "mm[Hg]")},
    ]
    yield "component", full_bundle(systolic=observation("panel", PANEL, component=parts)), BASE
    yield "searchset", {**full_bundle(), "type": "searchset", "link": [{"relation": "self", "url": "urn:x"}]}, BASE
    said = {
        "resource": {"resourceType": "OperationOutcome", "issue": [{"severity": "warning", "code": "informational"}]},
        "search": {"mode": "outcome"},
    }
    yield "search-outcome", full_bundle(said), BASE
    base = "https://ehr.example/fhir"
    entries = [
        {"fullUrl": f"{base}/{own['resourceType']}/{own['id']}", "resource": own}
        for own in (patient(), *observations().values())
    ]
    for entry in entries[1::2]:
        entry["resource"] = {**entry["resource"], "subject": {"reference": f"{base}/Patient/{PATIENT_ID}"}}
    entries[2]["resource"] = {**entries[2]["resource"], "subject": {"reference": f"Patient/{PATIENT_ID}/_history/3"}}
    yield "full-urls", bundle(*entries), BASE
    urn = "urn:uuid:61ebe359-bfdc-4613-8bf2-c5e300945f0a"
    own = [{**each, "subject": {"reference": urn}} for each in observations().values()]
    yield "urns", bundle({"fullUrl": urn, "resource": patient(id=None)}, *own), BASE
    for birth, age in (("1960-03-02", 64.0), ("1960-03-03", 63.0), ("2024-03-02", 0.0), ("2000-02-29", 24.0)):
        yield f"born-{birth}", full_bundle(who=patient(birthDate=birth)), _base(age=age)


Malformed = tuple[str, Any, int, str, str]


def malformed() -> Iterator[Malformed]:
    """Yield names, Bundles, and the status, the code and the first expression of the OperationOutcome."""
    yield from _bad_bundles()
    yield from _bad_patients()
    yield from _bad_observations()
    yield from _bad_values()
    yield from _contradictions()


ENTRY = "Bundle.entry[1].resource"  # of glucose, in `full_bundle`


def _bad_bundles() -> Iterator[Malformed]:
    yield "list", [], 400, "structure", "Bundle"
    yield "null", None, 400, "structure", "Bundle"
    yield "patient-only", patient(), 400, "structure", "Bundle"
    yield "parameters", {"resourceType": "Parameters", "parameter": []}, 400, "structure", "Bundle"
    yield "no-type", full_bundle() | {"type": None}, 422, "not-supported", "Bundle.type"
    yield "transaction", full_bundle() | {"type": "transaction"}, 422, "not-supported", "Bundle.type"
    yield "entry-is-object", full_bundle() | {"entry": {}}, 400, "structure", "Bundle.entry"
    yield "entry-of-text", full_bundle() | {"entry": ["x"]}, 400, "structure", "Bundle.entry"
    yield "link-of-text", full_bundle() | {"link": ["x"]}, 400, "structure", "Bundle.link"
    yield "next-page", full_bundle() | {"link": [{"relation": "next", "url": "u"}]}, 422, "incomplete", "Bundle.link"
    yield "implicit-rules", full_bundle() | {"implicitRules": "u"}, 422, "extension", "Bundle.implicitRules"
    yield "empty", bundle(), 400, "required", "Bundle.entry"
    yield "entry-without-resource", bundle(patient(), {"resource": None}), 400, "required", "Bundle.entry[1].resource"
    yield "no-resource-type", bundle(patient(), {"id": "x"}), 400, "structure", "Bundle.entry[1].resource"
    yield "full-url-is-number", bundle({"fullUrl": 7, "resource": patient()}), 400, "value", "Bundle.entry[0].fullUrl"
    yield "same-id", full_bundle(glucose()), 422, "duplicate", ENTRY
    twice = [{"fullUrl": "urn:x", "resource": glucose("a")}, {"fullUrl": "urn:x", "resource": glucose("b")}]
    yield "same-full-url", bundle(patient(), *twice), 422, "duplicate", ENTRY
    yield "no-observation", bundle(patient()), 422, "incomplete", "Bundle.entry"
    unused = bundle(patient(), glucose(status="preliminary"))
    yield "nothing-usable", unused, 422, "incomplete", "Bundle.entry"


def _bad_patients() -> Iterator[Malformed]:
    where = "Bundle.entry[0].resource"
    yield "no-patient", bundle(*observations().values()), 400, "required", "Bundle.entry"
    yield "two-patients", full_bundle(patient(id="p2")), 422, "business-rule", "Bundle.entry[0].resource"
    yield "no-identity", full_bundle(who=patient(id=None)), 400, "required", f"{where}.id"
    yield "bad-id", full_bundle(who=patient(id="a b")), 400, "value", f"{where}.id"
    yield "inactive", full_bundle(who=patient(active=False)), 422, "business-rule", f"{where}.active"
    yield "bad-gender", full_bundle(who=patient(gender="F")), 400, "code-invalid", f"{where}.gender"
    yield "other-gender", full_bundle(who=patient(gender="other")), 422, "not-supported", f"{where}.gender"
    yield "bad-birth-date", full_bundle(who=patient(birthDate="17.5.1960")), 400, "value", f"{where}.birthDate"
    yield "birth-date-31", full_bundle(who=patient(birthDate="1960-02-31")), 400, "value", f"{where}.birthDate"
    yield "birth-time", full_bundle(who=patient(birthDate=TIME)), 400, "value", f"{where}.birthDate"
    yield "birth-number", full_bundle(who=patient(birthDate=1960)), 400, "value", f"{where}.birthDate"
    yield "unborn", full_bundle(who=patient(birthDate="2024-03-03")), 422, "business-rule", f"{where}.birthDate"
    yield "too-old", full_bundle(who=patient(birthDate="1860-01-01")), 422, "business-rule", f"{where}.birthDate"
    modified = patient(modifierExtension=[{"url": "u"}])
    yield "patient-modified", full_bundle(who=modified), 422, "extension", f"{where}.modifierExtension"


def _bad_observations() -> Iterator[Malformed]:
    def changed(**changes: Any) -> dict[str, Any]:
        return full_bundle(glucose=glucose(**changes))

    yield "no-status", changed(status=None), 400, "required", f"{ENTRY}.status"
    yield "bad-status", changed(status="done"), 400, "code-invalid", f"{ENTRY}.status"
    yield "status-is-list", changed(status=["final"]), 400, "code-invalid", f"{ENTRY}.status"
    yield "no-subject", changed(subject=None), 400, "required", f"{ENTRY}.subject"
    yield "subject-by-name", changed(subject={"display": "A"}), 400, "required", f"{ENTRY}.subject"
    other = changed(subject={"reference": "Patient/p2"})
    yield "other-subject", other, 422, "business-rule", f"{ENTRY}.subject.reference"
    similar = changed(subject={"reference": "Patient/p11"})
    yield "similar-subject", similar, 422, "business-rule", f"{ENTRY}.subject.reference"
    unmapped = full_bundle(observation("x", "9999-9", subject={"reference": "Patient/p2"}))
    yield "other-subject-of-other-code", unmapped, 422, "business-rule", "Bundle.entry[8].resource.subject.reference"
    yield "no-code", changed(code=None), 400, "required", f"{ENTRY}.code"
    yield "code-is-text", changed(code="glucose"), 400, "structure", f"{ENTRY}.code"
    yield "coding-is-object", changed(code={"coding": {}}), 400, "structure", f"{ENTRY}.code"
    yield (
        "code-is-number",
        changed(code={"coding": [{"system": LOINC, "code": 7}]}),
        400,
        "structure",
        f"{ENTRY}.code.coding",
    )
    both = {"coding": [*concept(GLUCOSE)["coding"], *concept(TEMPERATURE)["coding"]]}
    yield "codes-of-two-columns", changed(code=both), 422, "multiple-matches", f"{ENTRY}.code.coding"
    yield "no-observation-id", changed(id=None), 400, "required", f"{ENTRY}.id"
    yield "focus", changed(focus=[{"reference": "Patient/baby"}]), 422, "not-supported", f"{ENTRY}.focus"
    modified = changed(modifierExtension=[{"url": "u"}])
    yield "observation-modified", modified, 422, "extension", f"{ENTRY}.modifierExtension"
    for text in ("yesterday", "2024-3-2", "2024-03-02T08:00:00", "2024-03-02T25:00:00Z", "2024-13-02", "0000", 7):
        yield f"time-{text}", changed(effectiveDateTime=text), 400, "value", f"{ENTRY}.effective"
    two = changed(effectiveInstant=TIME)
    yield "two-times", two, 400, "structure", f"{ENTRY}.effective"
    yield "component-is-object", changed(component={}), 400, "structure", f"{ENTRY}.component"


def _bad_values() -> Iterator[Malformed]:
    def valued(value: Any, **changes: Any) -> dict[str, Any]:
        return full_bundle(glucose=glucose(valueQuantity=value, **changes))

    where = f"{ENTRY}.value"
    for comparator in ("<", "<=", ">=", ">"):
        value = quantity(110.5, "mg/dL", comparator=comparator)
        yield f"comparator-{comparator}", valued(value), 422, "not-supported", f"{where}.comparator"
    yield "no-value", valued(None), 400, "required", ENTRY
    yield "quantity-is-number", valued(110.5), 400, "structure", where
    yield "quantity-without-value", valued(quantity(None, "mg/dL")), 400, "required", f"{where}.value"
    for bad in ("110.5", True, [110.5], 1e101, 10**400):
        yield f"value-{str(bad)[:8]}", valued(quantity(bad, "mg/dL")), 400, "value", f"{where}.value"
    yield "no-system", valued(quantity(110.5, "mg/dL", system=None)), 400, "required", f"{where}.system"
    yield "no-unit-code", valued(quantity(110.5, "mg/dL", code=None)), 400, "required", f"{where}.code"
    yield "other-system", valued(quantity(110.5, "mg/dL", system=SNOMED)), 422, "not-supported", f"{where}.system"
    for unit in ("mg%dl", "Jane Doe", "", 7, "10*9999/L", "mg/dL" * 20):
        value = {**quantity(110.5, "mg/dL"), "code": unit}
        yield f"unit-{str(unit)[:12]}", valued(value), 400, "code-invalid", f"{where}.code"
    for unit in ("mmol/L", "mg", "mg/dL{fasting}", "[IU]/L", "%", "[pH]"):
        yield f"inconvertible-{unit}", valued(quantity(110.5, unit)), 422, "not-supported", f"{where}.code"
    modified = quantity(110.5, "mg/dL", modifierExtension=[{"url": "u"}])
    yield "quantity-modified", valued(modified), 422, "extension", f"{where}.modifierExtension"
    for name, value in (("valueString", "110.5 mg/dL"), ("valueInteger", 110), ("valueRange", {})):
        yield f"glucose-{name}", valued(None, **{name: value}), 422, "not-supported", where
    yield "two-values", valued(quantity(110.5, "mg/dL"), valueString="110.5"), 400, "structure", where
    yield "value-of-no-type", valued(None, valueDecimal=110.5), 400, "structure", where
    absent = {"text": "not done"}
    both = valued(quantity(110.5, "mg/dL"), dataAbsentReason=absent)
    yield "value-and-reason", both, 400, "invariant", f"{ENTRY}.dataAbsentReason"
    yield "reason-is-text", valued(None, dataAbsentReason="x"), 400, "structure", f"{ENTRY}.dataAbsentReason"
    smoker, boolean = "Bundle.entry[7].resource", "Bundle.entry[6].resource"
    unknown = observation("smoker", SMOKER, valueCodeableConcept=concept("1", SNOMED))
    yield "unmapped-level", full_bundle(smoker=unknown), 400, "code-invalid", f"{smoker}.value.coding"
    levels = {"coding": [*concept(NEVER, SNOMED)["coding"], *concept(CURRENT, SNOMED)["coding"]]}
    several = observation("smoker", SMOKER, valueCodeableConcept=levels)
    yield "two-levels", full_bundle(smoker=several), 422, "multiple-matches", f"{smoker}.value"
    text = observation("smoker", SMOKER, valueString="never")
    yield "level-as-text", full_bundle(smoker=text), 422, "not-supported", f"{smoker}.value"
    word = observation("pregnant", PREGNANT, valueBoolean="no")
    yield "boolean-as-text", full_bundle(pregnant=word), 400, "value", f"{boolean}.value"
    parts = [{"code": concept(SYSTOLIC), "valueQuantity": quantity(118, "Pa/m")}]
    panel = full_bundle(systolic=observation("panel", PANEL, component=parts))
    yield "component-unit", panel, 422, "not-supported", "Bundle.entry[4].resource.component[0].value.code"


def _contradictions() -> Iterator[Malformed]:
    code = "multiple-matches"
    yield "same-time", full_bundle(glucose("g2", 140.0)), 422, code, ENTRY
    same = full_bundle(glucose("g2", 140.0, effectiveDateTime="2024-03-02T10:00:00+02:00"))
    yield "same-instant", same, 422, code, ENTRY
    yield "day-of-time", full_bundle(glucose("g2", 140.0, effectiveDateTime="2024-03-02")), 422, code, ENTRY
    yield "month-of-time", full_bundle(glucose("g2", 140.0, effectiveDateTime="2024-03")), 422, code, ENTRY
    without = full_bundle(glucose("g2", 140.0, effectiveDateTime=None))
    yield "one-without-time", without, 422, code, "Bundle.entry[8].resource.effective"
    period = glucose("g2", 140.0, effectiveDateTime=None, effectivePeriod={"start": TIME})
    yield "period", full_bundle(period), 422, code, "Bundle.entry[8].resource.effective"
    absent = glucose("g2", valueQuantity=None, dataAbsentReason={"text": "error"})
    yield "absent-at-the-same-time", full_bundle(absent), 422, code, ENTRY
    part = observation(
        "panel", PANEL, component=[{"code": concept(SYSTOLIC), "valueQuantity": quantity(150, "mm[Hg]")}]
    )
    yield "panel-and-single", full_bundle(part), 422, code, "Bundle.entry[4].resource"
