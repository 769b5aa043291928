"""Schedules of weight decay and dropout."""

import math

import pytest

from tabcohort.engines.regularization import flat_cosine, schedule_factor
from tabcohort.settings import Config


def test_a_constant_schedule_is_1_in_every_epoch() -> None:
    assert {schedule_factor("constant", epoch, Config(max_epochs=9)) for epoch in range(1, 10)} == {1.0}


def test_a_flat_cosine_is_1_to_the_middle_and_then_falls_to_0() -> None:
    factors = [schedule_factor("flat_cosine", epoch, Config(max_epochs=8)) for epoch in range(1, 9)]
    assert factors[:5] == [1.0] * 5
    assert factors[5:] == pytest.approx([(1 + math.cos(math.pi * part)) / 2 for part in (0.25, 0.5, 0.75)])
    assert flat_cosine(1.0) == pytest.approx(0, abs=1e-15)
