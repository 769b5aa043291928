"""The mistakes of the patent document."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tabcohort.reproduce.patent import N_TRAIN
from tabcohort.reproduce.patent_mistakes import parameter_sum, patent_mistakes, reports_validation_rows, rows_left_over


def run(shift: float) -> Any:
    test = {"roc_auc": 0.9, "accuracy": 0.8}
    return SimpleNamespace(test=test, validation={name: value + shift for name, value in test.items()})


def test_rows_left_over_are_43() -> None:
    assert rows_left_over(N_TRAIN).figures == {"left_over": 43, "claimed": 27}


def test_parameters_are_those_of_the_layers_that_are_there() -> None:
    assert parameter_sum().figures == {"claimed": 118_421, "counted": 73_365}


def test_validation_rows_are_compared_with_test_rows() -> None:
    figures = reports_validation_rows([run(0.01), run(0.03)], 100).figures
    assert figures == {"roc_auc": pytest.approx(0.02), "accuracy": pytest.approx(0.02)}


def test_all_mistakes_are_returned() -> None:
    assert len(patent_mistakes([run(0.0)], N_TRAIN, 100)) == 5
