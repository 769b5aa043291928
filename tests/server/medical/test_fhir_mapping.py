from __future__ import annotations

from pathlib import Path

import patients
import pytest
from helpers import mixed_frame
from patients import MAPPING, mapping, predictor

from tabcohort import SettingsError, Table
from tabcohort.server.medical.fhir_mapping import AGE, BOOLEAN, CODED, GENDER, QUANTITY, FhirMapping, read_mapping


def read(text: str, folder: Path) -> FhirMapping:
    """Return the mapping of a text."""
    path = folder / "mapping.toml"
    path.write_text(text, encoding="utf-8")
    return read_mapping(path)


def test_a_mapping_is_read_as_it_is_written() -> None:
    own = mapping()
    assert (own.model, own.title, own.probability) == ("sepsis", "Sepsis within a day", "fraction")
    assert own.outcomes["no"] == {"text": "No sepsis"}
    assert own.outcomes["yes"] == {
        "coding": [{"system": patients.SNOMED, "code": "91302008", "display": "Sepsis (disorder)"}], "text": "Sepsis",
    }  # fmt: skip
    kinds = {column.name: column.kind for column in own.columns}
    assert kinds == {
        "age": AGE, "sex": GENDER, "glucose": QUANTITY, "temperature": QUANTITY, "leukocytes": QUANTITY,
        "systolic": QUANTITY, "score": QUANTITY, "pregnant": BOOLEAN, "smoker": CODED,
    }  # fmt: skip
    smoker = own.by_code[patients.LOINC, patients.SMOKER]
    assert smoker.levels[patients.SNOMED, patients.NEVER] == "never"
    own.check(predictor().schema)


def test_the_title_is_the_name_of_the_model_if_omitted(tmp_path: Path) -> None:
    assert read(MAPPING.replace('title = "Sepsis within a day"\n', ""), tmp_path).title == "sepsis"


# What is replaced in the mapping, by what, and what the error says.
MISTAKES = [
    ('model = "sepsis"\n', "", "needs 'model'"),
    ('model = "sepsis"', "model = 7", "'model' must be text of 1 to 200 characters in one line"),
    (
        'title = "Sepsis within a day"',
        'titel = "x"',
        r"has 'titel', which is not known here \(did you mean 'title'\?\)",
    ),
    ('title = "Sepsis within a day"', 'title = "a\\nb"', "'title' must be text of 1 to 200 characters in one line"),
    ('probability = "fraction"\n', "", "needs 'probability'"),
    ('probability = "fraction"', 'probability = "share"', "'probability' must be 'fraction' .* or 'percent' .* R4"),
    ('text = "No sepsis"', 'text = ""', "the outcome 'no': 'text' must be text"),
    ('text = "No sepsis"', 'text = "No"\ncolor = "red"', "the outcome 'no' has 'color', which is not known here"),
    (
        'text = "No sepsis"',
        'text = "No"\ndisplay = "No"',
        "has a 'system' or a 'display' without a 'code'; add the code",
    ),
    ('text = "No sepsis"', "", "the outcome 'no' must be a table with at least one line"),
    ('patient = "age"', 'patient = "weight"', "the column 'age': 'patient' must be 'age' or 'gender'"),
    ('patient = "age"', 'patient = "age"\nunit = "a"', "the column 'age' has 'unit', which is not known here"),
    ("{male =", "{man =", r"'man' is no gender of FHIR.*; they are male, female, other, unknown"),
    ('values = {male = "m", female = "f"}', "", "the column 'sex' needs 'values'"),
    ('unit = "mg/dL"', 'unit = "mg%dl"', "the column 'glucose': 'mg%dl' is no unit of UCUM; see ucum.org"),
    ('unit = "mg/dL"', "unit = 1", "the column 'glucose': a unit must be text, such as 'mg/dL'"),
    ('unit = "mg/dL"', "", "the column 'glucose' needs 'value'"),
    (
        'unit = "mg/dL"',
        'unit = "mg/dL"\nunits = "g"',
        r"has 'units', which is not known here \(did you mean 'unit'\?\)",
    ),
    ('same_units = ["10*9{cells}/L"]', 'same_units = "x"', "'same_units' must be a list of units"),
    ('same_units = ["10*9{cells}/L"]', 'same_units = ["x y"]', "'x y' is no unit of UCUM"),
    ('code = "2345-7"', "", "the column 'glucose' needs 'code'"),
    ('code = "2345-7"', 'code = "2345|7"', "the code '2345|7' may have letters, digits, and . _ - only"),
    (
        'code = "2345-7"',
        'code = "8310-5"',
        r"the code http://loinc.org\|8310-5 is mapped to 'glucose', 'temperature'; give",
    ),
    ('system = "http://loinc.org"', 'system = "loinc"', "the system 'loinc' must be a URI, such as http://loinc.org"),
    ('system = "http://loinc.org"', 'system = "u:a,b"', "the system 'u:a,b' must be a URI"),
    (
        'value = "boolean"',
        'value = "text"',
        "the column 'pregnant': 'value' must be 'boolean'; quantities have a 'unit'",
    ),
    ('value = "boolean"', 'value = "boolean"\nrequired = 1', "'required' must be true or false"),
    (
        '"http://snomed.info/sct|266919005"',
        '"266919005"',
        r"'266919005' must be a system and a code with a bar between",
    ),
    ("[columns.age]", "[columns.age2]\n[columns.age]", "the column 'age2' must be a table with at least one line"),
]


