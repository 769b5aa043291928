"""Units: an oracle computes factors from UCUM's own table, without the package that the code uses."""

from __future__ import annotations

import re
import sys
from fractions import Fraction
from pathlib import Path
from xml.etree import ElementTree

import pytest
import ucumvert
from hypothesis import given
from hypothesis import strategies as st

from tabcohort.errors import TabcohortError
from tabcohort.server.medical import ucum
from tabcohort.server.medical.ucum import UnitError, check_unit, converted, shown

TABLE = ElementTree.parse(Path(ucumvert.__file__).parent / "vendor" / "ucum-essence.xml").getroot()
DEFINITIONS = {
    unit.attrib["Code"]: next(part for part in unit if "Unit" in part.attrib) for unit in TABLE.findall("{*}unit")
}
PREFIXES = {
    prefix.attrib["Code"]: Fraction(next(part for part in prefix if "value" in part.attrib).attrib["value"])
    for prefix in TABLE.findall("{*}prefix")
}
BASE = {unit.attrib["Code"] for unit in TABLE.findall("{*}base-unit")}
PART = re.compile(r"([./]?)(10[*^]|\[[^\]]*\]|[A-Za-z_%']+(?:\[[^\]]*\])?)?([+-]?\d+)?")


def factor_of(code: str) -> Fraction:
    """Return a unit in UCUM's base units, of which the dimension is left out; no brackets are read."""
    factor, place = Fraction(1), 0
    while place < len(code):
        match = PART.match(code, place)
        assert match is not None
        assert match.end() > place, code
        place = match.end()
        sign, atom, exponent = match.groups()
        power = int(exponent or 1) if atom else 1
        own = atom_factor(atom) if atom else Fraction(exponent)
        factor *= own ** (-power if sign == "/" else power)
    return factor


def atom_factor(atom: str) -> Fraction:
    if atom in BASE:
        return Fraction(1)
    if atom in DEFINITIONS:
        definition = DEFINITIONS[atom]
        return Fraction(definition.attrib["value"]) * factor_of(definition.attrib["Unit"])
    prefix = next(own for own in sorted(PREFIXES, key=len, reverse=True) if atom.startswith(own))
    return PREFIXES[prefix] * atom_factor(atom[len(prefix) :])


# Units of laboratories and of wards, by what they measure.
KINDS = (
    ("mg/dL", "g/L", "g/dL", "ug/mL", "ng/mL", "pg/mL", "mg/L", "ug/L", "ng/L", "kg/m3", "ug/dL", "ng/dL"),
    ("mmol/L", "umol/L", "nmol/L", "pmol/L", "mol/L", "nmol/mL", "mmol/mL", "meq/L", "eq/L"),
    ("10*3/uL", "10*9/L", "10*6/mL", "/uL", "/nL", "10*12/L", "10*6/uL", "/L"),
    ("U/L", "kU/L", "U/mL", "mU/mL", "ukat/L", "nkat/L", "kat/L"),
    ("mm", "cm", "m", "um", "[in_i]", "[ft_i]", "km"),
    ("kg", "g", "mg", "ug", "ng", "[lb_av]", "[oz_av]"),
    ("mL", "L", "dL", "uL", "fL", "cm3", "m3"),
    ("s", "min", "h", "d", "wk", "mo", "a"),
    ("/min", "/s", "/h", "Hz"),
    ("mL/min", "L/min", "L/h", "mL/s"),
    ("kg/m2", "g/cm2", "mg/mm2"),
    ("%", "1", "10*-3"),
    ("mosm/kg", "osm/kg", "mmol/kg"),
    ("kPa", "Pa", "hPa", "bar"),
    ("cal", "kcal", "J", "kJ"),
)  # fmt: skip
PAIRS = [(unit, target) for kind in KINDS for unit in kind for target in kind]


@pytest.mark.parametrize(("unit", "target"), PAIRS, ids=[" to ".join(pair) for pair in PAIRS])
def test_factors_are_those_of_the_table_of_ucum_rounded_once(unit: str, target: str) -> None:
    exact = Fraction("37.45") * factor_of(unit) / factor_of(target)
    assert converted(37.45, unit, target) == float(exact)


def test_pressures_agree_with_the_table_to_its_digits() -> None:
    """The table has 133.322 Pa for a millimetre of mercury, and the package all digits of it."""
    for unit, target in (("mm[Hg]", "kPa"), ("cm[H2O]", "Pa")):
        assert converted(120.0, unit, target) == pytest.approx(
            float(120 * factor_of(unit) / factor_of(target)), rel=1e-5
        )


