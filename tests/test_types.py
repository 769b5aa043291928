"""The aliases stand for arrays of the types that docstrings name, and for what JSON can hold."""

from __future__ import annotations

import json
from typing import Any, get_args

import numpy as np
import pytest

from tabcohort.types import BoolArray, FloatArray, IntArray, Label


@pytest.mark.parametrize(("alias", "scalar"), [(FloatArray, np.float64), (IntArray, np.int64), (BoolArray, np.bool_)])
def test_an_alias_is_an_array_of_its_scalar_type(alias: Any, scalar: type) -> None:
    _, dtype = get_args(alias)
    assert get_args(dtype) == (scalar,)
    assert alias.__origin__ is np.ndarray


def test_a_label_is_what_json_can_hold() -> None:
    assert set(get_args(Label)) == {str, int, float, bool}
    for kind in get_args(Label):
        assert json.loads(json.dumps(kind(1))) == kind(1)
