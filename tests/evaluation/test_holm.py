"""Holm's correction, by its definition."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tabcohort.evaluation.holm import holm


def test_the_smallest_p_value_is_multiplied_by_their_number_the_next_by_one_less() -> None:
    np.testing.assert_allclose(holm([0.02, 0.001, 0.6]), [0.04, 0.003, 0.6])


def test_a_larger_p_value_is_never_corrected_to_a_smaller_one_and_none_is_above_1() -> None:
    np.testing.assert_allclose(holm([0.01, 0.011, 0.9]), [0.03, 0.03, 0.9])
    assert holm([0.8, 0.9]).tolist() == [1.0, 1.0]
    assert holm([]).tolist() == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_what_is_rejected_is_what_stepping_down_rejects(p_values: list[float]) -> None:
    rejected: set[int] = set()
    for step, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        if p_values[place] * (len(p_values) - step) > 0.05:
            break
        rejected.add(place)
    assert set(np.flatnonzero(holm(p_values) <= 0.05).tolist()) == rejected