@pytest.mark.parametrize(
    ("value", "unit", "target", "expected"),
    [
        (37.0, "Cel", "[degF]", 98.6), (98.6, "[degF]", "Cel", 37.0), (0.0, "Cel", "K", 273.15),
        (310.15, "K", "Cel", 37.0), (-40.0, "[degF]", "Cel", -40.0), (310.15, "K", "[degF]", 98.6),
    ],
)  # fmt: skip
def test_temperatures_have_other_zeros(value: float, unit: str, target: str, expected: float) -> None:
    assert converted(value, unit, target) == expected


@pytest.mark.parametrize(
    ("unit", "target"),
    [
        ("mmol/L", "mg/dL"), ("mol", "1"), ("g", "L"), ("mg", "mg/dL"), ("U/L", "g/L"),  # other kinds
        ("[IU]/L", "U/L"), ("[IU]", "1"), ("[arb'U]/mL", "/mL"), ("[CFU]/mL", "[PFU]/mL"), ("[IU]", "[USP'U]"),
        ("ng{FEU}/mL", "ng/mL"), ("ng{FEU}/mL", "ng{DDU}/mL"), ("mL/min/{1.73_m2}", "mL/min"), ("{score}", "1"),
        ("B", "1"), ("dB", "B"), ("Np", "1"), ("[pH]", "1"), ("g%", "g/dL"),  # logarithms, and what is not known
        ("Cel", "kg"), ("Cel", "1"),
    ],
)  # fmt: skip
def test_what_cannot_be_converted_is_refused_by_name(unit: str, target: str) -> None:
    for one, other in ((unit, target), (target, unit)):
        with pytest.raises(UnitError) as raised:
            converted(1.0, one, other)
        message = str(raised.value)
        assert message.startswith(f"a value in {shown(one)} cannot be converted to {shown(other)}")
        assert "{" not in message


@pytest.mark.parametrize(
    ("unit", "target", "factor"),
    [
        ("m[IU]/L", "u[IU]/mL", 1), ("[iU]/L", "[IU]/L", 1), ("ng{FEU}/mL", "ug{FEU}/L", 1),
        ("k[IU]/L", "[IU]/L", 1000), ("mL/min/{1.73_m2}", "L/min/{1.73_m2}", 0.001), ("10*3{RBC}/uL", "10*9{RBC}/L", 1),
    ],
)  # fmt: skip
def test_arbitrary_units_and_annotations_are_comparable_to_themselves(unit: str, target: str, factor: float) -> None:
    assert converted(2.0, unit, target) == 2 * factor


@given(st.floats(-1e100, 1e100))
def test_a_value_in_its_own_unit_is_not_changed(value: float) -> None:
    for unit in ("mg/dL", "[pH]", "{score}", "Cel", "B"):
        assert converted(value, unit, unit) == value


@given(st.decimals(0, 10_000, places=3))
def test_equal_values_in_two_units_are_equal_after_conversion(value: object) -> None:
    number = Fraction(str(value))
    assert converted(float(number / 100), "g/L", "mg/dL") == pytest.approx(float(number), rel=1e-15)
    assert converted(float(number), "ng/mL", "ug/L") == float(number)


@pytest.mark.parametrize(
    "code", ["", "mg%dl", "Jane Doe", "mg/dl/", "µg/L", "m" * 51, "10*9999", "(" * 40, "{", "1e3", "\n"]
)
def test_what_is_no_code_of_ucum_is_refused_and_not_repeated(code: str) -> None:
    for function in (check_unit, shown, lambda own: converted(1.0, own, "1")):
        with pytest.raises(UnitError, match=r"the unit is no code of UCUM; see ucum\.org"):
            function(code)


def test_codes_are_shown_without_their_annotations() -> None:
    assert [*map(shown, ("mg/dL", "10*9{cells}/L", "{score}", "mL/min/{1.73_m2}", "{beats}/min"))] == [
        "mg/dL", "10*9/L", "1", "mL/min/1", "1/min",
    ]  # fmt: skip


def test_a_value_that_is_too_large_in_the_other_unit_is_refused() -> None:
    with pytest.raises(UnitError, match="the value is too large in 1; send it in that unit"):
        converted(2.0, "10*308", "1")


def test_every_arbitrary_unit_is_in_brackets() -> None:
    assert all(ucum._BRACKETED.fullmatch(code) for code in ucum._arbitrary_units())
    assert len(ucum._arbitrary_units()) > 30


def test_the_extra_is_named_where_the_package_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ucumvert.parser", None)
    ucum._parser.cache_clear()
    with pytest.raises(
        TabcohortError, match=r"units of medical records need ucumvert: pip install 'tabcohort\[fhir\]'"
    ):
        check_unit("mg/{never seen before}")
    ucum._parser.cache_clear()
