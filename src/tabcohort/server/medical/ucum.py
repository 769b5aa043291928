"""Units of UCUM, the Unified Code for Units of Measure: values in one unit become values in another, or are refused.

The definitions are those of the package `ucumvert`, which reads UCUM's own table, and the arithmetic is that of `pint`,
here with fractions: a value is rounded once, at the end.
"""

from __future__ import annotations

import functools
import re
import threading
from collections.abc import Callable
from fractions import Fraction
from typing import Any, NamedTuple

from tabcohort.errors import TabcohortError

SYSTEM = "http://unitsofmeasure.org"
MAX_LENGTH = 50  # characters of a code
TEMPERATURES = {"Cel", "[degF]", "K"}  # whose zeros differ
# A part that is an annotation only stands for 1; elsewhere an annotation has no meaning for the value.
_LONE_ANNOTATION, _ANNOTATION = re.compile(r"(^|[./(])\{[^{}]*\}(?=$|[./)])"), re.compile(r"\{[^{}]*\}")
_LONG_NUMBER = re.compile(r"\d{4}")  # an exponent that would take long to compute
_LOCK = threading.Lock()  # of lark and pint, which promise nothing about threads
_BRACKETED = re.compile(r"\[[^\[\]]*\]")


class UnitError(TabcohortError):
    """A unit that is no code of UCUM, or that a value cannot be converted from."""


class _Unit(NamedTuple):
    """A unit that is known: for `pint`, and what of it `pint` does not compare."""

    units: Any
    annotations: tuple[str, ...]
    arbitrary: tuple[str, ...]


def check_unit(code: str) -> None:
    """Raise an error for what is no code of UCUM.

    Raises:
        UnitError: it is none. The message does not repeat it.
        TabcohortError: the package that knows the units is not installed.
    """
    _check_code(code)


def shown(code: str) -> str:
    """Return a code as a message may show it: without annotations, which are free text.

    Raises:
        UnitError: it is no code of UCUM.
    """
    _check_code(code)
    return _plain(code)


def converted(value: float, unit: str, target: str) -> float:
    """Return a value in another unit, rounded once; a value that is in this unit is returned as it is.

    Args:
        value: finite.
        unit: its code.
        target: the code of the other unit.

    Raises:
        UnitError: one is no code of UCUM, or a value cannot be converted without knowing more: they are of different
            kinds (mass and amount of substance), one is arbitrary (`[IU]`) and the other is not the same, their
            annotations differ, or a logarithm is taken.

    Examples:
        >>> from tabcohort.server.medical.ucum import converted
        >>> converted(1.1, "g/dL", "g/L")
        11.0
    """
    if unit == target:
        return float(value)
    factor, offset = _conversion(unit, target)
    try:
        return float(Fraction(repr(float(value))) * factor + offset)
    except OverflowError:
        raise UnitError(f"the value is too large in {_plain(target)}; send it in that unit") from None


@functools.lru_cache(maxsize=1_000)
def _conversion(unit: str, target: str) -> tuple[Fraction, Fraction]:
    """Return the factor and the offset that lead from values in one unit to values in another."""
    _check_code(unit)
    _check_code(target)
    what = f"a value in {_plain(unit)} cannot be converted to {_plain(target)}"
    try:
        with _LOCK:
            source, other = _unit(unit), _unit(target)
    except Exception:  # pint's errors have several roots
        raise UnitError(f"{what}; send it as it is mapped") from None
    if source.annotations != other.annotations:
        raise UnitError(f"{what}, as the texts in braces differ; send it as it is mapped")
    if source.arbitrary != other.arbitrary:
        raise UnitError(f"{what}, as an arbitrary unit is comparable to itself only; send it as it is mapped")
    try:
        with _LOCK:
            zero, one, two = (_value(number, source, other) for number in (0, 1, 2))
    except Exception:  # pint's errors have several roots
        raise UnitError(f"{what}, as they measure different things; send it in a unit of the same kind") from None
    if two - one != one - zero or (zero and not {unit, target} <= TEMPERATURES):
        raise UnitError(f"{what}, as they are on different scales; send it as it is mapped")
    return one - zero, zero


def _value(number: int, source: _Unit, other: _Unit) -> Fraction:
    value = _registry().Quantity(Fraction(number), source.units).to(other.units).magnitude
    if not isinstance(value, Fraction | int):
        raise UnitError("the value is not exact")
    return Fraction(value)


def _plain(code: str) -> str:
    """Return a code without its annotations."""
    return _ANNOTATION.sub("", _LONE_ANNOTATION.sub(r"\g<1>1", code)) or "1"


@functools.lru_cache(maxsize=1_000)
def _check_code(code: str) -> None:
    """Raise an error for what is no code of UCUM; some that are, such as `[pH]`, can still not be converted."""
    parse = _parser()
    is_long = len(code) > MAX_LENGTH or _LONG_NUMBER.search(_plain(code)) is not None
    try:
        if not code or is_long or not code.isascii():
            raise ValueError("it is refused before it is parsed")
        with _LOCK:
            parse(_plain(code))
    except Exception:  # lark's errors have several roots
        raise UnitError("the unit is no code of UCUM; see ucum.org") from None


def _unit(code: str) -> _Unit:
    quantity = _registry().from_ucum(_plain(code))
    if quantity.magnitude != 1:
        raise UnitError(f"the unit {_plain(code)} cannot be converted; send the value as it is mapped")
    bracketed = (atom.replace("[iU]", "[IU]") for atom in _BRACKETED.findall(_plain(code)))
    return _Unit(
        quantity.units, tuple(sorted(_ANNOTATION.findall(code))),
        tuple(sorted(atom for atom in bracketed if atom in _arbitrary_units())),
    )  # fmt: skip


@functools.cache
def _parser() -> Callable[[str], Any]:
    try:
        from ucumvert.parser import get_ucum_parser
    except ImportError:
        raise TabcohortError("units of medical records need ucumvert: pip install 'tabcohort[fhir]'") from None
    parse: Callable[[str], Any] = get_ucum_parser().parse
    return parse


@functools.cache
def _registry() -> Any:
    from ucumvert import PintUcumRegistry

    return PintUcumRegistry(non_int_type=Fraction)


@functools.cache
def _arbitrary_units() -> frozenset[str]:
    """Return the units that have no relation to others, which `pint` takes for plain numbers."""
    from ucumvert.xml_util import get_units_with_full_definition

    return frozenset(unit.code_cs for unit in get_units_with_full_definition() if unit.is_arbitrary)