@pytest.mark.parametrize(("old", "new", "message"), MISTAKES, ids=[own[2][:50] for own in MISTAKES])
def test_a_mistake_in_a_mapping_is_named(old: str, new: str, message: str, tmp_path: Path) -> None:
    assert old in MAPPING
    with pytest.raises(SettingsError, match=message) as raised:
        read(MAPPING.replace(old, new, 1), tmp_path)
    assert str(raised.value).startswith(str(tmp_path / "mapping.toml"))


def test_a_mapping_that_is_not_there_or_is_no_toml_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="there is no mapping file"):
        read_mapping(tmp_path / "other.toml")
    with pytest.raises(SettingsError, match=r"the mapping file .* is not valid TOML"):
        read("model =", tmp_path)


def test_an_answer_must_rest_on_observations(tmp_path: Path) -> None:
    text = MAPPING[: MAPPING.index("[columns.glucose]")]
    with pytest.raises(SettingsError, match="no column has a 'code', so that an answer would rest on no Observation"):
        read(text, tmp_path)


OTHER_MODELS = [
    ("[columns.glucose]", "[columns.glucos]", r"'glucos' is not one of the model's \(did you mean 'glucose'\?\)"),
    ("[columns.age]\npatient = \"age\"\n", "", r"the column 'age' of the model is not mapped \(1 in all\); map"),
    ("[outcomes.no]", "[outcomes.none]", "the outcome 'none' is not one of the model's"),
    ('[outcomes.no]\ntext = "No sepsis"\n', "", "the outcome 'no' of the model is not mapped"),
    ('patient = "age"', 'code = "x"\nvalue = "boolean"', "'age' holds number, and is mapped to true and false"),
    ('code = "82810-3"\nvalue = "boolean"', 'patient = "age"', "'pregnant' holds boolean, and is mapped to a number"),
    ('= "never"', '= "Never"', r"'smoker' does not hold 'Never', which a code is mapped to \(did you mean 'never'\?\)"),
    ('male = "m"', "male = 1", "'sex' does not hold 1, which a code is mapped to"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "message"), OTHER_MODELS, ids=[own[2][:50] for own in OTHER_MODELS])
def test_a_mapping_must_be_for_the_model(old: str, new: str, message: str, tmp_path: Path) -> None:
    assert old in MAPPING
    own = read(MAPPING.replace(old, new, 1), tmp_path)
    with pytest.raises(SettingsError, match=message):
        own.check(predictor().schema)


def test_dates_and_texts_cannot_be_mapped(tmp_path: Path) -> None:
    frame = mixed_frame(60).with_columns(y=mixed_frame(60)["flag"].fill_null(False).cast(str))
    schema = Table.from_frame(frame, "y", types={"code": "category"}).schema
    kinds = {column.name: column.kind for column in schema.columns}
    codes = iter(range(100))
    lines = ['model = "m"', 'probability = "percent"', "[outcomes]", 'true = {text = "t"}', 'false = {text = "f"}']
    for name, kind in kinds.items():
        is_coded = kind in ("date", "text", "category")
        level = next(own.levels for own in schema.columns if own.name == name)[:1] or ("x",)
        own = f'values = {{"urn:x|1" = "{level[0]}"}}' if is_coded else 'unit = "1"'
        own = 'value = "boolean"' if kind == "boolean" else own
        lines += [f'[columns."{name}"]', f'code = "{next(codes)}"', own]
    with pytest.raises(SettingsError, match=r"the column '\w+' holds (date|text) .*, which codes cannot be mapped to"):
        read("\n".join(lines), tmp_path).check(schema)
