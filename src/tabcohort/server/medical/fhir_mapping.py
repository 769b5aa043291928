"""The mapping file of medical records: which code and unit each column of a model has, and what its classes are called.

model = "cancer"                    # the name by which the model is served
title = "Breast mass"               # what answers call it; the name of the model if omitted
probability = "fraction"            # or "percent": how RiskAssessment.prediction.probabilityDecimal is written

[outcomes.malignant]                # one for each class
text = "Malignant breast mass"      # system, code and display may follow

[columns.glucose]                   # an Observation with a valueQuantity
code = "2345-7"                     # of LOINC, unless there is a system = "URI"
unit = "mg/dL"                      # of UCUM; same_units = ["..."] lists units that mean the same
required = true                     # without it the model answers, as for a missing cell, if it is not there

[columns.smoker]                    # an Observation with a valueCodeableConcept
code = "72166-2"
[columns.smoker.values]             # "SYSTEM|CODE" = a level of the column
"http://snomed.info/sct|266919005" = "never"

[columns.pregnant]                  # an Observation with a valueBoolean
code = "82810-3"
value = "boolean"

[columns.age]                       # completed years at the time of the latest Observation that is used
patient = "age"

[columns.sex]                       # values = {...} has levels for male, female, other or unknown
patient = "gender"
values = {male = "m", female = "f"}
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tabcohort.data.columns import Boolean, Category, Column, Number
from tabcohort.data.table import Schema
from tabcohort.errors import SettingsError, listed, nearest
from tabcohort.server.medical.ucum import UnitError, check_unit
from tabcohort.server.model_store import ModelStore
from tabcohort.settings import read_toml

LOINC = "http://loinc.org"
PROBABILITIES = ("fraction", "percent")
GENDERS = ("male", "female", "other", "unknown")
QUANTITY, CODED, BOOLEAN, AGE, GENDER = "quantity", "coded", "boolean", "age", "gender"
# They become parts of search requests, so that no character may have a meaning there.
CODE, SYSTEM = re.compile(r"[A-Za-z0-9._-]{1,100}"), re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[A-Za-z0-9._~:/-]{1,200}")
MAX_TEXT = 200  # characters of what the classes are called
Code = tuple[str, str]  # system and code


@dataclass(frozen=True)
class MappedColumn:
    """Where the cell of a column comes from.

    Args:
        name: of the column.
        kind: one of the kinds above.
        code: of its observations; None for what the Patient says.
        unit: of its quantities, as a code of UCUM.
        same_units: codes that mean the same for this column.
        levels: by the code of the value, or the gender.
        is_required: whether a record without it is refused.
    """

    name: str
    kind: str
    code: Code | None = None
    unit: str = ""
    same_units: tuple[str, ...] = ()
    levels: Mapping[Any, Any] = field(default_factory=dict)
    is_required: bool = False


@dataclass(frozen=True)
class FhirMapping:
    """How the records of patients become those of a model.

    Args:
        path: of the file, for messages.
        model: the name by which the model is served.
        title: what answers call it.
        probability: "fraction" or "percent".
        outcomes: a CodeableConcept for each class, by the class as text.
        columns: where the cell of each comes from.
    """

    path: str
    model: str
    title: str
    probability: str
    outcomes: Mapping[str, Mapping[str, Any]]
    columns: tuple[MappedColumn, ...]

    @property
    def by_code(self) -> dict[Code, MappedColumn]:
        """The columns that are observed, by their codes."""
        return {column.code: column for column in self.columns if column.code is not None}

    def check(self, schema: Schema) -> None:
        """Raise an error where the mapping is not for a model.

        Args:
            schema: of the model.

        Raises:
            SettingsError: a column or class is missing or unknown, or a column cannot hold what is mapped to it.
        """
        _require_same([column.name for column in self.columns], schema.features, f"{self.path}: the column")
        _require_same(self.outcomes, [str(label) for label in schema.classes], f"{self.path}: the outcome")
        columns = {column.name: column for column in schema.columns}
        for mapped in self.columns:
            _check_column(mapped, columns[mapped.name], f"{self.path}: the column {mapped.name!r}")


def read_mapping(path: str | Path) -> FhirMapping:
    """Return the mapping of a file.

    Raises:
        SettingsError: it cannot be read, or something in it is missing, unknown, twice, or of another kind.
    """
    values, where = read_toml(path, "mapping file"), str(path)
    _check_names(values, ("model", "probability", "outcomes", "columns"), ("title",), where)
    model = _text(values, "model", where)
    if values["probability"] not in PROBABILITIES:
        raise SettingsError(
            f"{where}: 'probability' must be 'fraction' (0 to 1, as the model gives it) or 'percent' (0 to 100, as "
            "FHIR R4 describes probabilityDecimal): ask those who receive the answers which one they expect"
        )
    outcomes = {
        label: _outcome(_table(outcome, f"{where}: the outcome {label!r}"), f"{where}: the outcome {label!r}")
        for label, outcome in _table(values["outcomes"], f"{where}: 'outcomes'").items()
    }
    columns = tuple(
        _column(name, _table(column, f"{where}: the column {name!r}"), f"{where}: the column {name!r}")
        for name, column in _table(values["columns"], f"{where}: 'columns'").items()
    )
    mapping = FhirMapping(where, model, values.get("title", model), values["probability"], outcomes, columns)
    _text({"title": mapping.title}, "title", where)
    codes = [column.code for column in columns if column.code is not None]
    if not codes:
        raise SettingsError(f"{where}: no column has a 'code', so that an answer would rest on no Observation")
    twice = sorted({code for code in codes if codes.count(code) > 1})
    if twice:
        names = [column.name for column in columns if column.code == twice[0]]
        raise SettingsError(
            f"{where}: the code {'|'.join(twice[0])} is mapped to {listed(map(repr, names), 5)}; give each column a "
            "code of its own"
        )
    return mapping


def require_mapping(mapping: FhirMapping, store: ModelStore) -> None:
    """Check a mapping against the model of its name, and from now on each version that is to replace this model.

    Raises:
        SettingsError: there is no model of its name, or this has other columns or classes.
    """
    if mapping.model not in store.models:
        raise SettingsError(
            f"{mapping.path}: there is no model {mapping.model!r}; there are {listed(map(repr, store.models), 20)}"
        )
    store.require(mapping.model, mapping.check)


def _outcome(values: dict[str, Any], where: str) -> dict[str, Any]:
    """Return the CodeableConcept of a class."""
    _check_names(values, ("text",), ("system", "code", "display"), where)
    for name in values:
        _text(values, name, where)
    if "code" not in values:
        if "system" in values or "display" in values:
            raise SettingsError(f"{where} has a 'system' or a 'display' without a 'code'; add the code")
        return {"text": values["text"]}
    coding = dict(zip(("system", "code"), _code(values, where), strict=True))
    display = {"display": values["display"]} if "display" in values else {}
    return {"coding": [{**coding, **display}], "text": values["text"]}


def _column(name: str, values: dict[str, Any], where: str) -> MappedColumn:
    is_required = values.get("required", False)
    if not isinstance(is_required, bool):
        raise SettingsError(f"{where}: 'required' must be true or false")
    if "patient" in values:
        return _patient_column(name, values, where, is_required)
    if "unit" in values:
        _check_names(values, ("code", "unit"), ("system", "same_units", "required"), where)
        same_units = values.get("same_units", [])
        if not isinstance(same_units, list):
            raise SettingsError(f"{where}: 'same_units' must be a list of units")
        for unit in (values["unit"], *same_units):
            _check_unit(unit, where)
        return MappedColumn(
            name, QUANTITY, _code(values, where), values["unit"], tuple(same_units), is_required=is_required
        )
    if "values" in values:
        _check_names(values, ("code", "values"), ("system", "required"), where)
        pairs = _table(values["values"], f"{where}: 'values'")
        levels = {_split_code(code, where): level for code, level in pairs.items()}
        return MappedColumn(name, CODED, _code(values, where), levels=levels, is_required=is_required)
    _check_names(values, ("code", "value"), ("system", "required"), where)
    if values["value"] != BOOLEAN:
        raise SettingsError(f"{where}: 'value' must be 'boolean'; quantities have a 'unit', and codes have 'values'")
    return MappedColumn(name, BOOLEAN, _code(values, where), is_required=is_required)


def _patient_column(name: str, values: dict[str, Any], where: str, is_required: bool) -> MappedColumn:
    if values["patient"] == AGE:
        _check_names(values, ("patient",), ("required",), where)
        return MappedColumn(name, AGE, is_required=is_required)
    if values["patient"] != GENDER:
        raise SettingsError(f"{where}: 'patient' must be 'age' or 'gender'")
    _check_names(values, ("patient", "values"), ("required",), where)
    levels = _table(values["values"], f"{where}: 'values'")
    unknown = [gender for gender in levels if gender not in GENDERS]
    if unknown:
        raise SettingsError(
            f"{where}: {unknown[0]!r} is no gender of FHIR{nearest(unknown[0], GENDERS)}; they are {', '.join(GENDERS)}"
        )
    return MappedColumn(name, GENDER, levels=levels, is_required=is_required)


def _check_unit(unit: Any, where: str) -> None:
    if not isinstance(unit, str):
        raise SettingsError(f"{where}: a unit must be text, such as 'mg/dL'")
    try:
        check_unit(unit)
    except UnitError:
        raise SettingsError(f"{where}: {unit!r} is no unit of UCUM; see ucum.org, and write '1' for a number") from None


def _code(values: dict[str, Any], where: str) -> Code:
    code, system = _text(values, "code", where), values.get("system", LOINC)
    if not CODE.fullmatch(code):
        raise SettingsError(f"{where}: the code {code!r} may have letters, digits, and . _ - only")
    if not isinstance(system, str) or not SYSTEM.fullmatch(system):
        raise SettingsError(f"{where}: the system {system!r} must be a URI, such as {LOINC}")
    return system, code


def _split_code(text: str, where: str) -> Code:
    system, is_full, code = text.rpartition("|")
    if not (is_full and system and code):
        raise SettingsError(f"{where}: {text!r} must be a system and a code with a bar between: 'SYSTEM|CODE'")
    return system, code


def _text(values: Mapping[str, Any], name: str, where: str) -> str:
    value = values[name]
    if not isinstance(value, str) or not value.strip() or len(value) > MAX_TEXT or not value.isprintable():
        raise SettingsError(f"{where}: {name!r} must be text of 1 to {MAX_TEXT} characters in one line")
    return value


def _table(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict) or not value:
        raise SettingsError(f"{where} must be a table with at least one line")
    return value


def _check_names(values: Mapping[str, Any], needed: Collection[str], others: Collection[str], where: str) -> None:
    """Raise an error where names are missing or unknown."""
    for name in values:
        if name not in needed and name not in others:
            raise SettingsError(f"{where} has {name!r}, which is not known here{nearest(name, (*needed, *others))}")
    missing = [name for name in needed if name not in values]
    if missing:
        raise SettingsError(f"{where} needs {listed(map(repr, missing), 5)}")


def _require_same(mapped: Collection[str], own: Collection[str], what: str) -> None:
    for name in mapped:
        if name not in own:
            raise SettingsError(f"{what} {name!r} is not one of the model's{nearest(name, own)}")
    missing = [name for name in own if name not in mapped]
    if missing:
        raise SettingsError(f"{what} {missing[0]!r} of the model is not mapped ({len(missing):,} in all); map each one")


def _check_column(mapped: MappedColumn, column: Column, where: str) -> None:
    """Raise an error where a column cannot hold what is mapped to it."""
    if mapped.kind in (QUANTITY, AGE):
        if not isinstance(column, Number):
            raise SettingsError(f"{where} holds {column.describe()}, and is mapped to a number")
        return
    if mapped.kind == BOOLEAN:
        if not isinstance(column, Boolean):
            raise SettingsError(f"{where} holds {column.describe()}, and is mapped to true and false")
        return
    if not isinstance(column, Category | Boolean | Number):
        raise SettingsError(f"{where} holds {column.describe()}, which codes cannot be mapped to")
    for level in mapped.levels.values():
        if not _holds(column, level):
            hint = nearest(level, column.levels) if isinstance(level, str) else ""
            raise SettingsError(f"{where} does not hold {level!r}, which a code is mapped to{hint}")


def _holds(column: Column, level: Any) -> bool:
    if isinstance(column, Boolean):
        return isinstance(level, bool)
    if isinstance(column, Number):
        known = {float(own) for own in column.levels}
        return type(level) in (int, float) and (not known or float(level) in known)
    return isinstance(level, str) and level in column.levels
